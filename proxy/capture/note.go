package capture

import (
	"slices"
	"strconv"
	"strings"

	"halfopen/proxy/decisionlog"
)

// Note is what the comment of a packet says of it: one line of words, those of the decision log. The zero value of a field is not
// written. Its strings must outlive it, as those of a [decisionlog.Record].
//
//	halfopen drop reason=syn-established rule=stale-syn reply=ack-tracked state=ESTABLISHED idle=1800s flow=77 direction=to_server id=01...
//	halfopen inject kind=ack-tracked to=client reason=syn-established flow=77 direction=to_client cause=01... id=01...
//
// The second is a packet that the gateway made. A value that holds a blank, a quote or a control character stands in quotes, escaped as
// Go does. [ParseNote] reads the line.
type Note struct {
	Verdict string // forward, drop, rewrite, hold; Inject for a packet that was made
	Kind    string // Inject: for example rst-tracked
	To      string // Inject: client or server
	Trigger string // what time caused and no segment: for example probe
	Reason  string // the finding; of a packet that was made, the one of the decision that made it
	Rule    string

	Reply, Peer               string // kinds of what the decision made for the sender and for the other end
	ReplyOmitted, PeerOmitted string // why nothing was made that was asked for
	Unmet                     string

	Stripped       uint16 // what a rewritten packet lost, by bits in the order of [decisionlog.StrippedWords]
	RewriteOmitted string // why it could not be rewritten

	State, StateAfter string // of the connection, before and after; StateAfter only where it differs
	Known             bool   // there was a connection: Idle is written
	Idle              int64  // nanoseconds since its last segment

	Defect, Checksum string

	Tombstone    uint64 // flow id of the connection forgotten earlier on these ports
	TombstoneWhy string
	Forgotten    int64 // nanoseconds ago

	Would WouldNote

	Flow      uint64 // 51 bits, as in the log
	Direction decisionlog.Direction
	In, Out   string // interfaces of the host
	PcapCnt   uint64 // frame of the capture that was replayed
	Error     string // why it was not sent
	ID        decisionlog.ID
	Cause     decisionlog.ID // the decision that made it, or a rewritten packet of another
	Settles   decisionlog.ID // the hold that this ends
}

// WouldNote is what another policy would have done: the one under trial, or a replay's first shadow.
type WouldNote struct {
	Verdict, Reason, Rule, Reply, Peer string
	Stripped                           uint16
	Diverged                           bool
}

// Inject is the verdict of a packet that the gateway made.
const Inject = "inject"

// noteMark begins every comment that holds a note.
const noteMark = "halfopen "

// flowMask keeps the bits of a flow id that the log writes.
const flowMask = 1<<51 - 1

// AppendText appends the line.
func (n *Note) AppendText(dst []byte) ([]byte, error) {
	w := words{b: append(append(dst, noteMark...), n.Verdict...)}
	w.text("kind", n.Kind)
	w.text("to", n.To)
	w.text("trigger", n.Trigger)
	w.text("reason", n.Reason)
	w.text("rule", n.Rule)
	w.text("reply", n.Reply)
	w.text("peer", n.Peer)
	w.text("reply_omitted", n.ReplyOmitted)
	w.text("peer_omitted", n.PeerOmitted)
	w.text("unmet", n.Unmet)
	w.stripped("stripped", n.Stripped)
	w.text("rewrite_omitted", n.RewriteOmitted)
	w.text("state", n.State)
	w.text("state_after", n.StateAfter)
	if n.Known {
		w.seconds("idle", n.Idle)
	}
	w.text("defect", n.Defect)
	w.text("checksum", n.Checksum)
	if n.TombstoneWhy != "" {
		w.number("tombstone", n.Tombstone&flowMask)
		w.text("tombstone_why", n.TombstoneWhy)
		w.seconds("forgotten", n.Forgotten)
	}
	if o := &n.Would; o.Verdict != "" {
		w.text("would", o.Verdict)
		w.text("would_reason", o.Reason)
		w.text("would_rule", o.Rule)
		w.text("would_reply", o.Reply)
		w.text("would_peer", o.Peer)
		w.stripped("would_stripped", o.Stripped)
		if o.Diverged {
			w.text("diverged", "true")
		}
	}
	w.number("flow", n.Flow&flowMask)
	w.text("direction", directionWords[n.Direction])
	w.text("in", n.In)
	w.text("out", n.Out)
	w.number("pcap_cnt", n.PcapCnt)
	w.text("error", n.Error)
	w.id("settles", n.Settles)
	w.id("cause", n.Cause)
	w.id("id", n.ID)
	return w.b, nil
}

