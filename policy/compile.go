package policy

import (
	"fmt"
	"maps"
	"slices"

	"halfopen/conntrack"
)

// Resolver returns the policy that a spec's preset key names, read relative to the file that names it: nil without
// problems where there is no such policy. A problem without a File is about the reference itself.
type Resolver func(from, ref string) (*Spec, Problems)

// maxChain bounds how many files may inherit from each other.
const maxChain = 16

// Compile resolves what a spec inherits from and makes the policy. It returns a nil Policy exactly when there are
// problems. A nil Resolver knows the embedded presets only.
func Compile(s *Spec, resolve Resolver) (*Policy, Problems) { return compile(s, nil, resolve) }

// compile is Compile with the specs of overrides, of which the last has the last say.
func compile(s *Spec, overrides []*Spec, resolve Resolver) (*Policy, Problems) {
	if resolve == nil {
		resolve = PresetResolver
	}
	chain, problems := ancestors(s, resolve)
	if len(problems) > 0 {
		return nil, problems
	}
	preset := ""
	for _, s := range chain {
		if _, _, ok := CutReference(s.Name); ok {
			preset = s.Name
			break
		}
	}
	head := s.src.head()
	if s.reference {
		head = chain[1].src.head()
	}
	for _, o := range overrides {
		chain = append([]*Spec{o}, chain...)
	}
	chain, options, problems := choose(chain)
	if len(problems) > 0 {
		return nil, problems
	}
	for _, o := range overrides {
		for name := range o.patches {
			if !hasRule(chain, name) {
				problems = append(problems, o.src.problem(position{}, "no rule "+quote(name), "the name of a rule in "+s.Name))
			}
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	p := build(chain)
	p.name, p.preset, p.description = s.Name, preset, s.Description
	p.options = options
	p.rev = revision(p)
	p.notes = notes(chain)
	p.head = head
	return p, nil
}

// ancestors returns a spec and all that it inherits from, itself first.
func ancestors(s *Spec, resolve Resolver) ([]*Spec, Problems) {
	chain := []*Spec{s}
	for at := s; at.Preset != ""; at = chain[len(chain)-1] {
		if len(chain) == maxChain {
			return nil, at.presetProblem(fmt.Sprintf("more than %d policies that inherit from each other", maxChain), "a shorter chain that ends in a preset")
		}
		next, problems := resolve(at.Name, at.Preset)
		switch {
		case len(problems) > 0 && problems[0].File == "":
			return nil, at.presetProblem(problems[0].Found, problems[0].Expected)
		case len(problems) > 0:
			return nil, problems
		case next == nil:
			return nil, at.presetProblem("unknown preset "+quote(at.Preset), presetHint(at.Preset))
		}
		next.adopt(at)
		for _, seen := range chain {
			if seen.Name == next.Name {
				return nil, at.presetProblem(quote(at.Preset)+", which inherits from itself", "a chain that ends in a preset")
			}
		}
		chain = append(chain, next)
	}
	return chain, nil
}

func (s *Spec) presetProblem(found, expected string) Problems {
	return Problems{s.src.problem(s.presetAt, found, expected)}
}

func hasRule(chain []*Spec, name string) bool {
	for _, s := range chain {
		if slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.Name == name }) {
			return true
		}
	}
	return false
}

// notes merges the comments of a chain, whose first spec has the last say.
func notes(chain []*Spec) map[string]Note {
	out := map[string]Note{}
	for i := len(chain) - 1; i >= 0; i-- {
		chain[i].Block.noted(out, chain[i].Name)
	}
	return out
}

// noted puts a block's notes into to, as from a file.
func (b *Block) noted(to map[string]Note, from string) {
	for k, n := range b.notes {
		n.From = from
		to[k] = n
	}
}

