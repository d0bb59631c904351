package index

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

// agrees holds the whole index against the whole log: every record in order, and every flow's row.
func agrees(t *testing.T, x *Index, dir string) {
	t.Helper()
	all := facts(t, dir)
	var after Cursor
	n := 0
	for {
		p, err := x.Page(ctx, Filter{}, after, 1000, OldestFirst)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Rows {
			if n >= len(all) {
				t.Fatalf("more records than %d", len(all))
			}
			if diff := rowTells(&p.Rows[i], &all[n]); diff != "" {
				t.Fatalf("record %d:\n%s", n, diff)
			}
			n++
		}
		if !p.More {
			break
		}
		after = p.Rows[len(p.Rows)-1].Cursor
	}
	if n != len(all) {
		t.Fatalf("%d records, want %d", n, len(all))
	}
	flowsAgree(t, x, all)
}

// told is what records tell of a flow, for flowsAgree.
type told struct {
	decisions, forward, drop, syns, injections int
	counted                                    uint64
	reasons                                    map[string]int
	first, last                                Cursor
	end                                        *decisionlog.FlowEvent
}

func flowsAgree(t *testing.T, x *Index, all []fact) {
	t.Helper()
	want := map[string]*told{}
	for i := range all {
		e := &all[i].e
		if e.FlowID == 0 {
			continue
		}
		key := fmt.Sprint(e.Run, " ", e.FlowID)
		w := want[key]
		if w == nil {
			w = &told{reasons: map[string]int{}, first: all[i].at}
			want[key] = w
		}
		w.last = all[i].at
		switch {
		case e.Decision != nil:
			w.decisions++
			w.reasons[e.Decision.Verdict+"/"+e.Decision.Reason]++
			switch e.Decision.Verdict {
			case "forward":
				w.forward++
			case "drop":
				w.drop++
			}
			if e.TCP != nil && e.TCP.Flags == "S" {
				w.syns++
			}
		case e.Flow != nil: // and no decision: the first object counts
			w.counted += e.Flow.Counted
			if e.Flow.Event == "end" {
				w.end = e.Flow
			}
		case e.Inject != nil:
			w.injections++
		}
	}
	page, err := x.Flows(ctx, Filter{}, SortStart, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Flows) != len(want) {
		t.Fatalf("%d flows, want %d", len(page.Flows), len(want))
	}
	for i := range page.Flows {
		f := &page.Flows[i]
		w := want[fmt.Sprint(f.Run, " ", f.FlowID)]
		if w == nil {
			t.Fatalf("flow %d of run %s is in no record", f.FlowID, f.Run)
		}
		got := told{decisions: f.Decisions, forward: f.Forwarded, drop: f.Dropped, syns: f.Syns, injections: f.Injections, counted: f.Counted, first: f.First, last: f.Last}
		exp := *w
		exp.reasons, exp.end = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(exp) {
			t.Fatalf("flow %d: %+v, want %+v", f.FlowID, got, exp)
		}
		for _, r := range f.Reasons {
			if w.reasons[r.Verdict+"/"+r.Reason] != r.N {
				t.Fatalf("flow %d: %v, want %v", f.FlowID, f.Reasons, w.reasons)
			}
		}
		if w.end == nil && (f.Outcome != "" || !f.Ended.IsZero()) || w.end != nil && (f.Outcome != w.end.Outcome || f.EndReason != w.end.Reason ||
			f.PktsToServer != w.end.PktsToServer || f.Predecessor != w.end.Predecessor || f.Rule != w.end.Rule || f.Arm != w.end.Arm ||
			f.History != w.end.History || f.Stalled != w.end.Stalled || f.EndedBy != w.end.EndedBy) {
			t.Fatalf("flow %d: %+v, want the end %+v", f.FlowID, f, w.end)
		}
	}
}

// record is a decision for logs that a test writes piece by piece.
func put(w *decisionlog.Writer, flow int, reason string) {
	w.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, FlowID: uint64(flow),
		Decision: decisionlog.Decision{ID: w.NextID(), Verdict: "drop", Reason: reason}})
}

// Only what is new is read, and the blocks that are not full grow.
func TestIncremental(t *testing.T) {
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 30000, MaxTotalBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put(w, 1, "new")
	w.Flush()
	x := open(t, dir)
	y, err := Open(ctx, dir, Options{blockMax: 64, Warn: func(s string) { t.Error(s) }}) // another that is not kept up to date
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	for i := range 60 / breadth * 2 {
		for j := range i {
			put(w, 1+j%7, []string{"new", "fin", "rst"}[j%3])
		}
		w.Flush()
		before, _ := x.Files(ctx)
		if err := x.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		after, _ := x.Files(ctx)
		for k := range before[:len(before)-1] {
			if before[k] != after[k] {
				t.Fatalf("a file that is full was indexed again: %+v, then %+v", before[k], after[k])
			}
		}
		switch {
		case i%10 == 9:
			agrees(t, x, dir)
		case i == 25: // what is known of the last block is lost
			x.forget()
		}
	}
	if err := y.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	agrees(t, y, dir)
	files, _ := x.Files(ctx)
	blocks := 0
	for _, f := range files {
		blocks += (f.Records + x.opt.blockMax - 1) / x.opt.blockMax
	}
	var n int
	if err := x.SQL().QueryRow("SELECT count(*) FROM blocks").Scan(&n); err != nil || n != blocks {
		t.Errorf("%d blocks, want %d: they do not grow (%v)", n, blocks, err)
	}
	x.Close()
	agrees(t, open(t, dir), dir)
}

