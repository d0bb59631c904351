package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/policy"
	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

// FastPathMode says what an operator wants of the kernel's fast path.
type FastPathMode uint8

// Modes of the fast path.
const (
	FastPathAuto     FastPathMode = iota // where the kernel allows it and nothing needs each packet
	FastPathOn                           // or the gateway does not start
	FastPathRedirect                     // the same, and what it lets pass takes the short way out
	FastPathOff
	numFastPathModes
)

var fastPathWords = [numFastPathModes]string{"auto", "on", "redirect", "off"}

// String returns the mode's word.
func (m FastPathMode) String() string { return fastPathWords[m] }

// ParseFastPathMode reads a mode's word.
func ParseFastPathMode(word string) (FastPathMode, error) {
	for m, w := range fastPathWords {
		if w == word {
			return FastPathMode(m), nil
		}
	}
	return 0, fmt.Errorf("fast path %q: want auto, on, off or redirect", word)
}

// DefaultFastFlows is how many connections the fast path can hold where nothing is said.
const DefaultFastFlows = 1 << 16

// MaxFastFlows is the most that can be asked for.
const MaxFastFlows = 1 << 24

// fastOff is why there is no fast path; a closed set of words, for metrics.
type fastOff uint8

const (
	fastOffNot         fastOff = iota // there is one
	fastOffAsked                      // --fastpath off
	fastOffShadow                     // a shadow policy sees each packet
	fastOffPcap                       // the annotated capture has each packet
	fastOffDryRun                     // the policy under trial sees each packet
	fastOffDetail                     // log.detail: packet
	fastOffHooks                      // nothing is queued at the forward hook
	fastOffMask                       // --mark is too narrow, or has holes
	fastOffUnsupported                // the kernel lacks something
	fastOffPrivilege                  // this process does
	fastOffInUse                      // another gateway has it
	fastOffMarks                      // marks do not stay on packets
	fastOffBroken                     // it failed while it ran, or could not be made for another reason
	numFastOffs
)

var fastOffWords = [numFastOffs]string{"", "asked", "shadow", "pcap", "dry-run", "log-detail", "hooks", "mark", "unsupported", "privilege", "in-use", "marks-lost", "failed"}

// String returns the reason's word.
func (w fastOff) String() string { return fastOffWords[w] }

// FastPathConflict is what an operator wants beside --fastpath on or redirect that cannot be had with it.
type FastPathConflict struct {
	Mode FastPathMode
	With string // what stands against it, and why
}

// Error says what stands against what.
func (e *FastPathConflict) Error() string { return fmt.Sprintf("--fastpath %s and %s", e.Mode, e.With) }

// Conflict says what of the configuration alone stands against the fast path; nil for nothing, and for a mode that does without.
func (c *Config) Conflict() error {
	if why, with := c.fastForbidden(); why != fastOffNot && (c.FastPath == FastPathOn || c.FastPath == FastPathRedirect) {
		return &FastPathConflict{c.FastPath, with}
	}
	return nil
}

// fastForbidden returns what the operator wants beside the fast path that needs each packet on the queue.
func (c *Config) fastForbidden() (fastOff, string) {
	switch {
	case c.DryRun:
		return fastOffDryRun, "--dry-run: the policy under trial is shown each packet"
	case len(c.Shadows) > 0:
		return fastOffShadow, "--shadow: a shadow policy is shown each packet"
	case c.PcapDir != "":
		return fastOffPcap, "--pcap: the annotated capture has each packet"
	case c.Hooks != 0 && c.Hooks&nfqueue.Forward == 0:
		return fastOffHooks, "--hooks without forward: it is about forwarded packets"
	}
	return fastOffNot, ""
}

