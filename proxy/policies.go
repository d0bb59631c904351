package proxy

import (
	"slices"

	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// keepPolicies writes the texts of policies that decide from now on beside the log, so that its readers can see what a revision was. A
// gateway works without: what fails is only said.
func (g *Gateway) keepPolicies(ps ...*policy.Policy) {
	if g.cfg.LogDir == "" || g.cfg.LogDir == "-" {
		return
	}
	for _, p := range ps {
		if err := decisionlog.KeepPolicy(g.cfg.LogDir, p.Rev(), p.YAML()); err != nil {
			g.cfg.Logger.Warn("the policy's text is not beside the log", "rev", p.Rev(), "error", err)
		}
	}
}

// keepFirstPolicies is keepPolicies for those of the start: the one asked for, and with --dry-run the one that is enforced meanwhile.
func (g *Gateway) keepFirstPolicies() {
	g.keepPolicies(slices.Concat(g.experiments.policies(), g.shadows, []*policy.Policy{g.pol})...)
	if !g.cfg.DryRun {
		return
	}
	if observe, err := LoadPolicy("observe", nil); err == nil {
		g.keepPolicies(observe)
	}
}
