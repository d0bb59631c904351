package conntrack

import (
	"math/rand/v2"
	"testing"
)

// randomEntry returns an entry as some history might have left it: consistent, with numbers around base.
func randomEntry(r *rand.Rand, state State) Entry {
	e := Entry{Tuple: tupleN(1), ID: 1, State: state, Deadline: Never, list: none}
	for i := range e.Side {
		s := &e.Side[i]
		s.ISN = Seq(r.Uint32N(1000))
		s.End = s.ISN.Add(1 + r.Uint32N(3000))
		s.MaxEnd = s.End.Add(r.Uint32N(3000))
		s.MaxWin = 1 + r.Uint32N(70000)
		s.Win = r.Uint32N(s.MaxWin)
		s.Scale = uint8(r.UintN(15))
		s.Flags = SideFlags(r.Uint32N(1<<13)) | SideKnown
		s.FINEnd, s.near = s.End, s.End.Add(r.Uint32N(2000))
	}
	for i := range e.Side {
		o := &e.Side[1-i]
		e.Side[i].MaxAck = o.ISN.Add(1 + r.Uint32N(uint32(o.End-o.ISN)))
		e.Side[i].TSRecent, e.Side[i].Retrans = r.Uint32N(100), uint8(r.UintN(4))
		e.MSS[i] = []uint16{0, 536, 1460}[r.IntN(3)]
		if r.IntN(4) == 0 {
			e.Side[i].Win = 0
		}
	}
	e.Flags = EntryFlags(r.Uint32N(1 << 10))
	e.Candidate = Candidate{ISN: Seq(r.Uint32N(5000)), Win: 10, Dir: Direction(r.UintN(2))}
	e.Candidate.End = e.Candidate.ISN.Add(1)
	e.Challenge = Seq(r.Uint32N(5000))
	return e
}

func randomSegment(r *rand.Rand) Segment {
	flags := []Flags{ACK, ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK}[r.IntN(8)]
	s := Segment{Tuple: tupleN(1), Flags: flags, Seq: Seq(r.Int32N(9000) - 1500), Ack: Seq(r.Int32N(7000) - 1500), Window: uint16(r.Uint32())}
	if flags&(SYN|RST) == 0 && r.IntN(2) == 0 {
		s.Len = r.Uint32N(2000)
	}
	if r.IntN(5) == 0 {
		s.Options.Has |= OptSACK
		s.Options.NSACK = 1
		s.Options.SACK[0] = SACKBlock{s.Ack, s.Ack.Add(r.Uint32N(2000))}
	}
	if r.IntN(2) == 0 {
		s.Options.Has |= OptTimestamp
		s.Options.TSVal = r.Uint32N(100)
	}
	if r.IntN(20) == 0 {
		s.Flags |= URG
	}
	if s.Ack == 0 {
		s.Ack = 1 // 0 has a meaning of its own in a RST
	}
	return s
}

func randomRules(r *rand.Rand) Rules {
	return Rules{Check: SeqCheck(r.UintN(3)), RST: RSTRule(r.UintN(6)), ACK: ACKRule(r.UintN(3)), Old: []uint32{0, 70}[r.IntN(2)], Near: []uint32{0, 10, 5000}[r.IntN(3)], SynBand: []uint32{0, 3000}[r.IntN(2)]}
}

// shift moves every number of the original end by a and of the other by b.
func shift(e *Entry, s *Segment, dir Direction, a, b uint32) {
	by := [2]uint32{a, b}
	for i := range e.Side {
		x := &e.Side[i]
		for _, n := range []*Seq{&x.ISN, &x.End, &x.MaxEnd, &x.FINEnd, &x.near} {
			*n = n.Add(by[i])
		}
		x.MaxAck = x.MaxAck.Add(by[1-i])
	}
	c := &e.Candidate
	c.ISN, c.End = c.ISN.Add(by[c.Dir]), c.End.Add(by[c.Dir])
	e.Challenge = e.Challenge.Add(by[e.challenged()])
	s.Seq = s.Seq.Add(by[dir])
	s.Ack = s.Ack.Add(by[dir.Other()])
	for i := range s.Options.SACK {
		k := &s.Options.SACK[i]
		k.Left, k.Right = k.Left.Add(by[dir.Other()]), k.Right.Add(by[dir.Other()])
	}
}