// fastGate is a gateway's fast path, or why there is none. Any goroutine.
type fastGate struct {
	mode FastPathMode
	log  *slog.Logger
	path *fastpath.Path // nil: there is none; never set anew

	marks    fastpath.Marks
	on       func(ifindex uint32) bool // whether the program is on an interface
	check    func(ifindex uint32) bool // the same, asked of the kernel, and all through the last second; nil in tests
	changes  func() uint64             // changes when interfaces get the program or lose it; nil in tests
	full     sync.Once
	queueLen uint32      // packets that the kernel's queue can hold
	down     atomic.Bool // it is given up, or there is none: nothing is armed any more

	mu     sync.Mutex // what follows
	why    fastOff
	detail string
	flows  []fastFlows    // by the worker's place
	last   fastpath.Stats // the program's counters as last read; when it was closed they were final
	blind  string         // why they and what the records tell cannot be held against each other: what a slot held is lost
	unread string         // likewise: why they could not be read when that was last tried
	closed bool
	lent   []bool // a worker has them, be it one that hangs
	// Of the last connections, a few thousand at most: how many were installed, and between how many pairs of hosts, no host counted twice,
	// marks were lost.
	trusted, suspects int
	accused           *simplelru.LRU[[16]byte, struct{}] // hosts whose connections lost marks

	// Of lookAtFast, the supervisor's: what our rule had counted at the last look and at the first, and what the program had then.
	past, fromPast, fromLet uint64
	counted                 bool
}

// openFast opens the fast path, as far as it is wanted and can be had.
func (g *Gateway) openFast(undo *undoList) error {
	f := &fastGate{mode: g.cfg.FastPath, log: g.cfg.Logger}
	g.fast = f
	refused, err := f.open(&g.cfg, g.pol)
	if err != nil {
		return err
	}
	if refused != fastOffNot {
		f.down.Store(true)
		f.why = refused
		g.rules.FastMark = 0 // whoever marks packets so, it is not us
		return nil
	}
	undo.add(func() { _ = f.path.Close() })
	return nil
}

// open makes the path. It returns an error where the gateway must not start without, and else says once why there is none.
func (f *fastGate) open(c *Config, pol *policy.Policy) (fastOff, error) {
	if c.FastPath == FastPathOff {
		f.detail = "--fastpath off"
		return fastOffAsked, nil
	}
	if err := c.Conflict(); err != nil {
		return 0, err
	}
	must := c.FastPath != FastPathAuto
	if must && pol.Log().Detail != policy.LogDecision {
		return 0, &FastPathConflict{c.FastPath, "log.detail: packet: each packet is to have its record"}
	}
	why, detail := c.fastForbidden()
	if why != fastOffNot {
		f.detail = detail
		f.log.Info("no fast path: every segment takes the queue", "because", detail)
		return why, nil
	}
	err := f.make(c)
	if err == nil {
		if pol.Log().Detail != policy.LogDecision {
			f.log.Info("no connection takes the fast path while log.detail is packet")
		}
		return fastOffNot, nil
	}
	if must {
		return 0, fmt.Errorf("--fastpath %s: %w", c.FastPath, err)
	}
	f.detail = err.Error()
	f.log.Warn("no fast path: every segment takes the queue", "because", err)
	switch {
	case f.marks == fastpath.Marks{}:
		return fastOffMask, nil
	case errors.Is(err, fastpath.ErrUnsupported):
		return fastOffUnsupported, nil
	case errors.Is(err, fastpath.ErrPrivilege):
		return fastOffPrivilege, nil
	case errors.Is(err, fastpath.ErrInUse):
		return fastOffInUse, nil
	}
	return fastOffBroken, nil
}

// make loads the program and has it attached.
func (f *fastGate) make(c *Config) (err error) {
	f.queueLen = cmp.Or(c.QueueLen, nfqueue.DefaultMaxLen)
	if f.marks, err = fastpath.NewMarks(c.Mark); err != nil {
		return err
	}
	m, err := nfqueue.ParseMatch(c.Match)
	if err != nil {
		return err
	}
	flows := c.FastFlows
	if flows == 0 {
		flows = DefaultFastFlows
	}
	f.path, err = fastpath.Open(fastpath.Options{Redirect: c.FastPath == FastPathRedirect, Flows: max(flows, c.workers()), MarkMask: c.Mark, Workers: c.workers(),
		Interfaces: m.Interfaces(), Logger: f.log})
	if err != nil {
		return err
	}
	for i := range c.workers() {
		f.flows = append(f.flows, f.path.Flows(i))
	}
	f.on, f.check, f.changes = f.path.Attached, f.path.Whole, f.path.Changes
	f.lent = make([]bool, c.workers())
	return nil
}

