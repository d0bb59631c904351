package scripted

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// Pick says whether a connection is meant: by its ends (from the one that opened it, where that is known) and the id of one of its
// flows, 0 for none.
type Pick func(ends conntrack.Tuple, flow uint64) bool

// Connection is what a log tells of two ends.
type Connection struct {
	Tuple       conntrack.Tuple // from the end that opened it, as far as that is told
	Records     int
	First, Last time.Time
	Flows       []uint64 // ids, up to maxFlowIDs

	sure  int // see opener
	spans []span
}

// span is one flow of a connection.
type span struct {
	id    uint64
	first int // record of the connection, from 0
}

// maxFlowIDs bounds the flow ids that a connection is listed with.
const maxFlowIDs = 4

// String returns the connection as a line of a list.
func (c *Connection) String() string {
	id := "no flow"
	if len(c.Flows) > 0 {
		id = strings.Trim(fmt.Sprint(c.Flows), "[]")
	}
	return fmt.Sprintf("%-18s %6d records from %s  %s  %s", id, c.Records, c.First.UTC().Format("2006-01-02T15:04:05.000Z"),
		decisionlog.AppendCommunityID(nil, c.Tuple.From(), c.Tuple.To()), c.Tuple)
}

// maxConnections bounds the connections of a log that can be listed.
const maxConnections = 1 << 16

// Connections returns what connections a log tells of, and the lines that are no records.
func Connections(log string) (list []*Connection, bad []*decisionlog.BadLine, err error) {
	byKey := map[conntrack.Tuple]*Connection{}
	bad, err = read(log, func(e *decisionlog.Event) {
		tu, ok := ends(e)
		if !ok || e.Decision == nil && e.Flow == nil && e.Inject == nil {
			return
		}
		key, _ := tu.Canonical()
		c := byKey[key]
		if c == nil {
			if len(list) >= maxConnections {
				return
			}
			c = &Connection{Tuple: tu, First: e.Timestamp.Time}
			byKey[key], list = c, append(list, c)
		}
		c.add(e, tu)
	})
	return list, bad, err
}

// add counts a record.
func (c *Connection) add(e *decisionlog.Event, tu conntrack.Tuple) {
	if tu, sure := opener(e, tu); c.Records == 0 || sure > c.sure {
		c.Tuple, c.sure = tu, sure
	}
	if e.FlowID != 0 && (len(c.spans) == 0 || c.spans[len(c.spans)-1].id != e.FlowID) {
		c.spans = append(c.spans, span{e.FlowID, c.Records})
		if len(c.Flows) < maxFlowIDs && !slices.Contains(c.Flows, e.FlowID) {
			c.Flows = append(c.Flows, e.FlowID)
		}
	}
	c.Records++
	c.Last = e.Timestamp.Time
}

// read calls visit for each record of a log and returns the lines that are none.
func read(log string, visit func(*decisionlog.Event)) (bad []*decisionlog.BadLine, err error) {
	for e, err := range decisionlog.Read(log) {
		var line *decisionlog.BadLine
		switch {
		case errors.As(err, &line):
			bad = append(bad, line)
		case err != nil:
			return bad, err
		default:
			visit(e)
		}
	}
	return bad, nil
}

// From is what [FromLog] made.
type From struct {
	*Script               // nil where no connection, or more than one, was meant
	Meant   []*Connection // by the choice
	Bad     []*decisionlog.BadLine
}

// FromLog makes a scenario of one connection of a log: a directory or one of its files. Where the same ends talked again and again and a
// flow was asked for by its id, it is told with the one before it and the one after it. Lines that are no records are left out.
func FromLog(log string, pick Pick, o Options) (*From, error) {
	all, bad, err := Connections(log)
	if err != nil {
		return nil, err
	}
	out := &From{Bad: bad}
	lo, hi := 0, 0
	for _, c := range all {
		if from, to, ok := c.picked(pick); ok {
			out.Meant, lo, hi = append(out.Meant, c), from, to
		}
	}
	if len(out.Meant) != 1 {
		return out, nil
	}
	b := New(o)
	b.flow, b.begun, b.sure = out.Meant[0].Tuple, true, 3
	n := 0
	key, _ := b.flow.Canonical()
	if _, err = read(log, func(e *decisionlog.Event) {
		tu, ok := ends(e)
		if k, _ := tu.Canonical(); ok && k == key && (e.Decision != nil || e.Flow != nil || e.Inject != nil) {
			if n++; n <= lo || n > hi || len(b.events) > 4*maxSegments {
				return
			}
		}
		b.Add(e)
	}); err != nil {
		return nil, err
	}
	out.Script, err = b.Script()
	return out, err
}

// picked reports whether the connection is meant, and which of its records: of a flow that was picked by its id those from the beginning
// of the flow before it to the end of the one after it.
func (c *Connection) picked(pick Pick) (lo, hi int, ok bool) {
	if pick(c.Tuple, 0) {
		return 0, c.Records, true
	}
	for i, s := range c.spans {
		if !pick(c.Tuple, s.id) {
			continue
		}
		hi = c.Records
		if i > 1 {
			lo = c.spans[i-1].first
		}
		if i+2 < len(c.spans) {
			hi = c.spans[i+2].first
		}
		return lo, hi, true
	}
	return 0, 0, false
}
