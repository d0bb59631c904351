package policy

import (
	"fmt"
	"strconv"
	"time"

	"halfopen/conntrack"
)

// Upkeep is how the connections of a rule are kept alive, beside their timeouts.
type Upkeep struct {
	Probes  Probes
	Refresh Refresh
	Caps    conntrack.Caps
}

// Probes are what the gateway asks the ends of an established connection before its timer ends it: ipfw's keepalives, ASA's dead
// connection detection. A probe is a keepalive (RFC 9293 section 3.8.4): an ACK one number below what the end expects, which
// draws an ACK from an end that holds the connection and a RST from one that does not.
type Probes struct {
	Tries uint8         // how many, 0 for none
	Every time.Duration // between two, and after the last
	When  ProbeWhen
	To    Ends
	Alive Alive
}

// Span returns how long the probing lasts.
func (p *Probes) Span() time.Duration { return time.Duration(p.Tries) * p.Every }

// grace returns what the probing adds to the established timeout.
func (p *Probes) grace() time.Duration {
	if p.When == ProbeAfter {
		return p.Span()
	}
	return 0
}

// ProbeWhen says when the probing begins.
type ProbeWhen uint8

// Beginnings of the probing.
const (
	ProbeBefore ProbeWhen = iota // so that it is over when the timeout is: ipfw's keepalives
	ProbeAfter                   // when the timeout is over, which the probing prolongs: ASA's dead connection detection
	numProbeWhen
)

var probeWhenWords = [numProbeWhen]string{"before", "after"}

// Ends says which ends of a connection are meant.
type Ends uint8

// Ends of a connection.
const (
	EndsBoth Ends = iota
	EndsOriginal
	EndsReply
	numEnds
)

var endsWords = [numEnds]string{"both", "original", "reply"}

// mask returns the ends as bits 1<<direction.
func (e Ends) mask() uint8 { return [numEnds]uint8{EndsBoth: 3, EndsOriginal: 1, EndsReply: 2}[e] }

// Alive says whose answer to a probe refreshes the timer.
type Alive uint8

// Whose answers keep a connection.
const (
	AliveEither Alive = iota // one end's
	AliveAll                 // those of all ends that were asked
	numAlive
)

var aliveWords = [numAlive]string{"either", "all"}

// Refresh says which segments may set the timer anew, of those whose action does.
type Refresh uint8

// Rules of refreshing.
const (
	RefreshEither   Refresh = iota // of either direction
	RefreshOriginal                // of the end that opened the connection (RFC 4787 REQ-6's outbound; FortiGate's refresh-direction)
	RefreshReply                   // of the other end
	RefreshProgress                // only once each direction has brought an ACK that does not go back: ipfw
	numRefresh
)

var refreshWords = [numRefresh]string{"either", "original", "reply", "both-progress"}

// UpkeepSpec is what a file says of [Upkeep]; nil is nothing.
type UpkeepSpec struct {
	Tries   *uint8
	Every   *time.Duration
	When    *ProbeWhen
	To      *Ends
	Alive   *Alive
	Refresh *Refresh

	Retransmitted, Unacknowledged, ZeroWindow, OneWay *time.Duration
}

// DefaultProbeEvery is the time between probes where nothing is said: ASA's dcd retry interval.
const DefaultProbeEvery = 15 * time.Second

// Bounds of the time between probes.
const (
	minProbeEvery = 10 * time.Millisecond // tests; on a network less than a round trip is of no use
	maxProbeEvery = time.Hour
)

func probeKeys() []key {
	return []key{
		{name: "tries", kind: kindCount, hi: 100, unit: "probes", dflt: "0", meaning: "how many probes each end gets before the connection is given up; 0 for none"},
		{name: "every", kind: kindDuration, dflt: FormatDuration(DefaultProbeEvery), meaning: "the time between two probes, and how long the last one's answer is awaited; 10ms to 1h"},
		{name: "when", kind: kindWord, words: probeWhenWords[:], dflt: "before", meaning: "whether the probing is over when the established timeout is, or begins then and prolongs it"},
		{name: "to", kind: kindWord, words: endsWords[:], dflt: "both", meaning: "which end is asked: both, the one that opened the connection, or the other"},
		{name: "alive", kind: kindWord, words: aliveWords[:], dflt: "either", meaning: "whether one end's answer keeps the connection, or only the answers of all that were asked"},
	}
}

func capKeys() []key {
	return []key{
		{name: "retransmitted", kind: kindDuration, dflt: "0s", meaning: "an end has repeated itself window.retransmits times without an answer"},
		{name: "unacknowledged", kind: kindDuration, dflt: "0s", meaning: "data was not acknowledged yet"},
		{name: "zero_window", kind: kindDuration, dflt: "0s", meaning: "the last segment advertised no window"},
		{name: "one_way", kind: kindDuration, dflt: "0s", meaning: "the connection was taken up in its middle, and nothing was heard from the other end"},
	}
}

