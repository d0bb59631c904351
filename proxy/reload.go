package proxy

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// LoadPolicy loads a preset by name or a policy file, with overrides of the form PATH=VALUE. The error lists every problem.
func LoadPolicy(ref string, overrides []string) (*policy.Policy, error) {
	parsed := make([]policy.Override, 0, len(overrides))
	for _, arg := range overrides {
		o, err := policy.ParseOverride(arg)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, o)
	}
	return policy.Open(ref, os.ReadFile, parsed...)
}

// Reload loads the policy again (from path, or with "" from where it came), the shadows' files and the experiments, and puts them in force
// between two batches. A bad file of any of them, or an experiment that must not change so while it runs, changes nothing; either way the
// log gets a reload record.
func (g *Gateway) Reload(ctx context.Context, path string) (ReloadResult, error) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	old := g.policy()
	ref := path
	if ref == "" {
		ref = g.cfg.Policy
	}
	pol, err := LoadPolicy(ref, g.cfg.Overrides)
	before := g.running()
	var shadows []*policy.Policy
	var exps *experiments
	var changes []experiment.Change
	if err == nil {
		shadows, err = g.cfg.loadShadows(pol)
	}
	if err == nil {
		exps, changes, err = g.cfg.loadExperiments(pol, before)
	}
	rec := &decisionlog.Reload{Preset: old.Preset(), PolicyRev: old.Rev(), PreviousRev: old.Rev()}
	if err != nil {
		rec.Error = err.Error()
		g.putReload(rec, false)
		return ReloadResult{}, fmt.Errorf("reload refused, the policy in force stays: %w", err)
	}
	g.keepPolicies(slices.Concat(exps.policies(), shadows, []*policy.Policy{pol})...)
	rec.OK, rec.Preset, rec.PolicyRev, rec.Flows = true, pol.Preset(), pol.Rev(), pol.Reload().String()
	err = g.each(ctx, func(now conntrack.Instant, w *Worker) {
		w.fast.bump() // what passes from here on is decided by what comes into force
		rec.FlowsTouched += uint64(w.engine.Len())
		w.adoptExperiments(now, exps)
		if w.watching == nil && exps != nil && !w.abandoned.Load() { // else its queue's ring is another's
			w.watching = g.watcher.ring(w.queue)
		}
		w.adoptPolicy(now, pol, shadows)
	})
	g.setPolicy(pol, ref, exps, shadows)
	g.watcher.use(exps, g.cfg.Logger)
	g.putReload(rec, true)
	if exps != nil {
		g.putChanges(exps, before, changes)
		g.warnShared(exps)
	}
	g.cfg.Logger.Info("policy reloaded", "policy", pol.Name(), "rev", pol.Rev(), "before", old.Rev(), "flows", pol.Reload())
	return ReloadResult{Policy: pol.Name(), Rev: pol.Rev(), Before: old.Rev(), Flows: pol.Reload().String(), Live: rec.FlowsTouched, Experiments: changeWords(changes)}, err
}

// adoptPolicy puts a policy in force on this worker: the one under trial with --dry-run, else the enforced one; and those of the shadows,
// in their order. A shadow whose policy is what it was keeps its table as it is.
func (w *Worker) adoptPolicy(now conntrack.Instant, pol *policy.Policy, shadows []*policy.Policy) {
	if w.trial != nil {
		shadows = append([]*policy.Policy{pol}, shadows...)
	} else {
		w.engine.Swap(now, pol, pol.Reload())
	}
	w.shadows.swap(now, shadows, w.engine.Policy().Rev())
	w.setRates(pol)
	w.nameDeciders()
}

// putReload writes a reload's record and remembers for the metrics whether it was good.
func (g *Gateway) putReload(rec *decisionlog.Reload, ok bool) {
	g.log.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventReload, Reload: rec})
	g.mu.Lock()
	g.reloaded = ok
	if ok {
		g.reloadAt = time.Now()
	}
	g.mu.Unlock()
}

// policy is the policy that the operator asked for: enforced, or with --dry-run under trial.
func (g *Gateway) policy() *policy.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pol
}

func (g *Gateway) setPolicy(p *policy.Policy, ref string, x *experiments, shadows []*policy.Policy) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pol, g.cfg.Policy, g.experiments, g.shadows = p, ref, x, shadows
}
