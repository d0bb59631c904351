package decisionlog

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// die stops a Writer without its closing words, as kill -9 does.
func die(w *Writer) {
	w.Flush()
	w.close.Do(func() {})
	d := w.sink.(*dirSink)
	d.Write = func(*os.File, []byte) (int, error) { return 0, os.ErrClosed }
	_ = d.Unlock()
}

// run writes a run of n decisions and stats with the kernel counter at base + n.
func run(t *testing.T, opt Options, base, n uint64) *Writer {
	t.Helper()
	w := open(t, opt)
	w.Put(&Record{Time: 1, Event: EventStats, Stats: &Stats{Kernel: Kernel{Set: true, Base: base, Now: base}}})
	for i := range n {
		w.Put(decision(w.control, "r", int64(i+2)))
		w.Flush()
	}
	w.Put(&Record{Time: int64(n + 5), Event: EventStats, Stats: &Stats{Kernel: Kernel{Set: true, Base: base, Now: base + n}}})
	w.Flush()
	return w
}

func TestCrashAccounting(t *testing.T) {
	for name, c := range map[string]struct {
		counter uint64
		present bool
		boot    string
		count   uint64
		bound   string
		detail  string
	}{
		"counter left behind": {1000 + 10 + 7, true, "boot", 7 + 2, BoundUpper, ""},
		"nothing more came":   {1000 + 10, true, "boot", 2, BoundUpper, ""},
		"rules gone":          {0, false, "boot", 2, BoundUnknown, "are gone"},
		"rebooted":            {5, true, "other", 2, BoundUnknown, "rebooted"},
		"counter went back":   {1000 + 3, true, "boot", 2, BoundUnknown, "went back"},
	} {
		t.Run(name, func(t *testing.T) {
			// Files of a few records, so that the sum comes from a header too. Two
			// messages are in the counter but not in the log.
			opt := Options{Dir: t.TempDir(), BootID: "boot", MaxFileBytes: 900}
			w := run(t, opt, 1000, 8)
			w.Put(&Record{Time: 99, Event: EventStats, Stats: &Stats{Kernel: Kernel{Set: true, Base: 1000, Now: 1010}}})
			die(w)
			opt.BootID = c.boot
			w2 := open(t, opt)
			p := w2.Previous()
			if p == nil || p.Run != w.Run() || p.Final || p.Explains.Sum() != 8 || p.Kernel != (Kernel{true, 1000, 1010}) {
				t.Fatalf("previous %+v", p)
			}
			g := w2.Recover(c.counter, c.present)
			if g == nil || g.Count != c.count || g.Bound != c.bound || !strings.Contains(g.Detail, c.detail) || g.Run != w.Run() || g.Known != 8 {
				t.Fatalf("gap %+v", g)
			}
			w2.Put(decision(w2.control, "r", 1))
			if err := w2.Close(); err != nil {
				t.Fatal(err)
			}
			events, _ := readAll(t, opt.Dir)
			for i, e := range events {
				if e.Header != nil && e.Run == w2.Run() && e.Header.FileSeq == 1 {
					if n := events[i+1]; n.Gap == nil || n.Gap.Count != c.count || n.Gap.Run != w.Run() {
						t.Errorf("after the new run's header: %+v", n)
					}
				}
			}
		})
	}
}

