package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

// Gateway is a running firewall: workers, rules, log, and what operators ask of it.
type Gateway struct {
	cfg      Config
	clock    Clock
	log      *decisionlog.Writer
	recorder *capture.Recorder // of the annotated capture, nil for none
	rules    *nfqueue.RuleSet
	shared   *shared
	start    conntrack.Instant

	reloading sync.Mutex    // one reload at a time
	mu        sync.Mutex    // what follows, up to the next blank line
	workers   []*Worker     // by place; a retired one keeps its place until another is bound to its queues
	retired   []Counts      // of workers that were retired, by their place in the list
	ghosts    []ghost       // abandoned and not ended when they were replaced; the supervisor's
	lookEvery time.Duration // between the supervisor's looks
	stopLimit time.Duration // for workers to settle what they received
	pol       *policy.Policy
	shadows   []*policy.Policy // of cfg.Shadows

	experiments *experiments // nil for none
	watcher     *watcher     // of the experiments' limits
	reloaded    bool         // the last reload was good
	reloadAt    time.Time    // of the last good load

	startsIn uint64   // the newest file of the log that says which experiments there are; the supervisor's
	ended    []string // experiments whose end was logged; the supervisor's

	fast   *fastGate
	ledger ledger
	notify *Notifier
	hup    chan os.Signal
}

// Run is a gateway's whole life: it returns after ctx has ended and everything is settled, or with the error that kept it
// from starting. What it made (rules, sockets, files) is gone when it returns.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if cfg.ReadyFile != "" {
		_ = os.Remove(cfg.ReadyFile) // of a killed run: whoever waits for it must not see it
	}
	g, err := open(cfg)
	if err != nil {
		return err
	}
	return g.serve(ctx)
}

