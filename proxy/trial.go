package proxy

import "halfopen/policy"

// dryBatch is mainBatch with --dry-run: everything goes on before anything is decided, nothing is injected, and the record tells
// what the policy under trial would have done. The policy in force is observe, which keeps a table of what really passed; the
// policy under trial is the first shadow, whose table after the first difference in a flow is no longer what would have happened. It is what
// such a gateway is for, and so it is not left out under load.
func (w *Worker) dryBatch(n int) {
	for i := range w.batch[:n] {
		w.main.Accept(w.batch[i].ID)
	}
	w.flush()
	w.decode(n)
	w.shadowTime()
	for i := range w.batch[:n] {
		p, s := &w.batch[i], &w.segs[i]
		w.claim(s)
		out := w.engine.Step(w.now, s)
		live := w.shadows.take(i, s, out)
		differs, first := w.shadows.segment(w.now, s, live)
		would, parted := w.trial.out, w.trial.how == diverged
		w.counts.verdict(out.Finding, policy.Forward)
		w.flowEvents(out.Flows)
		w.followState(s, out)
		if out.Counted && !would.Counted { // it gets a record of its own for the trial's sake
			w.engine.Uncount()
			out.Counted = false
		}
		w.decided(out)
		w.tap.record(w, p, s, out, would, parted)
		w.tap.done(out)
		live.cause = w.cause
		if w.logged {
			r := w.decide(p, s, out)
			r.Decision.Latency = int64(w.verdictAt().Sub(w.now))
			fillWould(&r.Decision.Would, would, parted)
			live.record = len(w.records) - 1
		}
		w.recordShadows(differs, first, s, live, p.Queue)
	}
}
