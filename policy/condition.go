package policy

import (
	"strings"
	"time"

	"halfopen/conntrack"
)

// Conditions are what must hold of a SYN and the connection that it meets for an action to be done; otherwise its else is.
type Conditions uint8

// Conditions. The sequence numbers compared are those of the connection's own direction.
const (
	// IfClosed: both ends have closed, or one has reset.
	IfClosed Conditions = 1 << iota
	// IfISNNewer: the SYN's number is above all that its sender has used (RFC 1122 section 4.2.2.13).
	IfISNNewer
	// IfISNInWindow: it is inside the window (ValidateReopen of D-Link's and Clavister's TCPSequenceNumbers).
	IfISNInWindow
	// IfISNAboveWindow: it is above the window.
	IfISNAboveWindow
	// IfTSNewer: both carry timestamps, and the SYN's is greater (RFC 6191 section 2).
	IfTSNewer
	// IfNewer: RFC 6191 section 2 as a whole: by timestamps where the new connection would have them, else by the number.
	IfNewer
	numConditions = 6
)

var conditionWords = [numConditions]string{"closed", "isn-newer", "isn-in-window", "isn-above-window", "ts-newer", "newer"}

// String returns the conditions as a policy file has them: a word, or a list.
func (c Conditions) String() string {
	var words []string
	for i, w := range conditionWords {
		if c&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	if len(words) == 1 {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// unmetWithin is what Outcome.Unmet says where the time of an action's within has passed.
const unmetWithin = "within"

// unmet returns the first condition of the action that does not hold, "" where all do.
func unmet(now conntrack.Instant, v *conntrack.View, s *conntrack.Segment, a *Action) string {
	if a.OnlyIf == 0 && a.Within == 0 || v.Entry == nil {
		return ""
	}
	if a.Within != 0 && now.Sub(v.Entry.Refreshed) > a.Within {
		return unmetWithin
	}
	for i, w := range conditionWords {
		if c := Conditions(1 << i); a.OnlyIf&c != 0 && !holds2(c, v, s) {
			return w
		}
	}
	return ""
}

// holds2 reports whether a condition holds. Where the numbers that it needs are not known, it does not.
func holds2(c Conditions, v *conntrack.View, s *conntrack.Segment) bool {
	own := &v.Entry.Side[v.Dir]
	known := own.Flags&conntrack.SideKnown != 0
	isnNewer := known && own.End.LessEq(s.Seq)
	switch c {
	case IfClosed:
		return v.Entry.Closed()
	case IfISNNewer:
		return isnNewer
	case IfISNInWindow:
		return known && s.Seq.In(own.End, own.MaxEnd)
	case IfISNAboveWindow:
		return known && own.MaxEnd.Less(s.Seq)
	case IfTSNewer:
		d, had, has := timestamps(own, s)
		return had && has && d > 0
	}
	d, had, has := timestamps(own, s)
	switch {
	case has && !had:
		return true
	case has:
		return d > 0 || d == 0 && isnNewer
	}
	return isnNewer
}

// orElse returns what is done where a condition does not hold: the segment's fate and its sender's answer, and nothing else.
func (a *Action) orElse() Action {
	return Action{Packet: a.Else, Reply: a.ElseReply, TrackedWindow: a.TrackedWindow}
}

// conditional reports whether the action has conditions.
func (a *Action) conditional() bool { return a.OnlyIf != 0 || a.Within != 0 }

// text returns the parts about conditions as a policy file has them.
func (a *Action) conditionText() []string {
	var parts []string
	if a.OnlyIf != 0 {
		parts = append(parts, "only_if: "+a.OnlyIf.String())
	}
	if a.Within != 0 {
		parts = append(parts, "within: "+FormatDuration(a.Within))
	}
	if a.conditional() {
		parts = append(parts, "else: {packet: "+a.Else.String()+", reply: "+a.ElseReply.String()+"}")
	}
	return parts
}

func elseKeys() []key {
	return []key{
		{name: "packet", kind: kindWord, words: thenWords, dflt: "forward", meaning: "what becomes of the segment"},
		{name: "reply", kind: kindWord, words: replyWords[:], dflt: "none", meaning: "what its sender gets"},
	}
}

// conditions decodes only_if.
func (d *decoder) conditions(n *node, k *key) (c Conditions) {
	d.each(n, list(k.words)+", or a list of them", func(n *node) {
		if i := d.word(n, k.words); i >= 0 {
			c |= 1 << i
		}
	})
	return c
}

// orElse decodes else: a word for the packet, or packet and reply.
func (d *decoder) orElse(n *node, k *key, a *Action) {
	if n.kind == nodeScalar {
		a.Else = packetOf(thenWords[max(0, d.word(n, thenWords))])
		return
	}
	d.section(n, "else", k.section, func(k *key, e *entry) {
		i := max(0, d.word(e.value, k.words))
		if k.name == "packet" {
			a.Else = packetOf(k.words[i])
		} else {
			a.ElseReply = ReplyAction(i)
		}
	})
}

// conditionParts reports conditions that an action cannot have.
func conditionParts(p *actionParts, f conntrack.Finding, a *Action, onSYN bool, say func(part, found, expected string)) {
	first := "only_if"
	if !p.has(first) {
		first = "within"
	}
	switch {
	case p.has("else") && !a.conditional():
		say("else", "else without a condition", "only_if or within beside it")
	case !a.conditional():
		if p.has("within") {
			say("within", "within: "+FormatDuration(a.Within), "a duration above 0s")
		}
	case !onSYN:
		say(first, first+" on "+f.String()+", which is about no SYN on a known connection", "no condition")
	case a.State == conntrack.ReplaceIfClosed:
		say("state", "state: replace-if-closed with "+first, "state: replace, and closed among the conditions")
	case !p.has("else"):
		say(first, first+" without else", "else: forward, else: drop or else: {packet: drop, reply: ack-tracked}")
	case a.Within > maxWithin:
		say("within", "within: "+FormatDuration(a.Within), "a duration up to "+FormatDuration(maxWithin))
	case a.Packet == Hold:
		say(first, first+" with packet: hold", "packet: forward or packet: drop")
	}
}

// maxWithin bounds within: RFC 9293's maximum segment lifetime is two minutes, and no product asks for hours.
const maxWithin = 24 * time.Hour

// timestamps compares the SYN's timestamp with the last of its sender's, and says whether the connection and the SYN have one.
func timestamps(own *conntrack.Side, s *conntrack.Segment) (d int32, had, has bool) {
	has = s.Options.Has&conntrack.OptTimestamp != 0
	if had = own.Flags&conntrack.SideTimestamp != 0; had {
		d = int32(s.Options.TSVal - own.TSRecent)
	}
	return d, had, has
}
