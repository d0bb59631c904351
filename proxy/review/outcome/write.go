package outcome

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review"
	"halfopen/proxy/review/human"
)

// columns are the fields of an outcome as JSON and CSV have them.
var columns = []struct {
	name string
	of   func(o *experiment.Outcome) any
}{
	{"flow_id", func(o *experiment.Outcome) any { return o.Flow }},
	{"met", func(o *experiment.Outcome) any { return o.Met }},
	{"gateway", func(o *experiment.Outcome) any { return o.Gateway }},
	{"run", func(o *experiment.Outcome) any { return o.Run }},
	{"start", func(o *experiment.Outcome) any { return o.Start }},
	{"end", func(o *experiment.Outcome) any { return o.End }},
	{"client", func(o *experiment.Outcome) any { return o.Client.String() }},
	{"server", func(o *experiment.Outcome) any { return o.Server.String() }},
	{"unit", func(o *experiment.Outcome) any { return o.Unit }},
	{"arm", func(o *experiment.Outcome) any { return o.Arm }},
	{"policy_rev", func(o *experiment.Outcome) any { return o.Rev }},
	{"finished", func(o *experiment.Outcome) any { return o.Finished }},
	{"adopted", func(o *experiment.Outcome) any { return o.Adopted }},
	{"continued", func(o *experiment.Outcome) any { return o.Continued }},
	{"connected", func(o *experiment.Outcome) any { return o.Connected }},
	{"connect_s", func(o *experiment.Outcome) any { return o.ConnectS }},
	{"response_s", func(o *experiment.Outcome) any { return o.ResponseS }},
	{"syn_retransmits", func(o *experiment.Outcome) any { return o.SYNRetransmits }},
	{"retries", func(o *experiment.Outcome) any { return o.Retries }},
	{"gave_up", func(o *experiment.Outcome) any { return o.GaveUp }},
	{"bytes_toserver", func(o *experiment.Outcome) any { return o.BytesToServer }},
	{"bytes_toclient", func(o *experiment.Outcome) any { return o.BytesToClient }},
	{"pkts_toserver", func(o *experiment.Outcome) any { return o.PktsToServer }},
	{"pkts_toclient", func(o *experiment.Outcome) any { return o.PktsToClient }},
	{"fastpath_pkts_toserver", func(o *experiment.Outcome) any { return o.FastToServer }},
	{"fastpath_pkts_toclient", func(o *experiment.Outcome) any { return o.FastToClient }},
	{"fastpath_bytes_toserver", func(o *experiment.Outcome) any { return o.FastBytesToServer }},
	{"fastpath_bytes_toclient", func(o *experiment.Outcome) any { return o.FastBytesToClient }},
	{"retransmits_toserver", func(o *experiment.Outcome) any { return o.RetransmitsToServer }},
	{"retransmits_toclient", func(o *experiment.Outcome) any { return o.RetransmitsToClient }},
	{"out_of_window_toserver", func(o *experiment.Outcome) any { return o.OutOfWindowToServer }},
	{"out_of_window_toclient", func(o *experiment.Outcome) any { return o.OutOfWindowToClient }},
	{"stall_s", func(o *experiment.Outcome) any { return o.StallS }},
	{"ended_by", func(o *experiment.Outcome) any { return string(o.EndedBy) }},
	{"interventions", func(o *experiment.Outcome) any { return o.Interventions }},
	{"dropped", func(o *experiment.Outcome) any { return o.Dropped }},
	{"resets", func(o *experiment.Outcome) any { return o.Resets }},
	{"recovered", func(o *experiment.Outcome) any { return o.Recovered }},
	{"recovery_s", func(o *experiment.Outcome) any { return o.RecoveryS }},
	{"still_there", func(o *experiment.Outcome) any { return o.StillThere }},
	{"still_there_by", func(o *experiment.Outcome) any { return o.StillThereBy }},
	{"still_there_s", func(o *experiment.Outcome) any { return o.StillThereS }},
	{"held_open", func(o *experiment.Outcome) any { return o.HeldOpen }},
	{"challenged", func(o *experiment.Outcome) any { return o.Challenged }},
	{"challenge_rst", func(o *experiment.Outcome) any { return o.ChallengeRST }},
	{"challenge_s", func(o *experiment.Outcome) any { return o.ChallengeS }},
}

// Writer writes outcomes, one a line.
type Writer struct {
	w      *bufio.Writer
	format review.Format
	csv    *csv.Writer
	cells  []string
	buf    []byte
}

