package story

import (
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// counter places plain segments, which have no records of their own, between those that have. A flow record says how many there were
// since the one before it; a decision says when the connection's last segment was, and which numbers come next.
type counter struct {
	open    []int     // bundles since the last flow record, by their steps
	next    [2]uint32 // the number after the latest known byte of each end, client first
	known   [2]bool
	latest  time.Time // of the connection's latest segment
	payload map[int]uint64
}

// slack is what two clocks of one gateway may differ by.
const slack = 10 * time.Microsecond

// segment looks for plain segments before a decision's, and takes down its numbers.
func (c *counter) segment(t *teller, e *decisionlog.Event) {
	d := e.Decision
	at := e.Timestamp.Time
	before := c.numbers(t, e)
	if d.IdleS != nil && d.Settles == "" {
		last := at.Add(-human.FromSeconds(*d.IdleS))
		if t.began && !c.latest.IsZero() && last.Sub(c.latest) > slack {
			c.bundle(t, last, before)
		}
	}
	if e.TCP != nil {
		c.latest = at
	}
}

// numbers takes down what a decision says of the next numbers of both ends, and returns how many bytes have passed since what was
// known before: none where that cannot be told.
func (c *counter) numbers(t *teller, e *decisionlog.Event) (passed uint64) {
	if e.TCP == nil {
		return 0
	}
	d := e.Decision
	sender := 0
	if !t.toServer(e) {
		sender = 1
	}
	meet := func(of int, n *uint32) {
		if n == nil {
			return
		}
		if grown := *n - c.next[of]; c.known[of] && grown < 1<<31 {
			passed += uint64(grown)
		}
		c.next[of], c.known[of] = *n, true
	}
	if x := d.Expected; x != nil {
		meet(sender, x.Seq)
		meet(1-sender, x.Ack)
	}
	if f, ok := conntrack.FindingByWord(d.Reason); ok && f.Info().Plain && d.Verdict == decisionlog.VerdictForward && !strings.Contains(e.TCP.Flags, "R") {
		end := e.TCP.Seq + e.TCP.Len
		for _, bit := range [...]string{"S", "F"} {
			if strings.Contains(e.TCP.Flags, bit) {
				end++
			}
		}
		c.next[sender], c.known[sender] = end, true
	}
	return passed
}

// bundle makes room for plain segments, the last of which came at the given time.
func (c *counter) bundle(t *teller, last time.Time, payload uint64) {
	if n := len(t.Steps); n == 0 || t.Steps[n-1].Kind != Bundle {
		t.step(Step{Kind: Bundle, FlowID: t.FlowID, ToServer: true, Remembers: t.remembers}, last).PauseS = 0 // they may have begun at once
	} else if last.After(t.now) {
		t.Steps[n-1].At.Time, t.now = last, last
		t.Steps[n-1].SinceS = since(t.Steps[0].At.Time, last)
	}
	at := len(t.Steps) - 1
	if len(c.open) == 0 || c.open[len(c.open)-1] != at {
		c.open = append(c.open, at)
	}
	if c.payload == nil {
		c.payload = make(map[int]uint64)
	}
	c.payload[at] += payload
	c.latest = last
	c.label(t, at)
}

// flow distributes what a flow record counts.
func (c *counter) flow(t *teller, e *decisionlog.Event) {
	l := e.Flow
	if l.Counted == 0 {
		if l.Event != "new" {
			c.open = c.open[:0]
		}
		return
	}
	end := l.End.Time
	if l.Reason == "replaced" && !t.replaced.IsZero() && t.replaced.Before(end) {
		end = t.replaced
	}
	if end.Sub(c.latest) > slack || len(c.open) == 0 {
		if end.IsZero() {
			end = e.Timestamp.Time
		}
		c.bundle(t, end, 0)
	}
	for i, at := range c.open {
		s := &t.Steps[at]
		s.Segments += l.Counted
		s.Partial, s.Further = s.Partial || i > 0, s.Further || i == 0 && len(c.open) > 1
		c.label(t, at)
	}
	c.open = c.open[:0]
}

// label writes what a bundle holds.
func (c *counter) label(t *teller, at int) {
	s := &t.Steps[at]
	switch {
	case s.Segments == 0:
		s.Label = "plain segments"
	case s.Partial:
		s.Label = fmt.Sprintf("some of these %d", s.Segments)
	case s.Further:
		s.Label = human.Count(s.Segments, "segment") + " here and below"
	default:
		s.Label = human.Count(s.Segments, "segment")
	}
	if n := c.payload[at]; n > 0 {
		s.Label += ", " + human.Bytes(n)
	}
}
