package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/scripted"
)

// ScriptConfig says what of a capture becomes a scenario. Of Replay the capture, the policy with its overrides, Interface,
// IgnoreChecksums and Fresh count.
type ScriptConfig struct {
	Replay   ReplayConfig
	Flows    []*FlowChoice // none: which connections there are is all that is asked
	From, To int           // only frames from this one to that one; 0 for no bound
}

// ScriptFrom is what [ScriptFromCapture] made.
type ScriptFrom struct {
	Text     []byte // the scenario, nil where it was not made
	Segments int
	// Unclear is the choice that means no connection, or several, which Meant then lists; nil for none. Without choices Meant lists all of
	// the capture, in the order of their first frames.
	Unclear      *FlowChoice
	Meant        []*Connection
	Problems     []Problem // of the capture; what could be read before is in Text
	MoreProblems int       // problems beyond those
}

// maxScript bounds the segments of a scenario. Their lines stay far below the size that the language allows.
const maxScript = 20000

// ScriptFromCapture makes a scenario of one connection of a capture, or of several: what passed between their ends, with relative numbers
// and times, and what the policy decides, in the words of the scenario language. The policy decides them without the others of the
// capture; where it decides a frame otherwise among those, the prose says so. The capture is read twice; "-" is standard input.
//
// The error is for what keeps it from being made. Problems of the capture are no error.
func ScriptFromCapture(ctx context.Context, cfg ScriptConfig) (*ScriptFrom, error) {
	t := &scriptTake{cfg: &cfg, name: cfg.Replay.Capture, byKey: map[conntrack.Tuple]bool{}}
	if t.name == "-" {
		path, err := spooled()
		if err != nil {
			return nil, err
		}
		defer os.Remove(path)
		cfg.Replay.Capture, t.name = path, "standard input"
	}
	cfg.Replay.Shadows, cfg.Replay.LogDir, cfg.Replay.PcapDir = nil, "", ""
	all := newCensus(cfg.Flows)
	rep, err := all.take(ctx, cfg.Replay)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	out := &ScriptFrom{Problems: rep.Problems, MoreProblems: rep.ProblemsInAll - len(rep.Problems)}
	if len(cfg.Flows) == 0 {
		out.Meant = all.order
		return out, nil
	}
	for i, choice := range cfg.Flows {
		meant := all.meant(i)
		if len(meant) != 1 {
			out.Unclear, out.Meant = choice, meant
			return out, nil
		}
		t.add(meant[0])
	}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	out.Meant, out.Segments = t.cons, len(t.segments)
	out.Text, err = t.write()
	return out, err
}

// spooled puts standard input into a file, so that it can be read twice.
func spooled() (path string, err error) {
	f, err := os.CreateTemp("", "halfopen-*.pcap")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, os.Stdin)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// take replays the capture and counts its connections.
func (c *census) take(ctx context.Context, cfg ReplayConfig) (*Replay, error) {
	cfg.Frame = c.frame
	return RunReplay(ctx, cfg)
}

// scriptTake is what becomes a scenario.
type scriptTake struct {
	cons     []*Connection
	byKey    map[conntrack.Tuple]bool
	cfg      *ScriptConfig
	name     string // of the capture
	begin    conntrack.Instant
	segments []takenSegment
	many     int // segments, of which maxScript are kept
	left     int // segments outside of the frames that were asked for
}

// add adds a connection, once.
func (t *scriptTake) add(con *Connection) {
	key, _ := con.Tuple.Canonical()
	if !t.byKey[key] {
		t.byKey[key] = true
		t.cons = append(t.cons, con)
	}
}

// takenSegment is a segment of the connection, and what the policy decided about it among all others.
type takenSegment struct {
	n       int
	at      conntrack.Instant
	seg     conntrack.Segment
	options []scenario.Option
	deed    string
}

// take reads the capture again and keeps the segments.
func (t *scriptTake) take(ctx context.Context) error {
	cfg := t.cfg.Replay
	cfg.options = true
	cfg.Frame = func(f *ReplayFrame) error {
		t.frame(f)
		return nil
	}
	if _, err := RunReplay(ctx, cfg); err != nil {
		return err
	}
	con := t.cons[0]
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case t.many > maxScript:
		return fmt.Errorf("scenario: %d segments passed between %s; a scenario holds %d: choose some of them with --frames FIRST-LAST", t.many, t.ends(), maxScript)
	case t.many == 0:
		return fmt.Errorf("scenario: none of the frames that were asked for is of %s, whose frames are from %d to %d", t.ends(), con.First, con.Last)
	}
	return nil
}

// frame keeps a segment that belongs to the scenario.
func (t *scriptTake) frame(f *ReplayFrame) {
	if t.begin == 0 {
		t.begin = f.Time
	}
	if f.Segment == nil || nameless(f.Segment) {
		return
	}
	if key, _ := f.Segment.Tuple.Canonical(); !t.byKey[key] {
		return
	}
	if f.N < t.cfg.From || t.cfg.To != 0 && f.N > t.cfg.To {
		t.left++
		return
	}
	if t.many++; t.many <= maxScript {
		t.segments = append(t.segments, takenSegment{n: f.N, at: f.Time, seg: *f.Segment, options: f.options,
			deed: deedText(f.Verdict, f.Reason, f.Reply, f.Peer)})
	}
}

