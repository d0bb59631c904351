package outcome_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/policy/experiment"
	"halfopen/policy/scenario"
	"halfopen/proxy"
	"halfopen/proxy/review/outcome"
)

// logOf plays a script under a policy as packets through a replay's engine, and returns the directory of the log.
func logOf(t testing.TB, policy, script string, overrides ...string) string {
	t.Helper()
	dir := t.TempDir()
	file, capture, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "c.pcapng"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	if i := strings.LastIndex(script, "sweep"); i >= 0 { // a capture ends with a packet
		script = script[:i] + "o > so R 1:1(0)" + script[i+len("sweep"):]
	}
	text := "policy " + file + "\nflow c 10.2.0.7:721 s 192.0.2.9:515\nflow c2 10.2.0.7:722 s2 192.0.2.9:515\nflow c3 10.2.0.7:723 s3 192.0.2.9:515\nflow o 10.2.0.8:900 so 192.0.2.9:515\n" + script
	s, problems := scenario.Parse("test.scn", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	f, err := os.Create(capture)
	if err != nil {
		t.Fatal(err)
	}
	done, err := proxy.WriteScript(f, s, scenario.Config{Read: os.ReadFile})
	if err != nil || !done.Result.Played {
		t.Fatal(err, done.Result.Problems)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = proxy.RunReplay(context.Background(), proxy.ReplayConfig{Capture: capture, Policy: file, Overrides: overrides, LogDir: log, Inbound: true, Fresh: !strings.Contains(script, "adopt\n"),
		Stdout: io.Discard, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func read(t testing.TB, opt outcome.Options, logs ...string) *outcome.Data {
	t.Helper()
	d, err := outcome.Read(context.Background(), logs, opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// brief writes what is remarkable about an outcome.
func brief(o *experiment.Outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", o.Flow)
	if o.Met != 0 {
		fmt.Fprintf(&b, " met=%d", o.Met)
	}
	yes := func(word string, on bool) {
		if on {
			b.WriteString(" " + word)
		}
	}
	num := func(word string, n int) {
		if n != 0 {
			fmt.Fprintf(&b, " %s=%d", word, n)
		}
	}
	secs := func(word string, v float64) {
		if !math.IsNaN(v) {
			fmt.Fprintf(&b, " %s=%.4g", word, v)
		}
	}
	yes("unfinished", !o.Finished)
	yes("adopted", o.Adopted)
	yes("continued", o.Continued)
	yes("connected", o.Connected)
	secs("connect", o.ConnectS)
	secs("response", o.ResponseS)
	num("again", o.SYNRetransmits)
	num("retries", o.Retries)
	yes("gave-up", o.GaveUp)
	if o.EndedBy != "" {
		b.WriteString(" by=" + string(o.EndedBy))
	}
	num("acts", o.Interventions)
	num("drops", o.Dropped)
	num("resets", o.Resets)
	yes("recovered", o.Recovered)
	secs("recovery", o.RecoveryS)
	if o.StillThere {
		fmt.Fprintf(&b, " still-there=%s after=%.4g", o.StillThereBy, o.StillThereS)
	}
	yes("held-open", o.HeldOpen)
	yes("challenged", o.Challenged)
	yes("challenge-rst", o.ChallengeRST)
	secs("challenge", o.ChallengeS)
	return b.String()
}

func briefs(d *outcome.Data) (out []string) {
	for i := range d.Outcomes {
		out = append(out, brief(&d.Outcomes[i]))
	}
	return out
}
