//go:build netns

package fastpath_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/fastpath"
)

// segments is how many random segments each differential test has; HALFOPEN_SEGMENTS sets another number.
func segments(t *testing.T, n int) int {
	if s := os.Getenv("HALFOPEN_SEGMENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

const mask = 0xff000000

// newBench loads a program that judges no checksum: the frames of most tests have none.
func newBench(t testing.TB, flows int, clock, redirect bool) (*fastpath.Bench, *fastpath.Flows) {
	t.Helper()
	return newBenchOf(t, flows, fastpath.BenchOptions{Clock: clock, Redirect: redirect})
}

func newBenchOf(t testing.TB, flows int, opts fastpath.BenchOptions) (*fastpath.Bench, *fastpath.Flows) {
	t.Helper()
	b, err := fastpath.NewBench(flows, 1, mask, opts)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, b.Flows(0)
}

func marks(t testing.TB) fastpath.Marks {
	t.Helper()
	m, err := fastpath.NewMarks(mask)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// world makes random states, rules and segments, with numbers around every edge that the model compares with.
type world struct {
	*rand.Rand
	f     frame
	seg   conntrack.Segment
	gso   uint32
	dec   *proxy.Decoder
	rules conntrack.FastRules
	state conntrack.Fast
	now   conntrack.Instant
	dir   conntrack.Direction
	// unread is the reason by which the program leaves the packet to the queue unread: it has headers that only the queue walks
	unread fastpath.Reason
}

func (w *world) chance(n int) bool { return w.IntN(n) == 0 }

func (w *world) seq() conntrack.Seq {
	if w.chance(2) {
		return conntrack.Seq(uint32(w.IntN(200000)) - 100000) // around 2^32
	}
	return conntrack.Seq(w.Uint32())
}

func (w *world) tuple() (tu conntrack.Tuple) {
	if w.chance(2) {
		tu.Src[10], tu.Src[11], tu.Dst[10], tu.Dst[11] = 0xff, 0xff, 0xff, 0xff
		binary.BigEndian.PutUint32(tu.Src[12:], w.Uint32())
		binary.BigEndian.PutUint32(tu.Dst[12:], w.Uint32())
	} else {
		for i := range tu.Src {
			tu.Src[i], tu.Dst[i] = byte(w.Uint32()), byte(w.Uint32())
		}
		tu.Src[0], tu.Dst[0] = 0x20, 0x20
	}
	tu.SrcPort, tu.DstPort = uint16(w.Uint32()), uint16(w.Uint32())
	return tu
}

func (w *world) cap() time.Duration {
	if w.chance(2) {
		return 0
	}
	return time.Duration(1 + w.Int64N(int64(2*time.Hour)))
}

// open begins a flow: any rules, and a state with or without each of the facts.
func (w *world) open() {
	w.rules = conntrack.FastRules{Timeout: time.Duration(w.Int64N(int64(time.Hour))), Retransmitted: w.cap(), Unacknowledged: w.cap(), ZeroWindow: w.cap(),
		Check: conntrack.SeqCheck(w.IntN(4)), ACK: conntrack.ACKRule(w.IntN(3)), Retransmits: uint8(1 + w.IntN(4))}
	if w.chance(20) {
		w.rules.Timeout = time.Duration(conntrack.Never)
	}
	if w.chance(4) {
		w.rules.First = uint8(w.IntN(16))
	}
	for n := range w.rules.MSS {
		if w.chance(2) {
			w.rules.MSS[n] = uint16(500 + w.IntN(1000))
		}
	}
	w.now = conntrack.Instant(1 + w.Int64N(1<<50))
	w.state = conntrack.Fast{LastSeen: w.now, Deadline: w.now.Add(time.Hour), Timeout: time.Hour, LastDir: uint32(w.IntN(2))}
	for n := range w.state.Side {
		s := &w.state.Side[n]
		*s = conntrack.FastSide{End: w.seq(), MaxWin: uint32(1 + w.IntN(200000)), Win: uint32(w.IntN(70000)), TSRecent: uint32(w.seq()),
			Flags: conntrack.SideSeen | conntrack.SideKnown, Retrans: uint8(w.IntN(4))}
		if w.chance(10) {
			s.MaxWin = 1<<30 - uint32(w.IntN(2))
		}
		if w.chance(3) {
			s.Scale = uint8(w.IntN(15))
		}
		for _, bit := range []conntrack.SideFlags{conntrack.SideSYN, conntrack.SideSACK, conntrack.SideMaxAck, conntrack.SideTimestamp,
			conntrack.SideProgress, conntrack.SideScale, 1 << 14} {
			if !w.chance(3) {
				s.Flags |= bit
			}
		}
		if w.chance(5) {
			s.Flags |= conntrack.SideLiberal
		}
	}
	for n := range w.state.Side {
		s, o := &w.state.Side[n], &w.state.Side[1-n]
		s.MaxEnd = s.End.Add(uint32(w.IntN(70000)))
		s.MaxAck = o.End.Add(-uint32(w.IntN(3) * w.IntN(60000)))
	}
	if w.chance(3) {
		w.state.Stalled, w.state.Stall, w.state.Retransmits = uint32(w.IntN(2)), conntrack.Micros(w.Uint32()), [2]uint32{w.Uint32(), uint32(w.IntN(3))}
		if w.chance(4) {
			w.state.Stall, w.state.Retransmits[0] = math.MaxUint32-conntrack.Micros(w.IntN(1e6)), math.MaxUint32-uint32(w.IntN(2))
		}
	}
	w.f.tuple = w.tuple()
}

// near is a number at, or one or two off, one of those given; or, seldom, any.
func (w *world) near(of ...conntrack.Seq) conntrack.Seq {
	switch {
	case w.chance(40):
		return conntrack.Seq(w.Uint32())
	case w.chance(3):
		return of[w.IntN(len(of))].Add(uint32(w.IntN(5)) - 2)
	}
	return of[0]
}

// next makes a segment, as bytes and as the decoder reads them.
func (w *world) next(tuple conntrack.Tuple) []byte {
	f := &w.f
	snd, rcv := &w.state.Side[w.dir], &w.state.Side[1-w.dir]
	f.tuple, f.ttl = tuple, 64
	f.payload = []int{0, 0, 1, 2, 100, int(w.rules.MSS[w.dir]), int(w.rules.MSS[w.dir]) + 1, 1448, w.IntN(room)}[w.IntN(9)]
	f.seq = w.near(snd.End, snd.End, snd.MaxEnd, snd.End.Add(-rcv.MaxWin), snd.End.Add(-rcv.MaxWin-uint32(f.payload)), snd.End.Add(-uint32(f.payload)), rcv.MaxAck, rcv.MaxAck.Add(-uint32(f.payload)), snd.MaxEnd.Add(rcv.MaxWin-uint32(f.payload)))
	back, skew := max(snd.MaxWin, 66000), uint32(67035)
	f.ack = w.near(rcv.End, snd.MaxAck, rcv.End.Add(-back), rcv.End.Add(67035), rcv.End.Add(-(skew << snd.Scale)), snd.MaxAck.Add(-snd.MaxWin), rcv.End)
	f.flags = conntrack.ACK
	if w.chance(3) {
		f.flags |= conntrack.Flags(w.Uint32()) & (conntrack.PSH | conntrack.ECE | conntrack.CWR | conntrack.AE)
	}
	if w.chance(30) {
		f.flags = conntrack.Flags(w.Uint32() & 0x1ff)
	}
	f.urgent = 0
	if w.chance(60) {
		f.urgent = uint16(w.IntN(3))
	}
	f.window = []uint16{0, uint16(w.Uint32()), uint16(snd.Win >> snd.Scale), uint16(snd.Win>>snd.Scale) - 1, 65535}[w.IntN(5)]
	w.gso = 0
	f.length0 = false
	if w.chance(4) {
		w.gso = 500
		f.length0 = f.tuple.Is4() && w.chance(3)
	}
	w.unread = 0
	f.iopts, f.chain, f.more = nil, nil, false
	if w.chance(50) {
		w.odd()
	}
	w.option()
	switch w.IntN(50) {
	case 0:
		w.now = w.state.Deadline.Add(time.Duration(w.IntN(3) - 1))
	case 1:
		w.now -= conntrack.Instant(w.IntN(1000)) // another processor's clock was read later
	case 2:
		w.now = w.state.LastSeen.Add(25 * 24 * time.Hour) // beyond what timestamps are compared over, and any deadline
	default:
		w.now = w.state.LastSeen.Add(time.Duration(w.Int64N(int64(time.Second))))
	}
	b := f.build()
	if w.chance(100) {
		at := 14 + 20 + len(f.iopts)
		if !f.tuple.Is4() {
			at = 14 + 40 + len(f.chain)
		}
		b[at+12] = b[at+12]&0xf | byte(w.IntN(16))<<4 // a data offset of any kind
	}
	w.dec.Decode(b[14:], len(b)-14, proxy.PacketInfo{GSO: w.gso != 0, Partial: true}, &w.seg)
	return b
}

// odd gives the packet headers that the program leaves to the queue.
func (w *world) odd() {
	f := &w.f
	w.unread = fastpath.ReasonHeader
	if f.tuple.Is4() {
		switch w.IntN(2) {
		case 0:
			f.iopts = [][]byte{{1, 1, 1, 0}, {148, 4, 0, 0}, {7, 7, 4, 0, 0, 0, 0, 0}}[w.IntN(3)]
		case 1:
			f.more, f.length0, w.unread = true, false, fastpath.Reason(conntrack.FastFragment)
		}
		return
	}
	f.length0 = false
	option := []byte{6, 0, 1, 4, 0, 0, 0, 0}
	switch w.IntN(4) {
	case 0:
		f.first, f.chain = 60, option
	case 1:
		f.first, f.chain = 0, append([]byte{60, 0, 1, 4, 0, 0, 0, 0}, option...)
	case 2:
		f.first, f.chain = 51, []byte{6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	case 3:
		f.first, f.chain, w.unread = 44, []byte{6, 0, 0, 1, 0, 0, 0, 9}, fastpath.Reason(conntrack.FastFragment)
	}
}

// option writes options in the usual layouts, and in others: repeated, unknown, ended, too long.
func (w *world) option() {
	f := &w.f
	f.options = f.options[:0]
	snd, rcv := &w.state.Side[w.dir], &w.state.Side[1-w.dir]
	stamp := func() {
		v := snd.TSRecent + uint32(w.IntN(5)) - 2
		if w.chance(50) {
			v = 0
		}
		f.options = binary.BigEndian.AppendUint32(append(f.options, 8, 10), v)
		f.options = binary.BigEndian.AppendUint32(f.options, w.Uint32())
	}
	blocks := func(n int) {
		f.options = append(f.options, 5, byte(2+8*n))
		for range n {
			left := w.near(rcv.End, rcv.End.Add(67035))
			f.options = binary.BigEndian.AppendUint32(f.options, uint32(left))
			f.options = binary.BigEndian.AppendUint32(f.options, uint32(left.Add(uint32(w.IntN(4000)))))
		}
	}
	if w.chance(3) && snd.Flags&conntrack.SideTimestamp == 0 {
		return
	}
	if w.chance(2) {
		f.options = append(f.options, 1, 1)
		stamp()
		return
	}
	for w.chance(2) || len(f.options) == 0 {
		was := len(f.options)
		switch w.IntN(9) {
		case 0, 1:
			stamp()
		case 2, 3:
			f.options = append(f.options, 1, 1)
			blocks(1 + w.IntN(4))
		case 4:
			f.options = append(f.options, 1)
		case 5:
			f.options = append(f.options, 30, 4, 1, 2)
		case 6:
			f.options = append(f.options, []byte{2, 3, 4, 5, 8, 19}[w.IntN(6)], byte(w.IntN(14)))
		case 7:
			f.options = append(f.options, 0)
		case 8:
			f.options = append(f.options, 5, 6, 1, 2, 3, 4)
		}
		if len(f.options) > 40 {
			f.options = f.options[:was]
			if was > 20 {
				break
			}
		}
	}
	for len(f.options)%4 != 0 {
		f.options = append(f.options, byte(w.IntN(2)))
	}
}

// TestModel runs random segments through the program and through the model that it transcribes, and compares after each: the reason,
// the state, the counters, the mark.
func TestModel(t *testing.T) {
	n := segments(t, 1_000_000)
	b, flows := newBench(t, 4, true, false)
	m := marks(t)
	w := &world{Rand: rand.New(rand.NewPCG(6, 6)), dec: proxy.NewDecoder()}
	var reasons [fastpath.NumReasons]int
	run := fastpath.Run{Ifindex: 1}
	for done := 0; done < n; {
		w.open()
		tuple := w.f.tuple
		slot, err := flows.Install([2]fastpath.Key{{Tuple: tuple, Ifindex: 1}, {Tuple: tuple.Reverse(), Ifindex: 1}})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := flows.Read(slot)
		if err != nil {
			t.Fatal(err)
		}
		flows.Beat(w.now)
		flows.Arm(slot, snap.Punt, &w.state, &w.rules)
		punt := snap.Punt
		var packets, bytes [2]uint64
		for range 1 + w.IntN(400) {
			done++
			w.dir = conntrack.Direction(w.IntN(2))
			tu := tuple
			if w.dir == conntrack.Reply {
				tu = tuple.Reverse()
			}
			run.Frame = w.next(tu)
			run.GSOSize, run.Now = w.gso, w.now
			flows.Beat(w.now)
			if err := b.Run(&run); err != nil {
				t.Fatal(err)
			}
			was, seg := w.state, w.seg
			want := fastpath.Reason(w.state.Pass(&w.rules, w.now, w.dir, &seg))
			if w.unread != 0 {
				want, w.state = w.unread, was
			}
			snap, err := flows.Read(slot)
			if err != nil {
				t.Fatal(err)
			}
			kind := fastpath.MarkFast
			if want == 0 {
				packets[w.dir]++
				bytes[w.dir] += uint64(seg.Bytes)
			} else {
				kind = fastpath.MarkPunt
				punt++
			}
			if run.Reason != want || run.Gone || snap.Fast != w.state || snap.Packets != packets || snap.Bytes != bytes || snap.Punt != punt ||
				m.Kind(run.NewMark) != kind || want != 0 && m.Number(run.NewMark, punt-1) != punt || run.NewMark&^mask != 0 || run.Verdict != -1 {
				t.Fatalf("segment %d from %d at %d: the program says %v (verdict %d, mark %#x, gone %v), the model %v\nsegment %+v\nrules %+v\nbefore %+v\nstate, program against model: %s\npackets %v, expected %v; bytes %v, expected %v; punt %d, expected %d",
					done, w.dir, w.now, run.Reason, run.Verdict, run.NewMark, run.Gone, want, seg, w.rules, was, cmp.Diff(w.state, snap.Fast), snap.Packets, packets, snap.Bytes, bytes, snap.Punt, punt)
			}
			reasons[want]++
			if want != 0 {
				flows.Arm(slot, punt, &w.state, &w.rules)
			}
		}
		if err := flows.Remove(slot); err != nil {
			t.Fatal(err)
		}
	}
	for r := range fastpath.Reason(conntrack.NumFastPunts) {
		t.Logf("%-18s %d", r, reasons[r])
		if reasons[r] < n/5000 {
			t.Errorf("%d segments of %d for %q: the test does not reach it", reasons[r], n, r)
		}
	}
}
