package scenario

import (
	"net/netip"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

// verbs are the words that begin a line which is no event.
func verbs() []string {
	return []string{"policy", "shadow", "timeout", "set", "flow", "adopt", "reload", "gap", "flows"}
}

func isVerb(w string) bool {
	for _, v := range verbs() {
		if v == w {
			return true
		}
	}
	return false
}

// directive reads a line that begins with a verb.
func (p *parser) directive(words []token) {
	verb := words[0]
	p.forget()
	r := &reader{p: p, words: words[1:], end: verb.col + len(verb.text)}
	switch verb.text {
	case "policy", "shadow", "timeout", "set", "adopt":
		if p.begun {
			p.fault(verb.col, verb.text+" after the first event", "it before")
		}
	}
	st, ok := statement{}, false
	switch verb.text {
	case "policy":
		st, ok = p.policy(r, verb)
	case "shadow":
		st, ok = p.shadow(r)
	case "timeout":
		st, ok = p.timeout(r)
	case "set":
		st, ok = p.set(r)
	case "flow":
		st, ok = p.flow(r)
	case "reload":
		st, ok = p.reload(r)
	case "adopt":
		st, ok = statement{kind: isAdopt}, true
	case "gap":
		st, ok = statement{kind: isGap}, true
	case "flows":
		st, ok = p.table(r)
	case "emit", "would", "tcp":
		p.fault(1, policy.Quote(verb.text)+" at the start of the line", "it indented below what it belongs to")
		return
	default:
		p.fault(1, policy.Quote(verb.text), policy.OneOf(verb.text, verbs())+"; an event begins with +, a comment with #")
		return
	}
	if !ok || !r.done() {
		return
	}
	p.add(st)
	p.lost = false
	if st.kind == isFlows {
		p.flows = len(p.s.stmts) - 1
	}
}

func (p *parser) policy(r *reader, verb token) (statement, bool) {
	t, ok := r.next("a preset's name, a file or a section of this file")
	if p.s.PolicyName() != "" {
		p.fault(verb.col, "a second policy", "reload NAME, where it takes the first one's place")
		return statement{}, false
	}
	return statement{kind: isPolicy, name: t.text, col: t.col}, ok
}

// shadow reads NAME [file FILE].
func (p *parser) shadow(r *reader) (statement, bool) {
	t, ok := r.next("the shadow's name")
	st := statement{kind: isShadow, name: t.text, file: t.text, col: t.col}
	for i := range p.s.stmts {
		if p.s.stmts[i].kind == isShadow && p.s.stmts[i].name == t.text && ok {
			p.fault(t.col, "a second shadow of this name", "")
			return st, false
		}
	}
	if w, more := r.peek(); ok && more {
		if w.text != "file" {
			p.fault(w.col, policy.Quote(w.text), "file FILE, or nothing")
			return st, false
		}
		r.i++
		f, had := r.next("a preset's name, a file or a section of this file")
		st.file, st.col, ok = f.text, f.col, had
	}
	return st, ok
}

// stateWords are the states that have a timeout.
func stateWords() (words []string) {
	for st := conntrack.SynSent; st < conntrack.NumStates; st++ {
		words = append(words, st.String())
	}
	return words
}

func (p *parser) timeout(r *reader) (statement, bool) {
	st := statement{kind: isTimeout}
	w, ok := r.next("a state, as ESTABLISHED")
	d, had := r.next("a duration")
	if !ok || !had {
		return st, false
	}
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		if s.String() == w.text {
			st.state = s
		}
	}
	if st.state == conntrack.StateNone {
		p.fault(w.col, "the state "+policy.Quote(w.text), policy.OneOf(w.text, stateWords()))
		ok = false
	}
	var err error
	if st.wait, err = policy.ParseDuration(d.text); err != nil {
		p.fault(d.col, "the duration "+policy.Quote(d.text), "a duration with units, as 30s or 2h4m")
		ok = false
	}
	return st, ok
}

