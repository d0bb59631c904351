//go:build netns

package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

var (
	benchRounds  = flag.Int("bench-rounds", 1, "rounds of TestBench")
	benchOther   = flag.String("bench-other", "", "another halfopen program that TestBench measures in the same rounds, as mode other")
	benchModesOf = flag.String("bench-modes", "", "modes that TestBench measures, with commas between; the first is what others are compared with (default: all)")
	benchLoads   = flag.String("bench-loads", "", "loads that TestBench measures, with commas between: bulk, bulk8, small, connections, connect (default: all)")
	benchMSS     = flag.Int("bench-mss", 0, "MSS of TestBench's small segments (0: the least that Linux takes)")
	benchPairs   = flag.Int("bench-pairs", 1, "addresses of TestBench's client, at most 200: the kernel spreads address pairs over the queues")
	benchJSON    = flag.String("bench-json", "", "file for TestBench's report in JSON")
	benchProfile = flag.String("bench-profile", "", "directory for profiles of TestBench's loads in each mode; the figures are worth little then")
	benchSeconds = flag.Float64("bench-seconds", 0.3, "seconds of each figure of TestBench")
)

// benchMore are modes that TestBench measures too: -bench-with 'NAME=ARGUMENTS of halfopen run'.
var benchMore = map[string][]string{}

func init() {
	flag.Func("bench-with", "`NAME=[/PROGRAM] ARGUMENTS`: another mode for TestBench, halfopen run with these arguments; may be given again", func(v string) error {
		name, args, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want NAME=ARGUMENTS, or NAME=/PROGRAM ARGUMENTS")
		}
		benchMore[name] = strings.Fields(args)
		return nil
	})
}

// yardsticks are the modes that queue segments to an empty loop in C (testdata/yardstick.c): what the kernel's queue costs whoever
// decides. The rules are halfopen's own. The first queues every segment. So does the fast path with a connection of less than nine
// packets: it is the yardstick for short connections in every mode. The second queues SYN, FIN and RST alone, which is the least that any
// fast path could: a rule gives the others, from their first one on, the mark that a program would give them.
func yardsticks(t *testing.T) []benchMode {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "yardstick")
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-pthread", "-o", binary, "testdata/yardstick.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	marks, err := fastpath.NewMarks(nfqueue.DefaultMarkMask)
	if err != nil {
		t.Fatal(err)
	}
	all := nfqueue.RuleSet{Queues: [2]uint16{0, 1}, FailOpen: true}
	few := all
	few.FastMark = marks.FastMark()
	exempt := fmt.Sprintf("table inet hoyardstick { chain ingress { type filter hook prerouting priority raw; tcp flags & (fin|syn|rst) == 0 meta mark set 0x%x; }; }", few.FastMark)
	mode := func(name, means string, rules *nfqueue.RuleSet, more string) benchMode {
		return benchMode{
			name: name, means: means,
			start: func(ctx context.Context, b *bench, dir string) (*gateway, error) {
				ready := filepath.Join(dir, "ready")
				p, err := b.top.Gateway.start(exec.Command(binary, "0", "1", "256", ready), filepath.Join(dir, "stderr"))
				if err != nil {
					return nil, err
				}
				g := &gateway{proc: p}
				if err = g.awaitReady(ctx, ready); err == nil {
					err = b.top.Gateway.Do(func() error { _, err := rules.Install(); return err })
				}
				if err == nil && more != "" {
					err = b.top.Gateway.Do(func() error { return nft(more) })
				}
				if err != nil {
					return nil, errors.Join(err, g.stop())
				}
				return g, nil
			},
			after: func(b *bench) error {
				return b.top.Gateway.Do(func() error {
					passed, ok, err := rules.FastCounter()
					if err == nil && more != "" && (!ok || passed == 0) {
						err = errors.New("no segment went past the queue: it measures something else")
					}
					if more != "" {
						err = errors.Join(err, nft("delete table inet hoyardstick"))
					}
					return errors.Join(err, rules.Remove())
				})
			},
		}
	}
	return []benchMode{mode("yardstick", "an empty C loop accepts every segment", &all, ""),
		mode("yardstick-ends", "an empty C loop accepts SYN, FIN and RST; all else passes by a mark", &few, exempt)}
}

