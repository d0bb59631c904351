package proxy

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
)

// ReplayWriter writes a replay's result as text or as one JSON object. Frames are written as they come, so that a capture of any
// size has room.
type ReplayWriter struct {
	out   *bufio.Writer
	json  bool
	begun bool
	first conntrack.Instant // of the first frame, for text
}

// NewReplayWriter returns a writer to w.
func NewReplayWriter(w io.Writer, asJSON bool) *ReplayWriter {
	return &ReplayWriter{out: bufio.NewWriterSize(w, 1<<16), json: asJSON}
}

// Frame writes what became of one frame.
func (w *ReplayWriter) Frame(f *ReplayFrame) error {
	if !w.json {
		if !w.begun {
			w.first, w.begun = f.Time, true
		}
		_, err := fmt.Fprintf(w.out, "%6d %12.6f  %s\n", f.N, f.Time.Sub(w.first).Seconds(), f.text())
		return err
	}
	if !w.begun {
		w.out.WriteString(`{"frames":[`)
	} else {
		w.out.WriteByte(',')
	}
	w.begun = true
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	w.out.WriteByte('\n')
	_, err = w.out.Write(line)
	return err
}

// text returns the frame's line without number and time.
func (f *ReplayFrame) text() string {
	s := f.Segment
	if s == nil {
		return f.Verdict + "/" + f.Reason
	}
	line := fmt.Sprintf("%s %s seq %d", s.Tuple, s.Flags, s.Seq)
	if s.Flags.Has(conntrack.ACK) {
		line += fmt.Sprintf(" ack %d", s.Ack)
	}
	line += fmt.Sprintf(" len %d  => %s", s.Len, deedText(f.Verdict, f.Reason, f.Reply, f.Peer))
	if f.Flow != 0 {
		line += fmt.Sprintf("  flow %d", f.Flow)
	}
	if f.Arm != "" {
		line += "  arm " + f.Arm
	}
	if f.Counterfactual {
		line += "  (counterfactual)"
	}
	return line
}

// Close writes the report. frames says whether frames were asked for.
func (w *ReplayWriter) Close(r *Replay, frames bool) error {
	if !w.json {
		w.text(r)
		return w.out.Flush()
	}
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	switch {
	case w.begun: // the object is open and its frames are written
		w.out.WriteString("\n],")
		body = body[1:]
	case frames:
		w.out.WriteString(`{"frames":[],`)
		body = body[1:]
	}
	w.out.Write(body)
	w.out.WriteByte('\n')
	return w.out.Flush()
}

// text writes the report for people.
func (w *ReplayWriter) text(r *Replay) {
	if w.begun {
		w.line("")
	}
	w.line("capture   %s: %s, %s", r.Capture, r.Format, countsText(r.Interfaces))
	if r.First != "" {
		w.line("time      %s to %s%s", r.First, r.Last, orderText(r))
	}
	w.line("policy    %s %s", r.Policy.Name, r.Policy.Rev)
	w.line("frames    %d: %d TCP%s", r.Packets, r.TCP, withCounts(", skipped ", r.Skipped))
	w.line("flows     %d; %d of them tracked%s, %d live at the end; %d segments met no state and left none", r.Flows, r.Tracked,
		withCounts(", ended by ", r.Ended), r.Live, r.Stateless)
	if r.Unfinished > 0 {
		w.line("checksums %d left for a network card to finish, taken as unverified", r.Unfinished)
	}
	if n := r.Findings[conntrack.ChecksumWrong.String()]; n > 0 {
		w.line("checksums %d wrong; if they were rewritten after the capture, use --ignore-checksums", n)
	}
	w.line("verdicts  %s", countsText(r.Verdicts))
	for _, d := range byCount(r.Decisions) {
		w.line("  %9d  %s", r.Decisions[d], d)
	}
	w.line("injected  %d would have been%s", r.Injected, withCounts(": ", r.InjectedKinds))
	if len(r.Omitted) > 0 {
		w.line("left out  %s", countsText(r.Omitted))
	}
	if len(r.Released) > 0 {
		w.line("holds     ended with %s", countsText(r.Released))
	}
	if r.SeenBefore > 0 {
		w.line("doubles   %d segments had been seen on another interface before, and were decided again: --interface NAME takes one side only", r.SeenBefore)
	}
	for _, a := range r.Arms {
		w.line("arm       %s of %s: %d connections of about %d units, by %s %s", a.Arm, a.Experiment, a.Flows, a.Units, a.Policy.Name, a.Policy.Rev)
	}
	w.recorded(&r.Recorded)
	w.counterfactual(&r.Counterfactual)
	for _, p := range r.Shadows {
		_ = p.WriteText(w.out) // its error is the writer's, and told by Flush
	}
}

// shownPoints is how many points of a list the text shows.
const shownPoints = 20

func (w *ReplayWriter) counterfactual(c *Counterfactual) {
	if c.Flows == 0 {
		w.line("No decision departs from what the capture shows: the replay tells what would have happened.")
		return
	}
	w.line("counterfactual  %d connections, %d frames: behind the frame named, a connection would have gone another way", c.Flows, c.Frames)
	for i := range c.First[:min(len(c.First), shownPoints)] {
		p := &c.First[i]
		w.line("  frame %d  %s > %s%s  %s  (%d frames follow)", p.N, p.Src, p.Dst, flowText(p.Flow), deedText(p.Verdict, p.Reason, p.Reply, p.Peer), p.After)
	}
	w.more(c.Flows)
	if c.Forgotten > 0 {
		w.line("  %d of them were forgotten, because more were under way than the policy's limits.flows; their later frames count as untouched", c.Forgotten)
	}
}

// recorded compares with what an annotated capture tells.
func (w *ReplayWriter) recorded(c *Recorded) {
	if c.Frames == 0 {
		return
	}
	w.line("recorded  %d frames tell what their gateway decided; this policy decides %d of them alike", c.Frames, c.Same)
	for _, p := range byCount(c.Pairs) {
		was, is, _ := strings.Cut(p, " | ")
		w.line("  %9d  %s, here %s", c.Pairs[p], was, is)
	}
}

func (w *ReplayWriter) more(n int) {
	if n > shownPoints {
		w.line("  ... and %d more (-o json lists up to %d)", n-shownPoints, maxPoints)
	}
}

func (w *ReplayWriter) line(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

func flowText(id uint64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("  flow %d", id)
}

func orderText(r *Replay) (s string) {
	if r.OutOfOrder > 0 {
		s += fmt.Sprintf("; %d frames out of order, by %s at most (taken as of the latest time)", r.OutOfOrder, time.Duration(r.BackS*1e9))
	}
	if r.Untimed > 0 {
		s += fmt.Sprintf("; %d without a time that makes sense", r.Untimed)
	}
	return s
}

// byCount returns the words by falling count.
func byCount(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}

func countsText(m map[string]int) string {
	var parts []string
	for _, w := range byCount(m) {
		parts = append(parts, fmt.Sprintf("%d %s", m[w], w))
	}
	return strings.Join(parts, ", ")
}

func withCounts(before string, m map[string]int) string {
	if len(m) == 0 {
		return ""
	}
	return before + countsText(m)
}
