package conntrack

// This file is the short way of a plain in-window segment of a settled connection, which is what nearly all segments are: it is judged by
// the model of the fast path ([Fast.Pass]) and entered into the connection's record where that lies, without opening the entry. It
// finds and remembers exactly what Lookup, Classify and Commit do, or nothing at all.

// Glimpse is what is seen of a segment's connection without opening it. Its fields are those of [Entry].
type Glimpse struct {
	place  int32 // none for nothing
	dir    Direction
	Marks  uint8
	Arm    uint8
	Timers uint16
	Flags  EntryFlags
	Rule   int32
	Epoch  uint32
}

// Direction returns the segment's direction in the connection.
func (g *Glimpse) Direction() Direction { return g.dir }

// Glimpse looks a segment's tuple up, and reports whether a connection is there that may be settled. It changes nothing.
func (t *Table) Glimpse(s *Segment, g *Glimpse) bool {
	var name name
	if t.foreseen.next < t.foreseen.n {
		g.place = t.findForeseen(&s.Tuple, &name)
	} else {
		t.index.naming(&s.Tuple, &name)
		g.place = t.find(&s.Tuple, &name)
	}
	if g.place == none {
		return false
	}
	r := t.record(g.place)
	g.dir = Reply
	if r.src == name.src && r.dst == name.dst && r.ports == name.there && (name.v4 || t.forward(g.place, &s.Tuple)) {
		g.dir = Original
	}
	if d := r.desk(); d != 0 {
		e := &t.desk.entries[d-1]
		g.Marks, g.Arm, g.Timers, g.Flags, g.Rule, g.Epoch = e.Marks, e.Arm, e.Timers, e.Flags, e.Rule, e.Epoch
		return e.State == Established && settled(e.Flags, e.Side[0].Flags, e.Side[1].Flags)
	}
	p := &t.profiles.list[r.profile&low20].profile
	g.Marks, g.Arm, g.Timers, g.Flags, g.Rule, g.Epoch = uint8(r.counted>>24), p.arm, p.timers, r.flags, p.rule, p.epoch
	return r.form() != formWhole && r.state() == Established && settled(r.flags, r.side[0], r.side[1])
}

// forward reports whether entry i, which is none of IPv4, has the tuple in this direction, where the last bytes and the ports are the same.
func (t *Table) forward(i int32, tu *Tuple) bool {
	p := &t.wide[i>>chunkBits][i&(chunkSize-1)]
	return p.src == [12]byte(tu.Src[:12]) && p.dst == [12]byte(tu.Dst[:12])
}

// settled reports whether flags are those of a connection whose segments may be plain.
func settled(f EntryFlags, a, b SideFlags) bool {
	const (
		must  = EntryAssured | EntryReplied
		never = EntryCandidate | EntryChallenge | EntryShortened
		known = SideSeen | SideKnown
	)
	return f&(must|never) == must && a&b&known == known && (a|b)&(SideFIN|SideFINAck|SideRST|sideNear) == 0
}

// Followed is what a connection was before a segment that it followed.
type Followed struct {
	ID, Previous                uint64
	Created, LastSeen, Deadline Instant
	Packets                     uint64 // of both ends, this one included
}

// LookupAt is Lookup of a segment's tuple that Glimpse has just looked up.
func (t *Table) LookupAt(now Instant, s *Segment, g *Glimpse, v *View) {
	t.view(now, &s.Tuple, g.place, v)
}

