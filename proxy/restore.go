package proxy

import (
	"iter"

	"halfopen/conntrack"
	"halfopen/policy"
)

// loadState takes over what an earlier run saved: not into a table yet, because only the kernel knows which worker will meet
// which flow. A file that is no good is a warning, never a reason not to start.
func (g *Gateway) loadState() {
	st, err := LoadStateFile(g.cfg.StateFile, g.clock)
	if err != nil {
		g.cfg.Logger.Warn("no state loaded; flows older than this start are adopted instead", "err", err)
		return
	}
	if st == nil {
		return
	}
	n := g.shared.pending.Load(st.Entries)
	g.cfg.Logger.Info("state loaded", "flows", n, "saved", st.Meta.Saved, "policy_rev", st.Meta.Rev)
}

// claim takes over a restored connection of the segment's tuple, if there is one.
func (w *Worker) claim(s *conntrack.Segment) {
	saved, ok := w.shared.pending.Claim(&s.Tuple)
	if !ok {
		return
	}
	for _, e := range [...]*policy.Engine{w.engine, w.trial} {
		if e != nil {
			e.Restore(w.now, &saved.Entry)
		}
	}
}

// saveState writes the table of every worker that has ended, and what nobody claimed, for the next start.
func (g *Gateway) saveState() error {
	if g.cfg.StateFile == "" {
		return nil
	}
	return SaveStateFile(g.cfg.StateFile, NewStateMeta(g.clock, g.cfg.Version, g.policy().Rev()), g.entries())
}

// entries yields every remembered connection with the name of its rule.
func (g *Gateway) entries() iter.Seq2[*conntrack.Entry, string] {
	return func(yield func(*conntrack.Entry, string) bool) {
		for _, w := range g.workerList() {
			select {
			case <-w.done:
			default:
				continue // its thread still owns the table
			}
			for cursor := 0; cursor >= 0; {
				cursor = w.engine.Walk(cursor, 1<<16, func(e *conntrack.Entry) bool { return yield(e, w.engine.RuleOf(e)) })
			}
		}
		for saved := range g.shared.pending.All {
			if !yield(&saved.Entry, saved.Rule) {
				return
			}
		}
	}
}
