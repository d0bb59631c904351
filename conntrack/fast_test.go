package conntrack

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fastEntry returns an established entry as some history might have left it, which a fast path may be told of or not.
func fastEntry(r *rand.Rand, kernel bool) Entry {
	rare := func(n int) bool { return r.IntN(n) == 0 }
	e := Entry{Tuple: tupleN(1), ID: 1, State: Established, Created: 5, Handshake: Micros(r.Uint32N(2)), Flags: EntryAssured | EntryReplied, LastDir: Direction(r.UintN(2)),
		LastKind: KindACK, MSS: [2]uint16{1460, []uint16{0, 536}[r.IntN(2)]}, Rule: -1}
	for i := range e.Side {
		s := &e.Side[i]
		s.ISN = Seq(r.Uint32())
		s.End = s.ISN.Add(1 + r.Uint32N(3000))
		s.MaxEnd = s.End.Add(r.Uint32N(3000))
		if rare(3) {
			s.MaxEnd = s.End.Add(r.Uint32N(80000))
		}
		s.Scale = uint8([]int{0, 0, 2, 7, 14}[r.IntN(5)])
		s.MaxWin = 1 + r.Uint32N(70000)
		s.Win = r.Uint32N(s.MaxWin) >> s.Scale << s.Scale
		if rare(5) {
			s.Win = 0
		}
		if rare(20) {
			s.MaxWin = maxWindow - r.Uint32N(500)
		}
		s.Flags = SideSeen | SideKnown | SideMaxAck
		for flag, chance := range map[SideFlags]int{SideSYN: 2, SideScale: 2, SideSACK: 2, SideProgress: 2, SideTimestamp: 2, sideCloseInit: 2, sideUnacked: 2} {
			if rare(chance) {
				s.Flags |= flag
			}
		}
		if rare(30) {
			s.Flags ^= []SideFlags{SideSeen, SideKnown, SideMaxAck, SideLiberal, SideFIN, SideRST, sideNear}[r.IntN(7)]
		}
		if kernel && rare(4) {
			s.Flags |= SideLiberal
		}
		s.Packets, s.Bytes, s.TSRecent, s.Retrans = r.Uint64N(1000), r.Uint64N(100000), 100+r.Uint32N(20), uint8(r.UintN(5))
	}
	for i := range e.Side {
		o := &e.Side[1-i]
		e.Side[i].MaxAck = o.End.Add(-r.Uint32N(1 + r.Uint32N(200000)*r.Uint32N(2)))
	}
	if kernel {
		d := Direction(r.UintN(2))
		s := &e.Side[d]
		e.last = kernelLast{seq: s.End, ack: s.MaxAck, end: s.End, win: uint16(s.Win >> s.Scale), dir: d, kind: uint8(r.UintN(6)), retrans: uint8(r.UintN(4))}
	}
	if rare(60) {
		e.Probe = Probe{Ack: [2]Seq{e.Side[0].MaxAck, e.Side[1].MaxAck}, Asked: 3, Tries: 1}
	}
	if rare(60) {
		e.Side[r.IntN(2)].MaxWin = 0
	}
	if rare(3) {
		e.Stall, e.Retransmits = Micros(r.Uint32N(1000)), [2]uint32{r.Uint32N(3), r.Uint32N(3)}
		if rare(9) {
			e.Stall, e.Retransmits = math.MaxUint32-Micros(r.Uint32N(1e9)), [2]uint32{math.MaxUint32 - r.Uint32N(2), math.MaxUint32 - r.Uint32N(2)}
		}
		if rare(2) {
			e.Flags |= EntryStalled
		}
	}
	e.HistoryN = uint8(copy(e.History[:], []string{"ShADad", "ShADa", "ShAa", "ShADd"}[r.IntN(4)]))
	if rare(4) {
		e.HistoryN = uint8(copy(e.History[:], "ShADad"))
	}
	switch r.IntN(4) {
	case 0:
		e.Flags |= EntryAsked
		e.Watch = 50
	case 1:
		e.Flags |= EntryPickedUp
	default:
		e.Flags |= EntryAsked | EntryResponded
		e.Response = 7
	}
	if rare(20) {
		e.Flags ^= []EntryFlags{EntryAssured, EntryReplied, EntryCandidate, EntryChallenge, EntryShortened, entryHeals, EntryOneSided, EntrySimultaneous}[r.IntN(8)]
	}
	return e
}

