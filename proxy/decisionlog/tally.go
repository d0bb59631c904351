package decisionlog

// Tally is the sum of what records explain, in queue messages by kind of record.
type Tally struct {
	Decisions  uint64 `json:"decisions"`
	Counted    uint64 `json:"counted"`
	Suppressed uint64 `json:"suppressed"`
	Gaps       uint64 `json:"gaps"`  // bound exact
	Upper      uint64 `json:"upper"` // gaps with bound upper or unknown
	Records    uint64 `json:"records"`
}

// Sum is the number of messages explained, upper bounds included.
func (t Tally) Sum() uint64 {
	return t.Decisions + t.Counted + t.Suppressed + t.Gaps + t.Upper
}

// Add adds another tally.
func (t *Tally) Add(o Tally) {
	t.Decisions += o.Decisions
	t.Counted += o.Counted
	t.Suppressed += o.Suppressed
	t.Gaps += o.Gaps
	t.Upper += o.Upper
	t.Records += o.Records
}

// Count adds one record's share.
func (t *Tally) Count(r *Record) {
	t.Records++
	n := r.Explains()
	switch r.Event {
	case EventDecision:
		t.Decisions += n
	case EventFlow:
		t.Counted += n
	case EventStats:
		t.Suppressed += n
	case EventGap:
		t.gap(r.Gap, n)
	}
}

func (t *Tally) gap(g *Gap, n uint64) {
	if g != nil && g.Bound == BoundExact {
		t.Gaps += n
	} else {
		t.Upper += n
	}
}

func (t *Tally) encode(e *enc, k string) {
	e.open(k)
	e.num("decisions", t.Decisions)
	e.num("counted", t.Counted)
	e.num("suppressed", t.Suppressed)
	e.num("gaps", t.Gaps)
	e.num("upper", t.Upper)
	e.num("records", t.Records)
	e.close()
}
