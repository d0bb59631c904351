package index

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
)

// Filter picks records. An empty field picks all; of a field with several values one must fit; the fields that are set must all
// fit. Header and trailer lines are never picked. [ParseFilter] makes one of words.
type Filter struct {
	Since, Until   time.Time      // Since <= timestamp < Until; zero: no bound
	Addr, Src, Dst []netip.Prefix // either end's address, the sender's, the receiver's
	Port           []uint16       // either end's
	SrcPort        []uint16
	DstPort        []uint16
	Flow           []uint64
	CommunityID    []string
	Outcome        []string // of the record's flow, as the flow's end tells it
	Event          []string // event_type
	Verdict        []string // of decisions, as Reason
	Reason         []string
	Rule           []string // of decisions and flow records
	Arm            []string // of these and of experiment records
	Disagrees      []string // of decisions: shadow policies that first would have done something else about them, or "any"
	Rev            []string // policy revision or how it begins, with or without sha256: decisions, flow records and reloads
}

// Empty reports whether the filter picks every record.
func (f *Filter) Empty() bool {
	return f.Since.IsZero() && f.Until.IsZero() && !f.byConn() && !f.byShape()
}

// byShape says whether the filter asks for words.
func (f *Filter) byShape() bool {
	return len(f.Event)+len(f.Verdict)+len(f.Reason)+len(f.Rule)+len(f.Arm)+len(f.Rev)+len(f.Disagrees) > 0
}

// byConn says whether the filter asks for connections.
func (f *Filter) byConn() bool {
	return len(f.Addr)+len(f.Src)+len(f.Dst)+len(f.Port)+len(f.SrcPort)+len(f.DstPort)+len(f.Flow)+len(f.CommunityID)+len(f.Outcome) > 0
}

// bounds are the filter's times in Unix nanoseconds: since <= t < until.
func (f *Filter) bounds() (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	if !f.Since.IsZero() {
		since = decisionlog.Time{Time: f.Since}.Nanos()
	}
	if !f.Until.IsZero() {
		until = decisionlog.Time{Time: f.Until}.Nanos()
	}
	return since, until
}

// inTime says whether a time is within the filter's bounds.
func (f *Filter) inTime(ns int64) bool {
	since, until := f.bounds()
	return since <= ns && ns < until || until == math.MaxInt64 && ns == until
}

// Match says whether the filter picks a record, but for Outcome, which the record alone does not tell.
func (f *Filter) Match(e *decisionlog.Event) bool {
	if e.Header != nil || e.Trailer != nil || !f.inTime(e.Timestamp.Nanos()) {
		return false
	}
	return (!f.byShape() || f.matchWords(e)) && (!f.byConn() || f.matchConn(e))
}

// eventWords are the words of a record that filters ask for, "" where it has none.
func eventWords(e *decisionlog.Event) (verdict, reason, rule, arm, rev string) {
	switch {
	case e.Decision != nil:
		d := e.Decision
		return d.Verdict, d.Reason, d.Rule, d.Arm, d.PolicyRev
	case e.Flow != nil:
		return "", "", e.Flow.Rule, e.Flow.Arm, e.Flow.PolicyRev
	case e.Inject != nil:
	case e.Experiment != nil:
		return "", "", "", e.Experiment.Arm, ""
	case e.Gap != nil:
	case e.Reload != nil:
		return "", "", "", "", e.Reload.PolicyRev
	}
	return
}

func (f *Filter) matchWords(e *decisionlog.Event) bool {
	verdict, reason, rule, arm, rev := eventWords(e)
	return oneOf(f.Event, e.EventType) && oneOf(f.Verdict, verdict) && oneOf(f.Reason, reason) && oneOf(f.Rule, rule) &&
		oneOf(f.Arm, arm) && oneRev(f.Rev, rev) && oneShadow(f.Disagrees, disagreeing(e))
}

// AnyShadow in a filter's Disagrees is every shadow policy.
const AnyShadow = "any"

