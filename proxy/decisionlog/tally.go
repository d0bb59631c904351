package decisionlog

// Tally is the sum of what records explain, in queue messages by kind of record.
type Tally struct {
	Decisions  uint64    `json:"decisions"`
	Counted    uint64    `json:"counted"`
	Suppressed uint64    `json:"suppressed"`
	Gaps       uint64    `json:"gaps"`  // bound exact
	Upper      uint64    `json:"upper"` // gaps with bound upper or unknown
	Records    uint64    `json:"records"`
	Fast       FastTally `json:"fastpath"`
}

// FastTally is what records tell of the packets that a fast path let pass, which are no queue messages.
type FastTally struct {
	Packets   int64 `json:"pkts"` // in flow records
	Bytes     int64 `json:"bytes"`
	Lost      int64 `json:"lost_pkts"` // in gap records: no flow record tells of them
	LostBytes int64 `json:"lost_bytes"`
}

// Add adds another tally.
func (t *FastTally) Add(o FastTally) {
	t.Packets += o.Packets
	t.Bytes += o.Bytes
	t.Lost += o.Lost
	t.LostBytes += o.LostBytes
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
	t.Fast.Add(o.Fast)
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
		t.Fast.Packets += r.Flow.FastCounted[0]
		t.Fast.Bytes += r.Flow.FastCounted[1]
	case EventStats:
		t.Suppressed += n
	case EventGap:
		t.gap(r.Gap, n)
	}
}

func (t *Tally) gap(g *Gap, n uint64) {
	if g != nil && g.Run == "" {
		t.Fast.Lost += g.Fast[0]
		t.Fast.LostBytes += g.Fast[1]
	}
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
	if t.Fast != (FastTally{}) {
		e.open("fastpath")
		e.intIf("pkts", t.Fast.Packets)
		e.intIf("bytes", t.Fast.Bytes)
		e.intIf("lost_pkts", t.Fast.Lost)
		e.intIf("lost_bytes", t.Fast.LostBytes)
		e.close()
	}
	e.close()
}
