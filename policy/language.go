package policy

import (
	"slices"
	"strings"

	"halfopen/conntrack"
)

// valueKind is what the value of a key looks like.
type valueKind uint8

const (
	kindText     valueKind = iota
	kindDuration           // a number with a unit, or several: 30s, 2h4m, 5d
	kindCount              // a whole number
	kindWord               // one of the key's words
	kindTimer              // one of the key's words or a duration
	kindPrefixes           // an address or CIDR prefix, or a list of them
	kindPorts              // a port, a range LO-HI, or a list of them
	kindRate               // packets or records per second, or unlimited
	kindRates              // records per second, or a mapping from findings to that
	kindWords              // one of the key's words, or a list of them
	kindElse               // a word for the packet, or a mapping with keys of its own
	kindSection            // a mapping with keys of its own
	kindFindings           // a mapping from findings to actions
	kindRules              // a list of rules
	kindOptions            // a mapping from options to values or definitions
	kindChoice             // the word of an option's value
	kindValues             // a mapping from values to what they change
)

// key is one key of the language. The tables below are the language: the parser knows no other keys, and the JSON
// Schema and the manual are held to them.
type key struct {
	name    string
	kind    valueKind
	words   []string // with kindWord and kindTimer
	lo, hi  int64    // with kindCount
	unit    string   // with kindCount
	dflt    string   // what holds without the key, and without a preset that has it
	meaning string
	section []key // with kindSection, kindRules, kindOptions and kindValues
}

// Bounds of values.
const (
	maxWindowBytes = 1 << 30 // the largest window that scaling allows (RFC 7323 section 2.3)
	maxRate        = 1e6     // records per second
)

var (
	seqCheckWords  = []string{"strict", "liberal", "off", "kernel"}
	rstRuleWords   = []string{"linux", "pf", "rfc5961", "window", "last-or-next", "unacked"}
	ackRuleWords   = []string{"linux", "pf", "rfc5961"}
	windowWords    = []string{"0", "tracked"}
	timerKeywords  = []string{"refresh", "leave"}
	thenWords      = []string{"forward", "drop"}
	packetKeywords = packetWords[:]
)

// effectKeywords returns the words of all effects.
func effectKeywords() []string {
	words := make([]string, conntrack.NumEffects)
	for e := range conntrack.NumEffects {
		words[e] = e.String()
	}
	return words
}

// The keys that every file and each of its options is read by, and the findings of groups, are made once.
var (
	keysOfFile   = fileKeys()
	keysOfOption = optionKeys()
	keysOfPiece  = pieceKeys()
	allGroups    = groups()
	midStream    = findingsOf("mid-stream")
)