// Follow judges a segment that Glimpse has just seen the connection of, by r (whose First and MSS it fills in). Where it passes, the
// connection follows it as after a Commit with [InWindow], [Track] and [TimerRefresh] under the rule, epoch and timers that it had, and
// counts it as a plain forward where the caller says so; x is what Classify says that it was held against. Else nothing has changed but
// what r, was and x say, and the segment has to be classified.
func (t *Table) Follow(now Instant, g *Glimpse, s *Segment, r *FastRules, counted bool, was *Followed, x *Expect) bool {
	i := g.place
	rec := t.record(i)
	if d := rec.desk(); d != 0 {
		t.close(&t.desk.entries[d-1])
	}
	number := rec.profile & low20
	p := &t.profiles.list[number].profile
	n := rec.counted & low24
	if rec.form() == formWhole || p.gap != t.gap || p.lead != 0 || now < rec.lastSeen || n+1 >= maxCounted ||
		rec.sides[0].maxWin == 0 || rec.sides[1].maxWin == 0 {
		return false
	}
	if r.Check == SeqKernel && rec.flags&entryHeals != 0 || r.Check != SeqKernel && (rec.side[0]|rec.side[1])&SideLiberal != 0 {
		return false // after a gap; a connection that the kernel check picked up is liberal for life
	}
	f, dir := &t.plain, g.dir
	var more *extras
	last := rec.last
	history := uint16(rec.born >> 48)
	refreshed := rec.lastSeen
	if rec.form() == formExtras {
		if more = t.extras.at(uint32(rec.born)); more.fastSlot != 0 {
			return false
		}
		refreshed, history, was.Created, was.Previous = more.refreshed, more.history, more.created, more.previous
		f.Side[0].Retrans, f.Side[1].Retrans = more.retrans[0], more.retrans[1]
		f.Stall, f.Retransmits = more.stall, more.retransmits
	} else {
		if rec.id&recordLate != 0 {
			refreshed -= Instant(t.link(i).refreshed)
		}
		was.Created, was.Previous = rec.lastSeen-Instant(rec.born&low48), 0
		f.Side[0].Retrans, f.Side[1].Retrans = uint8(rec.bits&15), uint8(rec.bits>>4&15)
		f.Stall, f.Retransmits = 0, [2]uint32{}
		if (rec.sides[0].maxWin|rec.sides[1].maxWin)>>30 != 0 || now-was.Created >= maxBorn { // an old FIN's number, a long life
			return false
		}
	}
	f.LastSeen, f.Timeout, f.Deadline, f.LastDir = rec.lastSeen, p.timeout, refreshed.Add(p.timeout), uint32(rec.id>>lastDirAt&1)
	f.Stalled = uint32(rec.flags / EntryStalled & 1)
	f.unfileSides(rec, p)
	lasts := r.Check == SeqKernel || last != 0
	if lasts {
		f.unfileLast(last, more)
	}
	r.MSS = [2]uint16{p.mss[1], p.mss[0]}
	r.First = firsts(t.histories.list[history].seen, rec.flags)
	was.ID, was.LastSeen, was.Deadline = rec.id&idMask, rec.lastSeen, f.Deadline
	f.expect(r, dir, x)
	if f.Pass(r, now, dir, s) != FastPassed || (f.Deadline == Never) != (was.Deadline == Never) {
		return false
	}
	traffic := rec.sides[dir].traffic
	if traffic>>40+1 >= maxPackets || traffic&low40+uint64(s.Bytes) >= maxBytes {
		return false
	}
	if more == nil && (f.Stall != 0 || f.Retransmits != [2]uint32{}) {
		return false // they have their place in extras
	}
	var packed packedSides
	if !packed.pack(f) {
		return false
	}
	if lasts && more == nil {
		var ok bool
		if last, ok = f.packLast(); !ok {
			return false
		}
	}
	if f.Timeout != p.timeout {
		want := *p
		want.timeout = f.Timeout
		to, ok := t.profiles.turn(number, &want)
		if !ok {
			return false
		}
		rec.profile = rec.profile&^low20 | to
	}
	const moves = uint64(1)<<lastDirAt | 7<<kindAt | 3*recordEdge | recordLate
	rec.id = rec.id&^moves | uint64(dir)<<lastDirAt | uint64(KindACK)<<kindAt | packed.edges
	rec.flags = rec.flags&^EntryStalled | EntryStalled*EntryFlags(f.Stalled)
	rec.lastSeen = now
	rec.bits = rec.bits&^(3*recordScaled) | packed.scaled
	if counted {
		rec.counted++
	}
	for n := range f.Side {
		q, to := &f.Side[n], &rec.sides[n]
		to.end, to.maxAck, to.ts, to.maxWin = uint32(q.End), uint32(q.MaxAck), q.TSRecent, q.MaxWin
		to.win, to.edge = packed.win[n], packed.edge[n]
		rec.side[n] = q.Flags
	}
	rec.sides[dir].traffic = traffic + 1<<40 + uint64(s.Bytes)
	was.Packets = rec.sides[0].traffic>>40 + rec.sides[1].traffic>>40
	if more == nil {
		rec.born = uint64(now-was.Created) | uint64(history)<<48
		rec.bits = rec.bits&^0xff | uint16(f.Side[0].Retrans) | uint16(f.Side[1].Retrans)<<4
		rec.last = last
	} else {
		more.refreshed = now
		more.retrans = [2]uint8{f.Side[0].Retrans, f.Side[1].Retrans}
		more.stall, more.retransmits = f.Stall, f.Retransmits
		if lasts {
			more.fileLast(&f.Last)
		}
	}
	if f.Deadline < was.Deadline && !t.looksBefore(i, f.Deadline) {
		t.unqueue(i)
		t.queueAt(i, f.Deadline)
	}
	return true
}

