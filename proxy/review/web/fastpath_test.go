package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
)

// passedLog is a log of two connections, much of which passed by the fast path: 1,234 packets in their records, two that were queued after
// all, and five that only a gap tells of. Its last stats record is what change makes of it.
func passedLog(t *testing.T, change func(*decisionlog.FastPathStats)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, BootID: "page", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(0)
	now := time.Now().UnixNano()
	flow := func(id uint64, kind decisionlog.FlowKind, packets, bytes uint64, told [2]int64) {
		p.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventFlow, FlowID: id, Src: netip.MustParseAddrPort("10.9.9.9:721"), Dst: netip.MustParseAddrPort("192.0.2.9:515"),
			Flow: decisionlog.Flow{Kind: kind, Start: now, Last: now, Fast: [2]uint64{packets, 0}, FastBytes: [2]uint64{bytes, 0}, FastCounted: told, Counted: 1}})
	}
	flow(1, decisionlog.FlowNew, 0, 0, [2]int64{})
	flow(2, decisionlog.FlowNew, 0, 0, [2]int64{})
	flow(1, decisionlog.FlowUpdate, 1000, 60000, [2]int64{1000, 60000})
	flow(1, decisionlog.FlowEnd, 1200, 72000, [2]int64{200, 12000})
	flow(2, decisionlog.FlowUpdate, 34, 2040, [2]int64{34, 2040})
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapWorker, Bound: decisionlog.BoundExact, Fast: [2]int64{5, 300}}})
	st := decisionlog.Stats{Final: true, Received: 5, FastPath: decisionlog.FastPathStats{State: "on", Packets: 1241, Bytes: 74460, Returned: [2]uint64{2, 120}}}
	change(&st.FastPath)
	w.Flush()
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventStats, Stats: &st})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What passed by the fast path is proven on the page as by `review verify`.
func TestFastPathIsProven(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*decisionlog.FastPathStats)
		edit   [2]string
		status review.Status
		says   []string
	}{
		"balanced": {func(*decisionlog.FastPathStats) {}, [2]string{}, review.Balanced, []string{
			`<td class="num">` + count(1241) + `<br><span class="dim">` + count(74460) + ` bytes</span></td><td class="num">` + count(1234) +
				`<br><span class="dim">` + count(74040) + `</span></td><td class="num">2<br><span class="dim">120</span></td><td class="num">5<br><span class="dim">300</span></td><td class="num">` +
				count(1241) + `<br><span class="dim">` + count(74460) + `</span></td><td><span class="badge badge-good">balanced</span></td>`}},
		"counter": {func(f *decisionlog.FastPathStats) { f.Packets++ }, [2]string{}, review.Mismatch,
			[]string{`<span class="badge badge-bad">mismatch</span>`, "the fast path has counted 1242 packets (74460 bytes), and the log tells of 1 packets less and as many bytes", "does not balance"}},
		"a flow's": {func(*decisionlog.FastPathStats) {}, [2]string{`"fastpath_pkts_toserver":1200,`, `"fastpath_pkts_toserver":1201,`}, review.Mismatch,
			[]string{"flow 1 had 1000 packets (60000 bytes) by the fast path and now has 1201 (72000), but the record tells of 200 (12000) more", "does not balance"}},
		"unread": {func(f *decisionlog.FastPathStats) { f.Unproven = "no such map" }, [2]string{}, review.Unknown,
			[]string{`<span class="badge badge-warn">unknown</span><br><span class="dim">cannot be proven: a counter could not be read: no such map</span>`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := passedLog(t, c.change)
			if c.edit[0] != "" {
				files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
				if err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(files[0], []byte(strings.Replace(string(text), c.edit[0], c.edit[1], 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			rep, err := review.Verify(dir)
			if err != nil {
				t.Fatal(err)
			}
			if f := rep.Runs[0].FastPath; f == nil || f.Status != c.status {
				t.Fatalf("verify: %+v", f)
			}
			s := serve(t, dir, nil)
			body := page(t, s, "/", http.StatusOK)
			for _, want := range c.says {
				if !strings.Contains(body, want) {
					t.Errorf("the page lacks %q in\n%s", want, body)
				}
			}
			sound(t, "/", ask(t, s, "/", nil))
		})
	}
	none, _ := generated(t, 50)
	if body := page(t, serve(t, none, nil), "/", http.StatusOK); strings.Contains(body, "By the fast path") {
		t.Error("the page tells of a fast path that nothing took")
	}
}