// fileKeys returns the keys of a policy file.
func fileKeys() []key {
	return []key{
		{name: "preset", kind: kindText, dflt: "none", meaning: "the policy to inherit from: a preset's name, or a file (with a slash or ending in .yaml or .yml) relative to this one"},
		{name: "description", kind: kindText, dflt: "none", meaning: "what the policy is for, in a line or two; means nothing to the gateway"},
		{name: "options", kind: kindOptions, meaning: "values of the vendor's own options that what is inherited defines; or definitions of options"},
		{name: "timeouts", kind: kindSection, section: timeoutKeys(), meaning: "after how much silence a connection is forgotten, by its state"},
		{name: "window", kind: kindSection, section: windowKeys(), meaning: "how sequence numbers are judged"},
		{name: "probes", kind: kindSection, section: probeKeys(), meaning: "how the gateway asks the ends of an idle connection whether they still hold it"},
		{name: "refresh", kind: kindWord, words: refreshWords[:], dflt: "either", meaning: "which segments of an established connection may set its timer anew, of those whose action does: those of either end, of the one that opened the connection, of the other, or one only once both ends have brought an ACK that does not go back"},
		{name: "caps", kind: kindSection, section: capKeys(), meaning: "the longest that a timer runs where something is amiss with the connection, as nf_conntrack has it; 0s for no cap"},
		{name: "limits", kind: kindSection, section: limitKeys(), meaning: "what each worker's table may hold (each queue has one worker and one table)"},
		{name: "on_full", kind: kindWord, words: onFullWords[:], dflt: "refuse", meaning: "how room is made for a new connection when a limit is reached: not at all; by forgetting the oldest connection whose handshake is not complete; or, where there is none of those, one that is closing (evict-closing-first: the other way round); or an established one that never had traffic in both directions (evict-unassured); or any of these in turn (evict-any)"},
		{name: "adaptive", kind: kindSection, section: adaptiveKeys(), meaning: "how timers shrink while the table fills, as pf's do"},
		{name: "evict_above", kind: kindCount, hi: 100, unit: "percent of limits.flows", dflt: "0", meaning: "while there are more connections than this, those that are closing end, the oldest first; 0 for never"},
		{name: "inject", kind: kindSection, section: injectKeys(), meaning: "bounds and marks of what the gateway sends"},
		{name: "on", kind: kindFindings, meaning: "what to do about each finding"},
		{name: "rules", kind: kindRules, section: ruleKeys(), meaning: "other timeouts, windows and actions for some connections; the first rule that matches a connection governs it, and a file's rules come before those of its preset"},
		{name: "adopt", kind: kindDuration, dflt: "10m", meaning: "for how long after a start connections that are older than the gateway are taken up (finding adopted); 0s for not at all"},
		{name: "late", kind: kindDuration, dflt: "10m", meaning: "for how long after its end a connection's segments are late-after-expiry; 0s for as long as it is remembered among the tombstones"},
		{name: "log", kind: kindSection, section: logKeys(), meaning: "what the decision log records"},
		{name: "reload", kind: kindWord, words: reloadWords[:], dflt: "keep", meaning: "what becomes of live connections when this policy takes another's place: they keep the timeouts that they have, get those of the rule that matches them now, or are forgotten; what happens to them is decided by the new policy in any case"},
	}
}

func timeoutKeys() []key {
	what := [conntrack.NumStates]string{
		conntrack.SynSent:     "a SYN was seen",
		conntrack.SynRecv:     "a SYN/ACK was seen",
		conntrack.Established: "the handshake is complete",
		conntrack.FinWait:     "one end has sent its FIN",
		conntrack.CloseWait:   "that FIN was acknowledged",
		conntrack.LastAck:     "both ends have sent their FINs",
		conntrack.TimeWait:    "both FINs were acknowledged",
		conntrack.Close:       "a RST was seen",
		conntrack.SynSent2:    "both ends have sent a SYN",
		conntrack.Denied:      "state: deny was done (netfilter has no such state)",
	}
	var keys []key
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		keys = append(keys, key{name: stateKey(s), kind: kindDuration, dflt: FormatDuration(defaultTimeouts[s]), meaning: what[s]})
	}
	return keys
}

// stateKey returns the key of a state's timeout.
func stateKey(s conntrack.State) string { return strings.ToLower(s.String()) }

func windowKeys() []key {
	return []key{
		{name: "check", kind: kindWord, words: seqCheckWords, dflt: "strict", meaning: "what is judged: everything, RST segments only, or nothing; kernel: everything, and tracked too, as Linux's nf_conntrack does, where the keys below play no part"},
		{name: "rst", kind: kindWord, words: rstRuleWords, dflt: "linux", meaning: "which RST is exact, inexact or out of window: as nf_conntrack judges; as pf does; as RFC 5961 section 3.2 asks; any inside the window is exact (RFC 793 section 3.4); the next number or the last one sent is (Juniper's rst-sequence-check); or any between what was acknowledged and what was sent (FortiOS's check-reset-range)"},
		{name: "ack", kind: kindWord, words: ackRuleWords, dflt: "linux", meaning: "which ACK is ack-below or ack-above: one that lags more than its sender's largest window or 66000 bytes, or is above what was sent; more than 67035 bytes before that, shifted by its sender's window scale, or after; or as RFC 5961 section 5.2 asks"},
		{name: "near", kind: kindCount, hi: maxWindowBytes, unit: "bytes", dflt: "0", meaning: "how far beyond the window data is seq-above-near rather than seq-above; 0 for the receiver's largest window"},
		{name: "syn_band", kind: kindCount, hi: maxWindowBytes, unit: "bytes", dflt: "0", meaning: "how far from the first a SYN's number may be before the SYN is syn-new-isn-far; 0 for any distance"},
		{name: "old", kind: kindCount, hi: maxWindowBytes, unit: "bytes", dflt: "0", meaning: "how far below the window data is seq-below-old rather than seq-below; 0 for the receiver's largest window, at least 66000"},
		{name: "retransmits", kind: kindCount, lo: 1, hi: 255, unit: "segments", dflt: "3", meaning: "how often an end repeats itself, with nothing from the other, until its segments are half-dead; holds with check: kernel too"},
	}
}

