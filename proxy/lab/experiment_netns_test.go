//go:build netns

package lab

import (
	"bytes"
	"os"
	"testing"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/lab/habits"
)

// TestExperiment plays both questions with a small crowd, through the real queue and between real stacks. The report must find the true direction
// and size, and the outcomes in the log must be what each client lived.
func TestExperiment(t *testing.T) {
	binary := halfopen(t)
	for _, question := range ExperimentQuestions() {
		t.Run(question, func(t *testing.T) {
			t.Parallel()
			o := ExperimentOptions{Question: question, Seed: 3, Clients: 90, Span: 12 * time.Second, Out: t.TempDir(), Binary: binary}
			r, err := RunExperiment(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil {
				t.Error(err)
			}
			t.Log("\n" + text.String())
			for _, c := range r.Contradictions {
				t.Error(c)
			}
			q := habits.Find(question)
			e := r.Effects[0]
			if e.Metric != q.Primary || e.Estimate == nil || !e.Covers || e.Estimate.Lo < 0 && e.Estimate.Hi > 0 {
				t.Errorf("effect %+v", e)
			}
			if v := r.Report.Verdict; v.Kind != map[bool]experiment.VerdictKind{true: experiment.Harm, false: experiment.Better}[q.Better == q.Control.Name] &&
				v.Kind != experiment.Mixed {
				t.Errorf("verdict %q (%s), and %s is better", v.Kind, v.Sentence, q.Better)
			}
			// Times may differ on a machine that stands still, within the two in a hundred that are no contradiction; these may not.
			if a := r.Agreement; a.Matched != r.Connections || a.Invented > 0 || a.Connected.Differ+a.GaveUp.Differ+a.Arm.Differ+a.Server.Differ > 0 {
				t.Errorf("agreement %+v", a)
			}
			if r.Report.Loss.Packets > 0 || r.Report.Loss.Flows > 0 {
				t.Errorf("the log has lost %+v", r.Report.Loss)
			}
			for _, file := range []string{r.Files.Plan, r.Files.Clients, r.Files.Servers, r.Files.Experiment, r.Files.Log} {
				if _, err := os.Stat(file); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
