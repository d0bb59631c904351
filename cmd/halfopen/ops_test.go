package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy"
)

// oneEngine is the smallest gateway that the admin socket can ask: one engine, asked by one goroutine at a time.
type oneEngine struct {
	engine *policy.Engine
	pol    *policy.Policy
	events chan proxy.FlowLine

	experiments []proxy.ExperimentStatus
}

func (h *oneEngine) Arms() []string { return nil }

func (h *oneEngine) Each(_ context.Context, fn func(int, conntrack.Instant, *policy.Engine)) error {
	fn(0, 1, h.engine)
	return nil
}

func (h *oneEngine) Kill(_ context.Context, match func(*conntrack.Entry) bool) (int, error) {
	n, _ := h.engine.Kill(1, 0, 1<<20, match, func(*policy.TimeEvent) {})
	return n, nil
}

func (h *oneEngine) Reload(_ context.Context, ref string) (proxy.ReloadResult, error) {
	if ref == "" {
		ref = h.pol.Name()
	}
	p, err := proxy.LoadPolicy(ref, nil)
	if err != nil {
		return proxy.ReloadResult{}, err
	}
	res := proxy.ReloadResult{Policy: p.Name(), Rev: p.Rev(), Before: h.pol.Rev(), Flows: "keep"}
	h.pol = p
	return res, nil
}

func (h *oneEngine) Subscribe(int) (<-chan proxy.FlowLine, func()) { return h.events, func() {} }
func (h *oneEngine) Status() proxy.Status                          { return proxy.Status{} }
func (h *oneEngine) Experiments() []proxy.ExperimentStatus         { return h.experiments }
func (h *oneEngine) StopExperiment(_ context.Context, name, arm string) ([]string, error) {
	if name != "idle-5m" {
		return nil, fmt.Errorf("experiment: there is no experiment %q here", name)
	}
	return []string{arm}, nil
}
func (h *oneEngine) Counters() proxy.Counters { return proxy.Counters{} }

