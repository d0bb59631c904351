package proxy

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/conntrack"
	"halfopen/policy/experiment"
	"halfopen/proxy/spool"
)

const (
	watchEvery    = 200 * time.Millisecond // between looks at what workers told, and at the limits
	watchAttempts = 1 << 16                // dials without an entry that are followed at a time
	watchSeen     = 1 << 16                // forgotten connections of which one straggler was told
)

// watcher follows the connections of experiments for their guardrails while they run, in a goroutine of its own.
type watcher struct {
	clock Clock
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}
	cross func(s *experiment.Spec, arm, detail string) // takes an arm out; called without the lock

	mu       sync.Mutex                      // what follows
	rings    map[uint16]*spool.Ring[watched] // by the worker's queue
	x        *experiments
	monitors map[string]*watchMonitor // by experiment
	places   []watchPlace             // by the engines' number of an arm
	attempts *experiment.Attempts
	syns     *simplelru.LRU[uint64, int]      // by flow: SYNs of its attempt that made no entry
	seen     *simplelru.LRU[uint64, struct{}] // flows told of as still there
}

// watchPlace is an arm's place in its experiment.
type watchPlace struct {
	spec    *experiment.Spec
	monitor *watchMonitor // nil for none
	arm     int
}

// watchMonitor is an experiment's monitor. Of connections that began before it (in an earlier run, or before a reload that made its
// figures begin anew) it is told nothing: they are in none of its denominators.
type watchMonitor struct {
	*experiment.Monitor
	since conntrack.Instant
}

func newWatcher(clock Clock, cross func(*experiment.Spec, string, string)) *watcher {
	t := &watcher{clock: clock, cross: cross, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		rings: map[uint16]*spool.Ring[watched]{}, monitors: map[string]*watchMonitor{}, attempts: experiment.NewAttempts(watchAttempts)}
	t.seen, _ = simplelru.NewLRU[uint64, struct{}](watchSeen, nil) // fails for sizes below 1 only
	t.syns, _ = simplelru.NewLRU[uint64, int](watchAttempts, nil)  // likewise; not all flows end: a worker that dies takes its own along
	return t
}

// ring makes the way of a queue's worker to the watcher. That of a worker before it is listened to once more and then given up.
func (t *watcher) ring(queue uint16) *spool.Ring[watched] {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listen()
	r := spool.NewRing[watched](watchRing, t.wake)
	t.rings[queue] = r
	return r
}

// use makes the watcher follow experiments x. One that is as it was keeps its figures; one that was changed begins anew. Arms that were
// stopped stay so.
func (t *watcher) use(x *experiments, log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listen()
	before, old := t.x, t.monitors
	t.x, t.monitors, t.places = x, map[string]*watchMonitor{}, nil
	if x == nil {
		return
	}
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		m := old[s.Name]
		if m == nil || before == nil || len(s.Differences(before.set.Find(s.Name))) > 0 {
			fresh, err := experiment.NewMonitor(s, 0)
			if err != nil {
				log.Error("an experiment's guardrails are not watched", "err", err)
				continue
			}
			m = &watchMonitor{fresh, t.clock.Now()}
		}
		t.monitors[s.Name] = m
		for a := range s.Arms {
			if st, ok := x.stopped[armKey{s.Name, s.Arms[a].Name}]; ok {
				m.Stop(a, st.At)
			}
		}
	}
	t.places = make([]watchPlace, len(x.keys))
	for n, k := range x.keys {
		s := x.specs[n]
		if n == 0 || s == nil || k.arm == "" {
			continue
		}
		for a := range s.Arms {
			if s.Arms[a].Name == k.arm {
				t.places[n] = watchPlace{spec: s, monitor: t.monitors[s.Name], arm: a}
			}
		}
	}
}

// wall is now.
func (t *watcher) wall() time.Time { return time.Unix(0, t.clock.Wall(t.clock.Now())).UTC() }

// run listens until stop.
func (t *watcher) run() {
	defer close(t.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-t.wake:
			t.mu.Lock()
			t.listen()
			t.mu.Unlock()
		case <-tick.C:
			t.look(t.clock.Now())
		}
	}
}

func (t *watcher) stop() {
	close(t.quit)
	<-t.done
}

