package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

var update = flag.Bool("update", false, "write golden files anew")

// spec is an experiment with an A/A arm and guardrails.
func spec() *experiment.Spec {
	at := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	return &experiment.Spec{Name: "idle-5m", Salt: "idle-5m", Share: 10000, Start: at, End: at.Add(7 * 24 * time.Hour),
		Arms: []experiment.Arm{{Name: "control", Weight: 4000, Policy: experiment.GatewayPolicy}, {Name: "short", Weight: 4000, Policy: "short.yaml"},
			{Name: "again", Weight: 2000, AA: true}},
		Guardrails: []experiment.Guardrail{{Metric: experiment.ConnectFailure, Max: 0.05}, {Metric: experiment.ResetRate, Max: 0.2, Absolute: true}}}
}

// policies are those of its arms.
func policies(t *testing.T) map[string]*policy.Policy {
	t.Helper()
	open := func(overrides ...policy.Override) *policy.Policy {
		p, err := policy.Open("linux-default", nil, overrides...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	short, err := policy.ParseOverride("timeouts.established=5m")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*policy.Policy{"control": open(), "short": open(short), "again": open()}
}

// written is a log of an experiment.
func written(t *testing.T, change func(c *loggen.ExperimentConfig)) string {
	t.Helper()
	c := loggen.ExperimentConfig{Dir: t.TempDir(), Seed: 1, Spec: spec(), Clients: 300}
	if change != nil {
		change(&c)
	}
	if err := loggen.Experiment(c); err != nil {
		t.Fatal(err)
	}
	return c.Dir
}

func harmful(c *loggen.ExperimentConfig) {
	c.Clients, c.Harm, c.Slow = 600, map[string]float64{"short": 0.05}, map[string]float64{"short": 1.2}
}

// load reports the one experiment of logs.
func load(t *testing.T, ask Ask, logs ...string) *experiment.Report {
	t.Helper()
	rs, err := Load(t.Context(), logs, ask)
	if err != nil {
		t.Fatal(err)
	}
	if len(rs) != 1 {
		t.Fatalf("%d reports", len(rs))
	}
	return rs[0]
}

// golden compares with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is written now (go test ./proxy/review/trial -update): %v\n%s", path, err, got)
	}
}

// The report of a log, as text and as JSON: with policies that differ, and an arm that does harm.
func TestReport(t *testing.T) {
	dir := written(t, func(c *loggen.ExperimentConfig) {
		harmful(c)
		c.Policies = policies(t)
	})
	r := load(t, Ask{}, dir)
	var b bytes.Buffer
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
	b.Reset()
	short := *r // of long lists the first
	short.OverTime, short.Segments = r.OverTime[:2], r.Segments[:1]
	for i := range short.Arms {
		for k := range short.Arms[i].Times {
			f := &short.Arms[i].Times[k]
			f.ECDF = f.ECDF[:2]
		}
	}
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(short); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.Bytes())
	if e := r.EffectOf("short", experiment.ConnectFailure); e.Difference.Lo > 0.05 || e.Difference.Hi < 0.05 {
		t.Errorf("0.05 was made, found %+v", e.Difference)
	}
}

// While it runs only sequences are shown; --final makes the tests.
func TestReportRunning(t *testing.T) {
	dir := written(t, func(c *loggen.ExperimentConfig) {
		harmful(c)
		c.Spec.End = time.Time{}
	})
	r := load(t, Ask{}, dir)
	if e := r.EffectOf("short", experiment.ConnectFailure); r.Final || e.Sequence == nil || e.Difference != nil || e.Test != experiment.MethodSequence {
		t.Errorf("final %v, %+v", r.Final, e)
	}
	if r = load(t, Ask{Final: true}, dir); !r.Final || r.EffectOf("short", experiment.ConnectFailure).Difference == nil {
		t.Errorf("--final: %+v", r.Verdict)
	}
}