// ends names the connections.
func (t *scriptTake) ends() string {
	text := t.cons[0].Tuple.From().String() + " and " + t.cons[0].Tuple.To().String()
	if n := len(t.cons) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// write makes the scenario. That the gateway is young is said where something is taken up because of it; then the script's time begins
// with the capture's.
func (t *scriptTake) write() ([]byte, error) {
	rec, err := t.recording()
	if err != nil {
		return nil, err
	}
	if rec.Adopt = !t.cfg.Replay.Fresh; rec.Adopt {
		rec.Events[0].Wait = t.segments[0].at.Sub(t.begin)
	}
	text, decided, err := played(rec)
	if err != nil {
		return nil, err
	}
	adopted := slices.ContainsFunc(decided, func(d string) bool { return strings.Contains(d, "/"+conntrack.Adopted.String()) })
	more := t.otherwise(decided)
	if rec.Adopt == adopted && len(more) == 0 {
		return text, nil
	}
	if rec.Adopt = adopted; !adopted {
		rec.Events[0].Wait = 0
	}
	rec.Prose = append(rec.Prose, more...)
	text, _, err = played(rec)
	return text, err
}

// played makes the script of a recording and fills it in. It tells what was decided about each segment.
func played(rec *scenario.Recording) (text []byte, decided []string, err error) {
	s, err := rec.Script("scenario")
	if err != nil {
		return nil, nil, err
	}
	text, res := s.Fill(scenario.Config{Read: os.ReadFile, Observe: func(_ *policy.Policy, _ *conntrack.Segment, out *policy.Outcome) {
		d := deedOf(out)
		decided = append(decided, deedText(d.Verdict, d.Reason, d.Reply, d.Peer))
	}})
	if text == nil {
		return nil, nil, res.Problems
	}
	return text, decided, nil
}

// recording is the script without its decisions.
func (t *scriptTake) recording() (*scenario.Recording, error) {
	rec := &scenario.Recording{Prose: t.prose(), Sets: t.cfg.Replay.Overrides}
	for i, con := range t.cons {
		number := ""
		if len(t.cons) > 1 {
			number = fmt.Sprint(i + 1)
		}
		rec.Flows = append(rec.Flows, scenario.RecordedFlow{Names: [2]string{"c" + number, "s" + number}, Ends: [2]netip.AddrPort{con.Tuple.From(), con.Tuple.To()}})
	}
	var err error
	if rec.Policy, rec.Files, err = scripted.Along(t.cfg.Replay.Policy); err != nil {
		return nil, err
	}
	before := t.segments[0].at
	for i := range t.segments {
		s := &t.segments[i]
		rec.Events = append(rec.Events, scenario.RecordedEvent{Wait: s.at.Sub(before), Segment: &s.seg, Options: s.options})
		before = s.at
	}
	return rec, nil
}

// prose says where the script is from.
func (t *scriptTake) prose() []string {
	var numbers []int
	for i := range t.segments {
		numbers = append(numbers, t.segments[i].n)
	}
	where := rangesText(numbers)
	if flow := t.cons[0].flowText(); flow != "" && len(t.cons) == 1 {
		where = flow + ", " + where
	}
	lines := []string{fmt.Sprintf("From %s: what passed between %s.", plainName(t.name), t.ends()),
		fmt.Sprintf("%s, from %s on.", strings.ToUpper(where[:1])+where[1:], stamp(t.segments[0].at))}
	if len(t.cons) == 1 {
		lines[1] += " Community ID " + t.cons[0].CommunityID() + "."
	}
	if t.left > 0 {
		lines = append(lines, fmt.Sprintf("%d other segments between these ends are left out.", t.left))
	}
	return lines
}

// plainName is a file's name for a comment.
func plainName(path string) string {
	name := filepath.Base(path)
	if strings.TrimSpace(name) == name && strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0 {
		return name
	}
	return policy.Quote(name)
}

// maxRanges bounds the ranges of frame numbers that are told.
const maxRanges = 8

// rangesText tells frame numbers: "frames 1-5, 9".
func rangesText(numbers []int) string {
	if len(numbers) == 1 {
		return fmt.Sprintf("frame %d", numbers[0])
	}
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if len(parts) == maxRanges {
			return fmt.Sprintf("frames %s and %d more up to %d", strings.Join(parts, ", "), len(numbers)-i, numbers[len(numbers)-1])
		}
		if part := fmt.Sprint(numbers[i]); j > i {
			parts = append(parts, fmt.Sprintf("%s-%d", part, numbers[j]))
		} else {
			parts = append(parts, part)
		}
		i = j + 1
	}
	return "frames " + strings.Join(parts, ", ")
}

// otherwise says which frames are decided otherwise among the others of the capture.
func (t *scriptTake) otherwise(alone []string) []string {
	var numbers []int
	example := ""
	for i := range t.segments {
		if i < len(alone) && alone[i] != t.segments[i].deed {
			if numbers = append(numbers, t.segments[i].n); example == "" {
				example = t.segments[i].deed
			}
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	why := "the other connections of the capture count there, too"
	if t.left > 0 {
		why = "what is left out counts there, too"
	}
	what := "come out otherwise, the first as"
	if len(numbers) == 1 {
		what = "comes out otherwise, as"
	}
	return []string{fmt.Sprintf("In a replay of the capture %s %s %s: %s.", rangesText(numbers), what, example, why)}
}