// set reads KEY=VALUE, which may hold blanks: the rest of the line.
func (p *parser) set(r *reader) (statement, bool) {
	w, ok := r.next("KEY=VALUE as in limits.flows=2")
	if !ok {
		return statement{}, false
	}
	text := strings.TrimSpace(string([]rune(p.s.lines[p.num-1])[w.col-1:]))
	r.i = len(r.words)
	if _, err := policy.ParseOverride(text); err != nil {
		p.fault(w.col, policy.Quote(text), "KEY=VALUE as in limits.flows=2")
		return statement{}, false
	}
	return statement{kind: isSet, text: text}, true
}

// flow reads A ADDR:PORT B ADDR:PORT.
func (p *parser) flow(r *reader) (statement, bool) {
	var ends [2]end
	ok := true
	for i := range ends {
		name, had := r.next("the name of an end")
		if !had {
			return statement{}, false
		}
		if !isName(name.text) {
			p.fault(name.col, "the name "+policy.Quote(name.text), "letters, digits, - and _, with a letter first")
			ok = false
		}
		if _, taken := p.names[name.text]; taken || i == 1 && ends[0].name == name.text {
			p.fault(name.col, "a second end of the name "+policy.Quote(name.text), "")
			ok = false
		}
		addr, had := r.next("an address with its port, as 10.0.0.1:40000 or [2001:db8::1]:40000")
		if !had {
			return statement{}, false
		}
		a, err := netip.ParseAddrPort(addr.text)
		if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() {
			p.fault(addr.col, "the address "+policy.Quote(addr.text), "an address with its port, as 10.0.0.1:40000 or [2001:db8::1]:40000")
			ok = false
		}
		ends[i] = end{name.text, a}
		if i == 1 && ok && ends[0].addr.Addr().Is4() != a.Addr().Is4() {
			p.fault(addr.col, "two ends of different address families", "")
			ok = false
		}
	}
	if !ok {
		// Its names are declared all the same: segments of it are no further problems.
		for _, e := range ends {
			if _, taken := p.names[e.name]; !taken && isName(e.name) {
				p.names[e.name] = -1
			}
		}
		return statement{}, false
	}
	return p.declare(r, ends)
}

// declare enters a flow's ends.
func (p *parser) declare(r *reader, ends [2]end) (statement, bool) {
	if len(p.s.ends) >= maxEnds {
		p.fault(1, "more than 32768 flows", "")
		return statement{}, false
	}
	tu, _ := conntrack.MakeTuple(ends[0].addr, ends[1].addr).Canonical()
	for i := 0; i < len(p.s.ends); i += 2 {
		if old, _ := conntrack.MakeTuple(p.s.ends[i].addr, p.s.ends[i+1].addr).Canonical(); old == tu {
			p.fault(r.words[0].col, "a second flow between these ends", "")
			return statement{}, false
		}
	}
	n := len(p.s.ends)
	p.s.ends = append(p.s.ends, ends[0], ends[1])
	p.names[ends[0].name], p.names[ends[1].name] = n, n+1
	return statement{kind: isFlow, flow: n / 2}, true
}

func isName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func (p *parser) reload(r *reader) (statement, bool) {
	t, ok := r.next("a preset's name, a file or a section of this file")
	st := statement{kind: isReload, name: t.text, col: t.col}
	if w, more := r.peek(); ok && more {
		r.i++
		st.mode = w.text
		for _, m := range policy.ReloadWords() {
			if m == w.text {
				return st, true
			}
		}
		p.fault(w.col, policy.Quote(w.text), policy.OneOf(w.text, policy.ReloadWords()))
		return st, false
	}
	return st, ok
}

// table reads what follows flows.
func (p *parser) table(r *reader) (statement, bool) {
	st := statement{kind: isFlows}
	if w, more := r.peek(); more && w.text == "none" {
		r.i++
		st.none = true
	}
	return st, true
}
