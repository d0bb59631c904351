package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy"
)

// newExperimentStatusCmd is `halfopen experiment status`.
func newExperimentStatusCmd() *cobra.Command {
	var socket, output string
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Say how a running gateway's experiments do",
		Long: "status asks a running gateway (halfopen run --admin SOCKET --experiment FILE) for its experiments: their arms with units and\n" +
			"connections up to now, the ratio of units, and how near each limit is. The intervals are confidence sequences: one may look as often as\n" +
			"one likes. What an experiment shows is for 'halfopen experiment report LOGDIR' to say. Status 1: an arm has crossed a limit, or\n" +
			"the units do not fall on the arms as they should.",
		Example: "  halfopen experiment status\n  halfopen experiment status idle-5m -o json | jq '.[].arms[] | {name, units, stopped}'",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(&socket, func(c *cobra.Command, client *proxy.AdminClient, args []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			all, err := client.Experiments(c.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if all, err = named(all, args[0]); err != nil {
					return err
				}
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(all)
			} else {
				err = printExperiments(c.OutOrStdout(), all)
			}
			if err != nil {
				return err
			}
			for i := range all {
				if alarming(&all[i]) {
					return errFound
				}
			}
			return nil
		}),
	}
	adminFlag(c.Flags(), &socket)
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// named picks an experiment by its name.
func named(all []proxy.ExperimentStatus, name string) ([]proxy.ExperimentStatus, error) {
	var names []string
	for i := range all {
		if all[i].Name == name {
			return all[i : i+1], nil
		}
		names = append(names, all[i].Name)
	}
	if names == nil {
		return nil, fmt.Errorf("the gateway has no experiment")
	}
	return nil, fmt.Errorf("the gateway has no experiment %q; it has %s", name, strings.Join(names, ", "))
}

// alarming reports whether an experiment wants somebody to look.
func alarming(st *proxy.ExperimentStatus) bool {
	for i := range st.Arms {
		if s := st.Arms[i].Stopped; s != nil && s.Kind == "guardrail" {
			return true
		}
	}
	return st.Monitor != nil && st.Monitor.SRM != nil && st.Monitor.SRM.Alarm
}

// printExperiments writes the experiments for a person.
func printExperiments(out io.Writer, all []proxy.ExperimentStatus) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no experiments")
		return err
	}
	for i := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if err := printExperiment(out, &all[i]); err != nil {
			return err
		}
	}
	return nil
}

func printExperiment(out io.Writer, st *proxy.ExperimentStatus) error {
	var b strings.Builder
	by := "by " + st.Spec.Unit.String()
	if s := st.Spec.Switchback; s != nil {
		by = "in blocks of " + policy.FormatDuration(s.Block)
	}
	fmt.Fprintf(&b, "%s: %s, %s%s\n", st.Name, st.State, by, span(st.Spec))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "arm\tweight\tpolicy\trevision\tunits\tconnections\t")
	for i := range st.Arms {
		a := &st.Arms[i]
		decides := a.Policy
		if a.AA {
			decides += " (again)"
		}
		units := fmt.Sprintf("about %d", a.Units)
		if m := st.Monitor; m != nil && i < len(m.Arms) {
			units = fmt.Sprint(m.Arms[i].Units)
		}
		fmt.Fprintf(w, "%s\t%g%%\t%s\t%s\t%s\t%d\t", a.Name, a.Weight, decides, shortRev(a.Rev), units, a.Flows)
		if s := a.Stopped; s != nil {
			fmt.Fprintf(w, "stopped %s: %s", s.At.Local().Format(time.DateTime), s.Detail)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // into memory
	if m := st.Monitor; m != nil {
		printMonitor(&b, m)
	}
	if st.Unwatched > 0 {
		fmt.Fprintf(&b, "the limits' figures lack %d events: the gateway was too busy\n", st.Unwatched)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// span says when an experiment begins and ends.
func span(s *experiment.Spec) string {
	text := ""
	if !s.Start.IsZero() {
		text += ", from " + s.Start.Format(time.RFC3339)
	}
	if !s.End.IsZero() {
		text += ", until " + s.End.Format(time.RFC3339)
	}
	return text
}

// shortRev is enough of a revision to tell it from others.
func shortRev(rev string) string {
	const enough = len("sha256:") + 12
	if len(rev) > enough {
		return rev[:enough]
	}
	return rev
}

// printMonitor writes what the limits are about.
func printMonitor(b *strings.Builder, m *experiment.MonitorState) {
	if s := m.SRM; s != nil {
		word := "as they should"
		switch {
		case s.Frozen:
			word = "as they should, up to the first arm's stop"
		case s.Alarm:
			word = "NOT as they should: do not believe a difference between the arms"
		}
		fmt.Fprintf(b, "units fall on the arms %s (p %.3g, at any time)\n", word, s.P)
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i := range m.Guardrails {
		g := &m.Guardrails[i]
		if i == 0 {
			fmt.Fprintln(w, "limit\tarm\tat most\tnow\tat any time between\t")
		}
		what, now, between := "above control", "-", g.Why
		if g.Absolute {
			what = "itself"
		}
		if g.Estimate != nil {
			now, between = fmt.Sprintf("%.4g", *g.Estimate), fmt.Sprintf("%.4g and %.4g", *g.Lo, *g.Hi)
		}
		fmt.Fprintf(w, "%s\t%s\t%g %s\t%s\t%s\t", g.Metric, g.Arm, g.Max, what, now, between)
		if g.Crossed != nil {
			fmt.Fprint(w, "CROSSED ", g.Crossed.At.Local().Format(time.DateTime))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	if m.Beyond > 0 {
		fmt.Fprintf(b, "%d connections are of units beyond the %d that are kept, and count for no limit\n", m.Beyond, m.MaxUnits)
	}
}

// newExperimentStopCmd is `halfopen experiment stop`.
func newExperimentStopCmd() *cobra.Command {
	var socket, arm string
	c := &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop an experiment, or one of its arms, on a running gateway",
		Long: "stop makes new connections of an arm's units be decided by the control's policy and belong to no arm; without --arm that holds\n" +
			"for the whole experiment. Connections that live stay on their arm's policy. What was stopped stays so, over reloads and restarts: an\n" +
			"experiment that goes on after its result was seen would prove nothing. Begin another under a new name.",
		Example: "  halfopen experiment stop idle-5m\n  halfopen experiment stop idle-5m --arm short",
		Args:    cobra.ExactArgs(1),
		RunE: asking(&socket, func(c *cobra.Command, client *proxy.AdminClient, args []string) error {
			stopped, err := client.StopExperiment(c.Context(), args[0], arm)
			var refused *proxy.RefusedError
			if errors.As(err, &refused) {
				return fmt.Errorf("%s", strings.TrimPrefix(refused.Error(), "experiment: "))
			}
			if err != nil {
				return err
			}
			if len(stopped) == 0 {
				_, err = fmt.Fprintln(c.OutOrStdout(), "it was stopped already")
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "stopped: %s\n", strings.Join(stopped, ", "))
			return err
		}),
	}
	adminFlag(c.Flags(), &socket)
	c.Flags().StringVar(&arm, "arm", "", "stop this `ARM` alone")
	return c
}