func limitKeys() []key {
	return []key{
		{name: "flows", kind: kindCount, lo: 1, hi: MaxFlows, unit: "connections", dflt: "262144", meaning: "connections in all"},
		{name: "embryonic", kind: kindCount, lo: 1, hi: MaxFlows, unit: "connections", dflt: "half of flows", meaning: "of those, ones whose handshake is not complete; denials count too"},
		{name: "tombstones", kind: kindCount, hi: MaxFlows, unit: "connections", dflt: "65536", meaning: "ended connections that are remembered for the log and for late-after-expiry; 0 for none"},
		{name: "per_source", kind: kindCount, hi: MaxFlows, unit: "connections", dflt: "0", meaning: "connections that one address may have opened; another is source-limit; 0 for any number"},
	}
}

func logKeys() []key {
	return []key{
		{name: "detail", kind: kindWord, words: logDetailWords[:], dflt: "decision", meaning: "which segments get a record of their own: all but plain in-window ones, or every one"},
		{name: "rate", kind: kindRates, hi: maxRate, unit: "records per second", dflt: "1000", meaning: "how many records of its own a finding may write, per worker; a number for all findings or a mapping from findings to numbers, with unlimited as a number; what goes beyond is counted in the log as suppressed"},
	}
}

func ruleKeys() []key {
	return []key{
		{name: "name", kind: kindText, meaning: "the rule's name in the log; required"},
		{name: "match", kind: kindSection, section: matchKeys(), meaning: "which connections; without it all"},
		{name: "timeouts", kind: kindSection, section: timeoutKeys(), meaning: "as in the file"},
		{name: "window", kind: kindSection, section: windowKeys(), meaning: "as in the file"},
		{name: "probes", kind: kindSection, section: probeKeys(), meaning: "as in the file"},
		{name: "refresh", kind: kindWord, words: refreshWords[:], meaning: "as in the file"},
		{name: "caps", kind: kindSection, section: capKeys(), meaning: "as in the file"},
		{name: "on", kind: kindFindings, meaning: "as in the file"},
	}
}

func matchKeys() []key {
	return []key{
		{name: "src", kind: kindPrefixes, dflt: "any", meaning: "addresses of the end that opens the connection"},
		{name: "dst", kind: kindPrefixes, dflt: "any", meaning: "addresses of the other end"},
		{name: "src_port", kind: kindPorts, dflt: "any", meaning: "ports of the end that opens the connection"},
		{name: "dst_port", kind: kindPorts, dflt: "any", meaning: "ports of the other end"},
		{name: "direction", kind: kindWord, words: directionWords[:], dflt: "any", meaning: "which segments of the connection the rule's on holds for; the others are decided by the file's own. Timeouts and window hold for the connection"},
	}
}