// build merges a chain, whose first spec is the last to have its say.
func build(chain []*Spec) *Policy {
	p := &Policy{adopt: DefaultAdopt, injection: Injection{ACKs: Unlimited, RSTs: Unlimited}, limits: Limits{Flows: DefaultFlows, Tombstones: DefaultTombstones}}
	rates := map[conntrack.Finding]int32{}
	embryonic := 0
	base := newTables()
	for i := len(chain) - 1; i >= 0; i-- {
		s := chain[i]
		set(&p.limits.Flows, s.Flows)
		set(&embryonic, s.Embryonic)
		set(&p.limits.Tombstones, s.Tombs)
		set(&p.limits.PerSource, s.PerSource)
		set(&p.onFull, s.OnFull)
		p.applyFile(s)
		set(&p.adopt, s.Adopt)
		set(&p.log.Detail, s.Detail)
		set(&p.reload, s.Reload)
		maps.Copy(rates, s.Rate)
		base.apply(&s.Block, Both)
	}
	if p.limits.Embryonic = embryonic; embryonic == 0 {
		p.limits.Embryonic = (p.limits.Flows + 1) / 2
	}
	p.limits.Embryonic = min(p.limits.Embryonic, p.limits.Flows)
	for f := range conntrack.NumFindings {
		p.log.Rate[f] = DefaultRate
		if n, ok := rates[f]; ok {
			p.log.Rate[f] = n
		}
	}
	p.add(base)
	for _, s := range chain {
		for i := range s.Rules {
			r := &s.Rules[i]
			t := base.clone()
			t.apply(&r.Block, r.Match.Direction)
			notes := map[string]Note{}
			r.Block.noted(notes, s.Name)
			for j := len(chain) - 1; j >= 0; j-- {
				if patch, ok := chain[j].patches[r.Name]; ok {
					t.apply(&patch.Block, r.Match.Direction)
					patch.Block.noted(notes, chain[j].Name)
				}
			}
			p.add(t)
			p.matches = append(p.matches, r.Match)
			name := r.Name
			if name == "" {
				name = fmt.Sprintf("rule-%d", len(p.matches))
			}
			p.names = append(p.names, name)
			p.ruleNotes = append(p.ruleNotes, notes)
		}
	}
	return p
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// tables are what a rule, or the policy without one, decides by.
type tables struct {
	timeouts conntrack.Timeouts
	window   conntrack.Rules
	upkeep   Upkeep
	actions  [2][conntrack.NumFindings]Action
}

// newTables returns those of a policy that says nothing: everything is forwarded and tracked as its finding says, but for
// what is denied.
func newTables() *tables {
	t := &tables{timeouts: defaultTimeouts, window: conntrack.Rules{TombLate: DefaultLate, Retransmits: DefaultRetransmits}, upkeep: Upkeep{Probes: Probes{Every: DefaultProbeEvery}}}
	for dir := range t.actions {
		for f := range t.actions[dir] {
			t.actions[dir][f] = DefaultAction(conntrack.Finding(f))
		}
	}
	return t
}

func (t *tables) clone() *tables { c := *t; return &c }

// apply lets a block have its say, for the segments of some directions.
func (t *tables) apply(b *Block, dirs Directions) {
	for s, d := range b.Timeouts {
		t.timeouts[s] = d
	}
	set(&t.window.Check, b.Window.Check)
	set(&t.window.RST, b.Window.RST)
	set(&t.window.Near, b.Window.Near)
	set(&t.window.SynBand, b.Window.SynBand)
	set(&t.window.ACK, b.Window.ACK)
	set(&t.window.Old, b.Window.Old)
	set(&t.window.Retransmits, b.Window.Retransmits)
	set(&t.window.TombLate, b.Window.Late)
	t.upkeep.apply(&b.Upkeep)
	for dir := range t.actions {
		if dirs.Holds(conntrack.Direction(dir)) {
			for f, a := range b.On {
				t.actions[dir][f] = a
			}
		}
	}
}

// add appends the tables of the next rule; the policy's own come first.
func (p *Policy) add(t *tables) {
	p.timeouts = append(p.timeouts, t.timeouts)
	p.windows = append(p.windows, t.window)
	t.upkeep.Caps.Retransmits = t.window.Retransmits
	p.upkeeps = append(p.upkeeps, t.upkeep)
	p.settles = append(p.settles, t.settles())
	for dir := range t.actions {
		p.actions = append(p.actions, t.actions[dir][:]...)
	}
}
