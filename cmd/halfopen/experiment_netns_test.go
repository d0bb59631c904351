//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// idle is an experiment of each client's addresses in two arms.
const idle = `experiment:
  name: idle
  unit: client
  match: {dst_port: 7000}
  arms:
    - {name: control, weight: 50, policy: gateway}
    - {name: short, weight: 50, policy: short.yaml}
`

// beside is another one, on ports of no interest.
const beside = `  - name: beside
    match: {dst_port: 9}
    arms: [{name: left, weight: 50, policy: gateway}, {name: right, weight: 50, policy: openbsd-pf}]
`

// asList puts an experiment into a list behind another.
func asList(one string) string {
	head, body, _ := strings.Cut(one, "\n")
	return head + "\n" + beside + "  - " + strings.ReplaceAll(strings.TrimSpace(body), "\n  ", "\n    ") + "\n"
}

// armsInLog reads which arm the records of each client's connections name, and fails where they name two.
func (w *world) armsInLog(log string) map[netip.Addr]string {
	w.t.Helper()
	out := map[netip.Addr]string{}
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			w.t.Fatal(err)
		}
		var client, arm string
		switch {
		case e.Flow != nil:
			client, arm = e.SrcIP, e.Flow.Arm
		case e.Decision != nil:
			if client, arm = e.SrcIP, e.Decision.Arm; e.Direction == "to_client" {
				client = e.DestIP
			}
		default:
			continue
		}
		a := netip.MustParseAddr(client)
		if was, ok := out[a]; ok && was != arm {
			w.t.Errorf("%s is in %q and in %q: %s", a, was, arm, e.Raw)
		}
		out[a] = arm
	}
	return out
}

// expect compares arms with what the experiment says by itself.
func (w *world) expectArms(arms map[netip.Addr]string, pool []netip.Addr, text string) {
	w.t.Helper()
	set, problems := experiment.Parse("exp.yaml", []byte(text))
	if set == nil {
		w.t.Fatal(problems)
	}
	s := set.Find("idle")
	seen := map[string]int{}
	for _, client := range pool {
		tu := conntrack.MakeTuple(netip.AddrPortFrom(client, 40000), stationFor(client))
		want := s.Arms[s.ArmOf(runningTime(s), &tu)].Name
		if arms[client] != want {
			w.t.Errorf("%s is in %q, want %q", client, arms[client], want)
		}
		seen[want]++
	}
	if len(seen) != 2 {
		w.t.Errorf("the clients are %v: a test of nothing", seen)
	}
}

// TestExperimentOnTraffic: each client's connections are decided by its arm's policy and stay so over reloads and a restart that
// renumbers the arms; a replay of the capture assigns as the gateway did; the log says which experiments there were.
func TestExperimentOnTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(8)
	exp := write(t, w.dir, "exp.yaml", idle)
	write(t, w.dir, "short.yaml", "preset: observe\ntimeouts: {established: 7m}\n")
	pcap := filepath.Join(w.dir, "pcap")
	g := w.start("observe", "--fresh", "--experiment", exp, "--pcap", pcap, "--metrics", "127.0.0.1:9109")
	for range 2 {
		for _, client := range pool {
			w.short(client)
		}
	}
	w.scrapeArms(len(pool))
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("proof: %+v", p)
	}
	w.expectArms(w.armsInLog(w.logDir), pool, idle)
	if got := w.experimentEvents(); got != "idle start again: 0" {
		t.Errorf("experiment records: %s", got)
	}
	again := filepath.Join(w.dir, "replayed")
	var replayed struct {
		TCP      int
		Recorded struct{ Frames, Same int }
		Arms     []struct {
			Arm   string
			Flows int
		}
	}
	halfopenJSON(t, &replayed, "replay", pcap, "--policy", "observe", "--fresh", "--experiment", exp, "--log", again, "-o", "json")
	if replayed.TCP == 0 || replayed.Recorded.Same != replayed.TCP || len(replayed.Arms) != 2 || replayed.Arms[0].Flows+replayed.Arms[1].Flows != 2*len(pool) {
		t.Errorf("replayed %+v", replayed)
	}
	w.expectArms(w.armsInLog(again), pool, idle)
	sameCourses(t, courses(t, w.logDir, sameClock), courses(t, again, sameClock))
}