// TestShift: where numbers start does not matter, across every wrap.
func TestShift(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		e, s, rules := randomEntry(r, 1+State(r.UintN(uint(NumStates-1)))), randomSegment(r), randomRules(r)
		v := View{Entry: &e, Dir: Direction(r.UintN(2)), Relaxed: r.IntN(9) == 0}
		was := Classify(0, &v, &s, &rules)
		e2, s2 := e, s
		a, b := r.Uint32(), r.Uint32()
		if r.IntN(3) == 0 {
			a, b = -uint32(r.IntN(4000)), 1<<31-uint32(r.IntN(4000))
		}
		shift(&e2, &s2, v.Dir, a, b)
		if s2.Ack == 0 && s.Flags&RST != 0 {
			continue
		}
		v2 := v
		v2.Entry = &e2
		if is := Classify(0, &v2, &s2, &rules); is.Finding != was.Finding || is.Expect.Has != was.Expect.Has {
			t.Fatalf("%v %+v: %v, shifted by %d and %d: %v", s.Flags, s, was.Finding, a, b, is.Finding)
		}
		// What is tracked must be the same too.
		x, y := e, e2
		x.advance(v.Dir, &s)
		y.advance(v.Dir, &s2)
		shift(&x, &s, v.Dir, a, b)
		if s.Ack != s2.Ack || !sameNumbers(&x, &y, s.Flags&SYN != 0) {
			t.Fatalf("%v: tracked differently:\n%+v\n%+v", s.Flags, x.Side, y.Side)
		}
	}
}

// sameNumbers compares what is valid in two entries. A SYN's options and numbers are compared as they stand.
func sameNumbers(x, y *Entry, syn bool) bool {
	for i := range x.Side {
		a, b := x.Side[i], y.Side[i]
		if a.Flags&SideMaxAck == 0 {
			a.MaxAck, b.MaxAck = 0, 0
		}
		if a.Flags&SideFIN == 0 {
			a.FINEnd, b.FINEnd = 0, 0
		}
		if a.Flags&SideSYN == 0 {
			a.ISN, b.ISN = 0, 0
		}
		if a.Flags&sideNear == 0 {
			a.near, b.near = 0, 0
		}
		if a != b {
			return false
		}
	}
	return syn || x.State == y.State
}

// TestMirror: once established, both ends are judged alike.
func TestMirror(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		states := []State{Established, FinWait, CloseWait, LastAck, TimeWait, Close}
		e, s, rules := randomEntry(r, states[r.IntN(len(states))]), randomSegment(r), randomRules(r)
		if s.Flags&SYN != 0 {
			continue // who may send those does depend on the direction
		}
		e.Flags |= EntryCandidate // so that the end that was challenged is not the originator by default
		m := e
		m.Side[0], m.Side[1] = e.Side[1], e.Side[0]
		m.MSS[0], m.MSS[1] = e.MSS[1], e.MSS[0]
		m.Candidate.Dir = e.Candidate.Dir.Other()
		dir := Direction(r.UintN(2))
		a := Classify(0, &View{Entry: &e, Dir: dir}, &s, &rules)
		b := Classify(0, &View{Entry: &m, Dir: dir.Other()}, &s, &rules)
		if a != b {
			t.Fatalf("%+v\n%+v\n%+v", s, a, b)
		}
		e.advance(dir, &s)
		m.advance(dir.Other(), &s)
		if e.Side[0] != m.Side[1] || e.transition(dir, s.Kind()) != m.transition(dir.Other(), s.Kind()) {
			t.Fatalf("%+v: tracked differently", s)
		}
	}
}

// TestTrackedNumbersGrow: whatever a strict policy tracks, End never goes back, and a reckoned window stays below 2^30.
func TestTrackedNumbersGrow(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		rg := newRig(t, Config{Max: 2})
		c := conversation{text: open3}
		rg = c.run(t, variations()[r.IntN(5)], nil)
		var e *Entry
		rg.table.Walk(0, 10, func(x *Entry) bool { e = x; return true })
		for range 40 {
			before := *e
			s := randomSegment(r)
			dir := Direction(r.UintN(2))
			if s.Tuple = e.Tuple; dir == Reply {
				s.Tuple = s.Tuple.Reverse()
			}
			s.Seq, s.Ack = s.Seq+e.Side[dir].ISN, s.Ack+e.Side[dir.Other()].ISN
			_, ch, _ := rg.step(&s, &Rules{}, Effect([]Effect{NumEffects, Keep}[r.IntN(2)]))
			if ch.Entry != e || e.ID != before.ID || s.Flags&SYN != 0 {
				break
			}
			for i := range e.Side {
				if e.Side[i].End.Less(before.Side[i].End) || e.Side[i].MaxWin > maxWindow || e.Side[i].MaxAck.Less(before.Side[i].MaxAck) {
					t.Fatalf("%+v\n%+v\n%+v", s, before.Side[i], e.Side[i])
				}
				if e.Side[1-i].Flags&SideMaxAck != 0 && e.Side[i].End.Less(e.Side[1-i].MaxAck) {
					t.Fatalf("%+v: end %d was acknowledged beyond %d", s, i, e.Side[i].End)
				}
			}
		}
	}
}

