package policy

import (
	"fmt"

	"halfopen/conntrack"
)

// Difference is a value in which two policies differ. Key is the path in a policy file, as timeouts.established,
// on.syn-established or rules.NAME.on.syn-established; a side is "" where that policy has no such thing.
type Difference struct{ Key, A, B string }

// Diff returns in what two policies differ, in the order of a policy file. What a rule merely inherits is said once, of
// the policy. Names, descriptions and comments do not count: it is empty exactly when both have the same revision.
func Diff(a, b *Policy) []Difference {
	var out []Difference
	say := func(key, x, y string) {
		if x != y {
			out = append(out, Difference{key, x, y})
		}
	}
	whole := func(of func(*Policy) string, key string) { say(key, of(a), of(b)) }
	base := [2][]fact{a.facts(-1, conntrack.Original), b.facts(-1, conntrack.Original)}
	for i := range base[0] {
		if x, y := &base[0][i], &base[1][i]; !x.asBase || !y.asBase {
			say(x.key, x.value, y.value)
		}
	}
	whole(func(p *Policy) string { return fmt.Sprint(p.limits.Flows) }, "limits.flows")
	whole(func(p *Policy) string { return fmt.Sprint(p.limits.Embryonic) }, "limits.embryonic")
	whole(func(p *Policy) string { return fmt.Sprint(p.limits.Tombstones) }, "limits.tombstones")
	whole(func(p *Policy) string { return fmt.Sprint(p.limits.PerSource) }, "limits.per_source")
	whole(func(p *Policy) string { return p.onFull.String() }, "on_full")
	for i, f := range a.fileFacts() {
		say(f.key, f.value, b.fileFacts()[i].value)
	}
	whole(func(p *Policy) string { return FormatDuration(p.adopt) }, "adopt")
	whole(func(p *Policy) string { return FormatDuration(p.windows[0].TombLate) }, "late")
	whole(func(p *Policy) string { return p.reload.String() }, "reload")
	whole(func(p *Policy) string { return p.log.Detail.String() }, "log.detail")
	for f := range conntrack.NumFindings {
		whole(func(p *Policy) string { return rateText(p.log.Rate[f]) }, "log.rate."+f.String())
	}
	return append(out, diffRules(a, b, base)...)
}

// diffRules compares rules by name, the n-th of a name with the n-th.
func diffRules(a, b *Policy, base [2][]fact) []Difference {
	var out []Difference
	of := func(p *Policy) (map[string]int32, []string) {
		at, n, order := map[string]int32{}, map[string]int{}, []string(nil)
		for i, name := range p.names {
			key := "rules." + name
			if n[name]++; n[name] > 1 {
				key += fmt.Sprintf("(%d)", n[name])
			}
			at[key] = int32(i)
			order = append(order, key)
		}
		return at, order
	}
	atA, orderA := of(a)
	atB, orderB := of(b)
	var commonA, commonB []string
	for _, key := range orderA {
		i, j := atA[key], int32(-1)
		if k, ok := atB[key]; ok {
			j = k
		} else {
			out = append(out, Difference{key, a.matches[i].Text(), ""})
			continue
		}
		commonA = append(commonA, key)
		if x, y := a.matches[i].Text(), b.matches[j].Text(); x != y {
			out = append(out, Difference{key + ".match", x, y})
		}
		out = append(out, diffRule(key, a, b, i, j, base)...)
	}
	for _, key := range orderB {
		if _, ok := atA[key]; ok {
			commonB = append(commonB, key)
		} else {
			out = append(out, Difference{key, "", b.matches[atB[key]].Text()})
		}
	}
	if x, y := fmt.Sprint(commonA), fmt.Sprint(commonB); x != y {
		out = append(out, Difference{"rules", "order " + x, "order " + y})
	}
	return out
}

func diffRule(key string, a, b *Policy, i, j int32, base [2][]fact) []Difference {
	var out []Difference
	said := map[string]bool{}
	for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
		x, y := a.facts(i, dir), b.facts(j, dir)
		for k := range x {
			inherited := x[k] == base[0][k] && y[k] == base[1][k]
			if x[k].value != y[k].value && !inherited && !(x[k].asBase && y[k].asBase) && !said[x[k].key] {
				said[x[k].key] = true
				out = append(out, Difference{key + "." + x[k].key, x[k].value, y[k].value})
			}
		}
	}
	return out
}

// fact is a value of a rule or of the policy, by its path.
type fact struct {
	key, value string
	asBase     bool // about a finding, and the same as about the finding that it is a kind of
}

// facts returns what a rule decides by, in the order of a policy file; all policies have the same keys.
func (p *Policy) facts(rule int32, dir conntrack.Direction) []fact {
	var out []fact
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		out = append(out, fact{key: "timeouts." + stateKey(s), value: FormatDuration(p.Timeouts(rule)[s])})
	}
	w := p.Window(rule)
	for _, v := range windowValues(w) {
		out = append(out, fact{key: "window." + v[0], value: v[1]})
	}
	out = append(out, p.Upkeep(rule).facts()...)
	for f := range conntrack.NumFindings {
		text, of := p.Action(rule, dir, f).textOn(f), f.Base()
		out = append(out, fact{"on." + f.String(), text, of != f && text == p.Action(rule, dir, of).textOn(of)})
	}
	return out
}
