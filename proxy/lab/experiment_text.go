package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/trial"
)

// WriteExperimentsJSON prints the results of some questions as one object.
func WriteExperimentsJSON(w io.Writer, results []*ExperimentReport) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Experiments []*ExperimentReport `json:"experiments"`
	}{results})
}

// WriteText prints the result for a reader: the report as `halfopen experiment report` has it, then the truth beside the estimates.
func (r *ExperimentReport) WriteText(w io.Writer) error {
	out := &errWriter{w: w}
	fmt.Fprintf(out, "question %s: %s\n", r.Question, r.Asks)
	fmt.Fprintf(out, "%d clients, %d conversations over %v s, seed %d; %d connections\n\n", r.Clients, r.Talks, r.SpanS, r.Seed, r.Connections)
	if err := trial.WriteText(out, r.Report); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe truth: %s is the better arm.\n\n", r.Better)
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tab, "metric\t%s\t%s\ttrue effect\tof these clients\testimate\tinterval\t\t\n", r.Control, r.Treatment)
	for i := range r.Effects {
		e := &r.Effects[i]
		m, _ := experiment.ParseMetric(e.Metric)
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t", e.Metric, m.FormatFigure(e.Control.Value()), m.FormatFigure(e.Treatment.Value()),
			m.FormatDifference(e.True), m.FormatDifference(e.Drawn))
		switch {
		case e.Estimate == nil:
			fmt.Fprintf(tab, "-\t%s\t\t\n", e.Unlike)
		default:
			fmt.Fprintf(tab, "%s\t%s to %s\t%s\t\n", m.FormatDifference(e.Estimate.Value), m.FormatDifference(e.Estimate.Lo),
				m.FormatDifference(e.Estimate.Hi), map[bool]string{true: "has the truth in it", false: "misses the truth"}[e.Covers])
		}
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	a := r.Agreement
	fmt.Fprintf(out, "\nForetold: %d of %d connections went as the plan has them; the latest dial was %.3f s behind it.\n",
		r.Connections-r.Unforetold, r.Connections, r.LateS)
	for _, s := range r.Surprises {
		fmt.Fprintf(out, "  %s\n", s)
	}
	fmt.Fprintf(out, "Outcomes: the log tells of %d of %d connections; arm, connected, first response, gave up, still there differ in %d, %d, %d, %d, %d; the two ends in %d.\n",
		a.Matched, a.Lived, a.Arm.Differ, a.Connected.Differ, a.Response.Differ, a.GaveUp.Differ, a.Forgotten.Differ, a.Server.Differ)
	for _, s := range a.Examples {
		fmt.Fprintf(out, "  %s\n", s)
	}
	if !r.Contradicted() {
		fmt.Fprintf(out, "The report says what is true.\n")
	}
	for _, c := range r.Contradictions {
		fmt.Fprintf(out, "CONTRADICTION: %s.\n", c)
	}
	fmt.Fprintf(out, "\nlog: %s\nclients: %s\nservers: %s\nplan: %s\n", r.Files.Log, r.Files.Clients, r.Files.Servers, r.Files.Plan)
	return out.err
}