// fastSegment returns a segment of dir near what e expects.
func fastSegment(r *rand.Rand, e *Entry, dir Direction) Segment {
	rare := func(n int) bool { return r.IntN(n) == 0 }
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	s := Segment{Tuple: e.Tuple, Flags: ACK, Seq: snd.End, Ack: rcv.End, Window: uint16(snd.Win >> snd.Scale), TTL: 64}
	if dir == Reply {
		s.Tuple = s.Tuple.Reverse()
	}
	if rare(2) {
		s.Len = []uint32{1, 1, 100, 536, 1460, 9000}[r.IntN(6)]
		s.GSO = s.Len > 2000 || rare(4)
	}
	near := func(to ...Seq) Seq {
		return to[r.IntN(len(to))].Add(r.Uint32N(5) - 2)
	}
	switch r.IntN(6) {
	case 0:
		s.Seq = near(snd.End, snd.End.Add(-rcv.MaxWin-s.Len), snd.MaxEnd, snd.MaxEnd.Add(rcv.MaxWin-s.Len))
	case 1:
		s.Seq = snd.End.Add(r.Uint32N(3000))
	case 2: // again, or overtaken
		s.Len = 1 + r.Uint32N(1460)
		s.Seq = near(snd.End.Add(-s.Len), snd.End.Add(-r.Uint32N(5000)), rcv.MaxAck, rcv.MaxAck.Add(-s.Len))
	}
	switch r.IntN(6) {
	case 0:
		s.Ack = near(rcv.End, rcv.End.Add(-max(snd.MaxWin, maxAckWindow)), rcv.End.Add(maxSkew), rcv.End.Add(-(uint32(maxSkew) << min(snd.Scale, 14))), snd.MaxAck, snd.MaxAck.Add(-snd.MaxWin))
	case 1, 2:
		s.Ack = snd.MaxAck
	}
	switch r.IntN(5) {
	case 0:
		s.Window = uint16(r.Uint32())
	case 1:
		s.Window = 0
	case 2: // takes back some, or nearly
		s.Window = uint16(uint32(snd.MaxAck.Add(snd.Win)-s.Ack)>>snd.Scale) + uint16(r.Uint32N(3)) - 1
	}
	o := &s.Options
	if (snd.Flags&SideTimestamp != 0) != rare(8) {
		o.Has |= OptTimestamp
		if o.TSVal = snd.TSRecent + r.Uint32N(6) - 2; rare(30) {
			o.TSVal = 0
		}
	}
	if rare(4) {
		o.Has |= OptSACK
		o.NSACK = uint8(1 + r.UintN(4))
		for i := range o.NSACK {
			o.SACK[i] = SACKBlock{s.Ack.Add(r.Uint32N(100)), s.Ack.Add(100 + r.Uint32N(3000))}
		}
	}
	if l := &e.last; rare(6) && l.dir == dir { // the same again
		s.Seq, s.Ack, s.Window, s.Len = l.seq, l.ack, l.win, 0
	}
	if rare(40) {
		s.Flags = []Flags{FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, ACK | URG, 0, PSH}[r.IntN(8)]
	} else if rare(3) {
		s.Flags |= []Flags{PSH, ECE, CWR, AE}[r.IntN(4)]
	}
	switch r.IntN(100) {
	case 0:
		s.Defect = DefectOptions
	case 1:
		s.Fragment = true
	case 2:
		s.Urgent = 3
	case 3:
		s.Checksum = ChecksumBad
	}
	s.Bytes = 40 + s.Len
	return s
}

