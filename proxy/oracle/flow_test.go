package oracle

import (
	"fmt"
	"strings"

	"halfopen/conntrack"
)

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

// String returns the segment in the notation of tcpdump, numbers relative to base.
func (s *seg) describe(base [2]uint32) string {
	var b strings.Builder
	who := [2]string{"client", "server"}
	fmt.Fprintf(&b, "%s %s", who[s.from], s.flags)
	fmt.Fprintf(&b, " seq %s len %d", relative(s.seq, base[s.from]), s.length)
	if s.flags.Has(conntrack.ACK) || s.ack != 0 {
		fmt.Fprintf(&b, " ack %s", relative(s.ack, base[1-s.from]))
	}
	fmt.Fprintf(&b, " win %d", s.win)
	if s.wscale >= 0 {
		fmt.Fprintf(&b, " wscale %d", s.wscale)
	}
	if s.sackOK {
		b.WriteString(" sackOK")
	}
	for _, k := range s.sack {
		fmt.Fprintf(&b, " sack %s:%s", relative(k[0], base[1-s.from]), relative(k[1], base[1-s.from]))
	}
	if s.bare {
		b.WriteString(" no-options")
	}
	if s.damage != sound {
		b.WriteString([numDamages]string{"", " bad-checksum", " data-offset-4", " data-offset-beyond", " bad-option"}[s.damage])
	}
	return b.String()
}

// relative prints a number as distance from base, or as it is where it is far away.
func relative(n, base uint32) string {
	if d := int32(n - base); d > -1<<20 && d < 1<<20 {
		return fmt.Sprint(d)
	}
	return fmt.Sprintf("#%d", n)
}

// bases returns the numbers that a listing of segs counts from: the first that each side shows.
func bases(segs []seg) [2]uint32 {
	var base [2]uint32
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
