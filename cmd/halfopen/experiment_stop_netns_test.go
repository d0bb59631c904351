//go:build netns

package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/proxy"
	"halfopen/proxy/decisionlog"
)

// harmful is an experiment one arm of which lets no handshake be completed.
const harmful = `experiment:
  name: harmful
  unit: client
  arms:
    - {name: control, weight: 50, policy: gateway}
    - {name: deaf, weight: 50, policy: deaf.yaml}
  guardrails:
    - {metric: connect-failure, max_increase: 2%}
`

// dialAll lets each client connect once, all at a time, and returns how many could.
func (w *world) dialAll(pool []netip.Addr, limit time.Duration) int {
	var good atomic.Int32
	var all sync.WaitGroup
	for _, client := range pool {
		all.Go(func() {
			if c, err := w.dialWithin(client, limit); err == nil {
				c.Close()
				good.Add(1)
			}
		})
	}
	all.Wait()
	return int(good.Load())
}

// status is the only experiment's, and the verb's exit status.
func (w *world) experimentStatus(g *gatewayProcess) (st proxy.ExperimentStatus, status int) {
	w.t.Helper()
	var all []proxy.ExperimentStatus
	out, words, status := w.tryHalfopen(w.Gateway, "experiment", "status", "-o", "json", "--admin", g.admin)
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		w.t.Fatalf("status: %v %q %q", err, out, words)
	}
	return all[0], status
}

// TestGuardrailStopsHarm: an arm that does harm is taken out while the experiment runs: its clients connect again, the log and the status
// say why, and it stays out when the gateway is started again. The operator stops the rest.
func TestGuardrailStopsHarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(30)
	exp := write(t, w.dir, "exp.yaml", harmful)
	write(t, w.dir, "deaf.yaml", "preset: observe\ntimeouts: {syn_sent: 1s, syn_recv: 1s}\non: {syn-ack: drop, synack-retransmit: drop}\n")
	g := w.start("observe", "--fresh", "--experiment", exp, "--metrics", "127.0.0.1:9109")
	good := w.dialAll(pool, time.Second)
	if good < len(pool)/5 || good > len(pool)*4/5 {
		t.Fatalf("%d of %d clients connect before anybody has looked", good, len(pool))
	}
	deadline := time.Now().Add(20 * time.Second)
	st, status := w.experimentStatus(g)
	for ; status != 1 && time.Now().Before(deadline); st, status = w.experimentStatus(g) {
		time.Sleep(200 * time.Millisecond)
	}
	if s := st.Arms[1].Stopped; status != 1 || st.State != "stopped" || s == nil || s.Kind != "guardrail" || !strings.HasPrefix(s.Detail, "connect-failure ") {
		t.Fatalf("not stopped after %d of %d failures: %+v, status %d", len(pool)-good, len(pool), st.Arms[1], status)
	}
	if good := w.dialAll(pool, 5*time.Second); good != len(pool) {
		t.Errorf("%d of %d clients connect after the arm was stopped", good, len(pool))
	}
	w.scrape("127.0.0.1:9109", `halfopen_experiment_arm_stopped{arm="deaf",experiment="harmful"} 1`, "halfopen_experiment_unwatched_total 0")
	out := w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "-o", "json", "arm=control")
	if strings.Contains(out, `"deaf"`) {
		t.Error(out)
	}
	g.stop()

	g = w.start("observe", "--fresh", "--experiment", exp)
	if good := w.dialAll(pool, 5*time.Second); good != len(pool) {
		t.Errorf("%d of %d clients connect after a restart", good, len(pool))
	}
	if again, _ := w.experimentStatus(g); again.Arms[1].Stopped == nil || !again.Arms[1].Stopped.At.Equal(st.Arms[1].Stopped.At) {
		t.Errorf("after a restart: %+v", again.Arms[1])
	}
	if out, _, status := w.tryHalfopen(w.Gateway, "experiment", "status", "--admin", g.admin); status != 1 || !strings.Contains(out, "deaf") || !strings.Contains(out, "connect-failure") {
		t.Errorf("status %d\n%s", status, out)
	}
	if out := w.halfopenIn(w.Gateway, "experiment", "stop", "harmful", "--admin", g.admin); out != "stopped: control\n" {
		t.Errorf("stop says %q", out)
	}
	for _, args := range [][]string{{"harmless"}, {"harmful", "--arm", "control"}, {"harmful", "--arm", "dumb"}} {
		if _, words, status := w.tryHalfopen(w.Gateway, append([]string{"experiment", "stop", "--admin", g.admin}, args...)...); status != 1 || words == "" {
			t.Errorf("stop %v: status %d, %q", args, status, words)
		}
	}
	w.short(pool[0])
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced final/balanced" {
		t.Errorf("proof: %+v", p)
	}
	var said []string
	last := ""
	w.events(func(e *decisionlog.Event) {
		if e.Experiment != nil {
			said = append(said, e.Experiment.Event+" "+e.Experiment.Arm)
		}
		if e.Flow != nil && e.Flow.Event == "new" {
			last = e.Flow.Arm
		}
	})
	if got := strings.Join(said, ", "); got != "start , guardrail deaf, start , guardrail deaf, stop control" || last != "" {
		t.Errorf("the log says %q, and the last connection is in arm %q", got, last)
	}
}
