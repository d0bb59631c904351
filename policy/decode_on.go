package policy

import (
	"slices"

	"halfopen/conntrack"
)

// patterns says which entry of a mapping from findings decides each finding: the one that names the fewest. It reports
// words that name none, and findings that two entries name equally well.
func (d *decoder) patterns(n *node) map[conntrack.Finding]int {
	owner := map[conntrack.Finding]int{}
	size := make([]int, len(n.entries)) // how many findings an entry names
	rank := func(i int, f conntrack.Finding) int {
		if n.entries[i].key == f.String() {
			return 1 // the finding itself, whatever kinds it has
		}
		return size[i]
	}
	for i := range n.entries {
		e := &n.entries[i]
		fs := findingsOf(e.key)
		if len(fs) == 0 && !d.full() {
			d.problem(e.at, "unknown finding "+quote(e.key), findingHint(e.key))
		}
		size[i] = len(fs)
		for _, f := range fs {
			if j, ok := owner[f]; !ok || rank(i, f) < rank(j, f) {
				owner[f] = i
			}
		}
	}
	said := map[[2]int]bool{}
	for i := range n.entries {
		for _, f := range findingsOf(n.entries[i].key) {
			j := owner[f]
			if j != i && j >= 0 && rank(i, f) == rank(j, f) && !said[[2]int{i, j}] {
				said[[2]int{i, j}] = true
				d.problem(n.entries[i].at, quote(n.entries[i].key)+" and "+quote(n.entries[j].key)+" both name "+f.String(),
					"an entry for "+f.String()+" itself, or one of the two")
				owner[f] = -1
			}
		}
	}
	for f, i := range owner {
		if i < 0 {
			delete(owner, f)
		}
	}
	return owner
}

// findingHint says what a finding's place can hold: the nearest words, as all are too many to list.
func findingHint(w string) string {
	const expected = "a finding, a group (mid-stream, out-of-window, all) or a beginning with *"
	if n := nearest(w, findingKeywords()); n != "" {
		return expected + " (did you mean " + quote(n) + "?)"
	}
	return expected + "; docs/policy.md lists them"
}

// on decodes a mapping from findings to actions.
func (d *decoder) on(n *node, b *Block) map[conntrack.Finding]Action {
	out := map[conntrack.Finding]Action{}
	if n.kind == nodeNull {
		return out
	}
	if n.kind != nodeMapping {
		d.wrong(n, "a mapping from findings to actions")
		return out
	}
	owner := d.patterns(n)
	for i := range n.entries {
		if d.full() {
			break
		}
		e := &n.entries[i]
		parts := d.action(e)
		var fs []conntrack.Finding
		for _, f := range findingsOf(e.key) {
			if j, ok := owner[f]; ok && j == i {
				fs = append(fs, f)
			}
		}
		said := map[string]bool{}
		for _, f := range fs {
			a := parts.resolve(f)
			if f == conntrack.LateRst && e.key != f.String() && a.Reply.rst() {
				a.Reply = ReplyNone // meant for the others that the key names: no RST answers a RST
			}
			if unanswerable(f) && e.key != f.String() && a.Packet == Rewrite {
				a = NaturalAction(f, Forward) // the same: there is nothing that could be rewritten
			}
			for _, c := range parts.contradictions(f, &a) {
				if !said[c.part] {
					said[c.part] = true
					d.problem(parts.where(c.part, e), c.found, c.expected)
				}
			}
			out[f] = a
			b.note("on."+f.String(), d.src, e.at)
		}
	}
	return out
}

// actionParts are the parts of an action that a file names, before they are resolved for a finding.
type actionParts struct {
	key    string              // the word that the action is for
	given  map[string]position // part to its place
	action Action
	bad    bool // a part could not be read: contradictions would mislead
}

