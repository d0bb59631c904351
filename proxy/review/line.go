package review

import (
	"fmt"
	"strconv"
	"strings"

	"halfopen/proxy/decisionlog"
)

// AppendLine appends a record as one line for people: time, what, why, the
// connection, and then only what the record has to say.
func AppendLine(b []byte, e *decisionlog.Event) []byte { return appendLine(b, e, false) }

// Colours by what became of the packet, or what the record is (SGR parameters of ECMA-48).
var colours = map[string]string{
	decisionlog.VerdictForward: "32", decisionlog.VerdictDrop: "31", decisionlog.VerdictRewrite: "33", decisionlog.VerdictHold: "36",
	"inject": "35", "gap": "1;31", "reload": "1",
}

// kinds are a record's two words: what it is, and why or which.
func kinds(e *decisionlog.Event) (what, why string) {
	what = e.EventType
	switch {
	case e.Decision != nil:
		what, why = e.Decision.Verdict, e.Decision.Reason
		if e.Decision.Trigger == decisionlog.TriggerShadow {
			what = e.Decision.Trigger
		}
	case e.Flow != nil:
		why = e.Flow.Event
	case e.Inject != nil:
		why = e.Inject.Kind
	case e.Gap != nil:
		why = e.Gap.Where
	case e.Reload != nil:
		why = map[bool]string{true: "ok", false: "refused"}[e.Reload.OK]
	case e.Experiment != nil:
		why = e.Experiment.Event
	}
	return what, why
}

func appendLine(b []byte, e *decisionlog.Event, color bool) []byte {
	b = e.Timestamp.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	what, why := kinds(e)
	ends := "-"
	if e.SrcIP != "" {
		ends = clean(end(e.SrcIP, e.SrcPort) + " > " + end(e.DestIP, e.DestPort))
	}
	on, off := "", ""
	if c := colours[what]; color && c != "" {
		on, off = "\x1b["+c+"m", "\x1b[0m"
	}
	b = fmt.Appendf(b, "  %s%-7s%s  %-22s  %-43s", on, clean(what), off, clean(why), ends)
	if t := e.TCP; t != nil {
		b = fmt.Appendf(b, "  %-3s seq %d", clean(t.Flags), t.Seq)
		if t.Flags != "S" {
			b = fmt.Appendf(b, " ack %d", t.Ack)
		}
		b = fmt.Appendf(b, " len %d", t.Len)
	}
	l := facts{b}
	switch {
	case e.Decision != nil:
		l.decision(e.Decision)
		l.shadows(e.Shadow)
	case e.Flow != nil:
		l.flow(e.Flow)
	case e.Inject != nil:
		l.inject(e.Inject)
	case e.Gap != nil:
		l.gap(e.Gap)
	case e.Stats != nil:
		l.stats(e.Stats)
	case e.Reload != nil:
		l.word("preset", e.Reload.Preset)
		l.word("rev", e.Reload.PolicyRev)
		l.word("flows", e.Reload.Flows)
		l.word("error", e.Reload.Error)
	case e.Experiment != nil:
		l.word("name", e.Experiment.Name)
		l.word("arm", e.Experiment.Arm)
		l.word("unit", e.Experiment.Unit)
		l.word("detail", e.Experiment.Detail)
	}
	if e.FlowID != 0 {
		l.num("flow", e.FlowID)
	}
	return l.b
}

// clean quotes a word that a terminal would not show as it is: what stands in a log may be anybody's.
func clean(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == '\ufffd' }) {
		return strconv.Quote(s)
	}
	return s
}

func end(ip string, port uint16) string {
	if strings.IndexByte(ip, ':') >= 0 {
		ip = "[" + ip + "]"
	}
	return ip + ":" + strconv.Itoa(int(port))
}