// Two gateways with the same experiment are one report: a client has one arm on both.
func TestReportOfGateways(t *testing.T) {
	a := written(t, func(c *loggen.ExperimentConfig) { c.Seed = 1 })
	b := written(t, func(c *loggen.ExperimentConfig) { c.Seed = 2 })
	r, one := load(t, Ask{}, a, b), load(t, Ask{}, a)
	if r.Excluded.MixedUnits != 0 || r.Assignment.Wrong != 0 || r.Arms[0].Units != one.Arms[0].Units || r.Arms[0].Load.Connections <= one.Arms[0].Load.Connections {
		t.Errorf("%+v %+v, %d units of one and %d of both", r.Excluded, r.Assignment, one.Arms[0].Units, r.Arms[0].Units)
	}
	gateways := 0
	for _, s := range r.Segments {
		if s.Kind == "gateway" {
			gateways++
		}
	}
	if gateways != 2 {
		t.Errorf("%d gateways in the segments", gateways)
	}
	if _, err := os.Stat(filepath.Join(a, "index.sqlite")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a report writes beside the log")
	}
}

// A changed salt: other units get other arms, and no winner may be named.
func TestReportOfChange(t *testing.T) {
	a := written(t, harmful)
	b := written(t, func(c *loggen.ExperimentConfig) {
		harmful(c)
		c.Spec.Salt = "another"
	})
	r := load(t, Ask{}, a, b)
	if r.Verdict.Kind != experiment.Withheld || !strings.Contains(r.Verdict.Sentence, `salt "idle-5m" -> "another"`) {
		t.Errorf("%s: %s", r.Verdict.Kind, r.Verdict.Sentence)
	}
}

// An arm that a guardrail stops.
func TestReportOfGuardrail(t *testing.T) {
	dir := written(t, func(c *loggen.ExperimentConfig) {
		harmful(c)
		c.Harm["short"] = 0.2
		c.Crossed = "short"
	})
	r := load(t, Ask{}, dir)
	if r.Arms[1].Halted == nil || r.Excluded.Moved == 0 || r.SRM.Alarm || r.Verdict.Kind != experiment.Harm {
		t.Errorf("%+v %+v %+v; %s", r.Arms[1].Halted, r.Excluded, r.SRM, r.Verdict.Sentence)
	}
	if g := r.Guardrails[0]; g.Crossed == nil || r.Guardrails[1].Crossed != nil {
		t.Errorf("%+v", r.Guardrails)
	}
}

// What the logs lack is told, with what it could do.
func TestReportOfLoss(t *testing.T) {
	dir := written(t, harmful)
	at := spec().Start
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, BootID: "boot", Now: func() time.Time { return at.Add(170 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(0)
	p.Put(&decisionlog.Record{Time: at.Add(170 * time.Hour).UnixNano(), Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapQueue, Count: 5000,
		Bound: decisionlog.BoundExact, From: at.UnixNano(), To: at.Add(160 * time.Hour).UnixNano()}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := load(t, Ask{}, dir)
	e := r.EffectOf("short", experiment.ConnectFailure)
	if r.Loss.Packets != 5000 || r.Loss.Flows < 1000 || e.LossBound == nil || e.LossBound.Lo > 0 {
		t.Errorf("%+v, %+v", r.Loss, e.LossBound)
	}
	if !strings.Contains(r.Verdict.Sentence, "could explain it") || !slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.Contains(c, "5000") }) {
		t.Errorf("%s\n%q", r.Verdict.Sentence, r.Caveats)
	}
}

// Since and Until leave connections out.
func TestReportOfTime(t *testing.T) {
	dir := written(t, nil)
	from, to := spec().Start.Add(24*time.Hour), spec().Start.Add(48*time.Hour)
	r := load(t, Ask{Since: from, Until: to}, dir)
	if r.From.Before(from) || !r.From.Before(to) || r.Arms[0].Load.Connections > 200 {
		t.Errorf("from %s, %d connections", r.From, r.Arms[0].Load.Connections)
	}
}

func TestBadLogs(t *testing.T) {
	plain := t.TempDir()
	if _, err := loggen.Generate(loggen.Config{Dir: plain, Decisions: 4000}); err != nil {
		t.Fatal(err)
	}
	good := written(t, nil)
	for _, c := range []struct {
		logs []string
		name string
		want string
	}{
		{[]string{filepath.Join(plain, "none")}, "", "no such file"},
		{[]string{t.TempDir()}, "", "the log tells of no experiment"},
		{[]string{plain}, "", "the records of redial do not say what it is"},
		{[]string{good}, "idle-6m", `no experiment "idle-6m", but of idle-5m`},
	} {
		if _, err := Load(t.Context(), c.logs, Ask{Name: c.name}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.logs, err, c.want)
		}
	}
	if r := load(t, Ask{Name: "idle-5m"}, good); r.Name != "idle-5m" {
		t.Error(r.Name)
	}
}
