//go:build netns

package fastpath_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// junction is a town with a program that redirects, and one flow through it in each family.
type junction struct {
	*town
	b      *fastpath.Bench
	flows  *fastpath.Flows
	tuples [2]conntrack.Tuple
	slots  [2]uint32
	state  conntrack.Fast
	f      frame
	mac    net.HardwareAddr // the server's
	now    conntrack.Instant
	stays  bool // the clock does not go on with each packet
}

func newJunction(t *testing.T) *junction {
	j := &junction{town: newTown(t), mac: net.HardwareAddr{2, 0, 0, 0, 0, 9}}
	j.b, j.flows = newBench(t, 8, true, true)
	j.now = conntrack.Instant(time.Hour)
	j.flows.Beat(conntrack.Never / 2)
	j.check(j.b.SetEgress(uint32(j.outside.Index), true))
	j.check(j.b.SetEgress(uint32(j.inside.Index), true))
	j.neighbour(j.outside.Index, "10.7.2.2", j.mac)
	j.neighbour(j.outside.Index, "fd07:2::2", j.mac)
	j.state = conntrack.Fast{Deadline: conntrack.Never}
	for n := range j.state.Side {
		j.state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 60000, MaxAck: 1000, MaxWin: 59000, Win: 59000, Flags: sideFlags}
	}
	for n, to := range []string{"10.7.2.2", "fd07:2::2"} {
		from := []string{"10.7.1.2", "fd07:1::2"}[n]
		j.tuples[n] = conntrack.MakeTuple(netip.AddrPortFrom(netip.MustParseAddr(from), 4000), netip.AddrPortFrom(netip.MustParseAddr(to), 80))
		j.slots[n] = j.install(j.tuples[n], j.tuples[n].Reverse())
	}
	j.f = frame{ttl: 64, flags: conntrack.ACK, seq: 1000, ack: 1000, window: 59000}
	return j
}

func (j *junction) install(tu, back conntrack.Tuple) uint32 {
	j.Helper()
	slot, err := j.flows.Install([2]fastpath.Key{{Tuple: tu, Ifindex: uint32(j.inside.Index)}, {Tuple: back, Ifindex: uint32(j.outside.Index)}})
	j.check(err)
	j.flows.Arm(slot, 0, &j.state, &conntrack.FastRules{Check: conntrack.SeqOff, Retransmits: 3, Timeout: 1 << 40})
	return slot
}

// send runs a packet of the client's and returns what became of it.
func (j *junction) send(tu conntrack.Tuple, payload int, gso uint32) fastpath.Run {
	j.Helper()
	j.f.tuple, j.f.payload = tu, payload
	b := j.f.build()
	j.f.seq += conntrack.Seq(payload)
	copy(b, j.inside.HardwareAddr)
	r := fastpath.Run{Frame: b, Out: make([]byte, len(b)+64), Ifindex: uint32(j.inside.Index), GSOSize: gso, Now: j.now}
	if !j.stays {
		j.now++
	}
	j.check(j.b.Run(&r))
	return r
}

// goesOut expects that a packet is sent out as the kernel would forward it.
func (j *junction) goesOut(what string, tu conntrack.Tuple, payload int, gso uint32) {
	j.Helper()
	r := j.send(tu, payload, gso)
	want := append([]byte(nil), j.f.buf[:j.f.size]...)
	copy(want, j.mac)
	copy(want[6:], j.outside.HardwareAddr)
	if tu.Is4() {
		want[22]--
		want[24], want[25] = 0, 0
		binary.BigEndian.PutUint16(want[24:], ^sum16(want[14:34]))
	} else {
		want[21]--
	}
	if r.Verdict != 7 || !bytes.Equal(r.Out, want) {
		j.Errorf("%s: verdict %d, expected 7 (redirect); packet\n%x, expected\n%x", what, r.Verdict, r.Out[:80], want[:80])
	}
}