// A process that is killed while it indexes leaves an index that the next one goes on with.
func TestKilledWhileIndexing(t *testing.T) {
	if dir := os.Getenv("INDEX_KILL_DIR"); dir != "" {
		var left int
		fmt.Sscan(os.Getenv("INDEX_KILL_AFTER"), &left)
		Open(ctx, dir, Options{blockMax: 150, Progress: func(Progress) {
			if left--; left == 0 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}})
		return
	}
	dir, _ := generate(t, loggen.Config{Seed: 6, Decisions: 4500})
	for after := 1; after < 6; after++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileIndexing$")
		cmd.Env = append(os.Environ(), "INDEX_KILL_DIR="+dir, fmt.Sprint("INDEX_KILL_AFTER=", after))
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("after %d batches: %v", after, err)
		}
		x, err := OpenOnly(dir, Options{Warn: func(s string) { t.Error(s) }})
		if err != nil {
			t.Fatal(err)
		}
		n, err := x.Count(ctx, Filter{})
		if err != nil || n == 0 || after > 1 && n < uint64(150*after) {
			t.Errorf("after %d batches: %d records, %v", after, n, err)
		}
		x.Close()
	}
	agrees(t, open(t, dir), dir)
}

// A file that is compressed after it was indexed is the same file.
func TestCompressedLater(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 10, Decisions: 5000 / breadth, MaxFileBytes: 2 << 20 / breadth})
	x := open(t, dir)
	files, _ := decisionlog.Files(dir)
	var blocks, after int
	x.SQL().QueryRow("SELECT count(*) FROM blocks").Scan(&blocks)
	for _, name := range files[:len(files)-1] {
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(name + ".zst")
		if err != nil {
			t.Fatal(err)
		}
		if err := decisionlog.Compress(out, in); err != nil {
			t.Fatal(err)
		}
		in.Close()
		out.Close()
		os.Remove(name)
	}
	// Before the index knows, records are found in the compressed file; and after.
	for range 2 {
		p, err := x.Page(ctx, Filter{}, Cursor{}, 1<<20, NewestFirst)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(p.Rows); i += 1 + len(p.Rows)/40 {
			e, err := x.Event(ctx, p.Rows[i].Cursor)
			if err != nil || e.FlowID != p.Rows[i].FlowID || !e.Timestamp.Equal(p.Rows[i].Time) {
				t.Fatalf("row %d: %+v, %v", i, e, err)
			}
		}
		if err := x.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
	x.SQL().QueryRow("SELECT count(*) FROM blocks").Scan(&after)
	var frames int
	x.SQL().QueryRow("SELECT count(*) FROM frames").Scan(&frames)
	if after != blocks || frames < len(files)-1 {
		t.Errorf("%d blocks, then %d; %d frames of %d files", blocks, after, frames, len(files)-1)
	}
	agrees(t, x, dir)
}

// Two that index the same log at once, while it is written, both end with all of it.
func TestTwoAtOnce(t *testing.T) {
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 100000, MaxTotalBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	put(w, 1, "new")
	w.Flush()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		x, err := Open(ctx, dir, Options{blockMax: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		wg.Add(2)
		go func() {
			defer wg.Done()
			for {
				if err := x.Refresh(ctx); err != nil {
					t.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		go func() {
			defer wg.Done()
			last := uint64(0)
			for {
				n, err := x.Count(ctx, Filter{})
				if err != nil || n < last {
					t.Errorf("%d records, then %d, %v", last, n, err)
				}
				last = n
				if _, err := x.Page(ctx, Filter{Reason: []string{"fin"}}, Cursor{}, 10, NewestFirst); err != nil {
					t.Error(err)
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
	}
	for i := range 3000 {
		put(w, 1+i%50, []string{"new", "fin"}[i%2])
		if i%100 == 0 {
			w.Flush()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	agrees(t, open(t, dir), dir)
}

// One that indexes holds up others that want to, and nobody else: they wait until it is done, or their time is.
func TestLock(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 15, Decisions: 500})
	x, y := open(t, dir), open(t, dir)
	unlock, err := x.takeLock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := decisionlog.Files(dir)
	os.Remove(files[0])
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := y.Refresh(soon); err == nil {
		t.Error("two index at once")
	}
	if n, err := y.Count(ctx, Filter{}); err != nil || n == 0 {
		t.Errorf("a reader was held up: %d, %v", n, err)
	}
	unlock()
	if err := y.Refresh(ctx); err != nil {
		t.Error(err)
	}
}

// A full disk ends indexing with a message that names file and byte; what is indexed can be asked, and with room it goes on.
func TestFullDisk(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 11, Decisions: 6000, Flows: 1500})
	x, err := Open(ctx, dir, Options{maxPages: 110, blockMax: 300})
	if !Full(err) || x == nil {
		t.Fatalf("a database of 110 pages: %v", err)
	}
	for _, want := range []string{"decisions-", ": byte ", "full", "what is indexed so far can be asked"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q", err, want)
		}
	}
	n, err := x.Count(ctx, Filter{})
	if err != nil || n < 300 {
		t.Errorf("%d records can be asked, %v", n, err)
	}
	if err := x.Refresh(ctx); !Full(err) {
		t.Errorf("again: %v", err)
	}
	x.Close()
	agrees(t, open(t, dir), dir)
}

// Indexing ends when it is told to, and goes on where it was.
func TestCancelled(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 12, Decisions: 3000 / breadth})
	c, cancel := context.WithCancel(ctx)
	x, err := Open(c, dir, Options{blockMax: 200, Progress: func(Progress) { cancel() }})
	if err == nil || x == nil {
		t.Fatalf("%v", err)
	}
	if n, err := x.Count(ctx, Filter{}); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
	if err := x.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	agrees(t, x, dir)
	x.Close()
}
