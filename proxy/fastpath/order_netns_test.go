//go:build netns

package fastpath

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// counting is somebody else's program: it counts in the low byte of the mark and lets the packet go on, or not. Where it comes before
// ours, ours (which sets the whole mark) leaves nothing of its count.
func counting(t *testing.T, result int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "foreign", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 8, asm.Word), asm.Add.Imm(asm.R2, 0x40), asm.StoreMem(asm.R1, 8, asm.R2, asm.Word),
		asm.Mov.Imm(asm.R0, result), asm.Return(),
	}})
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func idOf(t *testing.T, p *ebpf.Program) ebpf.ProgramID {
	t.Helper()
	info, err := p.Info()
	check(t, err)
	id, _ := info.ID()
	return id
}

// TestAmongOthersTCX: somebody's program from before ours, and one that comes later, go on running; we are in front of both.
func TestAmongOthersTCX(t *testing.T) {
	w := newWorld(t)
	index := int(w.cable(t, "inside"))
	run(t, "nft", "add counter inet count both; add rule inet count in udp dport 4711 meta mark 0x02000094 counter name both")
	before, after := counting(t, -1), counting(t, -1)
	attach := func(p *ebpf.Program) {
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
		check(t, err)
		t.Cleanup(func() { l.Close() })
	}
	attach(before)
	p := open(t, Options{})
	attach(after)
	ours := idOf(t, p.programs(headerEthernet))
	if got, want := hanging(t, "inside"), []ebpf.ProgramID{ours, idOf(t, before), idOf(t, after)}; !slices.Equal(got, want) {
		t.Errorf("programs in order %v, want %v", got, want)
	}
	if got := w.arrives(t, "inside"); got != "both" {
		t.Errorf("met %s", got)
	}
	check(t, p.Close())
	if got, want := hanging(t, "inside"), []ebpf.ProgramID{idOf(t, before), idOf(t, after)}; !slices.Equal(got, want) {
		t.Errorf("programs after Close %v, want %v", got, want)
	}
}

// TestAmongOthersClsact: somebody has filters at the qdisc already, of other kinds and at the number that would be ours; they go on, and
// stay with their qdisc when we go.
func TestAmongOthersClsact(t *testing.T) {
	for _, kind := range []string{"clsact", "ingress"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			run(t, "nft", "add counter inet count both; add rule inet count in udp dport 4711 meta mark 0x02000054 counter name both")
			index := int(w.cable(t, "inside"))
			tc(t, "qdisc add dev inside "+kind)
			tc(t, fmt.Sprintf("filter add dev inside parent ffff:fff2 protocol ip prio %d u32 match ip protocol 6 0xff", firstPriority))
			foreign := counting(t, -1)
			check(t, netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS,
				Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 100}, Fd: foreign.FD(), Name: "foreign", DirectAction: true}))
			before := tc(t, "filter show dev inside parent ffff:fff2")
			p := open(t, Options{hook: hookClsact})
			t.Log(tc(t, "filter show dev inside parent ffff:fff2"))
			if got := w.arrives(t, "inside"); got != "both" {
				t.Errorf("met %s", got)
			}
			check(t, p.Close())
			if after := tc(t, "filter show dev inside parent ffff:fff2"); after != before {
				t.Errorf("filters before:\n%safter:\n%s", before, after)
			}
			if !strings.Contains(tc(t, "qdisc show dev inside"), kind) {
				t.Error("somebody else's qdisc is gone")
			}
		})
	}
}

// TestQdiscInUse: a qdisc that was made for our filter stays where somebody has begun to use it, in either direction.
func TestQdiscInUse(t *testing.T) {
	for _, direction := range []string{"ingress", "egress"} {
		t.Run(direction, func(t *testing.T) {
			w := newWorld(t)
			w.cable(t, "inside")
			w.cable(t, "outside")
			p := open(t, Options{hook: hookClsact})
			tc(t, "filter add dev inside "+direction+" protocol ip prio 1 u32 match ip protocol 6 0xff")
			check(t, p.Close())
			if left := tc(t, "filter show dev inside "+direction); !strings.Contains(left, "u32") || strings.Contains(left, "bpf") {
				t.Errorf("left on an interface that somebody uses: %s", left)
			}
			if q := tc(t, "qdisc show dev outside"); strings.Contains(q, "clsact") {
				t.Errorf("left on one that nobody uses: %s", q)
			}
		})
	}
}

// TestClosesBehindOthers: who has taken our qdisc away, with the filter, leaves nothing to do; what came in its place is not ours.
func TestClosesBehindOthers(t *testing.T) {
	w := newWorld(t)
	index := int(w.cable(t, "inside"))
	w.cable(t, "outside")
	p := open(t, Options{hook: hookClsact})
	foreign := counting(t, -1)
	for _, name := range []string{"inside", "outside"} {
		tc(t, "qdisc del dev "+name+" clsact")
	}
	tc(t, "qdisc add dev inside clsact")
	check(t, netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS,
		Handle: handleOwner, Protocol: unix.ETH_P_ALL, Priority: firstPriority}, Fd: foreign.FD(), Name: "foreign", DirectAction: true}))
	check(t, p.Close())
	if got := hanging(t, "inside"); !slices.Equal(got, []ebpf.ProgramID{idOf(t, foreign)}) {
		t.Errorf("somebody's filter in the place of ours: %v", got)
	}
}