func actionKeys() []key {
	return []key{
		{name: "packet", kind: kindWord, words: packetKeywords, dflt: "forward", meaning: "what becomes of the segment"},
		{name: "reply", kind: kindWord, words: replyWords[:], dflt: "none", meaning: "what its sender gets, in the other end's name"},
		{name: "peer", kind: kindWord, words: peerWords[:], dflt: "none", meaning: "what the end that it was meant for gets, in the sender's name"},
		{name: "state", kind: kindWord, words: effectKeywords(), dflt: "what the finding does by itself where the segment is forwarded, keep where it is dropped", meaning: "what the table remembers"},
		{name: "timer", kind: kindTimer, words: timerKeywords, dflt: "what the finding does by itself where the segment is forwarded, leave where it is dropped", meaning: "what becomes of the idle timer: set anew, left alone, or cut to a duration if it has longer to run"},
		{name: "window", kind: kindWord, words: windowWords, dflt: "0", meaning: "the window that an ack-tracked reply advertises"},
		{name: "await", kind: kindDuration, dflt: FormatDuration(DefaultAwait), meaning: "with peer: probe-ack or probe-from-syn, how long the answer is awaited; at most 60s"},
		{name: "only_if", kind: kindWords, words: conditionWords[:], meaning: "on a SYN: what must hold of it and the connection for this action to be done; all of a list"},
		{name: "within", kind: kindDuration, meaning: "the same: at most so long ago the connection's timer was last set"},
		{name: "else", kind: kindElse, section: elseKeys(), meaning: "with only_if or within: what is done otherwise. Nothing is remembered of the SYN then"},
		{name: "strip", kind: kindWords, words: stripKeywords, meaning: "with packet: rewrite, what the segment loses, as far as it has it"},
		{name: "mss", kind: kindCount, lo: 1, hi: 65535, unit: "bytes", meaning: "the same: the largest segment size that a SYN may announce; a larger one is lowered to it, and none is added"},
		{name: "hold", kind: kindDuration, meaning: "with packet: hold, for how long; at most 60s"},
		{name: "then", kind: kindWord, words: thenWords, meaning: "with packet: hold, what becomes of the segment after that"},
	}
}

// group is a word for several findings.
type group struct {
	word, meaning string
	findings      []conntrack.Finding
}

// groups returns the group words of the language.
func groups() []group {
	all := group{word: "all", meaning: "every finding about a segment"}
	for f := range conntrack.NumFindings {
		if f.Info().Packet {
			all.findings = append(all.findings, f)
		}
	}
	return []group{
		{"mid-stream", "segments other than a SYN of which nothing is remembered", kinds(conntrack.SynAckNoState, conntrack.AckNoState,
			conntrack.DataNoState, conntrack.FinNoState, conntrack.RstNoState, conntrack.LateAfterExpiry)},
		{"out-of-window", "segments whose numbers do not fit, RST segments included", kinds(conntrack.SeqAboveNear, conntrack.SeqAbove,
			conntrack.SeqBelow, conntrack.AckAbove, conntrack.AckBelow, conntrack.FinOutOfWindow, conntrack.RstOutOfWindow)},
		all,
	}
}

// kinds returns findings with those that are kinds of them.
func kinds(of ...conntrack.Finding) []conntrack.Finding {
	out := slices.Clone(of)
	for f := range conntrack.NumFindings {
		if f.Base() != f && slices.Contains(of, f.Base()) {
			out = append(out, f)
		}
	}
	return out
}

// findingsOf returns what a key of on names: a finding and its kinds, the findings of a group, or with a trailing "*" all findings
// whose words begin so. It is empty for a word that names none.
func findingsOf(word string) []conntrack.Finding {
	if f, ok := conntrack.FindingByWord(word); ok {
		return kinds(f)
	}
	for _, g := range allGroups {
		if g.word == word {
			return g.findings
		}
	}
	var out []conntrack.Finding
	if prefix, ok := strings.CutSuffix(word, "*"); ok && prefix != "" {
		for f := range conntrack.NumFindings {
			if strings.HasPrefix(f.String(), prefix) {
				out = append(out, f)
			}
		}
	}
	return out
}

// findingKeywords returns every word and group that on knows.
func findingKeywords() []string {
	var words []string
	for f := range conntrack.NumFindings {
		words = append(words, f.String())
	}
	for _, g := range groups() {
		words = append(words, g.word)
	}
	return words
}