func fastRules(r *rand.Rand) (Rules, Params) {
	rules := Rules{Check: SeqCheck(r.UintN(4)), ACK: ACKRule(r.UintN(3)), Near: []uint32{0, 10}[r.IntN(2)]}
	if r.IntN(2) == 0 {
		rules.Check = []SeqCheck{SeqStrict, SeqKernel}[r.IntN(2)]
	}
	caps := &Caps{}
	for _, c := range []*time.Duration{&caps.Retransmitted, &caps.Unacknowledged, &caps.ZeroWindow, &caps.OneWay} {
		*c = time.Duration(r.IntN(3)) * 20 * time.Minute
	}
	caps.Retransmits = uint8(r.UintN(4))
	rules.Retransmits = caps.Retransmits
	timeouts := testTimeouts()
	if r.IntN(3) == 0 {
		timeouts[Established] = 60 * 24 * time.Hour
	}
	p := Params{Timeouts: timeouts, Rule: -1, Check: rules.Check, Caps: caps}
	if r.IntN(20) == 0 {
		p.Lead = time.Second
	}
	return rules, p
}

// exempt are the reasons for which a segment may be punted that is plainly in-window to Classify: what must be counted or measured
// exactly, and what is too rare to be worth the code.
var exempt = map[FastPunt]string{
	FastMalformed: "options that the kernel check passes",
	FastFragment:  "its datagram is longer",
	FastUrgent:    "the pointer without the bit",
	FastFirst:     "a letter, or a time",
	FastPAWS:      "a connection that rested for 24 days, or is judged liberally",
	FastKeepalive: "but not all is acknowledged",
	FastZeroProbe: "judged liberally",
	FastWindow:    "a little above it, for an end that the kernel check has picked up",
}

// fastPair is a connection in two tables: in one it is stepped, in the other taken over from a fast path.
type fastPair struct {
	t        *testing.T
	tables   [2]*Table
	entries  [2]*Entry
	rules    Rules
	p        Params
	now      Instant
	progress Progress
}

// renew begins another connection, in the place of the one before.
func (x *fastPair) renew(r *rand.Rand) {
	x.now = Instant(time.Hour)
	x.rules, x.p = fastRules(r)
	e := fastEntry(r, x.rules.Check == SeqKernel)
	e.LastSeen, e.Refreshed, e.Timeout = x.now, x.now, x.p.Timeouts[Established]
	e.Deadline = x.now.Add(e.Timeout)
	e.rewake()
	for i, tb := range x.tables {
		if x.entries[i] != nil {
			tb.bury(x.entries[i], EndKilled, x.now)
		}
		x.entries[i] = put(tb, &e)
	}
	x.progress = Progress{}
}

// step takes a segment through both, and returns what they say. The fast path reads its clock early.
func (x *fastPair) step(fr *FastRules, dir Direction, s *Segment, early time.Duration) (FastPunt, Finding) {
	before := x.progress.Fast
	punt := x.progress.Fast.Pass(fr, x.now.Add(-early), dir, s)
	var v View
	x.tables[0].Lookup(x.now, &s.Tuple, &v)
	c := Classify(x.now, &v, s, &x.rules)
	switch {
	case punt != FastPassed && x.progress.Fast != before:
		x.t.Fatalf("%s moved it", punt)
	case punt == FastPassed:
		if c.Finding != InWindow || v.Entry == nil {
			x.t.Fatalf("passed, but %s: %+v\n%+v\n%+v", c.Finding, s, x.entries[0], x.rules)
		}
		x.tables[0].Commit(x.now, &v, s, c.Finding, Track, Timer{Op: TimerRefresh}, &x.p)
		x.progress.Packets[dir]++
		x.progress.Bytes[dir] += uint64(s.Bytes)
	}
	return punt, c.Finding
}

