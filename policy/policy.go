package policy

import (
	"strconv"
	"time"

	"halfopen/conntrack"
)

// Policy is a compiled policy: immutable, safe to share between workers, and answered by indexing. It comes from
// [Compile] or [Load].
//
// Rules are numbered from 0 in the order in which they are tried; -1 stands for the policy's own tables, which hold where
// no rule matches.
type Policy struct {
	name, preset, rev, description string

	actions  []Action             // (rule+1, direction, finding); see index
	timeouts []conntrack.Timeouts // rule+1
	windows  []conntrack.Rules    // rule+1
	upkeeps  []Upkeep             // rule+1
	settles  []bool               // rule+1: a fast path may let in-window segments pass
	matches  []Match              // rule
	names    []string             // rule

	limits    Limits
	onFull    OnFull
	pressure  Pressure
	injection Injection
	adopt     time.Duration
	log       Log
	reload    Reload

	notes     map[string]Note   // for people; no part of the revision
	ruleNotes []map[string]Note // rule
	head      []string
	options   []Option
}

// Note is what the author of a policy file wrote about a key.
type Note struct {
	Text string // the comment, "" for none
	From string // the name of the file or preset whose word holds, or the flag
	Line int    // in From, from 1; 0 for a flag
	// Option is the choice OPTION=VALUE that the word depends on, "" for none.
	Option string
}

// String returns "FILE:LINE", with .yaml behind a preset's name; "" where no file says anything.
func (n Note) String() string {
	name := n.From
	if _, ok := Preset(name); ok {
		name += ".yaml"
	}
	if n.Line > 0 {
		name += ":" + strconv.Itoa(n.Line)
	}
	return name
}

// Limits bound what a worker's table may hold, in entries. A gateway with several queues has one table per queue.
type Limits struct {
	Flows      int // connections, 1 to MaxFlows
	Embryonic  int // of those, ones whose handshake is not complete; at most Flows
	Tombstones int // connections lately forgotten that are still remembered for the log; 0 keeps none
	PerSource  int // connections that one address may have opened; 0 for any number
}

// OnFull is what happens when a new connection finds no room.
type OnFull uint8

// Answers to a full table. Where no room can be made the finding is table-full or embryonic-limit.
const (
	Refuse            OnFull = iota // make no room
	EvictEmbryonic                  // forget the oldest connection whose handshake is not complete
	EvictClosing                    // the same, and where there is none one that is closing
	EvictClosingFirst               // forget the oldest connection that is closing, and where there is none one whose handshake is not complete
	EvictUnassured                  // as EvictEmbryonic, and where there is none an established one that never had traffic in both directions
	EvictAny                        // as EvictUnassured, and where there is none one that is closing
	numOnFull
)

var onFullWords = [numOnFull]string{"refuse", "evict-embryonic", "evict-closing", "evict-closing-first", "evict-unassured", "evict-any"}

// String returns the word in policy files.
func (o OnFull) String() string { return onFullWords[o] }

// Reload says what becomes of live flows when a policy takes another's place.
type Reload uint8

// Answers to a reload.
const (
	ReloadKeep    Reload = iota // flows keep their timeouts; what happens to them is decided by the new policy
	ReloadRematch               // timeouts are those of the rule that matches a flow now
	ReloadDrop                  // flows are forgotten; their segments are mid-stream
	numReloads
)

var reloadWords = [numReloads]string{"keep", "rematch", "drop"}

// String returns the word in policy files.
func (r Reload) String() string { return reloadWords[r] }

// LogDetail says which segments get a record of their own.
type LogDetail uint8

// Amounts of detail.
const (
	LogDecision LogDetail = iota // every decision other than a plain in-window forward; those are counted in flow records
	LogPacket                    // every segment
	numLogDetails
)

var logDetailWords = [numLogDetails]string{"decision", "packet"}

// String returns the word in policy files.
func (d LogDetail) String() string { return logDetailWords[d] }

// Unlimited is the rate of a finding whose records are never suppressed.
const Unlimited = -1

// Log is what the policy asks of the decision log.
type Log struct {
	Detail LogDetail
	// Rate is the number of individual records per second and worker that a finding may write, by finding: [Unlimited], or
	// 0 and more. What goes beyond is suppressed and counted.
	Rate [conntrack.NumFindings]int32
}

// index returns the place of an action.
func index(rule int32, dir conntrack.Direction, f conntrack.Finding) int {
	return (int(rule+1)*2+int(dir&1))*int(conntrack.NumFindings) + int(f)
}

// Action returns what to do about finding f on a segment of direction dir of a flow that the rule governs; -1 is no
// rule. It is never nil, is shared and must not be changed. For a segment without state the direction is that of
// [Policy.MatchSegment].
func (p *Policy) Action(rule int32, dir conntrack.Direction, f conntrack.Finding) *Action {
	return &p.actions[index(rule, dir, f)]
}

// Timeouts returns the idle timeouts of flows that the rule governs. They are shared and must not be changed.
func (p *Policy) Timeouts(rule int32) *conntrack.Timeouts { return &p.timeouts[rule+1] }

// Window returns the numbers that segments of flows of this rule are judged by. They are shared and must not be changed.
func (p *Policy) Window(rule int32) *conntrack.Rules { return &p.windows[rule+1] }

// Upkeep returns how flows of this rule are kept alive. It is shared and must not be changed.
func (p *Policy) Upkeep(rule int32) *Upkeep { return &p.upkeeps[rule+1] }

// Rules returns how many rules there are.
func (p *Policy) Rules() int { return len(p.matches) }