// A crash gap waits for a disk that is full at the start.
func TestCrashGapOnFullDisk(t *testing.T) {
	opt := Options{Dir: t.TempDir()}
	die(run(t, opt, 0, 3))
	d := &disk{}
	w := openOn(t, d, opt)
	d.set(true, 0)
	if g := w.Recover(10, true); g == nil || g.Count != 7 {
		t.Fatalf("gap %+v", g)
	}
	w.Flush()
	d.set(false, 0)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	events, _ := readAll(t, opt.Dir)
	found := 0
	for _, e := range events {
		if e.Gap != nil && e.Gap.Where == GapCrash && e.Gap.Count == 7 {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d crash gaps in the log", found)
	}
}

func TestNothingToRecover(t *testing.T) {
	opt := Options{Dir: t.TempDir()}
	w := open(t, opt)
	if w.Previous() != nil || w.Recover(5, true) != nil {
		t.Error("an empty directory has a previous run")
	}
	w.Put(&Record{Event: EventStats, Stats: &Stats{Final: true, Kernel: Kernel{Set: true}}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = open(t, opt)
	if p := w.Previous(); p == nil || !p.Final || w.Recover(5, true) != nil {
		t.Errorf("a run that ended well: %+v", p)
	}
}

// A file without a whole header and a last line cut short count for nothing, and
// both files stay as they are.
func TestStartAfterCutLine(t *testing.T) {
	opt := Options{Dir: t.TempDir()}
	die(run(t, opt, 0, 3))
	files, _ := Files(opt.Dir)
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"timestamp":"2026-11-23T18:0`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(opt.Dir+"/decisions-99991231T000000.000Z-000001.jsonl", []byte(`{"times`), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, opt)
	if p := w.Previous(); p == nil || p.Explains.Sum() != 3 || p.BadLines != 1 {
		t.Fatalf("previous %+v", p)
	}
	if g := w.Recover(3, true); g.Count != 0 || !strings.Contains(g.Detail, "1 lines") {
		t.Errorf("gap %+v", g)
	}
	w.Flush()
	after, err := os.ReadFile(files[0])
	if err != nil || string(after) != string(before) {
		t.Errorf("the old file changed (%v)", err)
	}
	files, _ = Files(opt.Dir)
	if _, bad := readAll(t, opt.Dir); len(files) != 3 || len(bad) != 2 {
		t.Errorf("files %v, bad %v", files, bad)
	}
}

// A process is killed with -9 while it writes: the log it leaves reads well but
// for a last line, and the next start balances it.
func TestKillNine(t *testing.T) {
	if dir := os.Getenv("DECISIONLOG_TEST_DIR"); dir != "" {
		writeUntilKilled(dir)
		return
	}
	opt := Options{Dir: t.TempDir()}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillNine$")
	cmd.Env = append(os.Environ(), "DECISIONLOG_TEST_DIR="+opt.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	if _, err := Open(opt); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the directory of a live process: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	w := open(t, opt)
	p := w.Previous()
	events, bad := readAll(t, opt.Dir)
	if n := sum(events).Sum(); n < 2000 || p == nil || p.Explains.Sum() != n || len(bad) > 1 {
		t.Fatalf("%d messages, previous %+v, bad %v", n, p, bad)
	}
	if g := w.Recover(1<<40, true); g.Count != 1<<40-p.Explains.Sum() || g.Bound != BoundUpper {
		t.Errorf("gap %+v", g)
	}
}

func writeUntilKilled(dir string) {
	w, err := Open(Options{Dir: dir, RingSize: 256})
	if err != nil {
		panic(err)
	}
	w.Put(&Record{Event: EventStats, Stats: &Stats{Kernel: Kernel{Set: true}}})
	p := w.Producer(1)
	for end, told := time.Now().Add(30*time.Second), false; time.Now().Before(end); {
		p.Put(decision(p, "r", time.Now().UnixNano()))
		if !told && w.Counters().Records > 2000 {
			told = true
			os.Stdout.WriteString("ready\n")
		}
	}
}

// A run whose final stats record filled a file, so that its trailer stands alone in the next, has ended well.
func TestPreviousTrailerAlone(t *testing.T) {
	for _, final := range []bool{true, false} {
		dir := t.TempDir()
		w := open(t, Options{Dir: dir, MaxFileBytes: 1, MaxTotalBytes: -1})
		w.Put(&Record{Time: 1, Event: EventStats, Stats: &Stats{Kernel: Kernel{Set: true, Base: 5, Now: 5}}})
		w.Flush()
		w.Put(&Record{Time: 2, Event: EventStats, Stats: &Stats{Final: final, Kernel: Kernel{Set: true, Base: 5, Now: 5}}})
		w.Flush()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		files, _ := Files(dir)
		if events, _ := readAll(t, files[len(files)-1]); len(files) < 3 || len(events) != 2 || events[1].Trailer == nil {
			t.Fatalf("%d files, the last of %d records: the test shows nothing", len(files), len(events))
		}
		w = open(t, Options{Dir: dir})
		if p, gap := w.Previous(), w.Recover(5, true); p.Final != final || (gap == nil) != final {
			t.Errorf("final %v: %+v, gap %+v", final, p, gap)
		}
		w.Close()
	}
}
