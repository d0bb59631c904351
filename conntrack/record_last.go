package conntrack

// packLast returns the kernel's memory of the last segment in a word: it is as a rule the one that the sides remember.
func (e *Entry) packLast() (uint32, bool) {
	l := &e.last
	if l.kind == 0 {
		return 0, *l == kernelLast{}
	}
	if l.flags != 0 || l.scale != 0 || l.retrans >= maxLastAgain {
		return 0, false
	}
	word := uint32(l.kind) | uint32(l.dir)<<3 | uint32(l.retrans)<<4
	if l.seq|l.ack|l.end == 0 && l.win == 0 {
		return word, true
	}
	dir := l.dir
	if !e.lastIs(dir) {
		if dir = dir.Other(); !e.lastIs(dir) {
			return 0, false
		}
	}
	return word | 1<<11 | uint32(dir)<<12 | uint32(e.Side[dir].End-l.end)<<13 | uint32(l.end-l.seq)<<15, true
}

// lastIs reports whether the numbers of the last segment follow from what is remembered of the end of dir.
func (e *Entry) lastIs(dir Direction) bool {
	l, s := &e.last, &e.Side[dir]
	return l.ack == s.MaxAck && uint32(l.win) == s.Win>>(s.Scale&31) && uint32(s.End-l.end) < maxLastLag && uint32(l.end-l.seq) < maxLastLen
}

func (e *Entry) unpackLast(w uint32) {
	e.last = kernelLast{}
	if w == 0 {
		return
	}
	l := &e.last
	l.kind, l.dir, l.retrans = uint8(w&7), Direction(w>>3&1), uint8(w>>4&127)
	if w&(1<<11) != 0 {
		s := &e.Side[w>>12&1]
		l.ack, l.win = s.MaxAck, uint16(s.Win>>(s.Scale&31))
		l.end = s.End - Seq(w>>13&3)
		l.seq = l.end - Seq(w>>15)
	}
}
