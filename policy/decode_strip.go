package policy

import (
	"fmt"
	"strings"

	"halfopen/conntrack"
)

// strip decodes strip.
func (d *decoder) strip(n *node, k *key) (st Strip) {
	d.each(n, list(k.words)+", or a list of them", func(n *node) {
		if i := d.word(n, k.words); i >= 0 {
			st |= 1 << i
		}
	})
	return st
}

// stripParts reports what cannot be stripped.
func stripParts(p *actionParts, f conntrack.Finding, a *Action, say func(part, found, expected string)) {
	if a.Packet != Rewrite {
		for _, part := range []string{"strip", "mss"} {
			if p.has(part) {
				say(part, fmt.Sprintf("%s with packet: %s", part, a.Packet), "packet: rewrite beside it")
			}
		}
		return
	}
	never := a.Strip &^ strippable(f)
	switch {
	case unanswerable(f):
		say("packet", fmt.Sprintf("packet: rewrite on %s, which is no proper segment", f), "forward or drop")
	case a.Strip == 0:
		say("packet", "packet: rewrite and nothing to rewrite", "strip or mss beside it")
	case p.key == f.String() && never != 0: // a word for many findings may name what only some of them have
		say(never.key(), fmt.Sprintf("%s on %s, %s", strings.Join(never.Words(), ", "), f, whyNever(f)), list((strippable(f) &^ StripMSS).Words()))
	}
}

// key returns the key that names the first part of st.
func (st Strip) key() string {
	if st == StripMSS {
		return "mss"
	}
	return "strip"
}

// onlySYN are the parts that only a SYN or SYN/ACK has.
const onlySYN = StripData | StripWScale | StripMSS

// strippable returns the parts that a segment of this finding may lose.
func strippable(f conntrack.Finding) Strip {
	const every Strip = 1<<numStrips - 1
	switch {
	case onSYN(f) || f.Base() == conntrack.New:
		return every
	case answersSYN(f):
		return every & onSYNACK
	}
	switch f.Base() {
	case conntrack.FlagsIllegal, conntrack.DeniedTuple, conntrack.TableFull, conntrack.EmbryonicLimit:
		return every // of any segment
	}
	return every &^ onlySYN
}

func whyNever(f conntrack.Finding) string {
	if answersSYN(f) {
		return "whose sender believes that it is agreed: it must be taken from the SYN"
	}
	return "which is about no SYN"
}

// answersSYN reports whether a finding is about a SYN/ACK.
func answersSYN(f conntrack.Finding) bool {
	if f == conntrack.LateSynAck {
		return true
	}
	switch f.Base() {
	case conntrack.SynAck, conntrack.SynAckRetransmit, conntrack.SynAckBadAck, conntrack.SynAckEstablished, conntrack.SynAckWrongDirection,
		conntrack.SynAckNoState, conntrack.SynAckResync:
		return true
	}
	return false
}