// String is the line.
func (n *Note) String() string {
	b, _ := n.AppendText(nil)
	return string(b)
}

// directionWords are EVE's, indexed by [decisionlog.Direction].
var directionWords = [...]string{decisionlog.DirUnknown: "", decisionlog.ToServer: "to_server", decisionlog.ToClient: "to_client"}

// words appends "key=value" words.
type words struct{ b []byte }

func (w *words) key(k string) { w.b = append(append(append(w.b, ' '), k...), '=') }

func (w *words) text(k, v string) {
	if v == "" {
		return
	}
	w.key(k)
	if plain(v) {
		w.b = append(w.b, v...)
		return
	}
	w.b = strconv.AppendQuote(w.b, v)
}

func (w *words) number(k string, v uint64) {
	if v != 0 {
		w.key(k)
		w.b = strconv.AppendUint(w.b, v, 10)
	}
}

func (w *words) id(k string, v decisionlog.ID) {
	if !v.IsZero() {
		w.key(k)
		w.b, _ = v.AppendText(w.b)
	}
}

// stripped writes what a packet lost, with commas between.
func (w *words) stripped(k string, bits uint16) {
	if bits &= 1<<len(decisionlog.StrippedWords) - 1; bits == 0 {
		return
	}
	w.key(k)
	for i, word := range decisionlog.StrippedWords {
		if bits&(1<<i) != 0 {
			w.b = append(append(w.b, word...), ',')
		}
	}
	w.b = w.b[:len(w.b)-1]
}

// seconds writes a duration in seconds, to the microsecond.
func (w *words) seconds(k string, ns int64) {
	w.key(k)
	us := ns / 1000
	if us < 0 {
		w.b = append(w.b, '-')
		us = -us
	}
	w.b = strconv.AppendInt(w.b, us/1e6, 10)
	if frac := us % 1e6; frac != 0 {
		w.b = append(w.b, '.')
		for unit := int64(1e5); frac > 0; unit /= 10 {
			w.b = append(w.b, byte('0'+frac/unit))
			frac %= unit
		}
	}
	w.b = append(w.b, 's')
}

