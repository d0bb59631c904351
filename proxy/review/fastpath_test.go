package review

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// passed writes a run of which much passed by a fast path: a flow that begins and ends in it, one that goes on, and one of an earlier run; a
// worker died, and two packets came by the queue after all. It returns the final stats record, which is not written.
func passed(w *decisionlog.Writer) *decisionlog.Stats {
	p := w.Producer(1)
	now := time.Now().UnixNano()
	flow := func(id uint64, kind decisionlog.FlowKind, start int64, packets, bytes [2]uint64, told [2]int64) {
		p.Put(&decisionlog.Record{Time: now, FlowID: id, Src: client, Dst: server, Event: decisionlog.EventFlow, Flow: decisionlog.Flow{Kind: kind,
			Fast: packets, FastBytes: bytes, FastCounted: told, Start: start, Last: now, Counted: 1}})
		w.Flush()
	}
	flow(1, decisionlog.FlowNew, now, [2]uint64{}, [2]uint64{}, [2]int64{})
	flow(2, decisionlog.FlowNew, now, [2]uint64{}, [2]uint64{}, [2]int64{})
	flow(1, decisionlog.FlowUpdate, now, [2]uint64{10, 5}, [2]uint64{4000, 200}, [2]int64{15, 4200})
	flow(3, decisionlog.FlowUpdate, now-1e12, [2]uint64{1007, 0}, [2]uint64{90280, 0}, [2]int64{7, 280}) // restored with 1000 packets
	flow(2, decisionlog.FlowUpdate, now, [2]uint64{1, 1}, [2]uint64{40, 40}, [2]int64{2, 80})
	flow(1, decisionlog.FlowEnd, now, [2]uint64{9, 5}, [2]uint64{3960, 200}, [2]int64{-1, -40})
	flow(3, decisionlog.FlowEnd, now-1e12, [2]uint64{1007, 3}, [2]uint64{90280, 120}, [2]int64{3, 120})
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapWorker, Bound: decisionlog.BoundExact,
		Fast: [2]int64{20, 1000}}})
	w.Flush()
	return &decisionlog.Stats{Final: true, Received: 7, FastPath: decisionlog.FastPathStats{State: "on", Packets: 15 + 7 + 2 - 1 + 3 + 20 + 2,
		Bytes: 4200 + 280 + 80 - 40 + 120 + 1000 + 80, Returned: [2]uint64{2, 80}}}
}

func endRun(t *testing.T, w *decisionlog.Writer, st *decisionlog.Stats) {
	t.Helper()
	w.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventStats, Stats: st})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// text is the report for people.
func text(t *testing.T, rep *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := rep.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What passed by the fast path is held against its own counter, packets and bytes.
func TestVerifyFastPath(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*decisionlog.FastPathStats)
		status Status
		says   string
	}{
		"balanced":   {func(*decisionlog.FastPathStats) {}, Balanced, "told in all                           48  (5720 bytes)  balanced"},
		"one more":   {func(f *decisionlog.FastPathStats) { f.Packets++ }, Mismatch, "has counted 49 packets (5720 bytes), and the log tells of 1 packets less and as many bytes"},
		"bytes less": {func(f *decisionlog.FastPathStats) { f.Bytes -= 7 }, Mismatch, "tells of as many packets and 7 bytes more"},
		"not returned": {func(f *decisionlog.FastPathStats) { f.Returned = [2]uint64{} }, Mismatch,
			"tells of 2 packets less and 80 bytes less"},
		"unread": {func(f *decisionlog.FastPathStats) { f.Packets, f.Unproven = 0, "no such map" }, Unknown, "cannot be proven: a counter could not be read: no such map"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := writer(t, dir)
			st := passed(w)
			c.change(&st.FastPath)
			endRun(t, w, st)
			rep := verify(t, dir)
			r := rep.Runs[0]
			if r.FastPath == nil || r.FastPath.Status != c.status || rep.OK != (c.status != Mismatch) || r.Files < 1 {
				t.Errorf("%+v %+v, %s", r, r.FastPath, problems(rep))
			}
			if got := text(t, rep); !strings.Contains(got, c.says) {
				t.Errorf("no %q in\n%s", c.says, got)
			}
		})
	}
}

