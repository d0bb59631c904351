package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/fastpath"
)

func TestBenchOptions(t *testing.T) {
	for _, c := range []struct {
		o    BenchOptions
		want string
	}{
		{BenchOptions{}, ""},
		{BenchOptions{Rounds: 1, Seconds: 0.1}, ""},
		{BenchOptions{Rounds: -1}, "-1 rounds: want 1 to 1000"},
		{BenchOptions{Rounds: 1001}, "1001 rounds: want 1 to 1000"},
		{BenchOptions{Seconds: 0.01}, "0.01 seconds: want 0.1 to 600"},
		{BenchOptions{Seconds: math.NaN()}, "NaN seconds: want 0.1 to 600"},
		{BenchOptions{Seconds: math.Inf(1)}, "+Inf seconds: want 0.1 to 600"},
	} {
		err := c.o.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		of      []float64
		q, want float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.5, 7}, {[]float64{7}, 0.99, 7}, {[]float64{1, 2}, 0.5, 1.5}, {[]float64{1, 2, 4}, 0.5, 2},
		{[]float64{1, 2, 3, 4}, 0.99, 4}, {[]float64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(c.of, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.of, got, c.want)
		}
	}
}

func TestParseUsage(t *testing.T) {
	busy, steal, softirq, err := parseStat([]byte("cpu  100 20 30 4000 50 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	if err != nil || math.Abs(busy-1.63) > 1e-9 || math.Abs(steal-0.08) > 1e-9 || math.Abs(softirq-0.07) > 1e-9 {
		t.Errorf("busy %v, steal %v, softirq %v, %v", busy, steal, softirq, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu a 2 3 4 5 6 7 8", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	spent, err := parseTaskStat([]byte("42 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1\n"))
	if err != nil || spent != 3 {
		t.Errorf("%v s, %v, want 3", spent, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x 50"} {
		if _, err := parseTaskStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A round's ratio is taken within the round: a machine that slows down for one of them changes none.
func TestBenchReport(t *testing.T) {
	r := newBenchReport(&BenchOptions{Rounds: 3, Seconds: 1, Policy: "p", modes: benchModes()})
	plain, queue := r.Modes["plain"], r.Modes["queue"]
	for _, m := range r.Modes {
		for _, fig := range []*[]float64{&m.Bulk, &m.Bulk8, &m.Small, &m.SmallAll, &m.Connections, &m.P50, &m.P99, &m.CPU} {
			*fig = []float64{10, 1, 20}
		}
		m.Failed = []int{0, 0, 0}
	}
	queue.Bulk = []float64{6, 0.5, 14}
	plain.P99 = []float64{0, 1, 10} // a round without a base has no ratio
	queue.Log = &BenchLog{Messages: []uint64{5, 6, 7}, Lost: []uint64{0, 1, 0}, Balanced: []bool{true, true, true}}
	queue.spent("bulk", usage{wall: 2, busy: 2 * float64(r.CPUs), own: 1, gateway: 1.5, busiest: 1.5})
	queue.spent("bulk8", usage{wall: 2, busy: 1, gateway: 0.5, busiest: 0.5})
	queue.spent("small", usage{wall: 2, busy: 2, gateway: 2, busiest: 1.95})
	plain.spent("bulk", usage{wall: 2, busy: 2 * float64(r.CPUs), own: 2 * float64(r.CPUs), softirq: float64(r.CPUs)})
	plain.spent("small", usage{wall: 2, busy: 2, own: 2, ownBusiest: 1.9})
	r.OtherLoad = []float64{0.5}
	r.finish()
	if got := r.Ratios["bulk"]["queue"]; got != 0.6 || r.Spread["bulk"]["queue"] != [2]float64{0.5, 0.7} {
		t.Errorf("bulk %v, %v; want 0.6, 0.5 to 0.7", got, r.Spread["bulk"]["queue"])
	}
	if got := r.Spread["connect_us_p99"]["queue"]; got != [2]float64{1, 2} {
		t.Errorf("p99 %v, want 1 to 2", got)
	}
	if _, ok := r.Ratios["bulk"]["plain"]; ok {
		t.Error("plain is compared with itself")
	}
	for load, want := range map[string]string{"bulk": "the processors are full", "bulk8": "no processor is full", "small": "one thread"} {
		if got := queue.Limits[load].Verdict; !strings.HasPrefix(got, want) {
			t.Errorf("%s: limit %q, want %q", load, got, want)
		}
	}
	if l := plain.Limits["bulk"]; l.Verdict != "the processors are full, most of it the ends and the kernel's forwarding" || l.SoftIRQ != 0.5 {
		t.Errorf("plain, bulk: %+v", l)
	}
	if l := plain.Limits["small"]; l.OneEnd != 0.95 || r.CPUs > 1 && !strings.HasPrefix(l.Verdict, "one thread of an end") {
		t.Errorf("plain, small: %+v", l)
	}
	var text, data strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"0.60 (0.50 to 0.70)", "18 queue messages, the log lost 1 of them and balances", "plain: 0 failed connections.", "the processors are full"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if err := r.WriteJSON(&data); err != nil {
		t.Error(err)
	}
	checkBenchJSON(t, data.String(), []string{"plain", "queue", "fastpath", "redirect"}, 3)
	if r.Bad() {
		t.Error("nothing is bad")
	}
	queue.Log.Balanced[1] = false
	if !r.Bad() {
		t.Error("a log that does not balance is good")
	}
	queue.Log.Balanced[1] = true
	plain.Failed[2] = 1
	if !r.Bad() {
		t.Error("a failed connection is good")
	}
}

// Each mode is played once a round, at each place equally often, and after each of its neighbours.
func TestBenchOrder(t *testing.T) {
	b := &bench{BenchOptions: BenchOptions{modes: benchModes()}}
	places, after := map[string]int{}, map[string]bool{}
	rounds := 2 * len(b.modes)
	for round := range rounds {
		seen := map[string]bool{}
		for at, m := range b.order(round) {
			seen[m.name] = true
			places[fmt.Sprint(m.name, at)]++
			if at > 0 {
				after[b.order(round)[at-1].name+" "+m.name] = true
			}
		}
		if len(seen) != len(b.modes) {
			t.Errorf("round %d: %v", round, seen)
		}
	}
	for _, m := range b.modes {
		for at := range b.modes {
			if n := places[fmt.Sprint(m.name, at)]; n != 2 {
				t.Errorf("%s is %d times at place %d of %d rounds, want 2", m.name, n, at, rounds)
			}
		}
	}
	for _, pair := range []string{"queue fastpath", "fastpath queue", "fastpath redirect", "redirect fastpath"} {
		if !after[pair] {
			t.Errorf("never in a row: %s", pair)
		}
	}
}

// A mode that the kernel lacks is left out with its reason; what goes wrong otherwise is no reason.
func TestBenchLeavesOut(t *testing.T) {
	modes := benchModes()
	answers := map[string]error{"redirect": fmt.Errorf("fast path: %w: no helper", fastpath.ErrUnsupported)}
	at := 0
	ask := func(needs func() error) error { at++; return answers[[]string{"", "fastpath", "redirect"}[at]] }
	kept, out, err := leaveOut(modes, ask)
	if err != nil || len(kept) != 3 || kept[2].name != "fastpath" || !strings.Contains(out["redirect"], "no helper") || len(out) != 1 {
		t.Errorf("%d kept, left out %v, %v", len(kept), out, err)
	}
	r := newBenchReport(&BenchOptions{Rounds: 1, modes: kept})
	r.LeftOut = out
	r.OtherLoad = []float64{0}
	r.finish()
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "redirect was left out: fast path: the kernel lacks what a fast path needs: no helper.") {
		t.Errorf("%v\n%s", err, &text)
	}
	answers["fastpath"], at = errors.New("no memory"), 0
	if _, _, err := leaveOut(modes, ask); err == nil || !strings.Contains(err.Error(), "mode fastpath: no memory") {
		t.Error(err)
	}
}

// What went the fast path is told by load: by the last record of each flow.
func TestBenchFastPath(t *testing.T) {
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(0)
	flow := func(id uint64, port uint16, kind decisionlog.FlowKind, all, fast uint64) {
		r := decisionlog.Record{Event: decisionlog.EventFlow, FlowID: id, Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port)}
		r.Flow = decisionlog.Flow{Kind: kind, Pkts: [2]uint64{all / 2, all - all/2}, Fast: [2]uint64{fast, 0}}
		p.Put(&r)
	}
	flow(1, 10000, decisionlog.FlowUpdate, 50, 0)
	flow(1, 10000, decisionlog.FlowUpdate, 100, 90) // lives on
	flow(2, 10000, decisionlog.FlowUpdate, 10, 1)
	flow(2, 10000, decisionlog.FlowEnd, 100, 100)
	flow(3, 10001, decisionlog.FlowEnd, 7, 0)
	s := decisionlog.Record{Event: decisionlog.EventStats, Stats: &decisionlog.Stats{}}
	s.Stats.FastPath = decisionlog.FastPathStats{State: "on", Packets: 190, Redirected: 5}
	p.Put(&s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := &BenchMode{}
	if err := f.judgeFast(dir, map[uint16]string{10000: "bulk", 10001: "connections"}); err != nil {
		t.Fatal(err)
	}
	if f.Fast.Packets[0] != 190 || f.Fast.Redirected[0] != 5 || f.Fast.Share["bulk"][0] != 0.95 || f.Fast.Share["connections"][0] != 0 || len(f.Fast.Share) != len(fastLoads) {
		t.Errorf("%+v", f.Fast)
	}
	if err := f.judgeFast(t.TempDir(), nil); err == nil {
		t.Error("a log that says nothing")
	}
}

// checkBenchJSON: each mode has each figure once a round, above zero but for what the test made zero, and each figure has its ratios.
func checkBenchJSON(t *testing.T, text string, modes []string, rounds int) {
	t.Helper()
	var r struct {
		Rounds int                           `json:"rounds"`
		Modes  map[string]map[string]any     `json:"modes"`
		Ratios map[string]map[string]float64 `json:"ratios"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if r.Rounds != rounds {
		t.Errorf("%d rounds, want %d", r.Rounds, rounds)
	}
	if got := slices.Sorted(maps.Keys(r.Modes)); !slices.Equal(got, slices.Sorted(slices.Values(modes))) {
		t.Errorf("modes %v, want %v", got, modes)
	}
	for name, m := range r.Modes {
		for _, key := range []string{"bulk_gbps", "bulk8_gbps", "small_pps", "small_all_pps", "conn_per_s", "connect_us_p50", "connect_us_p99", "cpu_s_per_gib"} {
			if list, ok := m[key].([]any); !ok || len(list) != rounds {
				t.Errorf("%s: %s is %v, want %d figures", name, key, m[key], rounds)
			}
		}
	}
	for _, key := range []string{"bulk", "bulk8", "small_pps", "small_all_pps", "conn_per_s", "connect_us_p50", "connect_us_p99", "cpu_s_per_gib"} {
		for _, m := range modes[1:] {
			if !(r.Ratios[key][m] > 0) {
				t.Errorf("ratio %s of %s is %v", key, m, r.Ratios[key][m])
			}
		}
	}
}