// plain reports whether a value can stand without quotes.
func plain(v string) bool {
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// ParseNote reads a comment that [Note.AppendText] wrote. It is false for a comment that is no note. Words that it does not know, or
// cannot read, it leaves out: a later version may have more.
func ParseNote(comment string) (n Note, ok bool) {
	rest, ok := strings.CutPrefix(comment, noteMark)
	if !ok {
		return n, false
	}
	n.Verdict, rest, _ = strings.Cut(rest, " ")
	if n.Verdict == "" || !plain(n.Verdict) || strings.Contains(n.Verdict, "=") {
		return Note{}, false
	}
	for rest != "" {
		var key, value string
		if key, value, rest, ok = nextWord(rest); ok {
			n.set(key, value)
		}
	}
	return n, true
}

// nextWord takes one word off a line. It is false for one that is no "key=value".
func nextWord(line string) (key, value, rest string, ok bool) {
	line = strings.TrimLeft(line, " ")
	end := strings.IndexAny(line, " =")
	if end < 0 {
		return "", "", "", false
	}
	if line[end] == ' ' {
		return "", "", line[end:], false
	}
	key, line = line[:end], line[end+1:]
	if !strings.HasPrefix(line, `"`) {
		value, rest, _ = strings.Cut(line, " ")
		return key, value, rest, true
	}
	quoted, err := strconv.QuotedPrefix(line)
	if err != nil {
		_, rest, _ = strings.Cut(line, " ")
		return key, "", rest, false
	}
	value, err = strconv.Unquote(quoted)
	return key, value, line[len(quoted):], err == nil
}

// set puts one word in its place.
func (n *Note) set(key, value string) {
	if to := n.text(key); to != nil {
		*to = value
		return
	}
	switch key {
	case "idle":
		n.Idle, n.Known = parseSeconds(value)
	case "forgotten":
		n.Forgotten, _ = parseSeconds(value)
	case "stripped":
		n.Stripped = parseStripped(value)
	case "would_stripped":
		n.Would.Stripped = parseStripped(value)
	case "tombstone":
		n.Tombstone = parseNumber(value)
	case "flow":
		n.Flow = parseNumber(value)
	case "pcap_cnt":
		n.PcapCnt = parseNumber(value)
	case "diverged":
		n.Would.Diverged = value == "true"
	case "direction":
		n.Direction = decisionlog.Direction(max(slices.Index(directionWords[:], value), 0))
	case "id":
		n.ID, _ = decisionlog.ParseID(value)
	case "cause":
		n.Cause, _ = decisionlog.ParseID(value)
	case "settles":
		n.Settles, _ = decisionlog.ParseID(value)
	}
}

// text is the place of a word that is text, nil for another.
func (n *Note) text(key string) *string {
	switch key {
	case "kind":
		return &n.Kind
	case "to":
		return &n.To
	case "trigger":
		return &n.Trigger
	case "reason":
		return &n.Reason
	case "rule":
		return &n.Rule
	case "reply":
		return &n.Reply
	case "peer":
		return &n.Peer
	case "reply_omitted":
		return &n.ReplyOmitted
	case "peer_omitted":
		return &n.PeerOmitted
	case "unmet":
		return &n.Unmet
	case "rewrite_omitted":
		return &n.RewriteOmitted
	case "state":
		return &n.State
	case "state_after":
		return &n.StateAfter
	case "defect":
		return &n.Defect
	case "checksum":
		return &n.Checksum
	case "tombstone_why":
		return &n.TombstoneWhy
	case "would":
		return &n.Would.Verdict
	case "would_reason":
		return &n.Would.Reason
	case "would_rule":
		return &n.Would.Rule
	case "would_reply":
		return &n.Would.Reply
	case "would_peer":
		return &n.Would.Peer
	case "in":
		return &n.In
	case "out":
		return &n.Out
	case "error":
		return &n.Error
	}
	return nil
}

// parseStripped reads what a packet lost.
func parseStripped(s string) (bits uint16) {
	for word := range strings.SplitSeq(s, ",") {
		if i := slices.Index(decisionlog.StrippedWords[:], word); i >= 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// parseNumber reads a flow id or the like, 0 for what is none.
func parseNumber(s string) uint64 {
	v, _ := strconv.ParseUint(s, 10, 64)
	return v & flowMask
}

// parseSeconds reads "12.5s", to the microsecond.
func parseSeconds(s string) (ns int64, ok bool) {
	s, ok = strings.CutSuffix(s, "s")
	whole, frac, dotted := strings.Cut(s, ".")
	v, err := strconv.ParseInt(whole, 10, 64)
	if !ok || err != nil || v > maxSeconds || v < -maxSeconds || len(frac) > 6 || dotted && frac == "" {
		return 0, false
	}
	f, err := strconv.ParseUint((frac + "000000")[:6], 10, 64)
	if err != nil {
		return 0, false
	}
	if strings.HasPrefix(whole, "-") {
		return v*1e9 - int64(f)*1000, true
	}
	return v*1e9 + int64(f)*1000, true
}
