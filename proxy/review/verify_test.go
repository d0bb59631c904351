package review

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

var (
	client = netip.MustParseAddrPort("10.2.0.7:721")
	server = netip.MustParseAddrPort("192.0.2.9:515")
)

// writer opens a log whose files hold a few records each.
func writer(t *testing.T, dir string) *decisionlog.Writer {
	t.Helper()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 6000, BootID: "boot",
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// traffic writes a run's records: 20 flows, each of one individual decision, ten
// counted forwards and one injected segment; 5 suppressed; 3 lost in the queue.
// It returns how many messages that was.
func traffic(w *decisionlog.Writer, base uint64, final bool) uint64 {
	p := w.Producer(1)
	now := time.Now().UnixNano()
	stats := func(s decisionlog.Stats) {
		s.Run, s.Kernel.Set, s.Kernel.Base = w.Run(), true, base
		w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventStats, Stats: &s})
		w.Flush()
	}
	stats(decisionlog.Stats{Kernel: decisionlog.Kernel{Now: base}})
	for i := range uint64(20) {
		r := decisionlog.Record{Time: now, FlowID: 100 + i, Src: client, Dst: server, Event: decisionlog.EventFlow}
		r.Flow.Start = now
		p.Put(&r)
		id := p.NextID()
		r.Event = decisionlog.EventInject
		r.Inject = decisionlog.Inject{ID: p.NextID(), Cause: id, Kind: "ack-tracked", To: "client"}
		p.Put(&r)
		r.Event = decisionlog.EventDecision
		r.TCP = decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN, Seq: 500000}
		r.Decision = decisionlog.Decision{ID: id, Verdict: "drop", Reason: "syn-established", Known: true, StateBefore: "ESTABLISHED",
			StateAfter: "ESTABLISHED", Idle: 1800e9, Reply: decisionlog.Made{Kind: "ack-tracked", Flags: decisionlog.FlagACK}}
		p.Put(&r)
		r.Event = decisionlog.EventFlow
		r.Flow = decisionlog.Flow{Kind: decisionlog.FlowEnd, Counted: 10, Start: now, Last: now, EndReason: "fin"}
		p.Put(&r)
		w.Flush()
	}
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapQueue, Count: 3, Bound: "exact"}})
	n := uint64(20*11 + 3)
	if final {
		n += 5
		stats(decisionlog.Stats{Final: true, Kernel: decisionlog.Kernel{Now: base + n},
			Suppressed: []decisionlog.Count{{Word: "syn-established", N: 5}}})
	}
	w.Flush()
	return n
}

func verify(t *testing.T, dir string) *Report {
	t.Helper()
	rep, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	sameSummary(t, dir, rep)
	return rep
}

// problems lists the kinds of all problems, once each.
func problems(rep *Report) string {
	var b bytes.Buffer
	all := rep.Problems
	for _, r := range rep.Runs {
		all = append(all, r.Problems...)
	}
	for _, p := range all {
		if !strings.Contains(b.String(), p.Kind) {
			b.WriteString(p.Kind + " ")
		}
	}
	return strings.TrimSpace(b.String())
}