// otherWith starts another halfopen program.
func otherWith(binary string, args ...string) func(context.Context, *bench, string) (*gateway, error) {
	return func(ctx context.Context, b *bench, dir string) (*gateway, error) {
		other := *b
		other.Binary = binary
		return halfopenWith(args...)(ctx, &other, dir)
	}
}

func nft(script string) error {
	if out, err := exec.Command("nft", script).CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// TestBench measures every mode and the yardstick; by default so short that only what no load changes is asked:
// every figure is there, no connection fails, the logs balance. For figures, and with -bench-other for a comparison with
// another build:
//
//	go test -tags netns -count 1 -v -run 'TestBench$' ./proxy/lab -args -bench-rounds 5 -bench-seconds 2
func TestBench(t *testing.T) {
	o := BenchOptions{Rounds: *benchRounds, Seconds: *benchSeconds, Binary: halfopen(t), modes: append(benchModes(), yardsticks(t)...)}
	names := []string{"plain", "queue", "fastpath", "redirect", "yardstick", "yardstick-ends"}
	if *benchOther != "" {
		names = append(names, "other")
		o.modes = append(o.modes, benchMode{name: "other", means: *benchOther, logs: true, start: otherWith(*benchOther)})
	}
	for name, args := range benchMore {
		names = append(names, name)
		m := benchMode{name: name, means: "halfopen run " + strings.Join(args, " "), logs: true, start: halfopenWith(args...)}
		if len(args) > 0 && filepath.IsAbs(args[0]) {
			m.means, m.start = strings.Join(args, " "), otherWith(args[0], args[1:]...)
		}
		o.modes = append(o.modes, m)
	}
	if *benchModesOf != "" {
		all := o.modes
		names, o.modes = strings.Split(*benchModesOf, ","), nil
		for _, name := range names {
			i := slices.IndexFunc(all, func(m benchMode) bool { return m.name == name })
			if i < 0 {
				t.Fatalf("-bench-modes: there is no mode %s", name)
			}
			o.modes = append(o.modes, all[i])
		}
	}
	o.mss, o.pairs = *benchMSS, *benchPairs
	if *benchLoads != "" {
		o.only = strings.Split(*benchLoads, ",")
	}
	if *benchProfile != "" {
		o.observe = profiler(t, *benchProfile)
	}
	r, err := RunBench(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var text, data strings.Builder
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&data)); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &text)
	if *benchJSON != "" {
		if err := os.WriteFile(*benchJSON, []byte(data.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	if o.only == nil {
		checkBenchJSON(t, data.String(), names, o.Rounds)
	}
	for _, m := range r.modes {
		f := r.Modes[m.name]
		for _, fig := range benchFigures {
			if len(fig.of(f)) > 0 && slices.Min(fig.of(f)) <= 0 {
				t.Errorf("%s: %s is %v", m.name, fig.title, fig.of(f))
			}
		}
		if slices.ContainsFunc(f.Failed, func(n int) bool { return n > 0 }) {
			t.Errorf("%s: %v connections failed: %s", m.name, f.Failed, f.Failure)
		}
		if m.logs != (f.Log != nil) {
			t.Errorf("%s: log %v", m.name, f.Log)
		}
	}
	if *benchModesOf != "" || o.only != nil {
		return
	}
	for _, name := range []string{"queue", "fastpath", "redirect"} {
		if log := r.Modes[name].Log; slices.Contains(log.Balanced, false) || slices.Min(log.Messages) < 100 {
			t.Errorf("%s: log %+v", name, log)
		}
	}
	if r.Modes["queue"].Fast != nil {
		t.Errorf("queue: %+v", r.Modes["queue"].Fast)
	}
	for _, name := range []string{"fastpath", "redirect"} {
		f := r.Modes[name].Fast
		if f == nil || slices.Min(f.Packets) < 100 || slices.Min(f.Share["bulk"]) < 0.5 || slices.Min(f.Share["small"]) < 0.1 || slices.Max(f.Share["connections"]) > 0.5 ||
			(name == "redirect") != (slices.Max(f.Redirected) > 100) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// readyBench builds a bench's namespaces, which go with the test.
func readyBench(t *testing.T) *bench {
	b, err := newBench(BenchOptions{Rounds: 1, Seconds: 0.5, Binary: halfopen(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestBenchLoads: what the loads are is what the figures say. Small segments are packets of their own with 76 bytes, few of them under way,
// and what is counted a second is what came in that second; the ends use the congestion control that the report names.
func TestBenchLoads(t *testing.T) {
	b := readyBench(t)
	var window int
	b.observe = func(_, load string, _ int) func() {
		var out []byte
		err := b.top.Client.Do(func() (err error) {
			out, err = exec.Command("ss", "-tni", "state", "established").Output()
			return err
		})
		if err != nil {
			t.Error(err)
		}
		for _, m := range regexp.MustCompile(`snd_wnd:(\d+)`).FindAllSubmatch(out, -1) {
			n, _ := strconv.Atoi(string(m[1]))
			window = max(window, n)
		}
		if n := bytes.Count(out, []byte(" "+congestion()+" ")); n < 8 {
			t.Errorf("%s: %d connections of the client use %s:\n%s", load, n, congestion(), out)
		}
		return func() {}
	}
	r, err := b.stream(streaming{load: "small", streams: 8, small: true, span: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if size := r.bytes / r.segments; size < 75 || size > 76.5 {
		t.Errorf("%v bytes in a segment, want 76", size)
	}
	if most := smallWindow * (smallMSS - stamps); window < most/2 || window > most {
		t.Errorf("windows of up to %d bytes, want %d", window, most)
	}
	if r.packets <= r.segments || r.packets > 2.1*r.segments {
		t.Errorf("%v packets for %v segments: want one acknowledgment for each at most", r.packets, r.segments)
	}
}

// TestOwnSegments: a receiver of small segments joins them to one another as it does behind a network card, also where nothing on their way
// unshares them: it has none to copy together.
func TestOwnSegments(t *testing.T) {
	b := readyBench(t)
	i := slices.IndexFunc(b.modes, func(m benchMode) bool { return m.name == "redirect" })
	g, err := b.modes[i].start(t.Context(), b, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.stream(streaming{load: "small", streams: 8, small: true, span: 300 * time.Millisecond})
	if err := errors.Join(err, g.stop()); err != nil {
		t.Fatal(err)
	}
	counters, err := b.top.Server.netstat()
	if err != nil {
		t.Fatal(err)
	}
	joined, copied := counters["TCPRcvCoalesce"], counters["TCPRcvCollapsed"]
	if all := int(r.segments * 0.3); joined < all/4 || copied > all/1000 || b.report.Cloned != "" {
		t.Errorf("of about %d segments %d were joined to one before, %d copied to make room (%s)", all, joined, copied, b.report.Cloned)
	}
}

// netstat reads the counters of the namespace's /proc/net/netstat: lines of names, each with a line of values after it.
func (ns *Namespace) netstat() (map[string]int, error) {
	var data []byte
	err := ns.Do(func() (err error) { data, err = os.ReadFile("/proc/thread-self/net/netstat"); return err })
	counters := make(map[string]int)
	lines := strings.Split(string(data), "\n")
	for i := 0; i+1 < len(lines) && err == nil; i += 2 {
		values := strings.Fields(lines[i+1])
		for j, name := range strings.Fields(lines[i])[1:] {
			if counters[name], err = strconv.Atoi(values[j+1]); err != nil {
				break
			}
		}
	}
	return counters, err
}

// TestBenchEnds: when ctx ends in the middle, nothing is left behind.
func TestBenchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var base string
	modes := benchModes()
	start := modes[1].start
	modes[1].start = func(c context.Context, b *bench, dir string) (*gateway, error) {
		base = b.top.base
		g, err := start(c, b, dir)
		cancel()
		return g, err
	}
	_, err := RunBench(ctx, BenchOptions{Rounds: 2, Seconds: 0.1, Binary: halfopen(t), modes: modes})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context canceled", err)
	}
	if left, _ := filepath.Glob(filepath.Join(netnsDir, base+"*")); base == "" || len(left) != 0 {
		t.Errorf("left behind of %q: %v", base, left)
	}
}