// Uncount takes a segment out of the count of plain forwards of its connection, in which the Follow of g has entered it. Nothing may have
// ended since.
func (t *Table) Uncount(g *Glimpse) {
	r := t.record(g.place)
	if d := r.desk(); d != 0 {
		if e := &t.desk.entries[d-1]; e.Counted > 0 {
			e.Counted--
		}
	} else if r.form() != formWhole && r.counted&low24 > 0 {
		r.counted--
	}
}

// firsts returns which segments are the first of their kind: those that bring a letter of the history, and those by which the time of
// the first response is measured.
func firsts(seen uint8, f EntryFlags) uint8 {
	first := ^seen & (3*FastFirstData | 3*FastFirstACK)
	switch {
	case f&(EntryResponded|EntryPickedUp) != 0:
	case f&EntryAsked != 0:
		first |= FastFirstData << Reply
	default:
		first |= FastFirstData << Original
	}
	return first
}

// unfileSides fills the sides from a record, but for what they have repeated.
func (f *Fast) unfileSides(r *record, p *profile) {
	for n := range f.Side {
		s, from := &f.Side[n], &r.sides[n]
		s.End, s.MaxAck, s.TSRecent, s.MaxWin = Seq(from.end), Seq(from.maxAck), from.ts, from.maxWin&low30
		s.Flags, s.Scale, s.Win = r.side[n], p.scale[n], uint32(from.win)
		if r.bits&(recordScaled<<n) != 0 {
			s.Win <<= s.Scale & 31
		}
	}
	for n := range f.Side {
		s, other := &f.Side[n], &f.Side[1-n]
		from := s.End
		if r.id&(recordEdge<<n) != 0 {
			from = other.MaxAck.Add(max(other.Win, 1))
		}
		s.MaxEnd = from.Add(uint32(r.sides[n].edge))
	}
}

// packedSides is what a record's sides say of windows, with their marks in its bits and id.
type packedSides struct {
	win, edge [2]uint16
	scaled    uint16
	edges     uint64
}

// pack packs the windows of both sides, and reports whether a record can hold them.
func (w *packedSides) pack(f *Fast) bool {
	for n := range f.Side {
		s, other := &f.Side[n], &f.Side[1-n]
		win, scaled, ok := packWindow(s.Win, s.Scale)
		edge, far, fits := packEdge(s.End, s.MaxEnd, other.MaxAck, other.Win)
		if !ok || !fits || s.MaxWin > low30 {
			return false
		}
		w.win[n], w.edge[n] = win, edge
		w.scaled |= scaled << n
		w.edges |= far << n
	}
	return true
}