// caps decodes the section caps.
func (d *decoder) caps(k *key, e *entry, u *UpkeepSpec) {
	v := d.duration(e.value)
	switch k.name {
	case "retransmitted":
		u.Retransmitted = v
	case "unacknowledged":
		u.Unacknowledged = v
	case "zero_window":
		u.ZeroWindow = v
	case "one_way":
		u.OneWay = v
	}
}

// upkeep decodes the keys of an [UpkeepSpec].
func (d *decoder) upkeep(k *key, e *entry, b *Block) {
	u := &b.Upkeep
	switch k.name {
	case "probes":
		d.section(e.value, "probes", probeKeys(), func(k *key, e *entry) {
			b.note("probes."+k.name, d.src, e.at)
			d.probes(k, e, u)
		})
		if u.Alive != nil && *u.Alive == AliveAll && u.To != nil && *u.To != EndsBoth {
			d.problem(e.at, "alive: all with to: "+endsWords[*u.To], "to: both, or alive: either")
		}
	case "caps":
		d.section(e.value, "caps", capKeys(), func(k *key, e *entry) {
			b.note("caps."+k.name, d.src, e.at)
			d.caps(k, e, u)
		})
	case "refresh":
		u.Refresh = wordAs[Refresh](d.word(e.value, k.words))
	}
}

func (d *decoder) probes(k *key, e *entry, u *UpkeepSpec) {
	switch k.name {
	case "tries":
		if n := d.count(e.value, k); n != nil {
			v := uint8(*n)
			u.Tries = &v
		}
	case "every":
		if u.Every = d.duration(e.value); u.Every != nil && (*u.Every < minProbeEvery || *u.Every > maxProbeEvery) {
			d.problem(e.value.at, "every: "+FormatDuration(*u.Every), FormatDuration(minProbeEvery)+" to "+FormatDuration(maxProbeEvery))
		}
	case "when":
		u.When = wordAs[ProbeWhen](d.word(e.value, k.words))
	case "to":
		u.To = wordAs[Ends](d.word(e.value, k.words))
	case "alive":
		u.Alive = wordAs[Alive](d.word(e.value, k.words))
	}
}

// apply lets a file have its say.
func (u *Upkeep) apply(s *UpkeepSpec) {
	set(&u.Probes.Tries, s.Tries)
	set(&u.Probes.Every, s.Every)
	set(&u.Probes.When, s.When)
	set(&u.Probes.To, s.To)
	set(&u.Probes.Alive, s.Alive)
	set(&u.Refresh, s.Refresh)
	set(&u.Caps.Retransmitted, s.Retransmitted)
	set(&u.Caps.Unacknowledged, s.Unacknowledged)
	set(&u.Caps.ZeroWindow, s.ZeroWindow)
	set(&u.Caps.OneWay, s.OneWay)
}

// facts returns the values by their paths. Those of one section stand together.
func (u *Upkeep) facts() []fact {
	return []fact{
		{key: "probes.tries", value: strconv.Itoa(int(u.Probes.Tries))},
		{key: "probes.every", value: FormatDuration(u.Probes.Every)},
		{key: "probes.when", value: probeWhenWords[u.Probes.When]},
		{key: "probes.to", value: endsWords[u.Probes.To]},
		{key: "probes.alive", value: aliveWords[u.Probes.Alive]},
		{key: "refresh", value: refreshWords[u.Refresh]},
		{key: "caps.retransmitted", value: FormatDuration(u.Caps.Retransmitted)},
		{key: "caps.unacknowledged", value: FormatDuration(u.Caps.Unacknowledged)},
		{key: "caps.zero_window", value: FormatDuration(u.Caps.ZeroWindow)},
		{key: "caps.one_way", value: FormatDuration(u.Caps.OneWay)},
	}
}

// params returns what the table must know of the rule that governs a flow of an arm; timers is the index of its timeouts.
func (e *Engine) params(arm uint8, rule int32, timers uint16) (p conntrack.Params) {
	e.fillParams(&p, arm, rule, timers)
	return p
}

// fillParams is params without a copy, which would have to wait for what was just written.
func (e *Engine) fillParams(p *conntrack.Params, arm uint8, rule int32, timers uint16) {
	by := e.of(arm)
	u := by.Upkeep(rule)
	p.Arm, p.Rule, p.Epoch, p.Timers, p.Timeouts = arm, rule, e.epoch, timers, e.timers.set(timers)
	p.Check, p.Lead, p.Grace, p.Caps = by.Window(rule).Check, u.Probes.Span(), u.Probes.grace(), &u.Caps
}

// opening returns params for a connection that begins with tuple tu in original direction.
func (e *Engine) opening(now conntrack.Instant, tu conntrack.Tuple) conntrack.Params {
	arm := e.assign(now, tu)
	rule := e.of(arm).Match(&tu, true)
	return e.params(arm, rule, e.timers.ofRule(arm, rule))
}

// String returns the values in a line, for the revision.
func (u *Upkeep) String() string {
	s := ""
	for _, f := range u.facts() {
		s += fmt.Sprintf(" %s %s", f.key, f.value)
	}
	return s
}
