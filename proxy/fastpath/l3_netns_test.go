//go:build netns

package fastpath_test

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// TestLinkWithoutHeader runs the program for interfaces whose packets have no link header on a tun device, in both families.
func TestLinkWithoutHeader(t *testing.T) {
	w := newTown(t)
	b, flows := newBench(t, 4, false, true)
	flows.Beat(conntrack.Never / 2)
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "hotun"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
	w.check(netlink.LinkAdd(tun))
	defer tun.Fds[0].Close()
	w.up("hotun", "10.7.9.1/24", "fd07:9::1/64")
	l, err := netlink.LinkByName("hotun")
	w.check(err)
	index := uint32(l.Attrs().Index)
	w.attach(b.Program(0), int(index))

	f := frame{ttl: 64, flags: conntrack.ACK, seq: 1000, ack: 1000, window: 59000, payload: 700, options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 5, 10, 0, 0, 3, 100, 0, 0, 3, 101}}
	f.tuple = tuple4(1)
	six := f.tuple
	six.Src[0], six.Dst[0] = 0x20, 0x20
	st := conntrack.Fast{Deadline: conntrack.Never}
	for n := range st.Side {
		st.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 60000, MaxAck: 1000, MaxWin: 59000, Win: 59000, Flags: sideFlags | conntrack.SideSACK}
	}
	for _, tu := range []conntrack.Tuple{f.tuple, six} {
		slot, err := flows.Install([2]fastpath.Key{{Tuple: tu, Ifindex: index}, {Tuple: tu.Reverse(), Ifindex: uint32(w.outside.Index)}})
		w.check(err)
		flows.Arm(slot, 0, &st, &conntrack.FastRules{Retransmits: 3, Timeout: time.Hour})
		f.tuple = tu
		for n := range 3 {
			f.seq = 1000 + conntrack.Seq(700*n)
			_, err = tun.Fds[0].Write(f.build()[14:])
			w.check(err)
		}
		var s fastpath.Snapshot
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && s.Packets[0] < 3; time.Sleep(time.Millisecond) {
			s, err = flows.Read(slot)
			w.check(err)
		}
		if s.Packets != [2]uint64{3, 0} || s.Bytes != [2]uint64{3 * uint64(f.size-14), 0} || s.Punt != 0 || s.Fast.Side[0].End != 1000+2100 {
			t.Errorf("three segments of %d bytes: %+v", f.size-14, s)
		}
	}
	s, err := b.Stats()
	w.check(err)
	if s.Packets != 6 || s.Redirected != 0 {
		t.Errorf("counters %+v", s)
	}
}