// absorb takes over what passed, and compares.
func (x *fastPair) absorb(reverse bool) {
	stepped, absorbed := x.entries[0], x.entries[1]
	tu := stepped.Tuple
	if reverse {
		tu = tu.Reverse()
	}
	untold := x.progress.Packets != [2]uint64{}
	if alive := x.tables[1].Absorb(x.now, &tu, &x.progress); alive != (stepped.Deadline > x.now) {
		x.t.Fatalf("alive: %v", alive)
	}
	x.progress.Packets, x.progress.Bytes = [2]uint64{}, [2]uint64{}
	want, got := bare(*stepped), bare(*absorbed)
	if want != unfast(got) || untold && got.Flags&EntryFastUntold == 0 {
		x.t.Fatalf("\nstepped  %+v\nabsorbed %+v", want, got)
	}
	if stepped.queued != absorbed.queued && absorbed.due() < absorbed.queued {
		x.t.Fatalf("looked at in %d, due in %d", absorbed.queued, absorbed.due())
	}
	for i, s := range absorbed.Side {
		if absorbed.FastPackets[i] > s.Packets || absorbed.FastBytes[i] > s.Bytes || untold && absorbed.FastPackets[0]+absorbed.FastPackets[1] == 0 ||
			absorbed.FastUntold != [2]int64{int64(absorbed.FastPackets[0] + absorbed.FastPackets[1]), int64(absorbed.FastBytes[0] + absorbed.FastBytes[1])} {
			x.t.Fatalf("%+v", absorbed)
		}
	}
}

// unfast is an entry without what only a fast path's has.
func unfast(e Entry) Entry {
	e.Flags &^= EntryFastUntold
	e.FastPackets, e.FastBytes, e.FastUntold, e.FastSlot = [2]uint64{}, [2]uint64{}, [2]int64{}, 0
	return e
}

// TestFastPass holds the model against the table, segment by segment: what passes is in-window, and leaves in Fast, and through it in
// the entry, what Commit leaves; what is in-window passes but for the exceptions that have a name.
func TestFastPass(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	passed := 0
	var punts, exempted [NumFastPunts]int
	var whys [NumFastWhys]int
	x := &fastPair{t: t, tables: [2]*Table{NewTable(Config{Max: 4}), NewTable(Config{Max: 4})}}
	for round := range fastRounds {
		x.renew(r)
		for i := range 6 {
			f, fr, why := x.entries[0].Fast(&x.rules, &x.p)
			if whys[why]++; why != FastReady {
				if i > 0 {
					t.Fatalf("%s after a segment that passed", why)
				}
				break
			}
			if i == 0 {
				x.progress.Fast = f
			} else if f != x.progress.Fast {
				t.Fatalf("%+v\n%+v", f, x.progress.Fast)
			}
			dir := Direction(r.UintN(2))
			early := time.Duration(0)
			switch r.IntN(50) {
			case 0:
				x.now = x.now.Add(25 * 24 * time.Hour)
			case 1: // another processor's clock was read before it waited for the last segment's
				early = time.Duration(r.IntN(1000))
			default:
				x.now = x.now.Add(time.Duration(r.Int64N(int64(25 * time.Minute))))
			}
			s := fastSegment(r, x.entries[0], dir)
			punt, f0 := x.step(&fr, dir, &s, early)
			if punts[punt]++; punt != FastPassed {
				if f0 == InWindow {
					if exempted[punt]++; exempt[punt] == "" {
						t.Fatalf("%s, but in-window: %+v\n%+v\n%+v", punt, s, x.entries[0], x.rules)
					}
				}
				break
			}
			if passed++; r.IntN(3) == 0 {
				x.absorb(r.IntN(2) == 0)
			}
		}
		if x.absorb(false); round%50 == 0 {
			checkTable(t, x.tables[1])
		}
	}
	if passed < fastRounds/2 {
		t.Errorf("%d passed", passed)
	}
	for why := FastUnassured; why < FastReloaded; why++ {
		if whys[why] == 0 {
			t.Errorf("no entry is %s", why)
		}
	}
	for punt := range NumFastPunts {
		if punts[punt] == 0 {
			t.Errorf("no segment is punted for %s", punt)
		}
		if exempt[punt] != "" && exempted[punt] == 0 {
			t.Errorf("no in-window segment is punted for %s, so it needs no exemption", punt)
		}
	}
}
