package loggen_test

import (
	"testing"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
	"halfopen/proxy/review/loggen"
)

// A generated log is as good as a gateway's: it balances, and holds what the generator says.
func TestGenerate(t *testing.T) {
	for _, c := range []loggen.Config{{Decisions: 20000 / breadth, MaxFileBytes: 1 << 20}, {Seed: 7, Decisions: 3000, Flows: 900, Runs: 4, MaxFileBytes: 1 << 18, Compress: true}, {Runs: 1, Decisions: 50, Flows: 3}} {
		c.Dir = t.TempDir()
		w, err := loggen.Generate(c)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := review.Verify(c.Dir)
		if err != nil || !rep.OK {
			t.Fatalf("%+v: %v, %+v", c, err, rep)
		}
		got := loggen.Written{Reasons: map[string]int{}, Verdicts: map[string]int{}, Outcomes: map[string]int{}}
		flows := map[uint64]bool{}
		for e, err := range decisionlog.Read(c.Dir) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Header == nil && e.Trailer == nil {
				got.Records++
			}
			if e.FlowID != 0 {
				flows[e.FlowID] = true
			}
			switch {
			case e.Decision != nil:
				got.Decisions++
				got.Reasons[e.Decision.Reason]++
			case e.Inject != nil:
				got.Injected++
			case e.Flow != nil && e.Flow.Event == "end":
				got.Outcomes[e.Flow.Outcome]++
			}
		}
		crash := 0
		if c.Runs != 1 {
			crash = 1 // the gap that the Writer itself adds after a run that died
		}
		if got.Decisions != w.Decisions || got.Records != w.Records+crash || got.Injected != w.Injected || len(flows) != w.Flows || w.Decisions < c.Decisions || w.Decisions > c.Decisions+10 {
			t.Errorf("%+v: holds %d decisions, %d records, %d injected, %d flows; said %d, %d, %d, %d", c, got.Decisions, got.Records, got.Injected,
				len(flows), w.Decisions, w.Records, w.Injected, w.Flows)
		}
		for _, m := range []struct{ got, said map[string]int }{{got.Reasons, w.Reasons}, {got.Outcomes, w.Outcomes}} {
			for word, n := range m.said {
				if m.got[word] != n {
					t.Errorf("%s: %d, said %d", word, m.got[word], n)
				}
			}
		}
	}
}
