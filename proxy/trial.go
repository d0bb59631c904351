package proxy

import "halfopen/policy"

// dryBatch is mainBatch with --dry-run: everything goes on before anything is decided, nothing is injected, and the record tells
// what the policy under trial would have done. The policy in force is observe, which keeps a table of what really passed; the
// trial's engine keeps its own, which after the first difference in a flow is no longer what would have happened.
func (w *Worker) dryBatch(n int) {
	for i := range w.batch[:n] {
		w.main.Accept(w.batch[i].ID)
	}
	w.flush()
	for i := range w.batch[:n] {
		p, s := &w.batch[i], &w.segs[i]
		w.decode(p, s)
		out := w.engine.Step(w.now, s)
		would := w.trial.Step(w.now, s)
		w.counts.verdict(out.Finding, policy.Forward)
		w.flowEvents(out.Flows)
		w.followState(s, out)
		if out.Counted && !would.Counted { // it gets a record of its own for the trial's sake
			w.engine.Uncount()
			out.Counted = false
		}
		w.decided(out)
		diverged := w.diverged(out, would)
		w.tap.record(w, p, s, out, would, diverged)
		w.tap.done(out)
		if w.logged {
			fillWould(&w.decide(p, s, out).Decision.Would, would, diverged)
		}
	}
}

// maxDiverged bounds the flows that are remembered as diverged.
const maxDiverged = 1 << 16

// diverged reports whether an earlier decision of the flow differed already, and remembers whether this one does. Flows are told
// apart by the enforced engine's ids; segments without a flow never count as diverged.
func (w *Worker) diverged(is, would *policy.Outcome) bool {
	if is.Flow == 0 {
		return false
	}
	if _, ok := w.different[is.Flow]; ok {
		return true
	}
	if would.Verdict != policy.Forward || would.HasReply || would.HasPeer || would.Effect != is.Effect {
		if len(w.different) >= maxDiverged {
			clear(w.different)
		}
		w.different[is.Flow] = struct{}{}
	}
	return false
}
