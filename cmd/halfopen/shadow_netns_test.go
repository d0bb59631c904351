//go:build netns

package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sameNumbers takes from a shadow's report what two gateways have of their own: ids, times, and which connections are the examples.
func sameNumbers(p map[string]any) map[string]any {
	for _, k := range []string{"first", "runs", "shed_spans"} {
		delete(p, k)
	}
	for _, k := range p["kinds"].([]any) {
		delete(k.(map[string]any), "examples")
	}
	return p
}

// TestShadowOnTraffic: shadows beside observe on real connections. What the log reports is what a replay of the gateway's capture reports, to
// the number; the gateway's books balance; metrics and status show the shadows; a bad file refuses a reload.
func TestShadowOnTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(8)
	idle := write(t, w.dir, "idle.yaml", "preset: observe\ntimeouts: {established: 2s}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}\n")
	nodata := write(t, w.dir, "nodata.yaml", "preset: observe\nrules:\n  - {name: station, match: {dst_port: 7000}, on: {in-window: {packet: drop, reply: rst}}}\n")
	shadows := []string{"--shadow", "observe", "--shadow", idle, "--shadow", nodata, "--shadow", "openbsd-pf", "--shadow", "lpd-case-2015"}
	pcap := filepath.Join(w.dir, "pcap")
	g := w.start("observe", append(slices.Clone(shadows), "--fresh", "--pcap", pcap, "--metrics", "127.0.0.1:9109")...)
	for _, client := range pool {
		w.short(client)
	}
	held, err := w.dial(pool[0], order{Do: doEcho})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := held.ask(900); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // longer than the idle timer of a shadow
	}
	if err := held.ask(900); err != nil {
		t.Fatalf("a shadow's reset reached the connection: %v", err)
	}
	held.Close()
	time.Sleep(500 * time.Millisecond)
	metrics := w.scrape("127.0.0.1:9109", "halfopen_shadow_disagreements_total", "halfopen_shadow_shed_total", "halfopen_shadow_segments_total")
	for _, want := range []string{`halfopen_shadow_disagreements_total{live="nothing",policy="idle.yaml",shadow="idle-expired"} 1`, `halfopen_shadow_shed_total{policy="observe"} 0`,
		`halfopen_shadow_segments_total{policy="openbsd-pf"} `} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	write(t, w.dir, "nodata.yaml", "preset: nonsense\n")
	if _, words, status := w.tryHalfopen(w.Gateway, "reload", "--admin", g.admin); status != 1 || !strings.Contains(words, "nonsense") {
		t.Errorf("reload with a bad shadow: status %d, %q", status, words)
	}
	write(t, w.dir, "nodata.yaml", "preset: observe\nrules:\n  - {name: station, match: {dst_port: 7000}, on: {in-window: {packet: drop, reply: rst}}}\n")
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("proof: %+v", p)
	}
	var live, replayed struct{ Shadows []map[string]any }
	text, words, status := runVerb("review", "shadow", w.logDir, "-o", "json")
	if status != 1 || words != "" {
		t.Errorf("review shadow: status %d, %q", status, words)
	}
	if err := json.Unmarshal([]byte(text), &live); err != nil {
		t.Fatal(err)
	}
	halfopenJSON(t, &replayed, append([]string{"replay", pcap, "--policy", "observe", "--fresh", "-o", "json"}, shadows...)...)
	if len(live.Shadows) != 5 || len(replayed.Shadows) != 5 {
		t.Fatalf("%d shadows in the log, %d in the replay, want 5", len(live.Shadows), len(replayed.Shadows))
	}
	for i := range live.Shadows {
		a, b := sameNumbers(live.Shadows[i]), sameNumbers(replayed.Shadows[i])
		if !reflect.DeepEqual(a, b) {
			x, _ := json.MarshalIndent(a, "", " ")
			y, _ := json.MarshalIndent(b, "", " ")
			t.Errorf("the log reports\n%s\nthe replay\n%s", x, y)
		}
	}
	number := func(i int, key string) int { return int(live.Shadows[i][key].(float64)) }
	if number(0, "disagreed")+number(0, "diverged") != 0 || number(0, "agreed") == 0 {
		t.Errorf("a policy beside itself: %v", live.Shadows[0])
	}
	if number(1, "disagreed_by_time") != 1 || number(1, "disagreed") != 0 {
		t.Errorf("the idle timer: %v", live.Shadows[1])
	}
	if number(2, "disagreed") != len(pool)+1 {
		t.Errorf("no data: %v", live.Shadows[2])
	}
	if list, _, _ := runVerb("review", w.logDir, "--disagrees", "nodata.yaml"); strings.Count(list, "\n") != len(pool)+1 {
		t.Errorf("records of disagreements:\n%s", list)
	}
}