// lend gives the worker at a place its part of the fast path. One whose part is still with a thread that hangs has none.
func (f *fastGate) lend(place int, w *Worker) {
	if f.down.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lent[place] {
		f.log.Warn("a worker has no fast path: that of the one before is still held by its thread", "queue", w.queue)
		return
	}
	f.lent[place] = true
	f.flows[place].Beat(w.shared.clock.Now())
	w.fast = newFastWorker(w, f.flows[place], f.marks, f)
}

// whole reports whether the program is on an interface, and was all the time that a packet may have waited in the queue.
func (f *fastGate) whole(ifindex uint32) bool { return f.check == nil || f.check(ifindex) }

// news changes whenever interfaces get the program or lose it.
func (f *fastGate) news() uint64 {
	if f.changes == nil {
		return 0
	}
	return f.changes()
}

// attached reports whether the program is on an interface.
func (f *fastGate) attached(ifindex uint32) bool { return f.on(ifindex) }

// standDown gives the fast path up: from now on nothing passes by it. The workers take their connections off it by and by. It is said once.
func (f *fastGate) standDown(why fastOff, detail string) {
	if f.down.Swap(true) {
		return
	}
	f.mu.Lock()
	f.why, f.detail = why, detail
	for _, flows := range f.flows {
		flows.Bump()
	}
	f.mu.Unlock()
	level := slog.LevelWarn
	if f.mode != FastPathAuto {
		level = slog.LevelError
	}
	f.log.Log(context.Background(), level, "the fast path is given up; every segment takes the queue", "because", detail)
}

// sayFull says once that there are more settled connections than room for them.
func (f *fastGate) sayFull() {
	f.full.Do(func() {
		f.log.Warn("the fast path is full: connections that are busy take the place of idle ones, the others stay on the queue (run --fastpath-flows)")
	})
}

// state says how the fast path is: on, redirect or off, with the reason's word and words.
func (f *fastGate) state() (state string, why fastOff, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.down.Load():
		return "off", f.why, f.detail
	case f.mode == FastPathRedirect:
		return "redirect", 0, ""
	}
	return "on", 0, ""
}

// close takes the program off. Where a thread hangs that may still write to its maps, these are left to the end of the process.
func (f *fastGate) close(free bool) error {
	if f.path == nil {
		return nil
	}
	err := f.path.Detach() // what the program has counted is final now
	f.kernel()
	if !free {
		return err
	}
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	return errors.Join(err, f.path.Close())
}

// lookAtFast compares what our rule let past the queue with what the program let pass. Where it was more, somebody else has put the
// program's mark on packets: a rule that saves a packet's whole mark in the host's conntrack and restores it on a later one does that. Such
// a packet passed undecided.
func (g *Gateway) lookAtFast() {
	f := g.fast
	if f.down.Load() {
		g.endFast()
		return
	}
	past, ok, err := g.rules.FastCounter() // first: what passes in between is no excess
	if err != nil || !ok {
		return
	}
	if let := f.kernel().Packets; f.counted && past >= f.past {
		if past-f.fromPast > let-f.fromLet {
			f.standDown(fastOffMarks, fmt.Sprintf("%d packets went past the queue with the fast path's mark, of which it had let %d pass: "+
				"some rule of the host's restores marks (ct mark, CONNMARK)", past-f.fromPast, let-f.fromLet))
			g.endFast()
			g.gap() // the engines have missed segments
		}
		f.past = past
		return
	}
	f.fromLet = f.kernel().Packets // the first look, or somebody made the rules anew
	if f.fromPast, f.counted, err = g.rules.FastCounter(); err != nil {
		f.counted = false
	}
	f.past = f.fromPast
}

// endFast makes our rules forget the mark of a fast path that was given up: whoever puts it on packets from now on does not get them past the
// queue. Packets that have it already are decided like others.
func (g *Gateway) endFast() {
	if !g.cfg.InstallRules || g.rules.FastMark == 0 {
		return
	}
	if err := g.rules.EndFast(); err != nil {
		g.cfg.Logger.Error("our rules still let the fast path's mark pass", "err", err)
		return
	}
	g.rules.FastMark = 0
}
