package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"halfopen/proxy/review"
)

// BenchOptions say what `halfopen lab bench` measures.
type BenchOptions struct {
	Rounds  int     // 1 to 1000; 0 = DefaultBenchRounds
	Seconds float64 // of one figure, 0.1 to 600; 0 = DefaultBenchSeconds
	Policy  string  // name or file that halfopen enforces; "" = DefaultPolicy
	Binary  string  // the halfopen program that the gateway runs; "" = this one

	modes []benchMode // nil = benchModes
	mss   int         // of the small segments; 0 = smallMSS
	pairs int         // addresses of the client that connections are spread over, so that they come by several queues; 0 = 1
	only  []string    // loads that are measured, names of fastLoads; nil = all
	// observe, where it is not nil, is called when a load's figure begins to count, and what it returns when it is over. The figures are
	// worth little then.
	observe func(mode, load string, pid int) (stop func())
}

// Defaults of a bench: about four minutes in all.
const (
	DefaultBenchRounds  = 5
	DefaultBenchSeconds = 2.0
)

// Check says what is wrong with the options; nil where nothing is.
func (o *BenchOptions) Check() error {
	switch {
	case o.Rounds < 0 || o.Rounds > 1000:
		return fmt.Errorf("%d rounds: want 1 to 1000", o.Rounds)
	case o.Seconds != 0 && !(o.Seconds >= 0.1 && o.Seconds <= 600): // also NaN
		return fmt.Errorf("%v seconds: want 0.1 to 600", o.Seconds)
	}
	return nil
}

// benchMode is one way of forwarding. The first of a list is what the others are compared with.
type benchMode struct {
	name  string
	means string
	// start begins it in the gateway; dir is this round's own.
	start func(ctx context.Context, b *bench, dir string) (*gateway, error)
	after func(b *bench) error // takes down what the process itself does not; may be nil
	logs  bool                 // it leaves a decision log in dir/log
	fast  bool                 // whose stats records tell of a fast path
	needs func() error         // says what the kernel of the gateway's namespace lacks; nil = nothing is asked for
}

// benchModes are the modes that this build has. A mode that halfopen gets by a flag is one entry with it: halfopenWith("--flag", "value").
func benchModes() []benchMode {
	return []benchMode{
		{name: "plain", means: "the kernel forwards, without rules", start: noGateway},
		{name: "queue", means: "halfopen decides every segment", start: halfopenWith("--fastpath", "off"), logs: true},
		{name: "fastpath", means: "the kernel's fast path checks and counts settled connections", start: halfopenWith("--fastpath", "on"), logs: true, fast: true, needs: needsFastPath(false)},
		{name: "redirect", means: "and sends them straight out", start: halfopenWith("--fastpath", "redirect"), logs: true, fast: true, needs: needsFastPath(true)},
	}
}

func noGateway(context.Context, *bench, string) (*gateway, error) { return &gateway{}, nil }

func halfopenWith(args ...string) func(context.Context, *bench, string) (*gateway, error) {
	return func(ctx context.Context, b *bench, dir string) (*gateway, error) {
		return startGateway(ctx, b.top.Gateway, gatewayConfig{
			binary: b.Binary, policy: b.Policy, logDir: filepath.Join(dir, "log"), stderr: filepath.Join(dir, "stderr"), more: args, runDir: dir,
		})
	}
}

// bench is one run: everything that must be taken down again.
type bench struct {
	BenchOptions
	top     *Topology
	scratch string
	port    uint16            // of the next listener; none is used twice, so that no connection meets an old one's TIME-WAIT
	loads   map[uint16]string // what each listener's port was for
	sources []netip.Addr      // of the client
	report  *BenchReport
	mode    string // at hand
}

// spread gives the client its addresses: its own, and as many more in the same net as are asked for.
func (b *bench) spread() error {
	b.sources = []netip.Addr{client4}
	for i := 1; i < b.pairs; i++ {
		a := client4.As4()
		a[3] += uint8(i)
		more := netip.AddrFrom4(a)
		if err := b.top.Client.address(linkInside, more.String()+"/24"); err != nil {
			return err
		}
		b.sources = append(b.sources, more)
	}
	return nil
}

// watched begins what observes a load.
func (b *bench) watched(load string, pid int) (stop func()) {
	if b.observe == nil {
		return func() {}
	}
	return b.observe(b.mode, load, pid)
}

// RunBench measures every mode in every round, in turn. Whatever happens, also when ctx ends, the namespaces and
// processes are gone when it returns. It needs root.
func RunBench(ctx context.Context, o BenchOptions) (*BenchReport, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	// The load's threads wait in system calls, and none for another's place in Go's scheduler when it comes back.
	places := runtime.GOMAXPROCS(loadThreads)
	err = b.run(ctx)
	runtime.GOMAXPROCS(places)
	if err = errors.Join(err, b.close()); err != nil {
		return nil, err
	}
	return b.report, nil
}

