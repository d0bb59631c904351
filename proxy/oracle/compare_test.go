package oracle

import (
	"fmt"
	"sort"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy"
)

// engine is linux-default with its packet decoder.
type engine struct {
	*policy.Engine
	dec *proxy.Decoder
	now conntrack.Instant
	buf []byte
}

func newEngine(t testing.TB) *engine {
	t.Helper()
	p, err := policy.Open("linux-default", nil)
	if err != nil {
		t.Fatal(err)
	}
	return &engine{Engine: policy.NewEngine(policy.EngineConfig{Policy: p, NoAdopt: true}), dec: proxy.NewDecoder()}
}

// result is what the engine made of a segment.
type result struct {
	finding       conntrack.Finding
	drop          bool
	dir           conntrack.Direction
	before, after conntrack.State
}

// step takes segment i of f through decoder and engine. Time goes on by a microsecond: no timeout plays a part.
func (e *engine) step(f *flow, i int) result {
	e.now += 1000
	e.buf = f.packet(e.buf[:0], &f.segs[i], 0)
	var s conntrack.Segment
	e.dec.Decode(e.buf, len(e.buf), proxy.PacketInfo{}, &s)
	o := e.Step(e.now, &s)
	return result{o.Finding, o.Verdict == policy.Drop, o.Dir, o.Before, o.After}
}

// state returns what is remembered of a flow: the connection's state, and whether its original direction is side 0's.
func (e *engine) state(f *flow) remembered {
	tu := f.tuple(0)
	ent := e.Find(e.now, &tu)
	if ent == nil {
		return remembered{}
	}
	return remembered{ent.State, ent.Tuple == tu}
}

// remembered is what is left of a flow at its end.
type remembered struct {
	state conntrack.State
	fwd   bool // its originator is side 0
}

func (r remembered) String() string {
	switch {
	case r.state == conntrack.StateNone:
		return "nothing"
	case r.fwd:
		return r.state.String()
	}
	return r.state.String() + " (dialled by the server)"
}

// tally counts comparisons by class.
type tally struct {
	again []string // why batches were played again: the machine's doing, never a disagreement's

	segments, flows, invalid, differ, ends, timers int
	classes                                        map[string]*class
}

// class is a kind of difference, with one flow that shows it.
type class struct {
	name  string
	count int
	first int // of these, how many were the first difference of their flow
	f     *flow
	at    int
}

func (t *tally) add(name string, f *flow, at int, first bool) {
	if t.classes == nil {
		t.classes = map[string]*class{}
	}
	c := t.classes[name]
	if c == nil {
		c = &class{name: name, f: f, at: at}
		t.classes[name] = c
	}
	c.count++
	if first {
		c.first++
		if at < c.at {
			c.f, c.at = f, at
		}
	}
}

// sorted returns the classes, the most frequent first differences first.
func (t *tally) sorted() []*class {
	var all []*class
	for _, c := range t.classes {
		all = append(all, c)
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		return a.first > b.first || a.first == b.first && a.name < b.name
	})
	return all
}

// className names a difference about one segment by what the engine thought of it.
func className(kernel string, r result, s *seg) string {
	fate := "forward"
	if r.drop {
		fate = "drop"
	}
	return fmt.Sprintf("kernel %s, ours %s/%s: %s segment %s in %s", kernel, fate, r.finding, r.dir, s.flags&^psh, r.before)
}
