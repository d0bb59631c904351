//go:build netns

package fastpath_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/fastpath"
)

// copied is how much of a packet the queue copies.
const copied = 256

// pseudoSum is the sum of the pseudo header of a segment, by RFC 9293 section 3.1 and RFC 8200 section 8.1.
func pseudoSum(tu *conntrack.Tuple, length int) uint16 {
	var b []byte
	if tu.Is4() {
		b = append(append(b, tu.Src[12:]...), tu.Dst[12:]...)
		b = append(b, 0, 6, byte(length>>8), byte(length))
	} else {
		b = append(append(b, tu.Src[:]...), tu.Dst[:]...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(length)), 0, 0, 0, 6)
	}
	return sum16(b)
}

// segmentOf is the TCP segment in a frame without IP options and extension headers.
func (f *frame) segmentOf(b []byte) []byte {
	if f.tuple.Is4() {
		return b[14+20 : f.size]
	}
	return b[14+40 : f.size]
}

// finish writes the right checksum.
func (f *frame) finish(b []byte) {
	t := f.segmentOf(b)
	binary.BigEndian.PutUint16(t[16:], 0)
	odd := append(bytes.Clone(t), 0)
	sum := uint32(pseudoSum(&f.tuple, len(t))) + uint32(sum16(odd[:len(odd)&^1]))
	binary.BigEndian.PutUint16(t[16:], ^uint16(sum+sum>>16))
}

// TestChecksum holds the program's word on a checksum against that of the decoder, which sees as much of the packet as the queue copies:
// both families, every length around that bound, odd ones, options, padding behind the packet, super-packets; right sums, wrong ones, and
// such as only look like a local sender's.
func TestChecksum(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprintf("blind=%v", blind), func(t *testing.T) { testChecksum(t, blind) })
	}
}

func testChecksum(t *testing.T, blind bool) {
	bench, flows := newBenchOf(t, 8, fastpath.BenchOptions{Clock: true, Sums: true, Blind: blind})
	r := rand.New(rand.NewPCG(5, 6))
	v6 := conntrack.MakeTuple(netip.MustParseAddrPort("[2001:db8::1]:1001"), netip.MustParseAddrPort("[2001:db8:ffff::2]:80"))
	const flags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck
	state := conntrack.Fast{Deadline: conntrack.Never}
	for n := range state.Side {
		state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 70000, MaxAck: 1000, MaxWin: 65000, Win: 500, Flags: flags}
	}
	var f frame
	dec := proxy.NewDecoder()
	met := map[conntrack.Checksum]int{}
	for _, tu := range []conntrack.Tuple{tuple4(1), v6} {
		slot, err := flows.Install([2]fastpath.Key{{Tuple: tu, Ifindex: 1}, {Tuple: tu.Reverse(), Ifindex: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for n := range segments(t, 200_000) / 4 {
			f.tuple, f.ttl, f.flags, f.window, f.seq, f.ack = tu, 64, conntrack.ACK, 500, 1000, 1000
			f.payload, f.options = r.IntN(300), f.options[:0]
			if r.IntN(2) == 0 {
				f.options = append(f.options, 1, 1, 8, 10, 0, 0, 0, byte(1+r.IntN(200)), byte(r.IntN(256)), 0, 0, 9)
			}
			if r.IntN(20) == 0 {
				f.payload = r.IntN(1400)
			}
			b := f.build()
			for i := range f.payload {
				b[f.size-f.payload+i] = byte(r.IntN(256) & -r.IntN(2)) // many zeros, so that sums come near the edges
			}
			f.finish(b)
			check := f.segmentOf(b)[16:18]
			right := binary.BigEndian.Uint16(check)
			switch r.IntN(8) {
			case 0:
				binary.BigEndian.PutUint16(check, right+uint16(1+r.IntN(3)))
			case 1:
				binary.BigEndian.PutUint16(check, uint16(r.Uint32()))
			case 2:
				binary.BigEndian.PutUint16(check, pseudoSum(&tu, f.size-(len(b)-len(f.segmentOf(b)))))
			case 3:
				if f.payload > 0 {
					b[f.size-1] ^= 1 << r.IntN(8)
				}
			case 4:
				binary.BigEndian.PutUint16(check, ^right)
			case 5:
				if right == 0 || right == 0xffff {
					binary.BigEndian.PutUint16(check, ^right) // the other zero
				}
			}
			size := f.size
			if r.IntN(3) == 0 {
				size += r.IntN(40) // what the link adds
			}
			run := fastpath.Run{Frame: f.buf[:size], Out: make([]byte, 4096), Ifindex: 1, Now: conntrack.Instant(n+1) << 20}
			if r.IntN(8) == 0 && f.payload > 0 {
				run.GSOSize = uint32(1 + r.IntN(100))
			}
			var seg conntrack.Segment
			ip := bytes.Clone(run.Frame[14:])
			dec.Decode(ip[:min(copied, len(ip))], len(ip), proxy.PacketInfo{GSO: run.GSOSize > 0}, &seg)
			snap, err := flows.Freeze(slot)
			if err != nil {
				t.Fatal(err)
			}
			flows.Beat(run.Now)
			flows.Arm(slot, snap.Punt, &state, &conntrack.FastRules{Check: conntrack.SeqOff, Retransmits: 3, Timeout: time.Hour})
			if err := bench.Run(&run); err != nil {
				t.Fatal(err)
			}
			want := fastpath.Reason(0)
			if seg.Checksum == conntrack.ChecksumBad {
				want = fastpath.ReasonChecksum
			}
			if run.Reason != want {
				t.Fatalf("%d bytes, GSO %d: reason %q, want %q; to the queue the sum is %d; %x", f.size-14, run.GSOSize, run.Reason, want, seg.Checksum, ip)
			}
			if !bytes.Equal(run.Out[14:], ip) {
				t.Fatalf("the packet is changed:\n%x\n%x", ip, run.Out[14:])
			}
			met[seg.Checksum]++
		}
	}
	t.Logf("unverified, good, bad: %v", met)
	for _, c := range []conntrack.Checksum{conntrack.ChecksumUnverified, conntrack.ChecksumGood, conntrack.ChecksumBad} {
		if met[c] < 1000 {
			t.Errorf("%d of kind %d", met[c], c)
		}
	}
}
