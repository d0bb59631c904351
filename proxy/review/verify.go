package review

import (
	"errors"
	"fmt"

	"halfopen/proxy/decisionlog"
)

// runState is what a proof remembers while it reads a run.
type runState struct {
	run           *Run
	fileSeq       uint64
	file          string // the file being read
	decisions     idSet
	injects       idSet
	causes        []cause // not seen so far
	flows         map[uint64]struct{}
	received      uint64
	hasKernel     bool
	hasReceived   bool
	trailer       bool
	crashUnknown  bool
	crashKnown    uint64
	crashKernel   *decisionlog.KernelEvent
	lostDecisions bool // some records were lost: a cause may be among them (those of suppressed decisions are not written)
	lostFlows     bool
	fast          *decisionlog.FastPathStatsEvent   // of the last stats record
	parts         []Problem                         // of flows whose records do not add up; lost ones excuse them
	totals        map[uint64]decisionlog.FastTotals // of flows that go on: what their last record told of it in all
	bad           []Problem
}

// cause is an injected segment that waits for its decision's record.
type cause struct {
	id, file string
	line     int
}

// Verify proves a log: for each run, that the counter's growth is what decision
// records, flow records, suppressed counts and gap records explain. It needs the
// whole log (a directory), reads it once, and fails only if that cannot be read.
func Verify(path string) (*Report, error) {
	v := verifier{rep: &Report{Path: path, OK: true}, byID: make(map[string]*runState)}
	lines := 0
	for e, err := range decisionlog.Read(path) {
		lines++
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			v.badLine(bad)
			continue
		}
		if err != nil {
			return nil, err
		}
		v.event(e)
	}
	if lines == 0 {
		return nil, fmt.Errorf("review: no decision log in %s", path)
	}
	for _, r := range v.rep.Runs {
		v.finish(r.state)
	}
	v.rep.OK = v.rep.OK && len(v.rep.Problems) == 0
	return v.rep, nil
}

type verifier struct {
	rep  *Report
	byID map[string]*runState
	cur  *runState // of the file being read; nil before a header
}

func (v *verifier) event(e *decisionlog.Event) {
	if e.Line == 1 {
		v.cur = nil
	}
	if e.Header != nil {
		v.header(e)
	}
	if v.cur == nil {
		if e.Line == 1 {
			v.rep.Problems = append(v.rep.Problems, Problem{LinesMissing, e.File, 1, "the file has no header line"})
		}
		return
	}
	s := v.cur
	if e.Trailer != nil {
		s.compare(e, e.Trailer.Before, "the trailer")
		s.trailer = true
		return
	}
	if e.Timestamp.After(s.run.Last.Time) {
		s.run.Last = e.Timestamp
	}
	s.run.Explained.Add(e.Tally())
	switch {
	case e.Decision != nil:
		if !s.decisions.add(e.Decision.ID) {
			s.run.problem(Problem{DuplicateID, e.File, e.Line, "decision " + e.Decision.ID + " is in the log already"})
		}
	case e.Inject != nil:
		s.inject(e)
	case e.Flow != nil:
		s.flow(e)
	case e.Stats != nil:
		s.stats(e.Stats)
	case e.Gap != nil:
		v.gap(e)
	}
}

// header begins a file, and with it perhaps a run.
func (v *verifier) header(e *decisionlog.Event) {
	h := e.Header
	s := v.byID[h.Run]
	if s == nil {
		r := &Run{Run: h.Run, Version: h.Version, Started: h.Started, Last: e.Timestamp, Explained: h.Before, Partial: h.FileSeq > 1,
			End: "none", Truth: TruthNone, Problems: []Problem{}}
		s = &runState{run: r, flows: make(map[uint64]struct{}), totals: make(map[uint64]decisionlog.FastTotals)}
		r.state = s
		v.byID[h.Run] = s
		v.rep.Runs = append(v.rep.Runs, r)
	} else {
		if h.FileSeq != s.fileSeq+1 {
			s.run.problem(Problem{FileMissing, e.File, 0, fmt.Sprintf("file %d of the run follows file %d", h.FileSeq, s.fileSeq)})
		} else {
			s.compare(e, h.Before, "the next file's header")
		}
		s.run.Explained = h.Before
	}
	s.fileSeq, s.file = h.FileSeq, e.File
	s.run.Files++
	s.kernel(h.Kernel)
	v.cur = s
}

