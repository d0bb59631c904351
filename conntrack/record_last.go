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
	for _, dir := range [...]Direction{l.dir, l.dir.Other()} {
		s := &e.Side[dir]
		if numbers, ok := packNumbers(l.seq, l.ack, l.end, l.win, s.End, s.MaxAck, uint16(s.Win>>(s.Scale&31))); ok {
			return word | numbers | uint32(dir)<<12, true
		}
	}
	return 0, false
}

// lastNumbers in the word says that there are numbers.
const lastNumbers = 1 << 11

// packNumbers packs the numbers of the last segment, where they follow from an end's: what that has sent and acknowledged, and its window as in
// a header.
func packNumbers(seq, ack, end Seq, win uint16, sent, acked Seq, window uint16) (uint32, bool) {
	return lastNumbers | uint32(sent-end)<<13 | uint32(end-seq)<<15,
		ack == acked && win == window && uint32(sent-end) < maxLastLag && uint32(end-seq) < maxLastLen
}

func (e *Entry) unpackLast(w uint32) {
	e.last = kernelLast{}
	if w == 0 {
		return
	}
	l := &e.last
	l.kind, l.dir, l.retrans = uint8(w&7), Direction(w>>3&1), uint8(w>>4&127)
	if w&lastNumbers != 0 {
		s := &e.Side[w>>12&1]
		l.ack, l.win = s.MaxAck, uint16(s.Win>>(s.Scale&31))
		l.end = s.End - Seq(w>>13&3)
		l.seq = l.end - Seq(w>>15)
	}
}
