package review

import (
	"fmt"
	"io"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
)

// Status is the outcome of one run's proof.
type Status string

// Statuses, from good to bad.
const (
	Balanced Status = "balanced" // counter = explained, to the message
	Bounded  Status = "bounded"  // equal but for gaps that are only known as an upper bound
	Open     Status = "open"     // the run goes on (or nobody has looked since it died): nothing to prove yet
	Unknown  Status = "unknown"  // the counter of its last moments is lost, and the log says so
	Mismatch Status = "mismatch" // something is missing or too much
)

// Truth says against what a run was proven.
type Truth string

// Truths, from best to none.
const (
	TruthKernel   Truth = "kernel"   // the counter in front of the queue
	TruthReceived Truth = "received" // packets read, where there is no kernel counter (a replay)
	TruthNone     Truth = "none"
)

// Problem is something that must not be in a log.
type Problem struct {
	Kind   string `json:"kind"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Detail string `json:"detail"`
}

// Words of Problem.Kind.
const (
	LinesMissing = "lines-missing" // a file has fewer (or other) records than its successor or its trailer knows
	FileMissing  = "file-missing"  // a run's files are not consecutive
	BadLine      = "bad-line"      // a damaged line that no crash explains
	NoEnd        = "no-end"        // a run without end that no later run accounts for
	NotExplained = "not-explained" // counter above what the log explains
	TooMuch      = "too-much"      // counter below what the log explains
	DuplicateID  = "duplicate-id"  // two decisions, or two injected segments, with one id
	NoCause      = "no-cause"      // an injected segment whose decision is not in the log
	NoStart      = "no-start"      // a flow that ended without having begun
	FastPath     = "fastpath"      // the fast path's counter, or a flow's, is not what flow records tell
	maxPerRun    = 100             // problems kept per run; the rest is counted
)

// Run is the proof of one run (the life of one process).
type Run struct {
	Run       string            `json:"run"`
	Version   string            `json:"version,omitempty"`
	Started   decisionlog.Time  `json:"started"`
	Last      decisionlog.Time  `json:"last"`
	Files     int               `json:"files"`
	Partial   bool              `json:"partial"` // its first files are gone; their headers' sums stand for them
	End       string            `json:"end"`     // final, crash or none
	Truth     Truth             `json:"truth"`
	Base      uint64            `json:"base"`
	Counter   uint64            `json:"counter"`
	Messages  uint64            `json:"messages"` // counter - base
	Explained decisionlog.Tally `json:"explained"`
	Crash     uint64            `json:"crash_gap"`          // written by a later run
	FastPath  *FastProof        `json:"fastpath,omitempty"` // nil: there was none, or nothing passed by it
	CutLines  int               `json:"cut_lines"`
	Problems  []Problem         `json:"problems"`
	Further   int               `json:"further_problems,omitempty"`
	Status    Status            `json:"status"`
	state     *runState
}

// Exact is what is explained without any bound.
func (r *Run) Exact() uint64 { return r.Explained.Sum() - r.Explained.Upper }

// Slack is what upper bounds may explain besides.
func (r *Run) Slack() uint64 { return r.Explained.Upper + r.Crash }

func (r *Run) problem(p Problem) {
	if len(r.Problems) >= maxPerRun {
		r.Further++
		return
	}
	r.Problems = append(r.Problems, p)
}

// Report is the proof of a log.
type Report struct {
	Path     string    `json:"path"`
	Runs     []*Run    `json:"runs"`
	Problems []Problem `json:"problems"` // of no run: lines before any header, crash gaps of runs unknown
	OK       bool      `json:"ok"`
}

// WriteText prints the report for people.
func (rep *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, r := range rep.Runs {
		r.text(&b)
	}
	for _, p := range rep.Problems {
		fmt.Fprintf(&b, "problem: %s\n", p)
	}
	if rep.OK {
		fmt.Fprintf(&b, "%s: good\n", rep.Path)
	} else {
		fmt.Fprintf(&b, "%s: does not balance\n", rep.Path)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is the problem in one line.
func (p Problem) String() string {
	where := ""
	if p.File != "" {
		where = p.File
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, p.Line)
		}
		where += ": "
	}
	return where + p.Kind + ": " + p.Detail
}

var truthNames = map[Truth]string{TruthKernel: "kernel counter", TruthReceived: "packets read", TruthNone: "no counter known"}

func (r *Run) text(b *strings.Builder) {
	end := map[string]string{"final": "ended well", "crash": "died", "none": "no end yet"}[r.End]
	fmt.Fprintf(b, "run %s  %s to %s  %d files  %s\n", r.Run, stamp(r.Started.Time), stamp(r.Last.Time), r.Files, end)
	if r.Partial {
		b.WriteString("  earlier files are gone; later headers carry their sums\n")
	}
	line := func(name string, n uint64, more string) {
		fmt.Fprintf(b, "  %-24s %15d%s\n", name, n, more)
	}
	more := ""
	if r.Truth == TruthKernel {
		more = fmt.Sprintf("  (%d - %d)", r.Counter, r.Base)
	}
	line(truthNames[r.Truth], r.Messages, more)
	line("decisions", r.Explained.Decisions, "")
	line("counted in flows", r.Explained.Counted, "")
	line("suppressed", r.Explained.Suppressed, "")
	line("gaps, exact", r.Explained.Gaps, "")
	if r.Explained.Upper > 0 {
		line("gaps, at most", r.Explained.Upper, "")
	}
	if r.End == "crash" {
		line("crash gap", r.Crash, map[bool]string{true: "  (at least)", false: "  (at most)"}[r.state.crashUnknown])
	}
	line("explained", r.Explained.Sum()+r.Crash, "  "+string(r.Status))
	r.FastPath.text(line)
	if r.CutLines > 0 {
		line("lines cut by a crash", uint64(r.CutLines), "")
	}
	for _, p := range r.Problems {
		fmt.Fprintf(b, "  problem: %s\n", p)
	}
	if r.Further > 0 {
		fmt.Fprintf(b, "  and %d problems more\n", r.Further)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
