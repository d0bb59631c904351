package review

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
)

// facts appends the tail of a line: key=value pairs, empty ones left out.
type facts struct{ b []byte }

// word writes a value, quoted where it would break the line into other words.
func (l *facts) word(k, v string) {
	if v == "" {
		return
	}
	l.b = append(append(append(l.b, ' '), k...), '=')
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f || r >= 0x80 && !strconv.IsPrint(r) }) {
		l.b = strconv.AppendQuote(l.b, v)
		return
	}
	l.b = append(l.b, v...)
}

func (l *facts) num(k string, n uint64) { l.word(k, strconv.FormatUint(n, 10)) }

func (l *facts) numIf(k string, n uint64) {
	if n != 0 {
		l.num(k, n)
	}
}

// secs writes seconds as a duration, to the millisecond.
func (l *facts) secs(k string, s float64) {
	l.word(k, time.Duration(s*1e9).Round(time.Millisecond).String())
}

func (l *facts) secsIf(k string, s *float64) {
	if s != nil {
		l.secs(k, *s)
	}
}

// pair writes counts of both directions, unless both are zero.
func (l *facts) pair(k string, toServer, toClient uint64) {
	if toServer|toClient != 0 {
		l.word(k, fmt.Sprintf("%d/%d", toServer, toClient))
	}
}

func (l *facts) decision(d *decisionlog.DecisionEvent) {
	if d.StateBefore == d.StateAfter {
		l.word("state", d.StateBefore)
	} else {
		l.word("state", d.StateBefore+">"+d.StateAfter)
	}
	if d.IdleS != nil {
		l.secs("idle", *d.IdleS)
	}
	l.made("reply", d.Reply)
	l.made("peer", d.Peer)
	l.word("rule", d.Rule)
	l.word("arm", d.Arm)
	if x := d.Expected; x != nil {
		l.span("expected_seq", x.SeqLo, x.SeqHi)
		l.span("expected_ack", x.AckLo, x.AckHi)
	}
	l.word("defect", d.Defect)
	l.word("checksum", d.Checksum)
	if t := d.Tombstone; t != nil {
		l.word("forgotten", t.Forgotten.UTC().Format(time.RFC3339))
		l.word("why", t.Why)
		l.secs("after", t.AgeS)
	}
	if w := d.Would; w != nil {
		l.word("would", w.Verdict+"/"+w.Reason)
		l.made("would_reply", w.Reply)
	}
	l.word("id", d.ID)
}

// shadows writes what shadow policies would have done, those that agree left out.
func (l *facts) shadows(list []decisionlog.ShadowEvent) {
	for i := range list {
		s := &list[i]
		if s.Agrees {
			continue
		}
		text := s.Policy + ":" + strings.TrimPrefix(s.Verdict+"/"+s.Reason, "/")
		for _, m := range [...]struct {
			word string
			made *decisionlog.MadeEvent
		}{{"reply", s.Reply}, {"peer", s.Peer}} {
			if m.made != nil {
				text += "," + m.word + ":" + m.made.Kind
			}
		}
		switch {
		case s.Trigger != "" && s.Verdict == "" && s.Reply == nil && s.Peer == nil:
			text = s.Policy + ":nothing"
		case s.Diverged:
			text += ",diverged"
		case s.Relaxed:
			text += ",relaxed"
		}
		l.word("shadow", text)
	}
}

func (l *facts) made(k string, m *decisionlog.MadeEvent) {
	if m != nil {
		l.word(k, m.Kind)
	}
}

func (l *facts) span(k string, lo, hi *uint32) {
	if lo != nil && hi != nil {
		l.word(k, fmt.Sprintf("%d..%d", *lo, *hi))
	}
}

func (l *facts) flow(f *decisionlog.FlowEvent) {
	l.word("state", f.State)
	l.word("history", f.History)
	l.word("conn", f.ConnState)
	if f.Event != "new" {
		l.word("pkts", fmt.Sprintf("%d/%d", f.PktsToServer, f.PktsToClient))
		l.word("bytes", fmt.Sprintf("%d/%d", f.BytesToServer, f.BytesToClient))
		l.num("counted", f.Counted)
		l.secs("age", f.AgeS)
	}
	l.word("end", f.Reason)
	l.word("outcome", f.Outcome)
	l.word("by", f.EndedBy)
	l.secsIf("handshake", f.HandshakeS)
	l.secsIf("response", f.ResponseS)
	l.numIf("syn_again", f.SYNRetransmits)
	l.pair("again", f.RetransmitsToServer, f.RetransmitsToClient)
	l.pair("outside", f.OutOfWindowToServer, f.OutOfWindowToClient)
	if f.StallS > 0 {
		l.secs("stall", f.StallS)
	}
	l.numIf("predecessor", f.Predecessor)
}

func (l *facts) inject(i *decisionlog.InjectEvent) {
	l.word("to", i.To)
	if w := i.Wire; w != nil {
		l.word("wire", end(w.SrcIP, w.SrcPort)+">"+end(w.DestIP, w.DestPort))
	}
	l.word("cause", i.Cause)
	l.word("trigger", i.Trigger)
	l.word("error", i.Error)
}

func (l *facts) gap(g *decisionlog.GapEvent) {
	l.num("count", g.Count)
	l.word("bound", g.Bound)
	l.word("run", g.Run)
	l.word("detail", g.Detail)
}

func (l *facts) stats(s *decisionlog.StatsEvent) {
	if s.Final {
		l.word("final", "yes")
	}
	if k := s.Kernel; k != nil {
		l.num("kernel", k.Now-min(k.Base, k.Now))
	}
	l.num("received", s.Received)
	l.num("flows", s.Flows)
	for _, v := range []string{decisionlog.VerdictForward, decisionlog.VerdictDrop, decisionlog.VerdictRewrite, decisionlog.VerdictHold} {
		l.numIf(v, s.Verdicts[v])
	}
	l.numIf("injected", s.Injected)
	l.numIf("ring_dropped", s.RingDropped)
	l.numIf("pcap_dropped", s.PcapDropped)
	l.numIf("queue_dropped", s.QueueDropped)
	l.numIf("queue_user_dropped", s.UserDropped)
}
