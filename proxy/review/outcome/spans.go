package outcome

import (
	"cmp"
	"slices"
)

// spans are times in which segments or records were lost.
type spans struct {
	list   []span
	sorted bool // it is, and no two touch each other
}

type span struct{ from, to int64 }

func (s *spans) add(from, to int64) {
	if n := len(s.list); n > 0 && s.list[n-1].from <= from && from <= s.list[n-1].to { // the last one goes on
		s.list[n-1].to = max(s.list[n-1].to, to)
		return
	}
	s.list, s.sorted = append(s.list, span{from, to}), false
}

// meet reports whether some of the time between from and to is in a span.
func (s *spans) meet(from, to int64) bool {
	if !s.sorted {
		s.sort()
	}
	i, _ := slices.BinarySearchFunc(s.list, from, func(x span, t int64) int { return cmp.Compare(x.to, t) })
	return i < len(s.list) && s.list[i].from <= to
}

// sort puts the spans in order and those together that touch.
func (s *spans) sort() {
	slices.SortFunc(s.list, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	n := 0
	for _, x := range s.list {
		if n > 0 && x.from <= s.list[n-1].to {
			s.list[n-1].to = max(s.list[n-1].to, x.to)
			continue
		}
		s.list[n] = x
		n++
	}
	s.list, s.sorted = s.list[:n], true
}
