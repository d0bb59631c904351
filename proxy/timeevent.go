package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
)

// timeEvent does and logs what time alone, or the operator, has caused.
func (w *Worker) timeEvent(ev *policy.TimeEvent) {
	w.shadows.liveTime(ev)
	switch ev.Kind {
	case policy.TimeFlow:
		w.flowEvent(&ev.Flow)
	case policy.TimeExpired, policy.TimeProbe, policy.TimeUnanswered:
		w.flush()
		if ev.Kind == policy.TimeUnanswered {
			w.untimely(ev)
		}
		for dir, has := range ev.HasEmit {
			if has { // Emit[0] is for the originator: a packet of the reply direction
				w.inject(&ev.Emit[dir], injection{trigger: ev.Trigger(), rule: ev.Rule, flow: ev.Flow.Entry.ID, arm: ev.Flow.Entry.Arm,
					dir: conntrack.Direction(dir).Other()})
			}
		}
	case policy.TimeRelease:
		w.released(ev)
	}
}

// released gives a held packet its verdict and writes the record that ends the hold.
func (w *Worker) released(ev *policy.TimeEvent) {
	h, ok := w.held[ev.Hold]
	if !ok {
		return
	}
	w.release(ev.Hold, ev.Verdict)
	w.cause, w.logged = w.producer.NextID(), true
	w.tap.released(w, &h, ev)
	if ev.HasEmit[0] {
		w.inject(&ev.Emit[0], h.reply(w.cause))
	}
	w.settled(&h, ev, w.secondQueue)
}