func newBench(o BenchOptions) (*bench, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if !isRoot() {
		return nil, errNotRoot
	}
	if o.Rounds == 0 {
		o.Rounds = DefaultBenchRounds
	}
	if o.Seconds == 0 {
		o.Seconds = DefaultBenchSeconds
	}
	if o.Policy == "" {
		o.Policy = DefaultPolicy
	}
	if o.mss == 0 {
		o.mss = smallMSS
	}
	if o.modes == nil {
		o.modes = benchModes()
	}
	b := &bench{BenchOptions: o, port: 10000, loads: map[uint16]string{}}
	var err error
	if b.Binary == "" {
		if b.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("lab: own program: %w", err)
		}
	}
	RemoveStale()
	if b.scratch, err = newScratch(); err != nil {
		return nil, err
	}
	if b.top, err = Build(false); err == nil {
		err = errors.Join(
			b.top.Client.sysctl(true, map[string]string{"ipv4/ip_local_port_range": "1024 65535"}),
			b.top.Server.sysctl(true, map[string]string{"core/somaxconn": "4096"}))
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	if err := b.spread(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	kept, left, err := leaveOut(b.modes, b.top.Gateway.Do)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.modes = kept
	b.report = newBenchReport(&b.BenchOptions)
	b.report.LeftOut = left
	return b, nil
}

func (b *bench) close() error {
	var err error
	if b.top != nil {
		err = b.top.Close()
	}
	return errors.Join(err, removeScratch(b.scratch))
}

// order is that of the modes in a round. Every other round goes backwards, and then it moves on by one, so that none always follows the
// same one.
func (b *bench) order(round int) (order []*benchMode) {
	n := len(b.modes)
	for i := range n {
		if round%2 == 1 {
			i = n - 1 - i
		}
		order = append(order, &b.modes[(round/2+i)%n])
	}
	return order
}

// run plays the rounds.
func (b *bench) run(ctx context.Context) error {
	for round := range b.Rounds {
		before, err := readUsage(0)
		if err != nil {
			return err
		}
		if err := pause(ctx, otherLoadSpan); err != nil {
			return err
		}
		after, err := readUsage(0)
		if err != nil {
			return err
		}
		b.report.OtherLoad = append(b.report.OtherLoad, rounded(after.sub(before).busy/otherLoadSpan.Seconds()))
		for _, m := range b.order(round) {
			if err := b.play(ctx, m, round); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, m.name, err)
			}
		}
	}
	b.report.finish()
	return nil
}

// otherLoadSpan is how long a round looks at what the machine does without the lab.
const otherLoadSpan = 200 * time.Millisecond

// play measures one mode once.
func (b *bench) play(ctx context.Context, m *benchMode, round int) (err error) {
	dir := filepath.Join(b.scratch, fmt.Sprint(m.name, round))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer os.RemoveAll(dir) // the logs of all rounds would fill a small /tmp
	g, err := m.start(ctx, b, dir)
	if err != nil {
		return err
	}
	pid := 0
	if g.proc != nil {
		pid = g.proc.cmd.Process.Pid
	}
	b.mode = m.name
	err = b.measure(ctx, b.report.Modes[m.name], pid)
	err = errors.Join(err, g.stop())
	if m.after != nil {
		err = errors.Join(err, m.after(b))
	}
	if err != nil {
		return err
	}
	f, log := b.report.Modes[m.name], filepath.Join(dir, "log")
	if m.logs {
		err = f.judgeLog(log)
	}
	if err == nil && m.fast {
		err = f.judgeFast(log, b.loads)
	}
	return err
}

// measure takes every figure of one mode in one round.
func (b *bench) measure(ctx context.Context, f *BenchMode, pid int) error {
	span := time.Duration(b.Seconds * float64(time.Second))
	var cpu, gib float64
	streams := 0
	for _, bulk := range []struct {
		name    string
		streams int
		to      *[]float64
	}{{"bulk", 1, &f.Bulk}, {"bulk8", 8, &f.Bulk8}} {
		if !b.wants(bulk.name) {
			continue
		}
		streams++
		var rate float64
		for _, down := range []bool{false, true} {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := b.stream(streaming{load: bulk.name, streams: bulk.streams, down: down, span: span / 2, pid: pid})
			if err != nil {
				return err
			}
			f.spent(bulk.name, r.usage)
			rate, cpu = rate+r.bytes/2, cpu+r.usage.busy
			gib += r.bytes * r.usage.wall / (1 << 30)
		}
		*bulk.to = append(*bulk.to, rounded(rate*8/1e9))
	}
	if streams > 0 {
		if gib == 0 {
			return errors.New("lab: the streams carried nothing")
		}
		f.CPU = append(f.CPU, rounded(cpu/gib))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.wants("small") {
		r, err := b.stream(streaming{load: "small", streams: 8, small: true, span: span, pid: pid})
		if err != nil {
			return err
		}
		f.spent("small", r.usage)
		f.Small = append(f.Small, math.Round(r.segments))
		f.SmallAll = append(f.SmallAll, math.Round(r.packets))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.wants("connections") {
		c, err := b.connections(span, pid)
		if err != nil {
			return err
		}
		f.spent("connections", c.usage)
		f.Connections = append(f.Connections, math.Round(c.good))
		f.Failed = append(f.Failed, c.failed)
		if c.failure != nil && f.Failure == "" {
			f.Failure = c.failure.Error()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.wants("connect") {
		took, err := b.latencies(span)
		if err != nil {
			return err
		}
		f.P50 = append(f.P50, rounded(quantile(took, 0.50)))
		f.P99 = append(f.P99, rounded(quantile(took, 0.99)))
	}
	return nil
}

// wants reports whether a load is measured.
func (b *bench) wants(load string) bool { return b.only == nil || slices.Contains(b.only, load) }

// judgeLog adds what the round's log lost: messages that only a gap stands for, and whether all of them are explained.
func (f *BenchMode) judgeLog(dir string) error {
	rep, err := review.Verify(dir)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	var lost, messages uint64
	for _, r := range rep.Runs {
		lost += r.Explained.Gaps + r.Explained.Upper + r.Crash
		messages += r.Messages
	}
	if f.Log == nil {
		f.Log = &BenchLog{}
	}
	f.Log.Messages = append(f.Log.Messages, messages)
	f.Log.Lost = append(f.Log.Lost, lost)
	f.Log.Balanced = append(f.Log.Balanced, rep.OK)
	return nil
}

// rounded keeps four significant digits: more is noise.
func rounded(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func cpus() int { return runtime.NumCPU() }
