package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/fastpath"
)

func someCounters() Counters {
	c := Counters{Preset: "lpd-case-2015", Rev: "sha256:12", ReloadOK: true, ReloadAt: time.Unix(1790000000, 5e8), Restored: 4, LogDropped: 2, Gaps: 6, PcapPackets: 21, PcapDropped: 22,
		FlowEventsDropped: 1}
	q := QueueCounters{Queue: 3, Received: 12, Injected: 1, InjectErrors: 2, HoldsRefused: 3, NotRewritten: 9, LostIDs: 4, ENOBUFS: 5, VerdictErrors: 6, Waiting: 7,
		QueueDropped: 8, SocketDropped: 9}
	q.Decided[conntrack.InWindow][policy.Forward] = 10
	q.Decided[conntrack.SynEstablished][policy.Drop] = 2
	c.Queues = []QueueCounters{q, {Queue: 4}}
	c.Shadows = []ShadowCounters{{Policy: "candidate.yaml", Segments: 31, Shed: 32, Pairs: []ShadowPair{{"in-window", "late-after-expiry", 33}, {"nothing", "idle-expired", 34}}}}
	c.FastPath = FastPathCounters{State: "off", Why: "marks-lost", fastCounts: fastCounts{Flows: 41, Installed: 42, Full: 43, Evicted: 44, Lost: 45, Lulls: 46, Kept: [numFastLosses]uint64{0, 52, 53}},
		Kernel: fastpath.Stats{Packets: 46, Bytes: 47, Foreign: 48, Redirected: 49}}
	c.FastPath.Kernel.Punts[conntrack.FastFIN], c.FastPath.Kernel.Normal[fastpath.NormalMTU] = 50, 51
	c.Flows[conntrack.Established] = 11
	c.Ended[conntrack.EndIdle] = 13
	c.Suppressed[conntrack.AckNoState] = 14
	return c
}

func TestMetricsCollect(t *testing.T) {
	col := newCollector(someCounters)
	reg := prometheus.NewPedanticRegistry() // checks what is collected against what is described
	if err := reg.Register(col); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	got := testExposition(t, reg)
	for _, want := range []string{
		`halfopen_packets_total{queue="3",reason="in-window",verdict="forward"} 10`,
		`halfopen_packets_total{queue="3",reason="syn-established",verdict="drop"} 2`,
		`halfopen_queue_received_total{queue="3"} 12`,
		`halfopen_queue_received_total{queue="4"} 0`,
		`halfopen_queue_dropped_total{queue="3",where="queue"} 8`,
		`halfopen_queue_dropped_total{queue="3",where="socket"} 9`,
		`halfopen_queue_lost_total{queue="3"} 4`,
		`halfopen_queue_enobufs_total{queue="3"} 5`,
		`halfopen_queue_verdict_errors_total{queue="3"} 6`,
		`halfopen_queue_waiting_packets{queue="3"} 7`,
		`halfopen_injected_packets_total{queue="3"} 1`,
		`halfopen_inject_errors_total{queue="3"} 2`,
		`halfopen_holds_refused_total{queue="3"} 3`,
		`halfopen_not_rewritten_total{queue="3"} 9`,
		`halfopen_flows{state="ESTABLISHED"} 11`,
		`halfopen_flows{state="SYN_SENT"} 0`,
		`halfopen_flows_restored 4`,
		`halfopen_flows_ended_total{reason="idle"} 13`,
		`halfopen_flow_events_dropped_total 1`,
		`halfopen_log_suppressed_total{reason="ack-no-state"} 14`,
		`halfopen_log_dropped_total 2`,
		`halfopen_pcap_packets_total 21`,
		`halfopen_pcap_dropped_total 22`,
		`halfopen_gap_packets_total 6`,
		`halfopen_policy_info{preset="lpd-case-2015",rev="sha256:12"} 1`,
		`halfopen_shadow_segments_total{policy="candidate.yaml"} 31`,
		`halfopen_shadow_shed_total{policy="candidate.yaml"} 32`,
		`halfopen_shadow_disagreements_total{live="in-window",policy="candidate.yaml",shadow="late-after-expiry"} 33`,
		`halfopen_shadow_disagreements_total{live="nothing",policy="candidate.yaml",shadow="idle-expired"} 34`,
		`halfopen_fastpath_info{state="off",why="marks-lost"} 1`,
		`halfopen_fastpath_flows 41`,
		`halfopen_fastpath_installed_total 42`,
		`halfopen_fastpath_full_total 43`,
		`halfopen_fastpath_lulls_total 46`,
		`halfopen_fastpath_evicted_total 44`,
		`halfopen_fastpath_lost_marks_total 45`,
		`halfopen_fastpath_kept_pairs{reason="overwritten"} 52`,
		`halfopen_fastpath_kept_pairs{reason="not-exempt"} 53`,
		`halfopen_fastpath_packets_total 46`,
		`halfopen_fastpath_bytes_total 47`,
		`halfopen_fastpath_foreign_marks_total 48`,
		`halfopen_fastpath_redirected_packets_total 49`,
		`halfopen_fastpath_punts_total{reason="fin"} 50`,
		`halfopen_fastpath_fallbacks_total{reason="mtu"} 51`,
		`halfopen_config_last_reload_successful 1`,
		`halfopen_config_last_reload_success_timestamp_seconds 1.7900000005e+09`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// testExposition is a registry's metrics in the text format.
func testExposition(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetricsServed(t *testing.T) {
	m, err := NewMetrics(MetricsConfig{Addr: "127.0.0.1:0", Counters: someCounters})
	if err != nil {
		t.Fatal(err)
	}
	get := func() string {
		res, err := http.Get("http://" + m.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		return string(b)
	}
	for _, want := range []string{"halfopen_flows_restored 4\n", "go_goroutines ", "process_start_time_seconds "} {
		if text := get(); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := NewMetrics(MetricsConfig{Addr: m.Addr().String(), Counters: someCounters}); err == nil || !strings.Contains(err.Error(), "metrics: ") {
		t.Errorf("an address in use: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + m.Addr().String() + "/metrics"); err == nil {
		t.Error("served after Close")
	}
}