// crossed is a limit that was crossed.
type crossed struct {
	spec *experiment.Spec
	c    experiment.Crossing
}

// look takes what was told and tests the limits.
func (t *watcher) look(now conntrack.Instant) {
	t.mu.Lock()
	t.listen()
	t.attempts.Due(now, t.failed)
	var found []crossed
	if t.x != nil {
		for i := range t.x.set.Specs {
			s := &t.x.set.Specs[i]
			if m := t.monitors[s.Name]; m != nil && len(s.Guardrails) > 0 {
				for _, c := range m.Check(t.wall()) {
					found = append(found, crossed{s, c})
				}
			}
		}
	}
	t.mu.Unlock()
	for _, f := range found {
		t.cross(f.spec, f.c.ArmName, f.c.Detail)
	}
}

// listen takes everything that was told. The caller holds the lock.
func (t *watcher) listen() {
	for _, r := range t.rings {
		n := r.Len()
		for i := range n {
			t.take(r.At(i))
		}
		r.Release(n)
	}
}

// place returns an arm's place, with a monitor or none.
func (t *watcher) place(arm uint8) (p watchPlace, ok bool) {
	if int(arm) < len(t.places) {
		p = t.places[arm]
	}
	return p, p.monitor != nil
}

func (t *watcher) take(k *watched) {
	p, ok := t.place(k.arm)
	if !ok {
		return
	}
	start := time.Unix(0, k.start)
	if k.created < p.monitor.since || !p.spec.Running(start) {
		return
	}
	unit := p.spec.UnitHash(&k.tuple)
	o := experiment.Outcome{Start: start, Connected: k.connected, Adopted: k.adopted, SYNRetransmits: int(k.syns), Resets: int(k.resets),
		StallS: k.stall.Duration().Seconds(), PktsToServer: k.packets, RetransmitsToServer: int(k.retransmit)}
	switch k.kind {
	case watchBegan:
		if before, over, ok := t.attempts.Through(&k.tuple, k.isn); ok && over {
			t.failed(&before)
		} else if ok {
			t.syns.Add(k.flow, before.SYNs)
		}
		p.monitor.Begin(p.arm, unit, start)
	case watchConnected:
		o.SYNRetransmits += t.refusedSYNs(k.flow)
		p.monitor.Connected(p.arm, unit, &o)
	case watchEnded:
		o.SYNRetransmits += t.refusedSYNs(k.flow)
		p.monitor.Ended(p.arm, unit, &o)
	case watchRefused:
		if before, ok := t.attempts.Refused(k.at, k.arm, &k.tuple, k.isn); ok {
			t.failed(&before)
		}
	case watchStillThere:
		if !t.seen.Contains(k.flow) {
			t.seen.Add(k.flow, struct{}{})
			p.monitor.StillThere(p.arm, unit, start)
		}
	}
}

// refusedSYNs returns once how many SYNs of a connection's attempt made no entry.
func (t *watcher) refusedSYNs(flow uint64) int {
	n, _ := t.syns.Peek(flow)
	t.syns.Remove(flow)
	return n
}

// failed tells of a dial of which nothing came.
func (t *watcher) failed(a *experiment.Attempt) {
	p, ok := t.place(a.Arm)
	if !ok || a.First < p.monitor.since {
		return
	}
	o := experiment.Outcome{Start: time.Unix(0, t.clock.Wall(a.First)), SYNRetransmits: a.SYNs - 1}
	unit := p.spec.UnitHash(&a.Tuple)
	p.monitor.Begin(p.arm, unit, o.Start)
	p.monitor.Ended(p.arm, unit, &o)
}

// states returns what is known of each experiment.
func (t *watcher) states() map[string]*experiment.MonitorState {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listen()
	out := map[string]*experiment.MonitorState{}
	for name, m := range t.monitors {
		out[name] = m.State()
	}
	return out
}

// lost is how many dials were not followed because so many were already.
func (t *watcher) lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attempts.Lost
}

// halt tells the monitor that an arm gets no connections any more.
func (t *watcher) halt(s *experiment.Spec, arm string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.monitors[s.Name]
	for a := range s.Arms {
		if m != nil && (arm == "" || s.Arms[a].Name == arm) {
			m.Stop(a, t.wall())
		}
	}
}
