package policy

import (
	"slices"
	"strings"

	"halfopen/conntrack"
)

// Strip is what a rewritten segment loses before it goes on. Options are overwritten with no-operations, as by Linux's xt_TCPOPTSTRIP
// and nft's "reset tcp option": the header keeps its length, and every other option its place.
type Strip uint16

// Parts that can be stripped.
const (
	StripUrgent     Strip = 1 << iota // the URG bit and the urgent pointer
	StripReserved                     // the three reserved bits
	StripECN                          // ECE, CWR and AE
	StripPush                         // the PSH bit
	StripData                         // what a SYN or SYN/ACK carries beside itself
	StripFastOpen                     // kind 34, and 254 with Fast Open's number (RFC 7413)
	StripTimestamps                   // kind 8 (RFC 7323)
	StripSACK                         // kinds 4 and 5 (RFC 2018)
	StripWScale                       // kind 3 (RFC 7323)
	StripMPTCP                        // kind 30 (RFC 8684)
	StripMD5                          // kind 19 (RFC 2385)
	StripUnknown                      // every option without a name here, and one whose length is not its kind's
	StripMSS                          // of a SYN's maximum segment size what is more than [Action.MSS]
	numStrips       = 13
)

var stripWords = [numStrips]string{"urgent", "reserved", "ecn", "push", "data", "fastopen", "timestamps", "sack", "wscale", "mptcp", "md5", "unknown", "mss"}

// stripKeywords are the words of an action's strip; mss is a key of its own.
var stripKeywords = stripWords[:numStrips-1]

// StripWords returns the words of all parts that can be stripped, from the lowest bit.
func StripWords() []string { return slices.Clone(stripWords[:]) }