// disagreeing are the names of the shadow policies that first disagree on a record, with line feeds between.
func disagreeing(e *decisionlog.Event) (names string) {
	if e.Decision == nil {
		return ""
	}
	for i := range e.Shadow {
		if s := &e.Shadow[i]; s.Differs() {
			if names != "" {
				names += "\n"
			}
			names += strings.ReplaceAll(s.Policy, "\n", " ")
		}
	}
	return names
}

// oneShadow says whether one of the names is among those asked for.
func oneShadow(want []string, names string) bool {
	if len(want) == 0 {
		return true
	}
	return names != "" && (slices.Contains(want, AnyShadow) || slices.ContainsFunc(strings.Split(names, "\n"), func(n string) bool {
		return slices.Contains(want, n)
	}))
}

// MatchRev says whether a policy revision is one that the filter asks for.
func (f *Filter) MatchRev(rev string) bool { return oneRev(f.Rev, rev) }

// oneOf says whether a word is among those asked for; no word never is.
func oneOf(want []string, word string) bool {
	return len(want) == 0 || word != "" && slices.Contains(want, word)
}

// oneRev says whether a revision begins as one of those asked for.
func oneRev(want []string, rev string) bool {
	if len(want) == 0 {
		return true
	}
	_, digest, _ := strings.Cut(rev, ":")
	return slices.ContainsFunc(want, func(w string) bool {
		return w != "" && (strings.HasPrefix(rev, w) || strings.HasPrefix(digest, w))
	})
}

func (f *Filter) matchConn(e *decisionlog.Event) bool {
	var c conn
	var swapped bool
	c.flow = e.FlowID
	c.ends, swapped = makeEnds([]byte(e.SrcIP), []byte(e.DestIP), e.SrcPort, e.DestPort)
	c.hash = communityHash([]byte(e.CommunityID))
	bit := uint8(1)
	if swapped {
		bit = 2
	}
	return f.conn(&c)&bit != 0
}

// conn says which records of a connection the filter picks, but for Outcome: bit 0 those from its lower end, bit 1 the others.
func (f *Filter) conn(c *conn) uint8 {
	if len(f.Flow) > 0 && (c.flow == 0 || !slices.Contains(f.Flow, c.flow)) {
		return 0
	}
	if len(f.Addr)+len(f.Src)+len(f.Dst)+len(f.Port)+len(f.SrcPort)+len(f.DstPort)+len(f.CommunityID) == 0 {
		return 3
	}
	if !c.known {
		return 0
	}
	if len(f.CommunityID) > 0 && !f.community(c) {
		return 0
	}
	lo, hi := addrPort(c.lo, c.loPort), addrPort(c.hi, c.hiPort)
	if !either(f.Addr, lo.Addr(), hi.Addr()) || len(f.Port) > 0 && !slices.Contains(f.Port, c.loPort) && !slices.Contains(f.Port, c.hiPort) {
		return 0
	}
	var bits uint8
	if f.segment(lo, hi) {
		bits |= 1
	}
	if f.segment(hi, lo) {
		bits |= 2
	}
	return bits
}

// segment says whether the filter picks segments from src to dst.
func (f *Filter) segment(src, dst netip.AddrPort) bool {
	return within(f.Src, src.Addr()) && within(f.Dst, dst.Addr()) &&
		(len(f.SrcPort) == 0 || slices.Contains(f.SrcPort, src.Port())) && (len(f.DstPort) == 0 || slices.Contains(f.DstPort, dst.Port()))
}

func (f *Filter) community(c *conn) bool {
	hit := slices.ContainsFunc(f.CommunityID, func(id string) bool { return communityHash([]byte(id)) == c.hash })
	return hit && slices.Contains(f.CommunityID, c.communityID())
}

// within says whether an address is in one of the prefixes; no prefixes hold every address.
func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

func either(prefixes []netip.Prefix, a, b netip.Addr) bool {
	return within(prefixes, a) || within(prefixes, b)
}