// RuleName returns the name of a rule, "" for -1.
func (p *Policy) RuleName(rule int32) string {
	if rule < 0 {
		return ""
	}
	return p.names[rule]
}

// RuleMatch returns what a rule matches, rule from 0. It is shared and must not be changed.
func (p *Policy) RuleMatch(rule int32) *Match { return &p.matches[rule] }

// RuleChanges returns in what a rule differs from the policy's own tables, as lines "timeouts.established: 2h4m".
func (p *Policy) RuleChanges(rule int32) []string {
	dir := p.matches[rule].Direction.first()
	base := p.facts(-1, dir)
	var out []string
	for i, f := range p.facts(rule, dir) {
		if f != base[i] {
			out = append(out, f.key+": "+f.value)
		}
	}
	return out
}

// RuleByName returns the index of the first rule of that name, or -1.
func (p *Policy) RuleByName(name string) int32 {
	for i, n := range p.names {
		if n == name {
			return int32(i)
		}
	}
	return -1
}

// Match returns the rule that governs a tuple, or -1. With state, tu is the original direction of a flow and matched as
// it is. Without, tu is a segment's own and each rule is tried on its reverse too; see [Policy.MatchSegment].
func (p *Policy) Match(tu *conntrack.Tuple, state bool) int32 {
	if !state {
		rule, _ := p.MatchSegment(tu)
		return rule
	}
	for i := range p.matches {
		if p.matches[i].matches(tu) {
			return int32(i)
		}
	}
	return -1
}

// MatchSegment returns the first rule that matches a segment of which nothing is remembered, in either direction, and in
// which: Original where tu itself matches (or nothing does), Reply where only its reverse does, as with a server's
// data after the gateway forgot the connection.
func (p *Policy) MatchSegment(tu *conntrack.Tuple) (int32, conntrack.Direction) {
	rev := tu.Reverse()
	for i := range p.matches {
		if p.matches[i].matches(tu) {
			return int32(i), conntrack.Original
		}
		if p.matches[i].matches(&rev) {
			return int32(i), conntrack.Reply
		}
	}
	return -1, conntrack.Original
}

// Name returns the name that the policy was loaded by: a preset's, or a file's.
func (p *Policy) Name() string { return p.name }

// Preset returns the embedded preset that the policy is or inherits from (the first on the chain), with the choices of its
// options where it was named with some; "" for none.
func (p *Policy) Preset() string { return p.preset }

// Rev returns the policy's revision, "sha256:" and the hash of what it means: two files that differ only in comments,
// layout, description or the way in which they say the same have the same revision.
func (p *Policy) Rev() string { return p.rev }

// Description returns the file's description, "" for none.
func (p *Policy) Description() string { return p.description }

// Limits returns the bounds of a worker's table.
func (p *Policy) Limits() Limits { return p.limits }

// Pressure returns what a table that fills does to the connections in it. It is shared and must not be changed.
func (p *Policy) Pressure() *Pressure { return &p.pressure }

// Injection returns the bounds and marks of what the gateway sends. It is shared and must not be changed.
func (p *Policy) Injection() *Injection { return &p.injection }

// OnFull returns what happens when a new connection finds no room.
func (p *Policy) OnFull() OnFull { return p.onFull }

// Adopt returns for how long after a start mid-stream segments are taken up (finding adopted); 0 for not at all.
func (p *Policy) Adopt() time.Duration { return p.adopt }

// Log returns what the policy asks of the decision log. It is shared and must not be changed.
func (p *Policy) Log() *Log { return &p.log }

// Reload returns what becomes of live flows when this policy takes another's place.
func (p *Policy) Reload() Reload { return p.reload }

// TimeoutNote returns what the author wrote about a state's timeout; From is "" where it is the default.
func (p *Policy) TimeoutNote(s conntrack.State) Note { return p.notes["timeouts."+stateKey(s)] }

// FindingNote returns what the author wrote about the action on a finding; From is "" where no file names the finding.
func (p *Policy) FindingNote(f conntrack.Finding) Note { return p.notes["on."+f.String()] }

// Note returns what was written about a key, by its path as in timeouts.established, window.check, on.syn-established or
// on_full; From is "" where it is the default. Keys inside of others have notes of their own in timeouts, window and on only.
func (p *Policy) Note(key string) Note { return p.notes[key] }

// RuleNote returns where a rule stands.
func (p *Policy) RuleNote(rule int32) Note { return p.ruleNotes[rule]["name"] }

// ActionNote returns where the word that [Policy.Action] gives comes from: the rule's own, or else the policy's.
func (p *Policy) ActionNote(rule int32, dir conntrack.Direction, f conntrack.Finding) (n Note, ofRule bool) {
	if rule >= 0 && p.matches[rule].Direction.Holds(dir) {
		if n, ok := p.ruleNotes[rule]["on."+f.String()]; ok {
			return n, true
		}
	}
	return p.FindingNote(f), false
}

// KeyNote returns where the word on a key of a rule's block comes from, as timeouts.established: the rule's own, or else the
// policy's.
func (p *Policy) KeyNote(rule int32, key string) (n Note, ofRule bool) {
	if rule >= 0 {
		if n, ok := p.ruleNotes[rule][key]; ok {
			return n, true
		}
	}
	return p.notes[key], false
}

// Options returns the options of the policy with the values in force, in the order of their definition. They are shared and
// must not be changed.
func (p *Policy) Options() []Option { return p.options }

// Head returns the comment that opens the policy's file, line by line.
func (p *Policy) Head() []string { return p.head }