// compare holds what was read of the run against what its writer had written.
func (s *runState) compare(e *decisionlog.Event, want decisionlog.Tally, who string) {
	got := s.run.Explained
	if got == want {
		return
	}
	detail := fmt.Sprintf("%s knows other sums than its lines give:", who)
	for _, f := range []struct {
		name      string
		got, want int64
	}{
		{"records", int64(got.Records), int64(want.Records)}, {"decisions", int64(got.Decisions), int64(want.Decisions)},
		{"counted", int64(got.Counted), int64(want.Counted)}, {"suppressed", int64(got.Suppressed), int64(want.Suppressed)},
		{"gaps", int64(got.Gaps), int64(want.Gaps)}, {"upper", int64(got.Upper), int64(want.Upper)},
		{"fast path packets", got.Fast.Packets, want.Fast.Packets}, {"fast path bytes", got.Fast.Bytes, want.Fast.Bytes},
		{"fast path packets in gaps", got.Fast.Lost, want.Fast.Lost}, {"fast path bytes in gaps", got.Fast.LostBytes, want.Fast.LostBytes},
	} {
		if f.got != f.want {
			detail += fmt.Sprintf(" %s %d instead of %d;", f.name, f.got, f.want)
		}
	}
	s.run.problem(Problem{LinesMissing, s.file, 0, detail[:len(detail)-1]})
}

func (s *runState) kernel(k *decisionlog.KernelEvent) {
	if k != nil {
		s.hasKernel = true
		s.run.Base, s.run.Counter = k.Base, k.Now
	}
}

func (s *runState) stats(st *decisionlog.StatsEvent) {
	s.kernel(st.Kernel)
	s.received, s.hasReceived = st.Received, true
	s.fast = st.FastPath
	if st.Final {
		s.run.End = "final"
	}
}

func (s *runState) inject(e *decisionlog.Event) {
	i := e.Inject
	if i.ID != "" && !s.injects.add(i.ID) {
		s.run.problem(Problem{DuplicateID, e.File, e.Line, "injected segment " + i.ID + " is in the log already"})
	}
	switch {
	case i.Cause == "" && i.Trigger == "":
		s.run.problem(Problem{NoCause, e.File, e.Line, "injected segment " + i.ID + " names neither a decision nor a trigger"})
	case i.Cause != "" && !s.decisions.has(i.Cause):
		s.causes = append(s.causes, cause{i.Cause, e.File, e.Line})
	}
}

func (s *runState) flow(e *decisionlog.Event) {
	s.fastOf(e)
	switch e.Flow.Event {
	case "new":
		s.flows[e.FlowID] = struct{}{}
	case "end":
		if _, ok := s.flows[e.FlowID]; ok {
			delete(s.flows, e.FlowID)
			return
		}
		older := s.run.Partial || e.Flow.Adopted || e.Flow.Start.Before(s.run.Started.Time)
		if !older && !s.lostFlows {
			s.run.problem(Problem{NoStart, e.File, e.Line, fmt.Sprintf("flow %d ends, and its beginning is not in the log", e.FlowID)})
		}
	}
}

// gap books losses that excuse what cannot be found, and crash gaps of other runs.
func (v *verifier) gap(e *decisionlog.Event) {
	g := e.Gap
	if g.Run == "" {
		v.cur.lostFlows = v.cur.lostFlows || g.Records["flow"] > 0
		v.cur.lostDecisions = v.cur.lostDecisions || g.Records["decision"] > 0
		return
	}
	s := v.byID[g.Run]
	if s == nil {
		return // retention has removed that run
	}
	s.run.End = "crash"
	s.run.Crash += g.Count
	s.crashKnown, s.crashKernel = g.Known, g.Kernel
	s.crashUnknown = g.Bound == decisionlog.BoundUnknown
	s.lostFlows, s.lostDecisions = true, true
}

func (v *verifier) badLine(b *decisionlog.BadLine) {
	p := Problem{BadLine, b.File, b.Line, b.Err.Error()}
	switch {
	case v.cur == nil || b.Line == 1:
		if !b.Cut { // a file whose header was cut explains nothing
			v.rep.Problems = append(v.rep.Problems, p)
		}
	case b.Cut:
		v.cur.run.CutLines++
	default:
		v.cur.bad = append(v.cur.bad, p)
	}
}