// TestExpect: every finding about numbers says which were expected.
func TestExpect(t *testing.T) {
	edge, ts, length := map[Finding]bool{WindowShrunk: true}, map[Finding]bool{PAWS: true}, map[Finding]bool{MSSExceeded: true}
	seq := map[Finding]bool{SynNewISNLower: true, SynEstablishedDuplicate: true, SynEstablishedInWindow: true, Keepalive: true,
		ZeroWindowProbe: true, WindowShrunk: true, HalfDead: true, SeqBelowOld: true, FinOutOfWindowLow: true, FinRetransmit: true,
		RstDisowned: true, RstIgnored: true, HandshakeBadAckLow: true, HandshakeOneSided: true, LateFin: true, LateRst: true,
		LateSynAck: true, SeqAboveNear: true, SeqAbove: true, SeqBelow: true, RstInexact: true, SynNewISN: true, SynNewISNFar: true,
		SynInHandshake: true, SynEstablished: true, DataAfterFin: true, LateAfterExpiry: true, InWindow: true, HandshakeBadAck: true}
	ack := map[Finding]bool{SynAckBadAckLow: true, SynDataIgnored: true, HandshakeBadAckLow: true, RstAckZero: true, OneSided: true,
		RstIgnored: true, LateSynAck: true, AckAbove: true, AckBelow: true, SynAckBadAck: true, AckForSyn: true,
		LateAfterExpiry: true, InWindow: true, SynAckEstablished: true}
	for _, c := range conversations() {
		c.run(t, variations()[0], func(cl Class, ch Change) {
			x := cl.Expect
			if seq[cl.Finding] && (x.Has&ExpectSeq == 0) || ack[cl.Finding] && x.Has&ExpectAck == 0 {
				t.Errorf("%s: %v without its numbers: %+v", c.name, cl.Finding, x)
			}
			for bit, of := range map[ExpectSet]map[Finding]bool{ExpectEdge: edge, ExpectTS: ts, ExpectLen: length} {
				if of[cl.Finding] != (x.Has&bit != 0) {
					t.Errorf("%s: %v: %+v", c.name, cl.Finding, x)
				}
			}
			if x.Has&ExpectSeqWindow != 0 && x.SeqHi.Less(x.SeqLo) || x.Has&ExpectAckWindow != 0 && x.AckHi.Less(x.AckLo) {
				t.Errorf("%s: %v: %+v", c.name, cl.Finding, x)
			}
		})
	}
	c := conversation{text: open3 + "> P. 1+1000 ack 1 => in-window ESTABLISHED"}
	c.run(t, ends{"10.0.0.1:1", "10.0.0.2:2", 1000, 5000}, func(cl Class, ch Change) {
		if cl.Finding == InWindow && cl.Expect != (Expect{Has: 15, Seq: 1001, Ack: 5001, SeqLo: 1, SeqHi: 2001, AckLo: Seq(5001).Add(1<<32 - 66000), AckHi: 5001}) {
			t.Errorf("%+v", cl.Expect)
		}
	})
}

// TestNearStaysSound: a segment a little above the window does not move the next number, but may be acknowledged.
func TestNearStaysSound(t *testing.T) {
	c := conversation{text: open3 + `
		> P. 1+1000 ack 1   => in-window ESTABLISHED
		> P. 1002+500 ack 1 => seq-above-near ESTABLISHED`}
	en := variations()[1]
	r := c.run(t, en, nil)
	tu := parseSegment(t, []string{">", "S", "0"}, en).Tuple
	if e := r.look(tu).Entry; e.Side[0].End != en.baseA+1001 {
		t.Errorf("next number %d", e.Side[0].End-en.baseA)
	}
	s := parseSegment(t, []string{"<", ".", "1", "ack", "1502"}, en)
	if cl, ch, _ := r.step(s, &Rules{}, NumEffects); cl.Finding != InWindow || ch.Entry.Side[0].End != en.baseA+1502 {
		t.Errorf("%v", cl.Finding)
	}
	s = parseSegment(t, []string{"<", ".", "1", "ack", "1503"}, en)
	if cl, _, _ := r.step(s, &Rules{}, NumEffects); cl.Finding != AckAbove {
		t.Errorf("%v", cl.Finding)
	}
}
