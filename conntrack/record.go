package conntrack

import "encoding/binary"

// A flow is kept in 144 bytes: a record of two cache lines, which each of its segments reads and writes, and a link, which timers and
// lists use. The tuple's last bytes are in the record; where it is not IPv4 the rest stands in a column of the chunk. What does
// not fit a record, because it is rarely there or seldom so large, is in extras, and an entry that does not fit those either is
// kept whole. Nothing is rounded: an entry comes back from its record as it was filed.

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

// FlowPiece holds the records of flows of one family.
type FlowPiece struct {
	record [chunkSize]record
	link   [chunkSize]link
}

// prefix is what a tuple that is not IPv4 has before the last four bytes of its addresses.
type prefix struct{ src, dst [12]byte }

// link places a flow in the timer wheel and in a list.
type link struct {
	timer      uint32 // place in the wheel, unqueued for none
	prev, next int32  // in the list of its state, or next of the free places
	refreshed  uint32 // LastSeen less Refreshed in nanoseconds, with recordLate
}

// record is an entry as it is filed. Fields that share a word are named from the lowest bit on.
type record struct {
	lastSeen Instant
	id       uint64 // ID 51, State 4, LastDir 1, LastKind 3, form 2, recordEdge 2, recordLate 1
	born     uint64 // formPlain: LastSeen less Created in nanoseconds 48, history 16. Else: place among the extras, or the whole ones
	times    uint64 // Handshake 24, Response with EntryResponded, else Watch less Created plus one 40
	src, dst uint32 // the last bytes of the addresses
	ports    uint32 // DstPort 16, SrcPort 16
	profile  uint32 // 20, place on the desk plus one 12
	counted  uint32 // 24, Marks 8
	last     uint32 // Kind plus one 3, dir 1, retrans 7, numbers 1, their dir 1, End less end 2, end less seq 17
	flags    EntryFlags
	bits     uint16       // Retrans 4 and 4, SYNRetransmits 4, recordScaled 2
	side     [2]SideFlags // of the sides
	sides    [2]sideRecord
}

// sideRecord is a Side as it is filed, without its flags.
type sideRecord struct {
	isn, end, maxAck, ts uint32
	maxWin               uint32 // 30, FINEnd 2: 0 for zero, 1 for End
	win                  uint16 // in units of the scale with recordScaled
	edge                 uint16 // MaxEnd less End, or with recordEdge less the other's MaxAck and window
	traffic              uint64 // Bytes 40, Packets 24
}

// Places in record.id.
const (
	idBits    = 51
	stateAt   = idBits
	lastDirAt = stateAt + 4
	kindAt    = lastDirAt + 1
	formAt    = kindAt + 3
	edgeAt    = formAt + 2
	lateAt    = edgeAt + 2

	recordEdge   = uint64(1) << edgeAt // shifted by the side
	recordLate   = uint64(1) << lateAt
	recordScaled = uint16(1) << 12 // shifted by the side
)

// form is how an entry is filed.
type form uint64

const (
	formPlain  form = iota // in its record
	formExtras             // some of it in extras
	formWhole              // as an Entry
)

// Limits of what a record holds.
const (
	maxBorn      = 1 << 48
	maxHandshake = 1 << 24
	maxWatch     = 1<<40 - 1
	maxCounted   = 1 << 24
	maxPackets   = 1 << 24
	maxBytes     = 1 << 40
	maxFewBits   = 1 << 4
	maxProfile   = 1 << 20
	maxLastLen   = 1 << 17
	maxLastLag   = 1 << 2
	maxLastAgain = 1 << 7

	low20 = 1<<20 - 1
	low24 = 1<<24 - 1
	low30 = 1<<30 - 1
	low40 = 1<<40 - 1
	low48 = 1<<48 - 1
)

func (r *record) state() State { return State(r.id >> stateAt & 15) }

func (r *record) form() form { return form(r.id >> formAt & 3) }