func TestVerifyBalanced(t *testing.T) {
	dir := t.TempDir()
	w := writer(t, dir)
	n := traffic(w, 1000, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rep := verify(t, dir)
	if len(rep.Runs) != 1 || !rep.OK || rep.Runs[0].Status != Balanced || rep.Runs[0].Messages != n || rep.Runs[0].Files < 3 {
		t.Fatalf("%+v, run %+v", rep, rep.Runs[0])
	}
	var out bytes.Buffer
	if err := rep.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kernel counter                       228  (1228 - 1000)", "decisions                             20",
		"counted in flows                     200", "suppressed                             5", "gaps, exact                            3",
		"explained                            228  balanced", ": good"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if b, err := json.Marshal(rep); err != nil || !strings.Contains(string(b), `"status":"balanced"`) {
		t.Errorf("JSON %s, %v", b, err)
	}
}

// edit rewrites the first file that holds the pattern.
func edit(t *testing.T, dir, pattern, with string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	files, err := decisionlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if loc := re.FindSubmatchIndex(b); loc != nil {
			out := append(re.Expand(append([]byte{}, b[:loc[0]]...), []byte(with), b, loc), b[loc[1]:]...)
			if err := os.WriteFile(f, out, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no %q in the log", pattern)
}

// Whatever is taken from a balanced log or changed in it is found.
func TestVerifyFindsTampering(t *testing.T) {
	line := func(event string) string { return `(?m)^.*"event_type":"` + event + `".*\n` }
	for name, c := range map[string]struct{ pattern, with, want string }{
		"decision removed":       {line("decision"), "", "no-cause lines-missing"},
		"flow end removed":       {`(?m)^.*"flow":\{"event":"end".*\n`, "", "lines-missing"},
		"flow start removed":     {`(?m)^.*"flow":\{"event":"new".*\n`, "", "lines-missing no-start"},
		"inject removed":         {line("inject"), "", "lines-missing"},
		"gap removed":            {line("gap"), "", "lines-missing not-explained"},
		"counter changed":        {`"now":1228\},"received"`, `"now":1230},"received"`, "not-explained"},
		"counter too low":        {`"now":1228\},"received"`, `"now":1210},"received"`, "too-much"},
		"counted changed":        {`"counted":10`, `"counted":11`, "lines-missing"},
		"decision twice":         {`(?m)^(.*"event_type":"decision".*\n)`, "$1$1", "lines-missing duplicate-id"},
		"cause changed":          {`"cause":"[^"]*"`, `"cause":"01ARZ3NDEKTSV4RRFFQ69G5FAV"`, "no-cause"},
		"cause removed":          {`"cause":"[^"]*",`, ``, "no-cause"},
		"line damaged":           {`"event_type":"decision"`, `"event_type":decision"`, "lines-missing bad-line no-cause"},
		"last record removed":    {`(?m)^.*"final":true.*\n`, "", "lines-missing"},
		"header removed":         {line("header"), "", "lines-missing"},
		"second header removed":  {`(?m)^.*"file_seq":2.*\n`, "", "lines-missing file-missing"},
		"suppressed count lower": {`"suppressed":\{"syn-established":5`, `"suppressed":{"syn-established":4`, "lines-missing not-explained"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := writer(t, dir)
			traffic(w, 1000, true)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			edit(t, dir, c.pattern, c.with)
			rep := verify(t, dir)
			got := problems(rep)
			for _, w := range strings.Fields(c.want) {
				if !strings.Contains(got, w) {
					t.Errorf("problems %q, want %q", got, c.want)
				}
			}
			if rep.OK {
				t.Error("the report says good")
			}
		})
	}
}

func TestVerifyMissingFile(t *testing.T) {
	for name, c := range map[string]struct {
		index int
		ok    bool
	}{"first, by retention": {0, true}, "middle": {1, false}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := writer(t, dir)
			traffic(w, 1000, true)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			files, _ := decisionlog.Files(dir)
			if err := os.Remove(files[c.index]); err != nil {
				t.Fatal(err)
			}
			rep := verify(t, dir)
			if rep.OK != c.ok || rep.Runs[0].Messages != 228 {
				t.Errorf("ok %v, %s, %+v", rep.OK, problems(rep), rep.Runs[0])
			}
			if rep.Runs[0].Partial != c.ok {
				t.Errorf("partial %v", rep.Runs[0].Partial)
			}
		})
	}
}

func TestVerifyEmpty(t *testing.T) {
	if _, err := Verify(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no decision log") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Verify("/nonexistent"); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

func TestVerifyOpenRun(t *testing.T) {
	dir := t.TempDir()
	w := writer(t, dir)
	traffic(w, 1000, false)
	if rep := verify(t, dir); !rep.OK || rep.Runs[0].Status != Open {
		t.Errorf("live log: %+v %s", rep.Runs[0], problems(rep))
	}
	w.Close()
}