// goesOn expects that a packet passes and is left to the kernel, for a reason, as it came.
func (j *junction) goesOn(what string, why fastpath.Normal, tu conntrack.Tuple, payload int, gso uint32) {
	j.Helper()
	before, err := j.b.Stats()
	j.check(err)
	r := j.send(tu, payload, gso)
	after, err := j.b.Stats()
	j.check(err)
	before.Normal[why]++
	if r.Verdict != -1 || r.NewMark != 0x02000000 || after.Normal != before.Normal || after.Packets != before.Packets+1 || !bytes.Equal(r.Out, j.f.buf[:j.f.size]) {
		j.Errorf("%s: verdict %d, mark %#x, left to the kernel by reason %v, expected one more for %q: %v", what, r.Verdict, r.NewMark, after.Normal, why, before.Normal)
	}
}

func (j *junction) mtu(n int) {
	j.Helper()
	l, err := netlink.LinkByIndex(j.outside.Index)
	j.check(err)
	j.check(netlink.LinkSetMTU(l, n))
}

// TestRedirect holds what the program makes of a packet against what forwarding makes of it, and shows each reason for the normal way.
func TestRedirect(t *testing.T) {
	j := newJunction(t)
	for n, tu := range j.tuples {
		family := []string{"IPv4 ", "IPv6 "}[n]
		for ttl := 255; ttl > 1; ttl-- { // and every checksum that goes with it
			j.f.ttl = byte(ttl)
			j.goesOut(family+"plain", tu, ttl, 0)
		}
		j.f.ttl = 64
		j.goesOut(family+"of full size", tu, 1500-[]int{40, 60}[n], 0)
		j.goesOut(family+"super-packet", tu, 3000, 1400)
		j.goesOn(family+"super-packet of long segments", fastpath.NormalMTU, tu, 3000, 1500)
		j.goesOn(family+"too long", fastpath.NormalMTU, tu, 1501-[]int{40, 60}[n], 0)
		j.mtu(1300)
		j.goesOn(family+"too long for a smaller MTU", fastpath.NormalMTU, tu, 1300, 0)
		j.goesOn(family+"super-packet, a smaller MTU", fastpath.NormalMTU, tu, 3000, 1300)
		j.goesOut(family+"super-packet within a smaller MTU", tu, 3000, 1200)
		j.mtu(1500)

		knob := []string{"ipv4/conf/hoin/forwarding", "ipv6/conf/hoin/forwarding"}[n]
		j.sysctl(knob, "0")
		j.goesOn(family+"forwarding is off", fastpath.NormalDisabled, tu, 10, 0)
		j.sysctl(knob, "1")

		j.check(j.b.SetEgress(uint32(j.outside.Index), false))
		j.goesOn(family+"no Ethernet", fastpath.NormalEgress, tu, 10, 0)
		j.check(j.b.SetEgress(uint32(j.outside.Index), true))
		j.goesOut(family+"plain again", tu, 10, 0)

		out, like := uint32(j.outside.Index), uint32(j.outside.Index)+1<<20 // the same low bits
		j.check(j.b.SetEgress(like, true))
		j.goesOut(family+"an interface of a similar index", tu, 10, 0)
		j.check(j.b.SetEgress(out, false))
		j.goesOn(family+"only an interface of a similar index", fastpath.NormalEgress, tu, 10, 0)
		j.check(j.b.SetEgress(like, false))
		j.check(j.b.SetEgress(out, true))
		j.check(j.b.SetEgress(like, true))
		j.check(j.b.SetEgress(like, false))
		j.goesOut(family+"no interface of a similar index any more", tu, 10, 0)

		src := tu.From()
		var more []uint32
		other := func(addr string) conntrack.Tuple {
			to := conntrack.MakeTuple(src, netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
			more = append(more, j.install(to, to.Reverse()))
			return to
		}
		j.f.seq = 1000
		j.goesOn(family+"no route", fastpath.NormalRoute, other([]string{"203.0.113.1", "2001:db8::1"}[n]), 10, 0)
		j.goesOn(family+"an unknown neighbour", fastpath.NormalNeighbour, other([]string{"10.7.2.77", "fd07:2::77"}[n]), 10, 0)
		back := other([]string{"10.7.1.9", "fd07:1::9"}[n])
		j.neighbour(j.inside.Index, []string{"10.7.1.9", "fd07:1::9"}[n], j.mac)
		j.goesOn(family+"back where it came from", fastpath.NormalEgress, back, 10, 0)
		for _, slot := range more {
			j.check(j.flows.Remove(slot))
		}

		nat := tu
		nat.SrcPort++
		translated := tu.Reverse()
		translated.DstPort += 1000
		slot := j.install(nat, translated)
		j.goesOn(family+"translated", fastpath.NormalFlow, nat, 10, 0)
		j.check(j.flows.Remove(slot))
		j.f.seq = 1000
	}
	s, err := j.b.Stats()
	j.check(err)
	if s.Redirected == 0 || s.Normal[fastpath.NormalWrite] != 0 {
		t.Errorf("counters %+v", s)
	}
}

// TestRedirectRemembers: of a flow that has a second segment within a tick of the kernel's clock the way is asked for no more until the next
// tick. What a segment asks for itself, and what user space says, counts at once.
func TestRedirectRemembers(t *testing.T) {
	j := newJunction(t)
	for n, tu := range j.tuples {
		family := []string{"IPv4 ", "IPv6 "}[n]
		head := []int{40, 60}[n]
		knob := []string{"ipv4/conf/hoin/forwarding", "ipv6/conf/hoin/forwarding"}[n]
		j.stays, j.f.seq = true, 1000
		j.now++
		j.goesOut(family+"first", tu, 10, 0)
		j.sysctl(knob, "0")
		j.goesOn(family+"after one segment nothing is kept", fastpath.NormalDisabled, tu, 10, 0)
		j.sysctl(knob, "1")
		j.goesOut(family+"asked and kept", tu, 10, 0)
		j.sysctl(knob, "0")
		j.goesOut(family+"kept", tu, 11, 0)
		j.goesOut(family+"as long as the MTU", tu, 1500-head, 0)
		j.goesOn(family+"longer", fastpath.NormalDisabled, tu, 1501-head, 0)
		j.goesOut(family+"super-packet", tu, 3000, 1400)
		j.goesOn(family+"super-packet of long segments", fastpath.NormalDisabled, tu, 3000, 1500)
		j.f.tos = 8
		j.goesOn(family+"another TOS", fastpath.NormalDisabled, tu, 10, 0)
		j.f.tos = 0
		j.check(j.b.SetEgress(uint32(j.outside.Index), false))
		j.goesOn(family+"user space forbids the way", fastpath.NormalEgress, tu, 10, 0)
		j.check(j.b.SetEgress(uint32(j.outside.Index), true))
		j.goesOut(family+"and allows it", tu, 10, 0)
		j.now++
		j.goesOn(family+"the next tick", fastpath.NormalDisabled, tu, 10, 0)
		j.goesOn(family+"again in the next tick", fastpath.NormalDisabled, tu, 10, 0)
		j.sysctl(knob, "1")

		// Another flow in the same slot, at the same time.
		j.goesOut(family+"again", tu, 10, 0)
		j.goesOut(family+"again, kept", tu, 10, 0)
		j.check(j.flows.Remove(j.slots[n]))
		other := conntrack.MakeTuple(tu.From(), netip.AddrPortFrom(netip.MustParseAddr([]string{"203.0.113.1", "2001:db8::1"}[n]), 80))
		j.state.LastSeen = j.now
		if slot := j.install(other, other.Reverse()); slot != j.slots[n] {
			t.Fatalf("slot %d, expected %d", slot, j.slots[n])
		}
		j.state.LastSeen, j.f.seq = 0, 1000
		j.goesOn(family+"the slot's next flow", fastpath.NormalRoute, other, 10, 0)
	}
}
