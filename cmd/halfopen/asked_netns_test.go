//go:build netns

package main

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// asked makes, out of what was captured on both sides of a gateway and of its log, the capture of what the gateway was asked: each segment
// that it decided once, in the order and with the time of the decision, and with the addresses that it decided about (a host that
// translates has others on the wire). It ends with a frame of no protocol at the time of the last thing that the log tells, so that a
// replay's clock gets as far as the gateway's. Where the wall clock was set or slewed meanwhile, the log's times are not those by which the
// gateway has reckoned, and cannot be compared.
func asked(t *testing.T, log string, captures ...string) (path string, frames int, c clocks) {
	t.Helper()
	waiting := map[look][][]byte{}
	for _, name := range captures {
		inbound(t, name, waiting)
	}
	path = filepath.Join(t.TempDir(), "asked.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(f, capture.Section{})
	if err == nil {
		_, err = w.AddInterface(capture.Interface{LinkType: capture.LinkRaw})
	}
	if err != nil {
		t.Fatal(err)
	}
	put := func(at time.Time, data []byte) {
		if err := w.WritePacket(0, at, data[:min(len(data), copied)], len(data), capture.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	begun := map[uint64]time.Time{}
	type decided struct {
		at     time.Time
		packet []byte
	}
	var all []decided
	var last time.Time
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if (e.Decision != nil || e.Flow != nil || e.Inject != nil) && last.Before(e.Timestamp.Time) {
			last = e.Timestamp.Time
		}
		if d := e.Decision; d == nil || d.Settles != "" || d.Trigger != "" {
			continue
		}
		if d := e.Decision; d.AgeS != nil && !makes[d.Effect] {
			began := e.Timestamp.Add(-time.Duration(math.Round(*d.AgeS * 1e9)))
			if first, ok := begun[e.FlowID]; ok && !began.Equal(first) {
				t.Logf("the wall clock moved by %v", began.Sub(first))
				c = otherClock
			}
			begun[e.FlowID] = began
		}
		from, to := netip.AddrPortFrom(netip.MustParseAddr(e.SrcIP), e.SrcPort), netip.AddrPortFrom(netip.MustParseAddr(e.DestIP), e.DestPort)
		key := look{e.TCP.Flags, e.TCP.Seq, e.TCP.Ack, e.TCP.Win, e.TCP.Len, from.Addr().Is4()}
		i := slices.IndexFunc(waiting[key], func(p []byte) bool { return goesFrom(p, from, to) })
		if i < 0 && len(waiting[key]) > 0 {
			i = 0 // under translation
		}
		if i < 0 {
			t.Fatalf("no frame for the decision about %s > %s %+v", from, to, *e.TCP)
		}
		p := waiting[key][i]
		waiting[key] = slices.Delete(waiting[key], i, i+1)
		all = append(all, decided{e.Timestamp.Time, readdress(p, from, to)})
	}
	// Two queues' workers write their records as they come to it.
	slices.SortStableFunc(all, func(a, b decided) int { return a.at.Compare(b.at) })
	for _, d := range all {
		put(d.at, d.packet)
	}
	put(last, []byte{0})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, len(all), c
}

// makes are the effects of a decision that has the id of the flow that it makes, and the age of the one before.
var makes = map[string]bool{"create": true, "create-liberal": true, "replace": true, "resync": true}

// copied is how much of a packet a gateway sees (proxy's headerBytes): it cannot judge the checksum of a longer one.
const copied = 256

// look is by what a decision's segment is found among the frames.
type look struct {
	flags         string
	seq, ack, win uint32
	size          uint32
	v4            bool
}

// inbound adds the TCP packets that came in to those that wait for their decisions, in order.
func inbound(t *testing.T, name string, waiting map[look][][]byte) {
	t.Helper()
	frames, err := capture.ReadAll(name)
	if err != nil {
		t.Fatal(err)
	}
	dec := proxy.NewDecoder()
	for i := range frames {
		ip, ok := frames[i].IP()
		if !ok || frames[i].Options.Direction != capture.Inbound {
			continue
		}
		var s conntrack.Segment
		dec.Decode(ip, len(ip), proxy.PacketInfo{Partial: true}, &s)
		if s.Defect != conntrack.DefectNone || s.Tuple.SrcPort == 0 {
			continue
		}
		key := look{s.Flags.String(), uint32(s.Seq), uint32(s.Ack), uint32(s.Window), s.Len, ip[0]>>4 == 4}
		waiting[key] = append(waiting[key], ip)
	}
}

// packetEnds returns where a packet's addresses and its TCP header stand.
func packetEnds(p []byte) (src, dst, tcp []byte) {
	if p[0]>>4 == 4 {
		return p[12:16], p[16:20], p[int(p[0]&15)*4:]
	}
	return p[8:24], p[24:40], p[40:]
}

func goesFrom(p []byte, from, to netip.AddrPort) bool {
	src, dst, tcp := packetEnds(p)
	return string(src) == string(from.Addr().AsSlice()) && string(dst) == string(to.Addr().AsSlice()) &&
		binary.BigEndian.Uint16(tcp) == from.Port() && binary.BigEndian.Uint16(tcp[2:]) == to.Port()
}

// readdress gives an IPv4 packet other ends, as the host does before its forward hook. Both checksums follow; that of a segment which
// the sending kernel has left to be finished is the sum of the addresses, and not complemented.
func readdress(p []byte, from, to netip.AddrPort) []byte {
	if goesFrom(p, from, to) {
		return p
	}
	p = slices.Clone(p)
	var s conntrack.Segment
	proxy.NewDecoder().Decode(p, len(p), proxy.PacketInfo{}, &s)
	finished := s.Checksum == conntrack.ChecksumGood
	src, dst, tcp := packetEnds(p)
	change := func(at, by []byte, address bool) {
		for i := 0; i < len(at); i += 2 {
			was, is := binary.BigEndian.Uint16(at[i:]), binary.BigEndian.Uint16(by[i:])
			if address {
				resum(p[10:12], was, is, true)
			}
			if address || finished {
				resum(tcp[16:18], was, is, finished)
			}
			binary.BigEndian.PutUint16(at[i:], is)
		}
	}
	change(src, from.Addr().AsSlice(), true)
	change(dst, to.Addr().AsSlice(), true)
	change(tcp[:2], binary.BigEndian.AppendUint16(nil, from.Port()), false)
	change(tcp[2:4], binary.BigEndian.AppendUint16(nil, to.Port()), false)
	return p
}

// resum updates a checksum for a 16-bit word that changes (RFC 1624).
func resum(at []byte, was, is uint16, complemented bool) {
	sum := binary.BigEndian.Uint16(at)
	if complemented {
		sum = ^sum
	}
	n := uint32(sum) + uint32(^was) + uint32(is)
	n = n>>16 + n&0xffff
	sum = uint16(n>>16 + n&0xffff)
	if complemented {
		sum = ^sum
	}
	binary.BigEndian.PutUint16(at, sum)
}