// TestExperimentOverReloadsAndRestart holds a connection of each client over reloads and a restart behind which the arms have other
// numbers.
func TestExperimentOverReloadsAndRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(6)
	write(t, w.dir, "short.yaml", "preset: observe\ntimeouts: {established: 7m}\n")
	exp := write(t, w.dir, "exp.yaml", idle)
	g := w.start("observe", "--experiment", exp, "--state", w.state)
	var held []patient
	ask := func() {
		t.Helper()
		for i, c := range held {
			if err := c.ask(900); err != nil {
				t.Fatalf("connection of %s: %v", pool[i], err)
			}
		}
	}
	for _, client := range pool {
		c, err := w.dial(client, order{Do: doEcho})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	ask()
	w.listedArms(g, pool, idle)

	write(t, w.dir, "exp.yaml", strings.Replace(idle, "  unit:", "  salt: pepper\n  unit:", 1))
	if _, words, status := w.tryHalfopen(w.Gateway, "reload", "--admin", g.admin); status != 1 || !strings.Contains(words, `salt "idle" -> "pepper"`) {
		t.Errorf("reload with another salt: status %d, %q", status, words)
	}
	write(t, w.dir, "exp.yaml", asList(idle))
	write(t, w.dir, "short.yaml", "preset: observe\ntimeouts: {established: 8m}\n")
	if out, words, status := w.tryHalfopen(w.Gateway, "reload", "--admin", g.admin); status != 0 || !strings.Contains(out, "experiment beside added") || !strings.Contains(out, "experiment idle: arms.short.policy") {
		t.Errorf("reload with another experiment: status %d, %q %q", status, out, words)
	}
	ask()
	w.listedArms(g, pool, idle)
	for _, client := range pool {
		w.short(client)
	}
	w.newPolicyRules()
	g.stop()
	g = w.start("observe", "--experiment", exp, "--state", w.state)
	ask()
	w.listedArms(g, pool, idle)
	for _, c := range held {
		c.Close()
	}
	for _, client := range pool {
		w.short(client)
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced final/balanced" {
		t.Errorf("proof: %+v", p)
	}
	w.expectArms(w.armsInLog(w.logDir), pool, idle)
	if got := w.experimentEvents(); got != "idle start, beside start, idle changed, beside start, idle start again: 1" {
		t.Errorf("experiment records: %s", got)
	}
	if n := w.refusals(); n != 1 {
		t.Errorf("%d reloads were refused", n)
	}
}

// newPolicyRules sees to it that connections of the arm short which began after the reload are decided by the policy that it brought.
func (w *world) newPolicyRules() {
	w.t.Helper()
	began := 0
	w.until("the log tells of connections after the reload", endLimit, func() bool {
		var rev string
		var since time.Time
		w.events(func(e *decisionlog.Event) {
			if x := e.Experiment; x != nil && x.Event == decisionlog.ExperimentChanged {
				if s, err := experiment.FromJSON(x.Spec); err == nil {
					rev, since = s.Arms[1].Rev, e.Timestamp.Time
				}
			}
		})
		began = 0
		w.events(func(e *decisionlog.Event) {
			if f := e.Flow; f != nil && f.Event == "new" && f.Arm == "short" && rev != "" && f.Start.After(since) {
				if began++; f.PolicyRev != rev {
					w.t.Errorf("by another policy than %s: %s", rev, e.Raw)
				}
			}
		})
		return began > 0
	})
}

// short is a whole connection of a client.
func (w *world) short(client netip.Addr) {
	w.t.Helper()
	c, err := w.dial(client, order{Do: doEcho})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.ask(500); err != nil {
		w.t.Fatal(err)
	}
	c.Close()
}

// listedArms asks the gateway for the connections of an arm.
func (w *world) listedArms(g *gatewayProcess, pool []netip.Addr, text string) {
	w.t.Helper()
	arms := map[netip.Addr]string{}
	for _, filter := range []string{"arm=control", "arm=short", "arm=none"} {
		out := w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "-o", "json", filter+" state=ESTABLISHED")
		for line := range strings.Lines(out) {
			var f struct {
				SrcIP string `json:"src_ip"`
				Arm   string
			}
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				w.t.Fatal(err)
			}
			if want, _ := strings.CutPrefix(filter, "arm="); f.Arm != want {
				w.t.Errorf("flows %s lists one of %q", filter, f.Arm)
			}
			arms[netip.MustParseAddr(f.SrcIP)] = f.Arm
		}
	}
	w.expectArms(arms, pool, text)
}

// experimentEvents lists the log's records of experiments, and how often a start has a spec that an earlier one had not.
func (w *world) experimentEvents() string {
	w.t.Helper()
	var words []string
	specs := map[string]string{}
	others := 0
	w.events(func(e *decisionlog.Event) {
		x := e.Experiment
		if x == nil {
			return
		}
		words = append(words, x.Name+" "+x.Event)
		s, err := experiment.FromJSON(x.Spec)
		if err != nil || s.Name != x.Name || s.Arms[1].Rev == "" {
			w.t.Errorf("%v: %s", err, e.Raw)
		}
		if was, ok := specs[x.Name]; ok && was != string(x.Spec) {
			others++
		}
		specs[x.Name] = string(x.Spec)
	})
	return strings.Join(words, ", ") + fmt.Sprintf(" again: %d", others)
}

// scrapeArms reads the metrics of the arms: every client is a unit with two connections.
func (w *world) scrapeArms(clients int) {
	w.t.Helper()
	text := w.scrape("127.0.0.1:9109", "halfopen_experiment_flows_total", "halfopen_experiment_units_total")
	sum := map[string]int{}
	for line := range strings.Lines(text) {
		var n int
		name, rest, ok := strings.Cut(line, "{")
		if _, value, found := strings.Cut(rest, "} "); ok && found && strings.HasPrefix(name, "halfopen_experiment_") {
			if _, err := fmt.Sscan(value, &n); err != nil || (n == 0) != (name == "halfopen_experiment_arm_stopped") {
				w.t.Errorf("%s: %v", line, err)
			}
			sum[name] += n
		}
	}
	if sum["halfopen_experiment_flows_total"] != 2*clients || sum["halfopen_experiment_units_total"] != clients {
		w.t.Errorf("%v of %d clients", sum, clients)
	}
}