// Words returns the words of the parts in st.
func (st Strip) Words() (words []string) {
	for i, w := range stripWords {
		if st&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// text returns the parts as a policy file has them.
func (st Strip) text() string { return "[" + strings.Join((st&^StripMSS).Words(), ", ") + "]" }

// onSYNACK are the parts that may be taken from a SYN/ACK. Window scaling, timestamps and ECN are agreed between the two SYNs: who
// sends a SYN/ACK with one believes that the other end has agreed, so it must be taken from the SYN.
const onSYNACK = ^(StripWScale | StripTimestamps | StripECN)

// optionsStripped is what of a segment's options each part takes.
var optionsStripped = [...]struct {
	part    Strip
	options conntrack.OptionSet
}{
	{StripFastOpen, conntrack.OptFastOpen}, {StripTimestamps, conntrack.OptTimestamp},
	{StripSACK, conntrack.OptSACKPermitted | conntrack.OptSACK}, {StripWScale, conntrack.OptWScale},
	{StripMPTCP, conntrack.OptMPTCP}, {StripMD5, conntrack.OptMD5}, {StripUnknown, conntrack.OptOther},
}

// Options returns the options that st takes.
func (st Strip) Options() (set conntrack.OptionSet) {
	for _, m := range optionsStripped {
		if st&m.part != 0 {
			set |= m.options
		}
	}
	return set
}

// Of returns the parts of st that segment s has; mss is the largest segment size that a SYN may keep, where st has StripMSS. Of a
// packet that is no proper segment it is none.
func (st Strip) Of(s *conntrack.Segment, mss uint16) (has Strip) {
	if s.Defect != conntrack.DefectNone || s.Checksum == conntrack.ChecksumBad {
		return 0
	}
	set := func(part Strip, ok bool) {
		if ok {
			has |= part
		}
	}
	syn := s.Flags&conntrack.SYN != 0
	set(StripUrgent, s.Flags&conntrack.URG != 0 || s.Urgent != 0)
	set(StripReserved, s.Reserved != 0)
	set(StripECN, s.Flags&(conntrack.ECE|conntrack.CWR|conntrack.AE) != 0)
	set(StripPush, s.Flags&conntrack.PSH != 0)
	set(StripData, syn && s.Len > 0)
	for _, m := range optionsStripped {
		set(m.part, s.Options.Has&m.options != 0)
	}
	set(StripMSS, syn && s.Options.Has&conntrack.OptMSS != 0 && s.Options.MSS > mss)
	if has &= st; s.Kind() == conntrack.KindSYNACK {
		has &= onSYNACK
	}
	return has
}

// From takes the parts of st from segment s, which then is what its receiver gets, except that Bytes stay those of the packet as it
// came. It is what [Strip.Of] found.
func (st Strip) From(s *conntrack.Segment, mss uint16) {
	o := &s.Options
	for i := range numStrips {
		switch st & (1 << i) {
		case StripUrgent:
			s.Flags, s.Urgent = s.Flags&^conntrack.URG, 0
		case StripReserved:
			s.Reserved = 0
		case StripECN:
			s.Flags &^= conntrack.ECE | conntrack.CWR | conntrack.AE
		case StripPush:
			s.Flags &^= conntrack.PSH
		case StripData:
			s.Len = 0
		case StripTimestamps:
			o.TSVal, o.TSEcr = 0, 0
		case StripSACK:
			o.NSACK, o.SACK = 0, [4]conntrack.SACKBlock{}
		case StripWScale:
			o.WScale = 0
		case StripMSS:
			o.MSS = mss
		}
	}
	o.Has &^= st.Options()
}

// lostBefore returns what was to be taken from the first SYN of the handshake that the SYN s is part of.
func lostBefore(v *conntrack.View, s *conntrack.Segment) Strip {
	if v.Entry == nil || !v.Entry.State.Embryonic() || s.Kind() != conntrack.KindSYN {
		return 0
	}
	return Strip(v.Entry.Strip)
}

// likeFirst returns a segment as it is compared with what is remembered: a SYN of a handshake whose first SYN was rewritten as that
// was, because the same SYN again is no other one for what the first has lost.
func (e *Engine) likeFirst(v *conntrack.View, s *conntrack.Segment) *conntrack.Segment {
	first := lostBefore(v, s)
	if first == 0 {
		return s
	}
	e.arriving = *s
	first.Of(s, v.Entry.MaxMSS).From(&e.arriving, v.Entry.MaxMSS)
	return &e.arriving
}

// rewrite decides what a segment loses that is not kept from the other end: what the action says; of a SYN in a handshake, what
// was to be taken from the connection's first SYN, so that both ends agree whichever of its SYNs arrives; and of a SYN that opens
// a connection where another is remembered, what every first SYN loses. It returns the segment as it will arrive. A segment that has
// nothing of it goes on as it came.
func (e *Engine) rewrite(v *conntrack.View, s *conntrack.Segment, a *Action, effect conntrack.Effect) *conntrack.Segment {
	e.asked, e.maxMSS = 0, 0
	if a.Packet != Forward && a.Packet != Rewrite {
		return s
	}
	asked, mss := a.Strip, a.MSS
	also := func(st Strip, most uint16) {
		if st&StripMSS != 0 && (asked&StripMSS == 0 || most < mss) {
			mss = most
		}
		asked |= st
	}
	if first := lostBefore(v, s); first != 0 && effect != conntrack.Replace {
		also(first, v.Entry.MaxMSS)
	}
	if (effect == conntrack.Replace || effect == conntrack.Annotate) && s.Kind() == conntrack.KindSYN {
		first := e.by.Action(e.by.Match(&s.Tuple, true), conntrack.Original, conntrack.Opening(s))
		also(first.Strip, first.MSS)
	}
	if asked == 0 {
		return s
	}
	e.asked, e.maxMSS = asked, mss
	out := &e.out
	out.Verdict = Forward
	if out.Strip = asked.Of(s, mss); out.Strip == 0 {
		return s
	}
	out.Verdict, out.MSS = Rewrite, mss
	e.arriving = *s
	out.Strip.From(&e.arriving, mss)
	return &e.arriving
}

// remember notes what SYNs of this handshake lose.
func (e *Engine) remember(ent *conntrack.Entry, s *conntrack.Segment) {
	if e.asked != 0 && s.Kind() == conntrack.KindSYN && ent.State.Embryonic() {
		ent.Strip, ent.MaxMSS = uint16(e.asked), e.maxMSS
	}
}