func (d *decoder) action(e *entry) *actionParts {
	p := &actionParts{key: e.key, given: map[string]position{}}
	before := len(d.problems)
	n := e.value
	if n.kind == nodeScalar {
		if i := wordIndex(n.text, packetKeywords); i >= 0 {
			p.given["packet"], p.action.Packet = n.at, packetOf(packetKeywords[i])
		} else {
			d.problem(n.at, quote(n.text), oneOf(n.text, packetKeywords)+", or a mapping such as {packet: drop, reply: rst}")
		}
	} else if n.kind == nodeNull {
		d.problem(e.at, "no action for "+quote(e.key), list(packetKeywords)+", or a mapping such as {packet: drop, reply: rst}")
	} else {
		d.section(n, "the action on "+e.key, actionKeys(), func(k *key, part *entry) { d.part(p, k, part) })
	}
	p.bad = len(d.problems) > before
	return p
}

func (d *decoder) part(p *actionParts, k *key, e *entry) {
	p.given[k.name] = e.value.at
	a := &p.action
	switch k.name {
	case "packet":
		if i := d.word(e.value, k.words); i >= 0 {
			a.Packet = packetOf(k.words[i])
		}
	case "reply":
		a.Reply = ReplyAction(max(0, d.word(e.value, k.words)))
	case "peer":
		a.Peer = PeerAction(max(0, d.word(e.value, k.words)))
	case "state":
		a.State = conntrack.Effect(max(0, d.word(e.value, k.words)))
	case "timer":
		d.timer(e.value, a)
	case "window":
		a.TrackedWindow = d.word(e.value, k.words) == 1
	case "hold":
		if v := d.duration(e.value); v != nil {
			a.HoldFor = *v
		}
	case "await":
		if v := d.duration(e.value); v != nil {
			a.Await = *v
		}
	case "only_if":
		a.OnlyIf = d.conditions(e.value, k)
	case "strip":
		a.Strip |= d.strip(e.value, k)
	case "mss":
		if v := d.count(e.value, k); v != nil {
			a.Strip, a.MSS = a.Strip|StripMSS, uint16(*v)
		}
	case "within":
		if v := d.duration(e.value); v != nil {
			a.Within = *v
		}
	case "else":
		d.orElse(e.value, k, a)
	case "then":
		if i := d.word(e.value, k.words); i >= 0 {
			a.HoldThen = packetOf(k.words[i])
		}
	}
}

func (d *decoder) timer(n *node, a *Action) {
	switch {
	case n.kind == nodeScalar && n.text == timerKeywords[0]:
		a.Timer.Op = conntrack.TimerRefresh
	case n.kind == nodeScalar && n.text == timerKeywords[1]:
		a.Timer.Op = conntrack.TimerLeave
	default:
		if n.kind == nodeScalar {
			if v, err := ParseDuration(n.text); err == nil {
				a.Timer = conntrack.Timer{Op: conntrack.TimerShorten, D: v}
				return
			}
		}
		hint := "refresh, leave or a duration such as 10s"
		if w := nearest(n.text, timerKeywords); n.kind == nodeScalar && w != "" {
			hint += " (did you mean " + quote(w) + "?)"
		}
		d.wrong(n, hint)
	}
}

func packetOf(word string) PacketAction { return PacketAction(slices.Index(packetWords[:], word)) }

// has reports whether the file names a part.
func (p *actionParts) has(part string) bool { _, ok := p.given[part]; return ok }

// where returns the place of a part, or of the entry where the part is not named.
func (p *actionParts) where(part string, e *entry) position {
	if at, ok := p.given[part]; ok {
		return at
	}
	return e.at
}

// resolve returns the whole action for a finding: what is not named is neutral.
func (p *actionParts) resolve(f conntrack.Finding) Action {
	a := p.action
	fate := a.Packet
	if fate == Hold {
		fate = a.HoldThen
	}
	natural := NaturalAction(f, fate)
	if a.Peer.probes() && !p.has("await") {
		a.Await = DefaultAwait
	}
	if !p.has("state") {
		a.State = natural.State
	}
	if !p.has("timer") {
		a.Timer = natural.Timer
		switch a.State {
		case conntrack.Create, conntrack.CreateLiberal, conntrack.Replace, conntrack.Resync, conntrack.Deny:
			a.Timer.Op = conntrack.TimerRefresh // a new entry's timer starts
		}
	}
	return a
}