// open makes everything up to the point where packets arrive.
func open(cfg Config) (*Gateway, error) {
	pol, err := LoadPolicy(cfg.Policy, cfg.Overrides)
	if err != nil {
		return nil, err
	}
	shadows, err := cfg.loadShadows(pol)
	if err != nil {
		return nil, err
	}
	exps, _, err := cfg.loadExperiments(pol, nil)
	if err != nil {
		return nil, err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from the first moment on: without a handler it would end the process
	g := &Gateway{hup: hup, cfg: cfg, clock: NewClock(), pol: pol, shadows: shadows, experiments: exps, reloaded: true, reloadAt: time.Now(),
		lookEvery: superviseEvery, stopLimit: stopLimit}
	g.retired = make([]Counts, cfg.workers())
	g.start = g.clock.Now()
	g.warnShared(exps)
	if g.rules, err = g.ruleSet(); err != nil {
		return nil, err
	}
	undo := &undoList{}
	defer undo.run()
	if err := g.openLog(undo); err != nil {
		return nil, err
	}
	exps.resumeStops(g.log.Previous())
	g.watcher = newWatcher(g.clock, g.crossedLimit)
	g.watcher.use(exps, cfg.Logger)
	g.openShared()
	if err := g.openTap(undo); err != nil {
		return nil, err
	}
	if err := g.openFast(undo); err != nil {
		return nil, err
	}
	if err := g.openQueues(undo); err != nil {
		return nil, err
	}
	undo.keep()
	return g, nil
}

// undoList undoes what was made, last first, unless kept.
type undoList struct {
	fns  []func()
	kept bool
}

func (u *undoList) add(fn func()) { u.fns = append(u.fns, fn) }
func (u *undoList) keep()         { u.kept = true }
func (u *undoList) run() {
	if u.kept {
		return
	}
	for i := len(u.fns) - 1; i >= 0; i-- {
		u.fns[i]()
	}
}

// openLog opens the decision log.
func (g *Gateway) openLog(undo *undoList) error {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	opt := decisionlog.Options{Dir: g.cfg.LogDir, MaxFileBytes: g.cfg.LogFile, MaxTotalBytes: g.cfg.LogTotal, MaxAge: g.cfg.LogAge,
		Compress: g.cfg.LogCompress, Version: g.cfg.Version, BootID: strings.TrimSpace(string(boot)), Stdout: g.cfg.Stdout, Logger: g.cfg.Logger}
	if opt.Dir == "" { // counted and reported on the admin socket all the same
		opt.Dir, opt.Stdout = "-", discard{}
	}
	var err error
	if g.log, err = decisionlog.Open(opt); err != nil {
		return err
	}
	undo.add(func() { _ = g.log.Close() })
	g.keepFirstPolicies()
	return nil
}

// discard is a log that nobody reads.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// openShared makes what all workers use.
func (g *Gateway) openShared() {
	g.shared = &shared{clock: g.clock, log: g.log, ifaces: newInterfaces(), flowEvents: newFanout(), slog: g.cfg.Logger, pending: NewPending(),
		failClosed: g.cfg.FailClosed}
	if g.cfg.StateFile != "" && !g.cfg.Fresh {
		g.loadState()
	}
}

// openQueues binds the queues and makes the rules, in the order that lets no packet pass unseen where that can be helped:
// with rules of a dead process in place, those are replaced first (their packets are passing by); otherwise the queues are
// bound before packets are sent to them.
func (g *Gateway) openQueues(undo *undoList) error {
	left, found, err := g.rules.Counter()
	if err != nil {
		return err
	}
	if found && g.cfg.InstallRules {
		if err := g.rules.Rival(); err != nil {
			return err
		}
	}
	installed := false
	install := func() error {
		if installed || !g.cfg.InstallRules {
			return nil
		}
		done, err := g.rules.Install()
		if err != nil {
			return err
		}
		if done.Replaced { // the counter stood still when this was read
			left, found = done.Previous, true
		}
		g.cfg.Logger.Info("rules installed", "form", done.Form, "families", done.Families, "replaced", done.Replaced)
		installed = true
		undo.add(func() { _ = g.rules.Remove() })
		return nil
	}
	// Rules whose queues are served belong to a gateway that lives: binding below fails and must not have touched them.
	if found && g.cfg.InstallRules && !nfqueue.AnyBound(g.cfg.Queues[0], g.cfg.Queues[1]) {
		if err := install(); err != nil {
			return err
		}
	}
	for i := range g.cfg.workers() {
		w, err := g.newWorker(i, g.cfg.Fresh)
		if err != nil {
			return err
		}
		undo.add(func() { w.close() })
		g.workers = append(g.workers, w)
	}
	if err := install(); err != nil {
		return err
	}
	g.ledger.begin(g, left, found)
	return nil
}

// newWorker binds the queues of one worker and makes its engine, which with fresh adopts nothing.
func (g *Gateway) newWorker(i int, fresh bool) (*Worker, error) {
	number := g.cfg.Queues[0] + uint16(i)
	second := g.cfg.Queues[1] + 1 + uint16(i)
	main, err := nfqueue.Open(nfqueue.Config{Number: number, MaxLen: g.cfg.QueueLen, CopyRange: headerBytes, GSO: true,
		FailOpen: !g.cfg.FailClosed, ReadBuffer: g.cfg.QueueBuffer, Batch: batchSize, Linger: linger()})
	if err != nil {
		return nil, err
	}
	whole, err := nfqueue.Open(nfqueue.Config{Number: second, MaxLen: secondLen, FailOpen: !g.cfg.FailClosed, Batch: secondSize})
	if err != nil {
		_ = main.Close()
		return nil, err
	}
	waiter, err := nfqueue.NewWaiter(main, whole)
	if err != nil {
		_, _ = main.Close(), whole.Close()
		return nil, err
	}
	w := newWorker(number, g.shared)
	w.main, w.second, w.secondQueue, w.waiter, w.kernel = main, whole, second, waiter, main
	if err := w.openInjection(g.cfg.injectMark()); err != nil {
		w.close()
		return nil, err
	}
	w.producer = g.log.Producer(g.ledger.producerNumber())
	if g.recorder != nil {
		w.tap.producer = g.recorder.Producer()
	}
	g.fast.lend(i, w)
	g.arm(w, fresh)
	return w, nil
}

// secondLen is how many packets the kernel keeps in a second queue: all that may be held, and the largest super-packet ("BIG TCP",
// 524288 bytes) cut into pieces of the least size that IPv4 promises (536 bytes).
const secondLen = maxDiverts + 1024

// headerBytes is what the main queue copies of a packet: the longest IPv4 header and TCP header, or an IPv6 header with
// extension headers as they are seen in the wild.
const headerBytes = 256

// arm gives the worker its engine, and its shadows: with --dry-run the policy under trial is the first.
func (g *Gateway) arm(w *Worker, fresh bool) {
	cfg := policy.EngineConfig{Policy: g.pol, Start: g.clock.Now(), NoAdopt: fresh, FirstID: rand.Uint64() >> 14, Seed: rand.Uint64(),
		Memory: g.shared.tableMemory()}
	pol, pols := g.pol, g.shadows
	if g.cfg.DryRun {
		pols = append([]*policy.Policy{g.pol}, pols...)
		observe, err := LoadPolicy("observe", nil)
		if err != nil {
			panic(err) // embedded, and compiled by a test
		}
		pol = observe
	}
	if w.fast != nil {
		cfg.Fast = w.fast
	}
	w.experiments = g.running()
	w.arms, cfg.Arms = w.experiments.names(), w.experiments.arms(w.wall)
	w.equip(pol, pols, g.cfg.DryRun, cfg)
	w.watching = g.watching(w.queue)
	w.setRates(g.pol)
	w.nameDeciders()
}

// equip gives the worker an engine for pol, and one for each shadow; with trial the first of these is the policy under trial. A shadow decides
// all connections by its one policy, whatever the arm that they are in.
func (w *Worker) equip(pol *policy.Policy, shadows []*policy.Policy, trial bool, cfg policy.EngineConfig) {
	cfg.Policy = pol
	w.engine = policy.NewEngine(cfg)
	if len(shadows) == 0 {
		return
	}
	var list []*shadow
	names := shadowNames(shadows)
	for i, p := range shadows {
		cfg.Policy, cfg.Arms, cfg.Fast = p, policy.Arms{}, nil
		if cfg.Memory != nil {
			cfg.Memory = w.shared.tableMemory()
		}
		list = append(list, newShadow(i, names[i], trial && i == 0, cfg))
	}
	if trial {
		w.trial = list[0]
	}
	w.shadows = newShadows(w.engine, list, batchSize)
	w.shadows.record = func(ev *shadowEvent) bool { return w.shadowTimed(ev) }
}

// serve runs the workers until ctx ends, then settles everything.
func (g *Gateway) serve(ctx context.Context) error {
	alert, restore := makePlaces(g.cfg.workers())
	defer restore()
	g.shared.alert = alert
	g.putStarts()
	go g.watcher.run()
	for _, w := range g.workers {
		w.start()
	}
	closeSide, err := g.openSide()
	if err == nil {
		g.announce()
		err = g.supervise(ctx)
	}
	closeSide()
	g.watcher.stop()
	return errors.Join(err, g.stop())
}

// announce says that the gateway is ready.
func (g *Gateway) announce() {
	g.cfg.Logger.Info("ready", "policy", g.pol.Name(), "rev", g.pol.Rev(), "queues", fmt.Sprintf("%d-%d", g.cfg.Queues[0], g.cfg.Queues[1]),
		"dry_run", g.cfg.DryRun, "fail", map[bool]string{false: "open", true: "closed"}[g.cfg.FailClosed])
}

// ruleSet is what goes in front of the queues, ours or the operator's.
func (g *Gateway) ruleSet() (*nfqueue.RuleSet, error) { return RuleSet(&g.cfg) }

// RuleSet returns the rules that a gateway of this configuration needs. It is what "rules print" prints.
func RuleSet(c *Config) (*nfqueue.RuleSet, error) {
	m, err := nfqueue.ParseMatch(c.Match)
	if err != nil {
		return nil, err
	}
	mark := c.Mark
	if mark == 0 {
		mark = DefaultMark
	}
	rs := &nfqueue.RuleSet{Queues: c.Queues, Hooks: c.Hooks, Match: m, MarkMask: mark, InjectMark: mark & -mark,
		FailOpen: !c.FailClosed, NoTrack: c.NoTrack}
	if marks, err := fastpath.NewMarks(mark); err == nil && c.FastPath != FastPathOff {
		rs.FastMark = marks.FastMark()
	}
	return rs, nil
}
