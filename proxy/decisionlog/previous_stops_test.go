package decisionlog

import (
	"fmt"
	"testing"
	"time"
)

// TestStopsBehindLastFile: a run that wrote several files while it stopped has told in none of the last ones which arms were stopped; they
// are found in those before. A file that is old enough without saying which experiments there are had none.
func TestStopsBehindLastFile(t *testing.T) {
	for name, c := range map[string]struct {
		pace time.Duration // between two records
		want int
	}{"the last moments": {time.Millisecond, 2}, "a day without experiments": {time.Hour, 0}} {
		now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
		opt := Options{Dir: t.TempDir(), MaxFileBytes: 2000, MaxTotalBytes: -1, Now: func() time.Time { return now }}
		w := open(t, opt)
		put := func(r Record) {
			r.Time = now.UnixNano()
			w.Put(&r)
			w.Flush()
			now = now.Add(c.pace)
		}
		experiment := func(kind, arm string) {
			put(Record{Event: EventExperiment, Experiment: &Experiment{Name: "x", Kind: kind, Arm: arm}})
		}
		experiment(ExperimentStart, "")
		experiment(ExperimentStop, "a")
		experiment(ExperimentGuardrail, "b")
		for i := range 30 {
			put(Record{Event: EventReload, Reload: &Reload{Error: fmt.Sprintf("%0300d", i)}})
		}
		put(Record{Event: EventStats, Stats: &Stats{Final: true}})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p, err := findPrevious(opt.Dir)
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		if len(p.Stops) != c.want || !p.Final {
			t.Errorf("%s: %d stops, want %d (final %v): %+v", name, len(p.Stops), c.want, p.Final, p.Stops)
		}
		if len(p.Stops) == 2 && (p.Stops[0].Arm != "a" || p.Stops[1].Arm != "b" || p.Stops[1].Event != ExperimentGuardrail) {
			t.Errorf("%+v", p.Stops)
		}
	}
}
