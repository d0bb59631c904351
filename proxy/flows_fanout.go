package proxy

import (
	"sync"
	"sync/atomic"

	"halfopen/conntrack"
	"halfopen/policy"
)

// FlowLine is one event of `flows -E`.
type FlowLine struct {
	policy.FlowEvent
	Dropped uint64 // events that this subscriber lost just before this one, because it was too slow
}

// fanout hands flow events to whoever subscribed. Sending never blocks; with no subscriber it costs one atomic load.
type fanout struct {
	subscribers atomic.Int32
	mu          sync.Mutex // subs
	subs        map[*subscription]struct{}
	dropped     atomic.Uint64 // events lost by all subscribers
}

// subscription is one subscriber's end; its fields belong to fanout.mu.
type subscription struct {
	events  chan FlowLine
	dropped uint64
}

func newFanout() *fanout { return &fanout{subs: map[*subscription]struct{}{}} }

// send gives every subscriber a copy of the event, or counts it as dropped where the subscriber's buffer is full.
func (f *fanout) send(ev *policy.FlowEvent) {
	if f.subscribers.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		select {
		case s.events <- FlowLine{FlowEvent: *ev, Dropped: s.dropped}:
			s.dropped = 0
		default:
			s.dropped++
			f.dropped.Add(1)
		}
	}
}

// subscribe returns a channel with room for buffer events (at least one). It is closed by cancel, which may be called more
// than once.
func (f *fanout) subscribe(buffer int) (<-chan FlowLine, func()) {
	s := &subscription{events: make(chan FlowLine, max(buffer, 1))}
	f.mu.Lock()
	f.subs[s] = struct{}{}
	f.mu.Unlock()
	f.subscribers.Add(1)
	var once sync.Once
	return s.events, func() {
		once.Do(func() {
			f.subscribers.Add(-1)
			f.mu.Lock()
			delete(f.subs, s)
			f.mu.Unlock()
			close(s.events) // no sender holds it any more: sends happen under the lock
		})
	}
}

// followState tells readers of `flows -E` of a change of state, as conntrack -E does. The log needs no record of its own for that:
// each decision's has the state before and after.
func (w *Worker) followState(s *conntrack.Segment, out *policy.Outcome) {
	if out.Before == out.After || out.Before == conntrack.StateNone || out.After == conntrack.StateNone || len(out.Flows) > 0 {
		return // nothing changed, or an event tells of it already
	}
	if w.shared.flowEvents.subscribers.Load() == 0 {
		return
	}
	if e := w.engine.Find(w.now, &s.Tuple); e != nil {
		w.shared.flowEvents.send(&policy.FlowEvent{Kind: policy.FlowUpdate, At: w.now, By: w.engine.Arm(e.Arm), Rule: w.engine.RuleOf(e), Entry: *e})
	}
}
