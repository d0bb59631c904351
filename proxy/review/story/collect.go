package story

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"halfopen/proxy/decisionlog"
)

// Bounds on the records that are kept: of the connection itself the first and the last so many, and of each neighbour and of segments
// without a connection.
const (
	keepFirst = 2000
	keepLast  = 2000
	keepOther = 200
)

// Read collects from the log at path what [Tell] needs about a connection. It reads the log twice. Lines that are no records are
// returned, and what can be read is read.
func Read(path string, flow uint64) (Records, []*decisionlog.BadLine, error) {
	c := Collector{Flow: flow}
	var bad []*decisionlog.BadLine
	lines := 0
	for e, err := range decisionlog.Read(path) {
		lines++
		var b *decisionlog.BadLine
		switch {
		case errors.As(err, &b):
			bad = append(bad, b)
		case err != nil:
			return Records{}, bad, err
		default:
			c.Find(e)
		}
	}
	if lines == 0 {
		return Records{}, nil, fmt.Errorf("review: no decision log in %s", path)
	}
	if !c.Found() {
		return Records{}, bad, fmt.Errorf("review: no record of flow %d in %s", flow, path)
	}
	for e, err := range decisionlog.Read(path) {
		if err == nil {
			c.Add(e)
		}
	}
	return c.Records(), bad, nil
}

// Records are what a story is told from: the records of a connection and of its neighbours on the same ports, in the order of the log.
type Records struct {
	Flow    uint64
	Events  []*decisionlog.Event
	Omitted int // of the connection's own, from their middle, because there are too many
}

// Collector picks the records of a connection. First [Collector.Find] is shown the log, then [Collector.Add].
type Collector struct {
	Flow uint64

	found                    bool
	ends                     [2]end
	predecessor, successor   uint64
	n                        int
	own, before, after       kept
	looseBefore, looseBehind kept // segments without a connection, before its first record and from then on
}

type end struct {
	ip   string
	port uint16
}

func endsOf(e *decisionlog.Event) [2]end {
	return inOrder(end{e.SrcIP, e.SrcPort}, end{e.DestIP, e.DestPort})
}

func inOrder(a, b end) [2]end {
	if b.ip < a.ip || b.ip == a.ip && b.port < a.port {
		a, b = b, a
	}
	return [2]end{a, b}
}

// kept are the first and the last of many records.
type kept struct {
	first, last []numbered
	at          int // of the oldest in last, once that is full
	n           int
}

// numbered is a record with its place in the log.
type numbered struct {
	n int
	e *decisionlog.Event
}

func (k *kept) add(r numbered, first, last int) {
	k.n++
	switch {
	case len(k.first) < first:
		k.first = append(k.first, r)
	case len(k.last) < last:
		k.last = append(k.last, r)
	default:
		k.last[k.at] = r
		k.at = (k.at + 1) % last
	}
}

// NewCollector returns a Collector that knows the connection's ends and its predecessor (0 for none): it need not be shown what
// [Collector.Find] would look for.
func NewCollector(flow uint64, client, server netip.AddrPort, predecessor uint64) *Collector {
	c := &Collector{Flow: flow, found: true, predecessor: predecessor}
	c.ends = inOrder(end{client.Addr().String(), client.Port()}, end{server.Addr().String(), server.Port()})
	return c
}

// Find looks for the connection's ends and its predecessor.
func (c *Collector) Find(e *decisionlog.Event) {
	if e.FlowID != c.Flow || c.Flow == 0 {
		return
	}
	if e.SrcIP != "" && !c.found {
		c.found, c.ends = true, endsOf(e)
	}
	if e.Flow != nil && e.Flow.Predecessor != 0 {
		c.predecessor = e.Flow.Predecessor
	}
}

// Found reports whether Find has met the connection.
func (c *Collector) Found() bool { return c.found }

// Add keeps the record where it belongs to the story. It keeps nothing of the line itself.
func (c *Collector) Add(e *decisionlog.Event) {
	if e.SrcIP == "" || endsOf(e) != c.ends {
		return
	}
	if e.Flow != nil && e.Flow.Predecessor == c.Flow && c.successor == 0 {
		c.successor = e.FlowID
	}
	of, first, last := &c.own, keepFirst, keepLast
	switch {
	case e.FlowID == c.Flow:
	case e.FlowID == 0 && c.own.n == 0:
		of, first, last = &c.looseBefore, 0, keepOther
	case e.FlowID == 0:
		of, first, last = &c.looseBehind, keepOther, keepOther
	case e.FlowID == c.predecessor:
		of, first, last = &c.before, keepOther, keepOther
	case e.FlowID == c.successor:
		of, first, last = &c.after, keepOther, keepOther
	default:
		return
	}
	copied := *e
	copied.Raw = nil
	c.n++
	of.add(numbered{c.n, &copied}, first, last)
}

// Records returns what was kept.
func (c *Collector) Records() Records {
	var all []numbered
	for _, k := range [...]*kept{&c.own, &c.before, &c.after, &c.looseBefore, &c.looseBehind} {
		all = append(append(all, k.first...), k.last...)
	}
	slices.SortFunc(all, func(a, b numbered) int { return a.n - b.n })
	r := Records{Flow: c.Flow, Omitted: c.own.n - len(c.own.first) - len(c.own.last)}
	for _, x := range all {
		r.Events = append(r.Events, x.e)
	}
	return r
}