// name writes the tuple into a record: only one that the index can find is found.
func (t *Table) name(i int32, tu *Tuple) {
	r := t.record(i)
	r.src, r.dst = binary.LittleEndian.Uint32(tu.Src[12:]), binary.LittleEndian.Uint32(tu.Dst[12:])
	r.ports = uint32(tu.SrcPort)<<16 | uint32(tu.DstPort)
	if w := t.wide[i>>chunkBits]; w != nil {
		p := &w[i&(chunkSize-1)]
		copy(p.src[:], tu.Src[:12])
		copy(p.dst[:], tu.Dst[:12])
	}
}

// v4Mapped is what the address of an IPv4 end begins with.
var v4Mapped = [12]byte{10: 0xff, 11: 0xff}

// tuple reads the tuple of a record.
func (t *Table) tuple(i int32, tu *Tuple) {
	r := t.record(i)
	if w := t.wide[i>>chunkBits]; w != nil {
		p := &w[i&(chunkSize-1)]
		copy(tu.Src[:12], p.src[:])
		copy(tu.Dst[:12], p.dst[:])
	} else {
		copy(tu.Src[:12], v4Mapped[:])
		copy(tu.Dst[:12], v4Mapped[:])
	}
	binary.LittleEndian.PutUint32(tu.Src[12:], r.src)
	binary.LittleEndian.PutUint32(tu.Dst[12:], r.dst)
	tu.SrcPort, tu.DstPort = uint16(r.ports>>16), uint16(r.ports)
}

// file writes e into its record. Its tuple is there already.
func (t *Table) file(e *Entry) {
	i := e.index
	r := t.record(i)
	was, at := r.form(), uint32(r.born)
	id := uint64(e.State) << stateAt
	form := formWhole
	if scaled, edges, ok := t.fileSides(r, e); ok && t.fits(e) && t.fileProfile(r, e) {
		id |= e.ID | uint64(e.LastDir)<<lastDirAt | uint64(e.LastKind)<<kindAt | edges
		r.lastSeen = e.LastSeen
		r.counted = uint32(e.Counted) | uint32(e.Marks)<<24
		r.flags, r.bits = e.Flags, scaled
		form = formExtras
		if t.filePlain(i, r, e, &id) {
			form = formPlain
		}
	}
	if was != form {
		switch was {
		case formExtras:
			t.extras.put(at)
		case formWhole:
			t.whole.put(at)
		}
	}
	switch form {
	case formExtras:
		if was != form {
			at = t.extras.take()
		}
		r.born = uint64(at)
		e.toExtras(t.extras.at(at))
	case formWhole:
		if was != form {
			at = t.whole.take()
		}
		r.born = uint64(at)
		t.dropProfile(r)
		*t.whole.at(at) = *e
	}
	r.id = id | uint64(form)<<formAt
}

// fits reports whether e is an entry that its record and extras can hold, the sides aside.
func (t *Table) fits(e *Entry) bool {
	return e.ID < 1<<idBits && e.Counted < maxCounted && e.LastDir <= Reply && e.LastKind < NumKinds && e.Probe.none() &&
		e.Deadline == e.Refreshed.Add(e.Timeout) && e.Wake == e.wakes() && e.Flags&EntryCandidate == 0 && e.Candidate.none() &&
		t.histories.find(e)
}

// none reports whether nothing is remembered: the fields in which they can differ from that are few.
func (p *Probe) none() bool {
	return uint32(p.Ack[0]|p.Ack[1])|uint32(p.Asked|p.Answered|p.Tries) == 0 && p.Until == 0
}

func (c *Candidate) none() bool {
	return uint32(c.ISN|c.End)|uint32(c.Win)|uint32(c.Scale)|uint32(c.Flags)|uint32(c.Dir) == 0 && c.Since == 0
}

