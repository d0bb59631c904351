//go:build netns

package fastpath

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func init() {
	children["armed"] = func() error {
		p, err := Open(Options{hook: hookClsact, Flows: 16, Workers: 1, MarkMask: 0xff000000})
		if err != nil {
			return err
		}
		in, err := net.InterfaceByName("inside")
		if err != nil {
			return err
		}
		f, _, err := settled(p, uint32(in.Index), 1)
		if err != nil {
			return err
		}
		go func() {
			for range time.Tick(100 * time.Millisecond) {
				f.Beat(monotonic())
			}
		}()
		return wait()
	}
}

// openReal opens a fast path of the real programs, and closes it with the test.
func openReal(t *testing.T, h hook) *Path {
	t.Helper()
	p, err := Open(Options{hook: h, Flows: 16, Workers: 1, MarkMask: 0xff000000})
	check(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

// TestSettledFlow: segments of a flow that is armed pass by the interface that they belong to, and by no other; frozen ones are punted;
// others are left alone.
func TestSettledFlow(t *testing.T) {
	eachHook(t, func(t *testing.T, h hook) {
		w := newWorld(t)
		in, out := w.cable(t, "inside"), w.cable(t, "outside")
		p := openReal(t, h)
		if got := w.meets(t, "inside", acknowledgment()); got != "plain" {
			t.Errorf("of an unknown flow: met %s", got)
		}
		f, slot, err := settled(p, in, out)
		check(t, err)
		if got := w.meets(t, "inside", acknowledgment()); got != "fast" {
			t.Errorf("of a settled flow: met %s", got)
		}
		if got := w.meets(t, "outside", acknowledgment()); got != "plain" {
			t.Errorf("by another interface: met %s", got)
		}
		snap, err := f.Freeze(slot)
		if check(t, err); snap.Packets != [2]uint64{1, 0} || snap.Bytes != [2]uint64{40, 0} {
			t.Errorf("passed %v packets, %v bytes", snap.Packets, snap.Bytes)
		}
		if got := w.meets(t, "inside", acknowledgment()); got != "punt" {
			t.Errorf("of a frozen flow: met %s", got)
		}
		check(t, f.Remove(slot))
		if got := w.meets(t, "inside", acknowledgment()); got != "plain" {
			t.Errorf("of a flow that is removed: met %s", got)
		}
		stats, err := p.Stats()
		if check(t, err); stats.Packets != 1 || stats.Punts[ReasonFrozen] != 1 {
			t.Errorf("counted %+v", stats)
		}
	})
}

// TestForeignMarks: marks that somebody else gave lose what is ours to give, and that is counted; the bits outside the mask stay, as does the
// mark of injected packets.
func TestForeignMarks(t *testing.T) {
	eachHook(t, func(t *testing.T, h hook) {
		w := newWorld(t)
		index := int(w.cable(t, "inside"))
		run(t, "nft", `add counter inet count foreign; add rule inet count in udp dport 4711 meta mark 0x00abcdef counter name foreign;
			add counter inet count injected; add rule inet count in udp dport 4711 meta mark 0x01abcdef counter name injected`)
		p := openReal(t, h)
		for _, c := range []struct {
			mark    int64
			met     string
			counted bool
		}{{0x02abcdef, "foreign", true}, {0x7fabcdef, "foreign", true}, {0x01abcdef, "injected", false}, {0x00abcdef, "foreign", false}} {
			t.Run(fmt.Sprintf("%#x", c.mark), func(t *testing.T) {
				check(t, enterGateway(w))
				before, err := marker("foreign", c.mark, -1)
				check(t, err)
				defer before.Close()
				was, err := p.Stats()
				check(t, err)
				if h == hookTCX {
					l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: before, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
					check(t, err)
					defer l.Close()
				} else {
					f := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS,
						Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1}, Fd: before.FD(), Name: "foreign", DirectAction: true}
					check(t, netlink.FilterAdd(f))
					defer func() { check(t, netlink.FilterDel(f)) }()
				}
				if got := w.arrives(t, "inside"); got != c.met {
					t.Errorf("met %s", got)
				}
				stats, err := p.Stats()
				if check(t, err); stats.Foreign > was.Foreign != c.counted { // the ends' own discovery of neighbours may be marked too
					t.Errorf("%d counted as foreign, %d before", stats.Foreign, was.Foreign)
				}
			})
		}
	})
}

// TestKilledStopsActing: at a clsact qdisc the program outlives its process, and lets nothing past the queue any more once a second has gone
// by without a sign of life.
func TestKilledStopsActing(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	cmd := child(t, "armed")
	time.Sleep(1200 * time.Millisecond) // it lives by its beat, not by its start
	if got := w.meets(t, "inside", acknowledgment()); got != "fast" {
		t.Fatalf("while it lives: met %s", got)
	}
	kill(cmd)
	time.Sleep(1200 * time.Millisecond)
	if n := len(hanging(t, "inside")); n != 1 {
		t.Fatalf("%d programs: the test shows nothing", n)
	}
	if got := w.meets(t, "inside", acknowledgment()); got != "punt" {
		t.Errorf("a second after it was killed: met %s", got)
	}
	openReal(t, hookClsact)
	if got := w.meets(t, "inside", acknowledgment()); got != "plain" {
		t.Errorf("after the next start: met %s", got)
	}
}

// TestDetached: a path that is taken off lets nothing past, follows nothing, and still knows what it saw.
func TestDetached(t *testing.T) {
	w := newWorld(t)
	in := w.cable(t, "inside")
	p := openReal(t, hookAuto)
	f, slot, err := settled(p, in, 1)
	check(t, err)
	if got := w.meets(t, "inside", acknowledgment()); got != "fast" {
		t.Fatalf("before: met %s", got)
	}
	check(t, p.Detach())
	check(t, p.Detach())
	late := w.cable(t, "late")
	if got := w.meets(t, "inside", acknowledgment()); got != "plain" || p.Attached(in) || p.Attached(late) || len(hanging(t, "late")) != 0 {
		t.Errorf("met %s, attached to %v", got, p.Interfaces())
	}
	snap, err := f.Freeze(slot)
	if check(t, err); snap.Packets[0] != 1 {
		t.Errorf("saw %v packets", snap.Packets)
	}
	if _, err := Open(Options{Flows: 16, MarkMask: 0xff000000}); err == nil {
		t.Error("another one beside it, before Close")
	}
}

// TestEgress: with redirect, the program is told which interfaces frame what they send as Ethernet does.
func TestEgress(t *testing.T) {
	w := newWorld(t)
	in := w.cable(t, "inside")
	p, err := Open(Options{Redirect: true, Flows: 16, Workers: 1, MarkMask: 0xff000000})
	check(t, err)
	defer p.Close()
	check(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Mode: netlink.TUNTAP_MODE_TUN, Queues: 1}))
	tunnel := indexOf(t, "tunnel")
	late := w.cable(t, "late")
	until(t, "all have it", func() bool { return p.Attached(tunnel) && p.Attached(late) })
	ip(t, "link del late")
	until(t, "one is forgotten", func() bool { return !p.Attached(late) })
	for _, c := range []struct {
		index uint32
		want  bool
	}{{in, true}, {tunnel, false}, {late, false}} {
		var v uint32
		if got := p.obj.bpf.Egress.Lookup(c.index, &v) == nil; got != c.want {
			t.Errorf("interface %d as a way out: %v, want %v", c.index, got, c.want)
		}
	}
}
