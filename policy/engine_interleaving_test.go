package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"halfopen/conntrack"
)

// Two connections that have nothing to do with each other are decided the same in any order of their segments.
func TestInterleaving(t *testing.T) {
	const roomy = "  - name: roomy\n    match: {src_port: 1}\n"
	interleaving(t, policyOf(t, hostile+roomy), 50/breadth)
	interleaving(t, policyOf(t, hostile+roomy+"window: {check: kernel}\n"), 50/breadth)
	for _, name := range Presets() { // each with no bound that its connections share
		interleaving(t, policyOf(t, "preset: "+name+"\ninject: {acks: unlimited, rsts: unlimited}\n"), 12/breadth)
	}
}

func interleaving(t *testing.T, p *Policy, seeds uint64) {
	t.Helper()
	bounded := *p
	bounded.limits = Limits{Flows: 100, Embryonic: 100, Tombstones: 100}
	p = &bounded
	one := func(rng *rand.Rand, port uint16) (segs []conntrack.Segment) {
		g := traffic{next: func() byte { return byte(rng.Uint32()) }}
		for range 60 {
			s := g.segment()
			if s.Tuple.DstPort == 515 {
				s.Tuple.SrcPort = port
			} else {
				s.Tuple.DstPort = port
			}
			segs = append(segs, s)
		}
		return segs
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		segs := [2][]conntrack.Segment{one(rng, 1002), one(rng, 1003)}
		alone := [2][]string{}
		for f := range segs {
			e := NewEngine(EngineConfig{Policy: p})
			for i := range segs[f] {
				alone[f] = append(alone[f], decision(e.Step(conntrack.Instant(i)*1e8, &segs[f][i])))
			}
		}
		e := NewEngine(EngineConfig{Policy: p})
		at := [2]int{}
		for tick := 0; at[0] < 60 || at[1] < 60; tick++ {
			f := int(rng.Uint32() % 2)
			if at[f] == 60 || at[f] > at[1-f] { // each at its own time
				f = 1 - f
			}
			i := at[f]
			if got := decision(e.Step(conntrack.Instant(i)*1e8, &segs[f][i])); got != alone[f][i] {
				t.Fatalf("%s: seed %d flow %d segment %d: %s, alone %s", p.Name(), seed, f, i, got, alone[f][i])
			}
			at[f]++
		}
	}
}

func decision(o *Outcome) string {
	return fmt.Sprint(o.Finding, o.Expect, o.Verdict, o.Effect, o.Rule, o.Before, o.After, o.Idle, o.Remaining, o.HasReply, o.Reply, o.HasPeer, o.Peer, o.Counted)
}