// filePlain files what would be in extras in the record, and reports whether all of it fits.
func (t *Table) filePlain(i int32, r *record, e *Entry, id *uint64) bool {
	born := uint64(e.LastSeen - e.Created)
	if born >= maxBorn || e.Handshake >= maxHandshake || e.Previous|uint64(e.Answered) != 0 ||
		uint32(e.Challenge)|uint32(e.Stall)|uint32(e.Interventions|e.Resets)|e.Retransmits[0]|e.Retransmits[1]|e.OutOfWindow[0]|e.OutOfWindow[1] != 0 || e.Side[0].near|e.Side[1].near != 0 ||
		e.Side[0].Retrans|e.Side[1].Retrans|e.SYNRetransmits >= maxFewBits || uint64(e.FastSlot)|uint64(e.FastLook)|uint64(e.FastEvery)|e.FastPackets[0]|e.FastPackets[1]|e.FastBytes[0]|e.FastBytes[1]|uint64(e.FastUntold[0]|e.FastUntold[1]) != 0 {
		return false
	}
	var fin [2]uint32
	for n := range e.Side {
		switch s := &e.Side[n]; s.FINEnd {
		case 0:
		case s.End:
			fin[n] = 1 << 30
		default:
			return false
		}
	}
	times := uint64(e.Handshake)
	switch watch := uint64(e.Watch - e.Created); {
	case e.Flags&EntryResponded != 0:
		if e.Watch != 0 {
			return false
		}
		times |= uint64(e.Response) << 24
	case e.Response != 0:
		return false
	case e.Watch == 0:
	case watch >= maxWatch:
		return false
	default:
		times |= (watch + 1) << 24
	}
	last, ok := e.packLast()
	if !ok {
		return false
	}
	if late := uint64(e.LastSeen - e.Refreshed); late != 0 {
		if late >= 1<<32 {
			return false
		}
		t.link(i).refreshed = uint32(late)
		*id |= recordLate
	}
	r.born = born | uint64(e.history)<<48
	r.times = times
	r.last = last
	r.bits |= uint16(e.Side[0].Retrans) | uint16(e.Side[1].Retrans)<<4 | uint16(e.SYNRetransmits)<<8
	r.sides[0].maxWin |= fin[0]
	r.sides[1].maxWin |= fin[1]
	return true
}

// fileSides files the sides, as far as they are not in extras, and returns the marks of it for record.bits and record.id.
func (t *Table) fileSides(r *record, e *Entry) (scaled uint16, edges uint64, ok bool) {
	for n := range e.Side {
		s, other, to := &e.Side[n], &e.Side[1-n], &r.sides[n]
		win, isScaled, ok := packWindow(s.Win, s.Scale)
		edge, far, fits := packEdge(s.End, s.MaxEnd, other.MaxAck, other.Win)
		if !ok || !fits {
			return 0, 0, false
		}
		scaled |= isScaled << n
		edges |= far << n
		if s.MaxWin > low30 || s.Packets >= maxPackets || s.Bytes >= maxBytes {
			return 0, 0, false
		}
		// One by one: a literal is made elsewhere, and its copy in wide words waits for the narrow ones.
		to.isn, to.end, to.maxAck, to.ts, to.maxWin = uint32(s.ISN), uint32(s.End), uint32(s.MaxAck), s.TSRecent, s.MaxWin
		to.win, to.edge, to.traffic = win, edge, s.Packets<<40|s.Bytes
		r.side[n] = s.Flags
	}
	return scaled, edges, true
}

// packWindow returns an advertised window of so many bytes as a record has it, and recordScaled where that is in units of its scale.
func packWindow(bytes uint32, scale uint8) (win, scaled uint16, ok bool) {
	if bytes <= 0xffff {
		return uint16(bytes), 0, true
	}
	units := bytes >> (scale & 31)
	return uint16(units), recordScaled, units <= 0xffff && units<<(scale&31) == bytes
}

// packEdge returns the right edge of a window as a record has it, and recordEdge where that is by what the other end has acknowledged.
func packEdge(end, maxEnd, otherAck Seq, otherWin uint32) (edge uint16, far uint64, ok bool) {
	if by := uint32(maxEnd - end); by <= 0xffff {
		return uint16(by), 0, true
	}
	by := uint32(maxEnd - otherAck.Add(max(otherWin, 1)))
	return uint16(by), recordEdge, by <= 0xffff
}

