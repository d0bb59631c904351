package oracle

import "halfopen/conntrack"

// seg is one generated segment. Sides are 0, the end that sends the flow's first SYN, and 1.
type seg struct {
	from     int
	seq, ack uint32
	flags    conntrack.Flags
	win      uint16
	length   int
	wscale   int // shift in a window scale option, below 0 for none
	sackOK   bool
	sack     [][2]uint32
	stamp    bool   // a timestamp option, as real ends send it
	bare     bool   // no options at all
	damage   damage // what is wrong with the packet beyond its numbers
	note     string // which rule of the generator made it
}

// damage is a defect below the level of numbers.
type damage uint8

const (
	sound damage = iota
	badChecksum
	shortOffset // data offset 4
	longOffset  // data offset beyond the packet
	badOption   // an option whose length runs over the header
	numDamages
)

// flow is a generated conversation on one pair of ports.
type flow struct {
	v6    bool
	ports [2]uint16
	segs  []seg
}

// bases returns the numbers that a listing of segs counts from: the first that each side shows.
func bases(segs []seg) []uint32 {
	base := make([]uint32, 2)
	var have [2]bool
	for i := range segs {
		s := &segs[i]
		if !have[s.from] {
			base[s.from], have[s.from] = s.seq, true
		}
	}
	for i := range segs {
		if s := &segs[i]; !have[1-s.from] && s.flags.Has(conntrack.ACK) {
			base[1-s.from], have[1-s.from] = s.ack, true
		}
	}
	return base
}
