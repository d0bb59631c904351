package review

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"halfopen/proxy/decisionlog"
)

// Filter picks records. An empty field picks all; the fields that are set must all
// fit. Reason, Verdict and Arm fit decisions only (Arm flows too).
type Filter struct {
	Flow    uint64
	Reason  string
	Verdict string
	Arm     string
	Since   time.Time
}

// Match says whether the filter picks the record. Header and trailer lines are
// never picked.
func (f *Filter) Match(e *decisionlog.Event) bool {
	if e.Header != nil || e.Trailer != nil {
		return false
	}
	if f.Flow != 0 && e.FlowID != f.Flow || e.Timestamp.Before(f.Since) {
		return false
	}
	if f.Reason == "" && f.Verdict == "" && f.Arm == "" {
		return true
	}
	if e.Flow != nil {
		return f.Reason == "" && f.Verdict == "" && e.Flow.Arm == f.Arm
	}
	d := e.Decision
	return d != nil && (f.Reason == "" || d.Reason == f.Reason) && (f.Verdict == "" || d.Verdict == f.Verdict) &&
		(f.Arm == "" || d.Arm == f.Arm)
}

// Listed says what List did.
type Listed struct {
	Records int                    // printed
	Bad     []*decisionlog.BadLine // lines that are no records
}

// List prints the records of a log that the filter picks, oldest first: one
// aligned line each, or with asJSON the log's own lines.
func List(w io.Writer, path string, f Filter, asJSON bool) (Listed, error) {
	var done Listed
	var buf []byte
	for e, err := range decisionlog.Read(path) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			done.Bad = append(done.Bad, bad)
			continue
		}
		if err != nil {
			return done, err
		}
		if !f.Match(e) {
			continue
		}
		if asJSON {
			buf = append(buf[:0], e.Raw...)
		} else {
			buf = AppendLine(buf[:0], e)
		}
		if _, err := w.Write(append(buf, '\n')); err != nil {
			return done, fmt.Errorf("review: %w", err)
		}
		done.Records++
	}
	return done, nil
}

// AppendLine appends a record as one line for people: time, what, why, the
// connection, and then only what the record has to say.
func AppendLine(b []byte, e *decisionlog.Event) []byte {
	b = e.Timestamp.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	what, why := e.EventType, ""
	switch {
	case e.Decision != nil:
		what, why = e.Decision.Verdict, e.Decision.Reason
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
	ends := "-"
	if e.SrcIP != "" {
		ends = end(e.SrcIP, e.SrcPort) + " > " + end(e.DestIP, e.DestPort)
	}
	b = fmt.Appendf(b, "  %-7s  %-22s  %-43s", what, why, ends)
	if t := e.TCP; t != nil {
		b = fmt.Appendf(b, "  %-3s seq %d", t.Flags, t.Seq)
		if t.Flags != "S" {
			b = fmt.Appendf(b, " ack %d", t.Ack)
		}
		b = fmt.Appendf(b, " len %d", t.Len)
	}
	l := facts{b}
	switch {
	case e.Decision != nil:
		l.decision(e.Decision)
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
	}
	if e.FlowID != 0 {
		l.num("flow", e.FlowID)
	}
	return l.b
}

func end(ip string, port uint16) string {
	for i := range len(ip) {
		if ip[i] == ':' {
			ip = "[" + ip + "]"
			break
		}
	}
	return ip + ":" + strconv.Itoa(int(port))
}
