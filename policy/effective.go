package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"halfopen/conntrack"
)

// Text returns the action as a policy file has it, whole: {packet: drop, reply: rst, state: keep, timer: leave}.
func (a *Action) Text() string {
	parts := []string{"packet: " + a.Packet.String()}
	if a.Reply != ReplyNone {
		parts = append(parts, "reply: "+a.Reply.String())
	}
	if a.Reply == ReplyACKTracked || a.ElseReply == ReplyACKTracked {
		parts = append(parts, "window: "+windowWord(a))
	}
	if a.Peer != PeerNone {
		parts = append(parts, "peer: "+a.Peer.String())
	}
	parts = append(parts, "state: "+a.State.String(), "timer: "+a.TimerWord())
	if a.Peer.probes() {
		parts = append(parts, "await: "+FormatDuration(a.Await))
	}
	parts = append(parts, a.conditionText()...)
	if a.Strip&^StripMSS != 0 {
		parts = append(parts, "strip: "+a.Strip.text())
	}
	if a.Strip&StripMSS != 0 {
		parts = append(parts, "mss: "+strconv.Itoa(int(a.MSS)))
	}
	if a.Packet == Hold {
		parts = append(parts, "hold: "+FormatDuration(a.HoldFor), "then: "+a.HoldThen.String())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// textOn is Text for a finding: where it is about no packet there is no timer to speak of.
func (a *Action) textOn(f conntrack.Finding) string {
	if !f.Info().Packet {
		return strings.Replace(a.Text(), ", timer: "+a.TimerWord(), "", 1)
	}
	return a.Text()
}

func windowWord(a *Action) string {
	if a.TrackedWindow {
		return windowWords[1]
	}
	return windowWords[0]
}

// TimerWord returns the timer part of the action as a policy file has it: refresh, leave or a duration.
func (a *Action) TimerWord() string {
	if a.Timer.Op == conntrack.TimerShorten {
		return FormatDuration(a.Timer.D)
	}
	return a.Timer.Op.String()
}

// SeqCheckWord returns the word of window.check.
func SeqCheckWord(c conntrack.SeqCheck) string { return seqCheckWords[c] }

// ACKRuleWord returns the word of window.ack.
func ACKRuleWord(r conntrack.ACKRule) string { return ackRuleWords[r] }

// RSTRuleWord returns the word of window.rst.
func RSTRuleWord(r conntrack.RSTRule) string { return rstRuleWords[r] }

// windowValues returns the keys and values of a window section, in order.
func windowValues(w *conntrack.Rules) [][2]string {
	return [][2]string{{"check", seqCheckWords[w.Check]}, {"rst", rstRuleWords[w.RST]}, {"ack", ackRuleWords[w.ACK]}, {"near", fmt.Sprint(w.Near)},
		{"syn_band", fmt.Sprint(w.SynBand)}, {"old", fmt.Sprint(w.Old)}, {"retransmits", fmt.Sprint(w.Retransmits)}}
}

func windowText(w *conntrack.Rules) string {
	var parts []string
	for _, v := range windowValues(w) {
		parts = append(parts, v[0]+": "+v[1])
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// rateText returns a rate as a policy file has it.
func rateText(n int32) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.Itoa(int(n))
}

// YAML returns the policy in force as a policy file that inherits from nothing and says everything: parsed and compiled
// it has the same revision.
func (p *Policy) YAML() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n# %s\n", oneLine(p.name), p.rev)
	if p.description != "" {
		fmt.Fprintf(&b, "description: %s\n", strconv.Quote(p.description))
	}
	b.WriteString("timeouts:\n")
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		fmt.Fprintf(&b, "  %s: %s\n", stateKey(s), FormatDuration(p.timeouts[0][s]))
	}
	w := &p.windows[0]
	fmt.Fprintf(&b, "window: %s\n", windowText(w))
	writeFacts(&b, "", p.upkeeps[0].facts())
	fmt.Fprintf(&b, "limits: {flows: %d, embryonic: %d, tombstones: %d, per_source: %d}\n", p.limits.Flows, p.limits.Embryonic,
		p.limits.Tombstones, p.limits.PerSource)
	fmt.Fprintf(&b, "on_full: %s\nadopt: %s\nlate: %s\nreload: %s\n", p.onFull, FormatDuration(p.adopt), FormatDuration(w.TombLate), p.reload)
	writeFacts(&b, "", p.fileFacts())
	fmt.Fprintf(&b, "log:\n  detail: %s\n", p.log.Detail)
	p.writeRates(&b)
	b.WriteString("on:\n")
	for f := range conntrack.NumFindings {
		fmt.Fprintf(&b, "  %s: %s\n", f, p.Action(-1, conntrack.Original, f).textOn(f))
	}
	if p.Rules() > 0 {
		b.WriteString("rules:\n")
	}
	for r := range int32(p.Rules()) {
		p.writeRule(&b, r)
	}
	return b.Bytes()
}

// writeRates writes the rate that most findings share as one number.
func (p *Policy) writeRates(b *bytes.Buffer) {
	same := true
	for _, n := range p.log.Rate {
		same = same && n == p.log.Rate[0]
	}
	if same {
		fmt.Fprintf(b, "  rate: %s\n", rateText(p.log.Rate[0]))
		return
	}
	b.WriteString("  rate:\n")
	for f, n := range p.log.Rate {
		fmt.Fprintf(b, "    %s: %s\n", conntrack.Finding(f), rateText(n))
	}
}

// writeRule writes what a rule has that the file's own tables have not.
func (p *Policy) writeRule(b *bytes.Buffer, r int32) {
	fmt.Fprintf(b, "  - name: %s\n", strconv.Quote(p.names[r]))
	if m := p.matches[r].Text(); m != "{}" {
		fmt.Fprintf(b, "    match: %s\n", m)
	}
	var parts []string
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		if d := p.Timeouts(r)[s]; d != p.timeouts[0][s] {
			parts = append(parts, stateKey(s)+": "+FormatDuration(d))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(b, "    timeouts: {%s}\n", strings.Join(parts, ", "))
	}
	if w := p.Window(r); *w != p.windows[0] {
		fmt.Fprintf(b, "    window: %s\n", windowText(w))
	}
	writeFacts(b, "    ", p.upkeepChanges(r))
	dir := p.matches[r].Direction.first()
	head := "    on:\n"
	for f := range conntrack.NumFindings {
		a, of := p.Action(r, dir, f), f.Base() // a word for a finding is one for its kinds
		if *a != *p.Action(-1, dir, f) || *p.Action(r, dir, of) != *p.Action(-1, dir, of) {
			fmt.Fprintf(b, "%s      %s: %s\n", head, f, a.textOn(f))
			head = ""
		}
	}
}

// upkeepChanges returns in what a rule's upkeep differs from the file's own.
func (p *Policy) upkeepChanges(r int32) []fact {
	base := p.upkeeps[0].facts()
	var out []fact
	for i, f := range p.Upkeep(r).facts() {
		if f != base[i] {
			out = append(out, f)
		}
	}
	return out
}

// writeFacts writes values as YAML, those of one section in one line.
func writeFacts(b *bytes.Buffer, indent string, facts []fact) {
	for i := 0; i < len(facts); {
		section, _, sub := strings.Cut(facts[i].key, ".")
		if !sub {
			fmt.Fprintf(b, "%s%s: %s\n", indent, facts[i].key, facts[i].value)
			i++
			continue
		}
		var parts []string
		for ; i < len(facts) && strings.HasPrefix(facts[i].key, section+"."); i++ {
			parts = append(parts, facts[i].key[len(section)+1:]+": "+facts[i].value)
		}
		fmt.Fprintf(b, "%s%s: {%s}\n", indent, section, strings.Join(parts, ", "))
	}
}

// Text returns the match as a policy file has it, "{}" for one that matches everything.
func (m *Match) Text() string {
	var parts []string
	add := func(key string, values []string) {
		switch len(values) {
		case 0:
		case 1:
			parts = append(parts, key+": "+values[0])
		default:
			parts = append(parts, key+": ["+strings.Join(values, ", ")+"]")
		}
	}
	add("src", texts(m.Src, quotedPrefix))
	add("dst", texts(m.Dst, quotedPrefix))
	add("src_port", texts(m.SrcPort, PortRange.String))
	add("dst_port", texts(m.DstPort, PortRange.String))
	if m.Direction != Both {
		parts = append(parts, "direction: "+m.Direction.String())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func texts[T any](values []T, text func(T) string) []string {
	var out []string
	for _, v := range values {
		out = append(out, text(v))
	}
	return out
}

func quotedPrefix(p netip.Prefix) string { return strconv.Quote(prefixText(p)) }

// String returns the range as a policy file has it.
func (r PortRange) String() string {
	if r.Lo == r.Hi {
		return strconv.Itoa(int(r.Lo))
	}
	return strconv.Itoa(int(r.Lo)) + "-" + strconv.Itoa(int(r.Hi))
}
