package proxy

import (
	"sync"
	"sync/atomic"

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