// NewWriter returns a Writer of a format: text, JSON (one object a line) or CSV (with a header row). [Writer.Flush] must be called at the end.
func NewWriter(w io.Writer, format review.Format) *Writer {
	out := &Writer{w: bufio.NewWriterSize(w, 64<<10), format: format}
	if format == review.CSV {
		out.csv = csv.NewWriter(out.w)
		for _, c := range columns {
			out.cells = append(out.cells, c.name)
		}
		_ = out.csv.Write(out.cells) // Flush tells
	}
	return out
}

// Write writes an outcome.
func (w *Writer) Write(o *experiment.Outcome) error {
	switch w.format {
	case review.CSV:
		for i, c := range columns {
			w.cells[i] = text(c.of(o))
		}
		return w.csv.Write(w.cells)
	case review.JSON:
		return w.json(o)
	}
	_, err := w.w.WriteString(Line(o) + "\n")
	return err
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.w.Flush()
}

// json writes an object with the fields that are known. Words that are empty and flow ids that are 0 are left out.
func (w *Writer) json(o *experiment.Outcome) error {
	w.buf = append(w.buf[:0], '{')
	for _, c := range columns {
		v := c.of(o)
		switch x := v.(type) {
		case float64:
			if math.IsNaN(x) {
				continue
			}
		case string:
			if x == "" {
				continue
			}
		case uint64:
			if x == 0 && (c.name == "flow_id" || c.name == "met") {
				continue
			}
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(w.buf) > 1 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(append(append(append(w.buf, '"'), c.name...), '"', ':'), b...)
	}
	w.buf = append(w.buf, '}', '\n')
	_, err := w.w.Write(w.buf)
	return err
}

// text is a cell: empty for what is not known.
func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case uint64:
		return strconv.FormatUint(x, 10)
	case float64:
		if math.IsNaN(x) {
			return ""
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	case time.Time:
		return x.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

// Line tells an outcome in one line of text.
func Line(o *experiment.Outcome) string {
	var b strings.Builder
	id := "-"
	if o.Flow != 0 {
		id = strconv.FormatUint(o.Flow, 10)
	}
	fmt.Fprintf(&b, "%s  %-16s  %s > %s", o.Start.UTC().Format("2006-01-02 15:04:05.000"), id, o.Client, o.Server)
	say := func(format string, a ...any) { fmt.Fprintf(&b, "  "+format, a...) }
	if o.Arm != "" {
		say("arm %s", quoted(o.Arm))
	}
	switch {
	case o.Continued:
		say("went on as the next")
	case o.Adopted:
		say("older than the gateway")
	case o.Connected && !math.IsNaN(o.ConnectS):
		say("connected in %s", human.Seconds(o.ConnectS))
	case o.Connected:
		say("connected")
	case o.GaveUp:
		say("gave up")
	case o.Finished:
		say("not connected")
	default:
		say("connecting")
	}
	if o.SYNRetransmits > 0 {
		say("%s", human.Count(o.SYNRetransmits+1, "SYN"))
	}
	if o.Retries > 0 {
		say("dialled again %s", human.Count(o.Retries, "time"))
	}
	if o.Met != 0 {
		say("met %d", o.Met)
	}
	if o.Interventions > 0 {
		what := fmt.Sprintf("%s (%d dropped, %d RST)", human.Count(o.Interventions, "intervention"), o.Dropped, o.Resets)
		switch {
		case !math.IsNaN(o.RecoveryS):
			what += ", recovered in " + human.Seconds(o.RecoveryS)
		case o.Recovered:
			what += ", recovered"
		}
		say("%s", what)
	}
	if o.Challenged {
		what := "challenged"
		if o.ChallengeRST {
			what += ", RST"
		}
		if !math.IsNaN(o.ChallengeS) {
			what += ", stood after " + human.Seconds(o.ChallengeS)
		}
		say("%s", what)
	}
	if o.StallS > 0 {
		say("stalled %s", human.Seconds(o.StallS))
	}
	if o.EndedBy != "" {
		say("%s", quoted(string(o.EndedBy)))
	} else if o.Connected {
		say("lives")
	}
	switch {
	case o.StillThere:
		say("still there: %s, %s later", o.StillThereBy, human.Seconds(o.StillThereS))
	case o.HeldOpen:
		say("held open")
	}
	return b.String()
}

// quoted is a word of the log, quoted where a terminal would not show it as it is.
func quoted(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == ' ' }) {
		return strconv.Quote(s)
	}
	return s
}
