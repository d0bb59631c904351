package proxy

import (
	"iter"

	"halfopen/conntrack"
	"halfopen/policy"
)

// loadState takes over what an earlier run saved: not into a table yet, because only the kernel knows which worker will meet
// which flow. A file that is no good is a warning, never a reason not to start.
func (g *Gateway) loadState() {
	st, err := LoadStateFile(g.cfg.StateFile)
	if err != nil {
		g.cfg.Logger.Warn("no state loaded; flows older than this start are adopted instead", "err", err)
		return
	}
	if st == nil {
		return
	}
	if lost := g.experiments.restoreArms(st); lost > 0 {
		g.cfg.Logger.Warn("flows of arms that are none any more are decided by the gateway's policy", "flows", lost)
	}
	n := g.shared.pending.Load(st.Flows, st.SavedAt(g.clock), g.clock.Now())
	g.cfg.Logger.Info("state loaded", "flows", n, "saved", st.Meta.Saved, "policy_rev", st.Meta.Rev)
}

// claim takes over a restored connection of the segment's tuple, if there is one.
func (w *Worker) claim(s *conntrack.Segment) {
	if !w.shared.pending.Any() {
		return
	}
	saved, away, ok := w.shared.pending.Claim(w.now, &s.Tuple)
	if !ok {
		return
	}
	w.engine.Restore(w.now, away, saved)
	w.shadows.restore(w.now, away, saved)
}

// saveState writes the table of every worker that has ended, and what nobody claimed, for the next start.
func (g *Gateway) saveState() error {
	if g.cfg.StateFile == "" {
		return nil
	}
	meta := NewStateMeta(g.clock, g.cfg.Version, g.policy().Rev())
	meta.Arms = g.running().texts()
	return SaveStateFile(g.cfg.StateFile, meta, g.flowsToSave())
}

// flowsToSave yields every remembered connection, its times relative to now.
func (g *Gateway) flowsToSave() iter.Seq[*policy.Saved] {
	now := g.clock.Now()
	return func(yield func(*policy.Saved) bool) {
		for _, w := range g.workerList() {
			select {
			case <-w.done:
			default:
				continue // its thread still owns the table
			}
			for cursor := 0; cursor >= 0; {
				cursor = w.engine.Save(now, cursor, 1<<16, yield)
			}
		}
		for saved := range g.shared.pending.Left(now) {
			if !yield(saved) {
				return
			}
		}
	}
}