// Whatever is taken from a balanced log or changed in it is found; where lines are missing, that is what is wrong.
func TestVerifyFastPathTampered(t *testing.T) {
	for name, c := range map[string]struct {
		pattern, with, want string
		status              Status
	}{
		"record removed": {`(?m)^.*"fastpath_counted":15,.*\n`, "", LinesMissing, Unknown},
		"gap removed":    {`(?m)^.*"where":"worker".*\n`, "", LinesMissing, Unknown},
		"in all":         {`"fastpath_pkts_toserver":10,`, `"fastpath_pkts_toserver":11,`, FastPath, Mismatch},
		"bytes in all":   {`"fastpath_bytes_toclient":120,`, `"fastpath_bytes_toclient":121,`, FastPath, Mismatch},
		"in all of new":  {`("event":"new",.*"bytes_toclient":0,)`, `$1"fastpath_pkts_toserver":3,`, FastPath, Mismatch},
		"counter":        {`"pkts":48,`, `"pkts":47,`, FastPath, Mismatch},
		"old version":    {`"returned_pkts":2,`, ``, "", Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := writer(t, dir)
			endRun(t, w, passed(w))
			edit(t, dir, c.pattern, c.with)
			rep := verify(t, dir)
			if got := problems(rep); !strings.Contains(got, c.want) || rep.OK != (c.want == "") || rep.Runs[0].FastPath.Status != c.status {
				t.Errorf("%+v, problems %q, want %q", rep.Runs[0].FastPath, got, c.want)
			}
		})
	}
}

// Records that were lost for want of room are told of by gap records; then nobody asks a flow's other records for them.
func TestVerifyFastPathLostRecords(t *testing.T) {
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, BootID: "boot", RingSize: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(1)
	now := time.Now().UnixNano()
	var sum [2]uint64
	put := func(kind decisionlog.FlowKind, told uint64) (lost bool) {
		sum[0], sum[1] = sum[0]+told, sum[1]+100*told
		return !p.Put(&decisionlog.Record{Time: now, FlowID: 1, Src: client, Dst: server, Event: decisionlog.EventFlow, Flow: decisionlog.Flow{Kind: kind,
			Fast: [2]uint64{0, sum[0]}, FastBytes: [2]uint64{0, sum[1]}, FastCounted: [2]int64{int64(told), int64(100 * told)}, Start: now}})
	}
	put(decisionlog.FlowNew, 0)
	lost := 0
	for i := range uint64(1000) {
		if put(decisionlog.FlowUpdate, i) {
			lost++
		}
	}
	w.Flush()
	put(decisionlog.FlowEnd, 5)
	w.Flush()
	endRun(t, w, &decisionlog.Stats{Final: true, FastPath: decisionlog.FastPathStats{State: "on", Packets: sum[0], Bytes: sum[1]}})
	rep := verify(t, dir)
	if f := rep.Runs[0].FastPath; lost == 0 || !rep.OK || f.Status != Balanced || f.Lost == 0 || f.Told+f.Lost != int64(sum[0]) {
		t.Errorf("%d records lost; %+v, %s", lost, f, text(t, rep))
	}
}

// A run that died takes the program's counter with it: nothing can be proven of it, and nothing is wrong.
func TestVerifyFastPathCrash(t *testing.T) {
	dir := crashed(t)
	next(t, dir, 1000+223+40, true)
	edit(t, dir, `"tombstones":0`, `"tombstones":0,"fastpath":{"state":"on","pkts":9,"bytes":900,"returned_pkts":0}`)
	rep := verify(t, dir)
	if f := rep.Runs[0].FastPath; !rep.OK || f == nil || f.Status != Unknown || !strings.Contains(text(t, rep), "cannot be proven: the run died") {
		t.Errorf("%+v, %s", f, text(t, rep))
	}
}
