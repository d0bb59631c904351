package index

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"halfopen/proxy/review/loggen"
	"halfopen/proxy/review/trouble"
)

var (
	scaleDecisions = flag.Int("decisions", 60_000/breadth, "TestScale: decisions of the log; 10000000 is the size of docs/review.md's figures")
	scaleKeep      = flag.Bool("scale-keep", false, "TestScale: use the log's index as it is, and only ask")
	scaleRows      = flag.Bool("rows", false, "TestRowsAgainstBlocks: at the size of TestScale's log")
	scaleLog       = flag.String("scale-log", "", "TestScale: directory of the log, kept and used again; default: a new one, removed")
)

// figures is what a run of TestScale measures.
type figures struct {
	Decisions, Records, Flows int
	TextMiB, IndexMiB         float64
	IndexCPU, IndexWall       float64 // seconds
	PeakMiB                   float64 // resident, of the process that indexed and asked
	OpenMS                    float64 // of an index that is up to date
	Queries                   []timing
}

type timing struct {
	Name string
	Rows int
	MS   float64 // of processor time: what the clock would show if the machine had nothing else to do
	Wall float64 // of the clock
}

// TestScale indexes a generated log in a process of its own and asks it, and prints what that takes. By default it is small; the
// figures in docs/review.md come from
//
//	go test ./proxy/review/index -run TestScale -v -timeout 60m -args -decisions 10000000 -scale-log /tmp/log
//
// The bounds on time are held at full size, where they are the product's; at a smaller one they are three times as wide, because
// the machines of a test are busy with others.
func TestScale(t *testing.T) {
	if dir := os.Getenv("INDEX_SCALE_CHILD"); dir != "" {
		if err := json.NewEncoder(os.Stdout).Encode(measure(t, dir)); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := *scaleLog
	if dir == "" {
		dir = t.TempDir()
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "decisions-*")); len(files) == 0 {
		w, err := loggen.Generate(loggen.Config{Dir: dir, Seed: 4, Decisions: *scaleDecisions, Flows: *scaleDecisions / 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("generated %d decisions, %d flows", w.Decisions, w.Flows)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestScale$", "-test.timeout=0", fmt.Sprintf("-scale-keep=%v", *scaleKeep))
	cmd.Env = append(os.Environ(), "INDEX_SCALE_CHILD="+dir, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var f figures
	line, _, _ := strings.Cut(string(out), "\n")
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.print(t)
	slack := 3.0
	if f.Decisions >= 5_000_000 {
		slack = 1
	}
	if rate := float64(f.Records) / f.IndexCPU; rate < 60_000/slack && !*scaleKeep {
		t.Errorf("indexed %.0f records a second of processor time, want 60000", rate)
	}
	if f.PeakMiB > 300 {
		t.Errorf("%.0f MiB resident, want less than 300", f.PeakMiB)
	}
	for _, q := range f.Queries {
		if strings.HasPrefix(q.Name, "page") && q.MS > 300*slack || q.MS > 1000*slack {
			t.Errorf("%s: %.0f ms, want a page in less than 300, all else in less than 1000", q.Name, q.MS)
		}
	}
}

func (f *figures) print(t *testing.T) {
	t.Logf("%d records (%d decisions) of %d flows, %.0f MiB of text; index %.0f MiB", f.Records, f.Decisions, f.Flows, f.TextMiB, f.IndexMiB)
	t.Logf("indexed in %.1f s of processor time (%.0f records/s), %.1f s of the clock (%.0f records/s); opened again in %.0f ms",
		f.IndexCPU, float64(f.Records)/f.IndexCPU, f.IndexWall, float64(f.Records)/f.IndexWall, f.OpenMS)
	t.Logf("resident at most %.0f MiB", f.PeakMiB)
	for _, q := range f.Queries {
		t.Logf("%7.1f ms (%7.1f ms of the clock)  %8d  %s", q.MS, q.Wall, q.Rows, q.Name)
	}
}

// measure is the child: it indexes and asks.
func measure(t *testing.T, dir string) figures {
	if !*scaleKeep {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(filepath.Join(dir, FileName+suffix))
		}
	}
	start, cpu := time.Now(), processorTime()
	x, err := Open(ctx, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := figures{IndexWall: time.Since(start).Seconds(), IndexCPU: (processorTime() - cpu).Seconds()}
	files, err := x.Files(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f.Records += file.Records
		f.TextMiB += float64(file.Bytes) / (1 << 20)
	}
	if n, err := x.Count(ctx, Filter{Event: []string{"decision"}}); err == nil {
		f.Decisions = int(n)
	}
	fp, err := x.Flows(ctx, Filter{}, SortStart, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.Flows = fp.Total
	middle := files[len(files)/2]
	x.Close()
	runtime.GC()
	start = time.Now()
	if x, err = Open(ctx, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	f.OpenMS = ms(start)
	st, err := os.Stat(x.Path())
	if err != nil {
		t.Fatal(err)
	}
	f.IndexMiB = float64(st.Size()) / (1 << 20)
	f.Queries = ask(t, x, middle)
	f.PeakMiB = peak()
	return f
}

// ask times the questions of a reviewer: first pages of filters that fit much, little and nothing, alone and together.
func ask(t *testing.T, x *Index, middle File) []timing {
	old, err := x.Page(ctx, Filter{Event: []string{"flow"}, Until: middle.Last}, Cursor{}, 1, NewestFirst)
	if err != nil || len(old.Rows) == 0 {
		t.Fatal(err)
	}
	r := old.Rows[0]
	var out []timing
	add := func(name string, fn func() (int, error)) {
		start, cpu := time.Now(), processorTime()
		n, err := fn()
		if err != nil {
			t.Fatal(name, err)
		}
		out = append(out, timing{name, n, (processorTime() - cpu).Seconds() * 1000, ms(start)})
	}
	one := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())} }
	for _, f := range []Filter{
		{}, {Verdict: []string{"drop"}}, {Reason: []string{"syn-established"}}, {Reason: []string{"late-after-expiry"}}, {Reason: []string{"new"}, Verdict: []string{"drop"}},
		{Rule: []string{"voip"}}, {Arm: []string{"B"}}, {Rev: []string{"9f2c"}}, {Outcome: []string{"reset"}}, {Outcome: []string{"closed"}, Reason: []string{"syn-established"}},
		{Event: []string{"gap"}}, {Event: []string{"inject"}}, {Flow: []uint64{r.FlowID}}, {Flow: []uint64{12345}}, {Addr: one(r.Src.Addr())},
		{Src: one(netip.MustParseAddr("198.51.100.1"))}, {Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Reason: []string{"late-after-expiry"}},
		{Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Rule: []string{"voip"}, Verdict: []string{"rewrite"}, Reason: []string{"fin"}},
		{Dst: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Port: []uint16{515}, Reason: []string{"fin"}, Arm: []string{"A"}, Outcome: []string{"reset"}},
		{Src: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}, DstPort: []uint16{515}}, {Port: []uint16{721}}, {Port: []uint16{7}},
		{CommunityID: []string{"1:LQU9qZlK+B5F3KDmev6m5PMibrg="}},
		{Since: middle.First, Until: middle.First.Add(time.Second)}, {Until: middle.First, Reason: []string{"rst"}},
	} {
		for order, word := range map[Order]string{NewestFirst: "newest", OldestFirst: "oldest"} {
			add(fmt.Sprintf("page, %s first: %s", word, f.String()), func() (int, error) {
				p, err := x.Page(ctx, f, Cursor{}, 100, order)
				return len(p.Rows), err
			})
		}
	}
	add("page with its lines: reason:syn-established", func() (n int, err error) {
		p, err := x.Page(ctx, Filter{Reason: []string{"syn-established"}}, Cursor{}, 100, NewestFirst)
		var at []Cursor
		for _, r := range p.Rows {
			at = append(at, r.Cursor)
		}
		for e, lerr := range x.Events(ctx, at) {
			if lerr == nil && e.Decision != nil {
				n++
			}
		}
		return n, err
	})
	for _, f := range []Filter{{}, {Verdict: []string{"drop"}}, {Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}} {
		for _, bucket := range []time.Duration{time.Minute, 5 * time.Minute} {
			add(fmt.Sprintf("time strip by %v: %s", bucket, f.String()), func() (int, error) {
				r, err := x.Rollup(ctx, f, bucket, ByVerdict)
				return int(r.Total), err
			})
		}
		add("count: "+f.String(), func() (int, error) { n, err := x.Count(ctx, f); return int(n), err })
	}
	for range 2 { // the first time the search's state is loaded
		add("trouble, grouped", func() (int, error) { r, err := x.Trouble(ctx, trouble.Filter{}); return int(r.Troubled), err })
	}
	add("trouble of the last hour, grouped", func() (int, error) {
		files, err := x.Files(ctx)
		if err != nil {
			return 0, err
		}
		r, err := x.Trouble(ctx, trouble.Filter{Since: files[len(files)-1].Last.Add(-time.Hour)})
		return int(r.Troubled), err
	})
	add("flow", func() (int, error) { f, err := x.Flow(ctx, r.FlowID); return f.Decisions, err })
	add("lineage", func() (int, error) {
		f, err := x.Flow(ctx, r.FlowID)
		if err != nil {
			return 0, err
		}
		fs, err := x.FlowsByTuple(ctx, f.CommunityID)
		return len(fs), err
	})
	for _, s := range FlowSorts() {
		add("flows by "+string(s)+": reason:syn-established", func() (int, error) {
			p, err := x.Flows(ctx, Filter{Reason: []string{"syn-established"}}, s, 0, 100)
			return len(p.Flows), err
		})
	}
	return out
}

func ms(since time.Time) float64 { return float64(time.Since(since)) / float64(time.Millisecond) }

// processorTime is what this process has used of it, in user mode and in the kernel's.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak is the highest number of MiB that were resident.
func peak() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
