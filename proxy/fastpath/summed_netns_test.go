//go:build netns

package fastpath_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// TestChecksumLeftToTheCard sends segments of a settled connection whose sums a local sender finishes, leaves to the card, or gets wrong, and
// looks at what the program does where it can read the kernel's description of a packet and where it cannot.
func TestChecksumLeftToTheCard(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprintf("blind=%v", blind), func(t *testing.T) {
			w := newTown(t)
			b, flows := newBenchOf(t, 4, fastpath.BenchOptions{Sums: true, Blind: blind})
			flows.Beat(conntrack.Never / 2)
			w.attach(b.Program(14), w.inside.Index)
			f := frame{ttl: 64, flags: conntrack.ACK, window: 500, seq: 1000, ack: 1000, payload: 33}
			f.tuple = conntrack.MakeTuple(netip.MustParseAddrPort("10.7.1.2:1001"), netip.MustParseAddrPort("10.7.2.2:80"))
			slot, err := flows.Install([2]fastpath.Key{{Tuple: f.tuple, Ifindex: uint32(w.inside.Index)}, {Tuple: f.tuple.Reverse(), Ifindex: uint32(w.outside.Index)}})
			w.check(err)
			state := conntrack.Fast{Deadline: conntrack.Never}
			for n := range state.Side {
				state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 70000, MaxAck: 1000, MaxWin: 65000, Win: 500}
			}
			send := w.sender()
			for _, c := range []struct {
				name       string
				sum        func(check []byte, head uint16)
				unfinished bool
				bad        bool // for the program; the queue calls an unfinished sum neither good nor bad
			}{
				{"right", nil, false, false},
				{"wrong", func(check []byte, _ uint16) { check[0]++ }, false, true},
				{"that of the pseudo header", binary.BigEndian.PutUint16, false, true},
				{"left to the card", binary.BigEndian.PutUint16, true, false},
				{"left to the card, and not that of the pseudo header", func(check []byte, head uint16) { binary.BigEndian.PutUint16(check, head^0x55) }, true, blind},
			} {
				frame := f.build()
				copy(frame, w.inside.HardwareAddr)
				f.finish(frame)
				if c.sum != nil {
					c.sum(f.segmentOf(frame)[16:18], pseudoSum(&f.tuple, 20+f.payload))
				}
				snap, err := flows.Freeze(slot)
				w.check(err)
				flows.Arm(slot, snap.Punt, &state, &conntrack.FastRules{Check: conntrack.SeqOff, Retransmits: 200, Timeout: time.Hour})
				before, err := b.Stats()
				w.check(err)
				send(frame, c.unfinished)
				var passed, bad uint64
				for end := time.Now().Add(5 * time.Second); passed+bad == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
					after, err := b.Stats()
					w.check(err)
					passed, bad = after.Packets-before.Packets, after.Punts[fastpath.ReasonChecksum]-before.Punts[fastpath.ReasonChecksum]
				}
				if passed+bad != 1 || (bad == 1) != c.bad {
					t.Errorf("a sum %s: %d passed, %d punted for it; expected it bad: %v", c.name, passed, bad, c.bad)
				}
			}
		})
	}
}

// sender returns what sends a frame from the client, whose TCP checksum is left to the card or not. A veth mostly delivers it within the
// call, but where the processor's softirqs are late.
func (w *town) sender() func(frame []byte, unfinished bool) {
	w.Helper()
	const header = 10 // struct virtio_net_hdr
	var fd int
	var eth *net.Interface
	w.in(w.client, func() {
		var err error
		eth, err = net.InterfaceByName("eth0")
		w.check(err)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		w.check(err)
		w.check(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	})
	w.Cleanup(func() { unix.Close(fd) })
	return func(frame []byte, unfinished bool) {
		w.Helper()
		b := make([]byte, header, header+len(frame))
		if unfinished {
			b[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
			binary.NativeEndian.PutUint16(b[6:], 14+20)
			binary.NativeEndian.PutUint16(b[8:], 16)
		}
		w.check(unix.Sendto(fd, append(b, frame...), 0, &unix.SockaddrLinklayer{Ifindex: eth.Index}))
	}
}
