package policy

import "halfopen/conntrack"

// Value returns what holds for a key of a rule's block (-1: the policy's own) as a policy file has it, by its path as in
// timeouts.established, window.check, probes.tries or on.syn-established; "" for no such key. Actions are those on segments of
// direction dir.
func (p *Policy) Value(rule int32, dir conntrack.Direction, key string) string {
	for _, f := range p.facts(rule, dir) {
		if f.key == key {
			return f.value
		}
	}
	return ""
}