// gateway serves a gateway with two flows (ids 1 and 2) and returns its socket.
func gateway(t *testing.T) (string, *oneEngine) {
	t.Helper()
	pol, err := proxy.LoadPolicy("observe", nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &oneEngine{pol: pol, engine: policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true}), events: make(chan proxy.FlowLine, 8)}
	for _, from := range []string{"10.0.0.1:721", "10.0.0.2:722"} {
		s := conntrack.Segment{Tuple: conntrack.MakeTuple(netip.MustParseAddrPort(from), netip.MustParseAddrPort("192.0.2.1:515")), Flags: conntrack.SYN,
			Seq: 1, Window: 1, Bytes: 60}
		h.engine.Step(1, &s)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	a, err := proxy.NewAdmin(proxy.AdminConfig{Path: path, Host: h, Clock: proxy.NewClock(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return path, h
}

// verb runs halfopen with arguments and returns what it printed and its exit status.
func verb(args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	root := newRootCmd()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	err := root.ExecuteContext(context.Background())
	var usage *usageError
	switch {
	case err == nil:
	case errors.As(err, &usage):
		status = statusUsage
	default:
		status = statusFound
	}
	if err != nil {
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), status
}

func TestFlowsVerb(t *testing.T) {
	socket, _ := gateway(t)
	out, words, status := verb("flows", "--admin", socket)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	want := "tcp      6 120 SYN_SENT src=10.0.0.1 dst=192.0.2.1 sport=721 dport=515 packets=1 bytes=60 [UNREPLIED] " +
		"src=192.0.2.1 dst=10.0.0.1 sport=515 dport=721 packets=0 bytes=0 mark=0 use=1 id=1"
	if status != statusGood || len(lines) != 2 || lines[0] != want || !strings.Contains(words, "2 flows") {
		t.Errorf("status %d, %q, words %q", status, lines, words)
	}
	out, _, status = verb("flows", "--admin", socket, "-o", "json", "--src", "10.0.0.2", "--state", "SYN_SENT", "dport=515")
	var f proxy.Flow
	if err := json.Unmarshal([]byte(out), &f); err != nil || f.SrcPort != 722 || status != statusGood {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
	out, _, status = verb("flows", "--admin", socket, "-o", "table", "sport=721")
	if status != statusGood || strings.Count(out, "\n") != 2 || !strings.HasPrefix(out, "ID ") || !strings.Contains(out, "10.0.0.1:721") {
		t.Errorf("status %d, %s", status, out)
	}
}

func TestFlowsVerbFollowsEvents(t *testing.T) {
	socket, h := gateway(t)
	h.events <- proxy.FlowLine{FlowEvent: policy.FlowEvent{Kind: policy.FlowNew, Entry: conntrack.Entry{ID: 9, State: conntrack.SynSent,
		Tuple: conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"))}}, Dropped: 5}
	close(h.events) // the gateway stops
	out, words, status := verb("flows", "-E", "--admin", socket)
	if status != statusGood || !strings.HasPrefix(out, "    [NEW] tcp      6 0 SYN_SENT src=10.0.0.1 ") || !strings.Contains(words, "5 events were lost") {
		t.Errorf("status %d, %q, %q", status, out, words)
	}
}

func TestFlowsKillVerb(t *testing.T) {
	socket, h := gateway(t)
	if _, words, status := verb("flows", "kill", "--admin", socket, "sport=721"); status != statusGood || !strings.Contains(words, "1 flows killed") || h.engine.Len() != 1 {
		t.Errorf("status %d, %s, %d left", status, words, h.engine.Len())
	}
	if _, _, status := verb("flows", "kill", "--admin", socket, "sport=721"); status != statusFound {
		t.Errorf("nothing to kill: status %d", status)
	}
	if _, _, status := verb("flows", "kill", "--admin", socket, "all"); status != statusGood || h.engine.Len() != 0 {
		t.Errorf("status %d, %d left", status, h.engine.Len())
	}
}

func TestReloadVerb(t *testing.T) {
	socket, h := gateway(t)
	before := h.pol.Rev()
	out, _, status := verb("reload", "--admin", socket)
	if status != statusGood || !strings.Contains(out, "unchanged") {
		t.Errorf("status %d, %s", status, out)
	}
	out, _, status = verb("reload", "--admin", socket, "openbsd-pf")
	if status != statusGood || !strings.Contains(out, before) || !strings.Contains(out, h.pol.Rev()) || h.pol.Rev() == before {
		t.Errorf("status %d, %s", status, out)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("preset: observ\ntimeouts: {establishd: 1h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := h.pol.Rev()
	_, words, status := verb("reload", "--admin", socket, bad)
	if status != statusFound || !strings.Contains(words, "bad.yaml:2:") || h.pol.Rev() != now {
		t.Errorf("status %d, %s", status, words)
	}
	out, _, status = verb("reload", "--admin", socket, "-o", "json", bad)
	var refused struct{ Problems []policy.Problem }
	if err := json.Unmarshal([]byte(out), &refused); err != nil || status != statusFound || len(refused.Problems) == 0 {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
}

func TestOperatorVerbsWrongUsage(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args   string
		status int
		words  string
	}{
		{"flows src=1.2.3", statusUsage, "neither an address nor a CIDR"},
		{"flows --state OPEN", statusUsage, "unknown state"},
		{"flows -o xml --admin " + none, statusUsage, "conntrack, table or json"},
		{"flows kill", statusUsage, "arg"},
		{"flows kill sport=x", statusUsage, "neither a port"},
		{"flows --admin " + none, statusFound, "no socket"},
		{"flows -E --admin " + none, statusFound, "no socket"},
		{"flows kill all --admin " + none, statusFound, "no socket"},
		{"reload --admin " + none, statusFound, "no socket"},
		{"reload a b", statusUsage, "arg"},
		{"reload -o xml", statusUsage, "text or json"},
		{"doctor x", statusUsage, "x"},
		{"doctor -o xml", statusUsage, "text or json"},
	} {
		out, words, status := verb(strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(words, c.words) || out != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", c.args, status, out, words)
		}
	}
}

func TestDoctorVerb(t *testing.T) {
	out, _, status := verb("doctor", "-o", "json")
	var report struct {
		Checks []struct{ Name, Level, Found string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Checks) == 0 {
		t.Fatalf("%v, %s", err, out)
	}
	failed := slices.ContainsFunc(report.Checks, func(c struct{ Name, Level, Found string }) bool { return c.Level == "fail" })
	if failed != (status == statusFound) {
		t.Errorf("status %d, failed %v", status, failed)
	}
	if text, _, _ := verb("doctor"); !strings.Contains(text, report.Checks[0].Name) {
		t.Errorf("text %s", text)
	}
}

// The packaged files must stay what the program reads.
func TestPackagedConfiguration(t *testing.T) {
	c := newRunCmd()
	if err := applyConfigFile(c, "../../.packaging/run.yaml", nil); err != nil {
		t.Error(err)
	}
	for flag, want := range map[string]string{"install-rules": "true", "admin": proxy.DefaultAdminSocket} {
		if got := c.Flag(flag).Value.String(); got != want {
			t.Errorf("%s is %q, want %q", flag, got, want)
		}
	}
	p, err := proxy.LoadPolicy("../../.packaging/policy.yaml", nil)
	if err != nil || p.Preset() != "observe" {
		t.Errorf("%v, %v", p, err)
	}
	unit, err := os.ReadFile("../../.packaging/halfopen.service")
	if err != nil || !strings.Contains(string(unit), "--admin "+proxy.DefaultAdminSocket+"\n") || !strings.Contains(string(unit), "run --config /etc/halfopen/run.yaml\n") {
		t.Errorf("the unit: %v", err)
	}
}
