package web

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/review/loggen"
	"halfopen/proxy/review/trial"
)

// trialLog writes a log of an experiment with an arm that does harm, and an A/A arm.
func trialLog(t *testing.T, clients int) string {
	t.Helper()
	dir := t.TempDir()
	at := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	spec := &experiment.Spec{Name: "idle-5m", Salt: "idle-5m", Share: 10000, Start: at, End: at.Add(7 * 24 * time.Hour),
		Arms: []experiment.Arm{{Name: "control", Weight: 4000, Policy: experiment.GatewayPolicy}, {Name: "short", Weight: 4000, Policy: "short.yaml"},
			{Name: "again", Weight: 2000, AA: true}},
		Guardrails: []experiment.Guardrail{{Metric: experiment.ConnectFailure, Max: 0.02}}}
	policies := map[string]*policy.Policy{}
	for _, arm := range spec.Arms {
		var changes []policy.Override
		if arm.Name == "short" {
			o, err := policy.ParseOverride("timeouts.established=5m")
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, o)
		}
		p, err := policy.Open("linux-default", nil, changes...)
		if err != nil {
			t.Fatal(err)
		}
		policies[arm.Name] = p
	}
	if err := loggen.Experiment(loggen.ExperimentConfig{Dir: dir, Seed: 2, Spec: spec, Clients: clients, Policies: policies,
		Harm: map[string]float64{"short": 0.08}, Slow: map[string]float64{"short": 1.3}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExperimentPage(t *testing.T) {
	dir := trialLog(t, 400)
	s := serve(t, dir, nil)
	list := page(t, s, "/experiments", http.StatusOK)
	if !strings.Contains(list, "breaks connections") || !strings.Contains(list, `href="/experiments/idle-5m"`) {
		t.Errorf("the list does not tell the verdict: %s", lead.FindString(list))
	}
	body := page(t, s, "/experiments/idle-5m", http.StatusOK)
	for _, want := range []string{"Short (established 5m) breaks connections", "sizes as due", "Interval plot of short", "A/A: the control’s policy again",
		"Distribution: time to connect", "Over time: connections whose handshake did not complete", "<code>timeouts.established</code>", "port 515", "no more than 2 points above the control"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	// Each number leads to connections.
	if !strings.Contains(body, `/experiments/idle-5m/behind?arm=short&amp;metric=connect-failure`) {
		t.Error("a figure leads nowhere")
	}
	behind := page(t, s, "/experiments/idle-5m/behind?arm=short&metric=connect-failure", http.StatusOK)
	if n := strings.Count(behind, `<a href="/flow/`); n < 20 {
		t.Errorf("%d connections behind the figure", n)
	}
	var r experiment.Report
	if err := json.Unmarshal([]byte(page(t, s, "/experiments/idle-5m/report.json", http.StatusOK)), &r); err != nil || r.Verdict.Kind != experiment.Harm {
		t.Errorf("%v, verdict %s", err, r.Verdict.Kind)
	}
	crawl(t, s, 60, func(string, *http.Response, string) {})
	for _, target := range []string{"/experiments/none", "/experiments/idle-5m/behind?arm=short&metric=x", "/experiments/idle-5m/behind?arm=x&metric=reset", "/experiments/idle-5m?x=1"} {
		res := ask(t, s, target, nil)
		sound(t, target, res)
		if res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	}
}

// The connections behind a figure are counted by it.
func TestExperimentLinksHold(t *testing.T) {
	dir := trialLog(t, 120)
	s := serve(t, dir, nil)
	rs, err := trial.Load(t.Context(), []string{dir}, trial.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	e := rs[0].EffectOf("short", experiment.ConnectFailure)
	list := rs[0].Behind("short", experiment.ConnectFailure)
	if float64(len(list)) != e.Treated.Num {
		t.Errorf("%d connections behind %v failures", len(list), e.Treated.Num)
	}
	for _, x := range list {
		f, err := s.src.x.Flow(t.Context(), x.Flow)
		if err != nil || f.Arm != "short" || f.Outcome != "unanswered" {
			t.Errorf("flow %d: arm %q, outcome %q, %v", x.Flow, f.Arm, f.Outcome, err)
		}
	}
}

// A page for those who may not see addresses shows none of an experiment's.
func TestExperimentIsAnonymized(t *testing.T) {
	dir := trialLog(t, 60)
	a, err := NewAnonymizer([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, func(c *Config) { c.Anonymizer = a })
	for _, target := range []string{"/experiments", "/experiments/idle-5m", "/experiments/idle-5m/report.json", "/experiments/idle-5m/behind?arm=short&metric=connect-failure"} {
		body := page(t, s, target, http.StatusOK)
		for i := range 60 {
			c := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if a.Addr(c) != c && strings.Contains(body, c.String()+":") {
				t.Errorf("%s shows %s", target, c)
			}
		}
	}
}

func TestNoExperiment(t *testing.T) {
	dir, _ := generated(t, 500)
	s := serve(t, dir, nil)
	if body := page(t, s, "/experiments", http.StatusOK); !strings.Contains(body, "tells of no experiment") {
		t.Error("a log without experiments does not say so")
	}
	page(t, s, "/experiments/redial", http.StatusNotFound)
}

// One file holds all: nothing is fetched, and there is no script.
func TestStandalone(t *testing.T) {
	rs, err := trial.Load(t.Context(), []string{trialLog(t, 200)}, trial.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Standalone(rs)
	if err != nil {
		t.Fatal(err)
	}
	body := string(b)
	if to := os.Getenv("HALFOPEN_STANDALONE"); to != "" { // to be looked at
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, not := range []string{"<script", "src=", "href=", "@import", "url(\"http"} {
		if strings.Contains(body, not) {
			t.Errorf("the page holds %q", not)
		}
	}
	if !strings.Contains(body, "breaks connections") || !strings.Contains(body, "<style>") || strings.Contains(body, "ZgotmplZ") {
		t.Error("the page is not whole")
	}
}