// unfile reads entry i into e, whatever e held.
func (t *Table) unfile(i int32, e *Entry) {
	r := t.record(i)
	form, at := r.form(), uint32(r.born)
	if form == formWhole {
		*e = *t.whole.at(at)
		e.index = i
		return
	}
	t.tuple(i, &e.Tuple)
	e.ID, e.State = r.id&idMask, r.state()
	e.LastDir, e.LastKind = Direction(r.id>>lastDirAt&1), Kind(r.id>>kindAt&7)
	e.LastSeen = r.lastSeen
	e.Counted, e.Marks = uint64(r.counted&low24), uint8(r.counted>>24)
	e.Flags = r.flags
	e.unfileProfile(t, r.profile&low20)
	for n := range e.Side {
		s, from := &e.Side[n], &r.sides[n]
		s.ISN, s.End, s.MaxAck, s.TSRecent = Seq(from.isn), Seq(from.end), Seq(from.maxAck), from.ts
		s.MaxWin, s.Flags = from.maxWin&low30, r.side[n]
		s.Packets, s.Bytes = from.traffic>>40, from.traffic&low40
		s.Win = uint32(from.win)
		if r.bits&(recordScaled<<n) != 0 {
			s.Win <<= s.Scale & 31
		}
	}
	for n := range e.Side {
		s, other := &e.Side[n], &e.Side[1-n]
		from := s.End
		if r.id&(recordEdge<<n) != 0 {
			from = other.MaxAck.Add(max(other.Win, 1))
		}
		s.MaxEnd = from.Add(uint32(r.sides[n].edge))
	}
	if form == formExtras {
		e.fromExtras(t.extras.at(at))
	} else {
		t.unfilePlain(i, r, e)
	}
	e.Candidate, e.Probe = Candidate{}, Probe{}
	t.histories.read(e)
	e.Deadline = e.Refreshed.Add(e.Timeout)
	e.Wake = e.wakes()
	e.index = i
}

func (t *Table) unfilePlain(i int32, r *record, e *Entry) {
	e.Created = e.LastSeen - Instant(r.born&low48)
	e.history = uint16(r.born >> 48)
	e.Refreshed = e.LastSeen
	if r.id&recordLate != 0 {
		e.Refreshed -= Instant(t.link(i).refreshed)
	}
	e.Handshake = Micros(r.times & low24)
	e.Watch, e.Response = 0, 0
	switch w := r.times >> 24; {
	case e.Flags&EntryResponded != 0:
		e.Response = Micros(w)
	case w != 0:
		e.Watch = e.Created + Instant(w-1)
	}
	e.Side[0].Retrans, e.Side[1].Retrans, e.SYNRetransmits = uint8(r.bits&15), uint8(r.bits>>4&15), uint8(r.bits>>8&15)
	for n := range e.Side {
		s := &e.Side[n]
		s.near, s.FINEnd = 0, 0
		if r.sides[n].maxWin>>30 != 0 {
			s.FINEnd = s.End
		}
	}
	e.Previous, e.Answered, e.Challenge, e.Stall, e.Interventions, e.Resets = 0, 0, 0, 0, 0, 0
	e.Retransmits, e.OutOfWindow = [2]uint32{}, [2]uint32{}
	e.FastSlot, e.FastLook, e.FastEvery, e.FastPackets, e.FastBytes, e.FastUntold = 0, 0, 0, [2]uint64{}, [2]uint64{}, [2]int64{}
	e.unpackLast(r.last)
}

// dueOf returns what [Entry.due] does for an entry that is filed.
func (t *Table) dueOf(i int32) Instant {
	r := t.record(i)
	if d := r.desk(); d != 0 {
		return t.desk.entries[d-1].due()
	}
	var refreshed Instant
	look := Never
	switch r.form() {
	case formWhole:
		return t.whole.at(uint32(r.born)).due()
	case formExtras:
		x := t.extras.at(uint32(r.born))
		if refreshed = x.refreshed; x.fastLook != 0 {
			look = x.fastLook
		}
	default:
		if refreshed = r.lastSeen; r.id&recordLate != 0 {
			refreshed -= Instant(t.link(i).refreshed)
		}
	}
	p := &t.profiles.list[r.profile&low20].profile
	deadline := refreshed.Add(p.timeout)
	return min(deadline, look, wakesAt(deadline, p.timeout, p.lead, r.state(), r.flags))
}