// unfileLast reads the kernel check's memory of the last segment from a record's word, or from extras where there are some.
func (f *Fast) unfileLast(word uint32, x *extras) {
	l := &f.Last
	if x != nil {
		*l = FastLast{Seq: x.last.seq, Ack: x.last.ack, End: x.last.end, Win: x.last.win, Dir: x.last.dir, Kind: x.last.kind, Retrans: uint32(x.last.retrans)}
		return
	}
	*l = FastLast{Kind: uint8(word & 7), Dir: Direction(word >> 3 & 1), Retrans: word >> 4 & 127}
	if word&lastNumbers != 0 {
		s := &f.Side[word>>12&1]
		l.Ack, l.Win = s.MaxAck, uint16(s.Win>>(s.Scale&31))
		l.End = s.End - Seq(word>>13&3)
		l.Seq = l.End - Seq(word>>15)
	}
}

// fileLast writes it into extras.
func (x *extras) fileLast(l *FastLast) {
	x.last.seq, x.last.ack, x.last.end, x.last.win, x.last.dir, x.last.kind, x.last.retrans = l.Seq, l.Ack, l.End, l.Win, l.Dir, l.Kind, uint8(l.Retrans)
}

// packLast is [Entry.packLast].
func (f *Fast) packLast() (uint32, bool) {
	l := &f.Last
	if l.Kind == 0 || l.Retrans >= maxLastAgain {
		return 0, *l == FastLast{}
	}
	word := uint32(l.Kind) | uint32(l.Dir)<<3 | l.Retrans<<4
	if l.Seq|l.Ack|l.End == 0 && l.Win == 0 {
		return word, true
	}
	for _, dir := range [...]Direction{l.Dir, l.Dir.Other()} {
		s := &f.Side[dir]
		if numbers, ok := packNumbers(l.Seq, l.Ack, l.End, l.Win, s.End, s.MaxAck, uint16(s.Win>>(s.Scale&31))); ok {
			return word | numbers | uint32(dir)<<12, true
		}
	}
	return 0, false
}

// expect is [Entry.expect].
func (f *Fast) expect(r *FastRules, dir Direction, x *Expect) {
	snd, rcv := &f.Side[dir], &f.Side[dir.Other()]
	x.Has = ExpectSeq | ExpectSeqWindow | ExpectAck | ExpectAckWindow
	x.Seq, x.SeqLo, x.SeqHi = snd.End, snd.End.Add(-rcv.MaxWin), snd.MaxEnd
	x.Ack = rcv.End
	x.AckLo, x.AckHi = snd.acks(rcv, r)
	x.Edge, x.SeenEdge, x.TS, x.Len = 0, 0, 0, 0
}

// acks is [Rules.acks].
func (snd *FastSide) acks(rcv *FastSide, r *FastRules) (oldest, newest Seq) {
	switch {
	case r.ACK == ACKPF:
		return rcv.End.Add(-min(uint32(maxSkew)<<min(snd.Scale, unknownScale), maxWindow)), rcv.End.Add(maxSkew)
	case r.ACK == ACKRFC5961 && snd.Flags&SideMaxAck != 0:
		return snd.MaxAck.Add(-snd.MaxWin), rcv.End
	}
	return rcv.End.Add(-max(snd.MaxWin, maxAckWindow)), rcv.End
}

// MakeFastRules returns the part of a connection's FastRules that does not depend on it: what r and c say.
func MakeFastRules(r *Rules, c *Caps) FastRules {
	return FastRules{Check: r.Check, ACK: r.ACK, Retransmits: uint8(r.retransmits()), Retransmitted: c.Retransmitted, Unacknowledged: c.Unacknowledged, ZeroWindow: c.ZeroWindow}
}
