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
	Flow     *FlowChoice // nil: which connections there are is all that is asked
	From, To int         // only frames from this one to that one; 0 for no bound
}

// ScriptFrom is what [ScriptFromCapture] made.
type ScriptFrom struct {
	Text         []byte // the scenario, nil where no connection, or more than one, was meant
	Segments     int
	Meant        []*Connection // by the choice; without one all of the capture, in the order of their first frames
	Connections  int           // of the capture, as far as they were told apart
	Problems     []Problem     // of the capture; what could be read before is in Text
	MoreProblems int           // problems beyond those
}

// maxScript bounds the segments of a scenario. Their lines stay far below the size that the language allows.
const maxScript = 20000

// ScriptFromCapture makes a scenario of one connection of a capture: what passed between its ends, with relative numbers and times,
// and what the policy decides, in the words of the scenario language. The policy decides the connection alone; where it decides a
// frame otherwise among all others of the capture, the prose says so. The capture is read twice; "-" is standard input.
//
// The error is for what keeps it from being made. Problems of the capture are no error.
func ScriptFromCapture(ctx context.Context, cfg ScriptConfig) (*ScriptFrom, error) {
	name := cfg.Replay.Capture
	if name == "-" {
		path, err := spooled()
		if err != nil {
			return nil, err
		}
		defer os.Remove(path)
		cfg.Replay.Capture, name = path, "standard input"
	}
	cfg.Replay.Shadows, cfg.Replay.LogDir = nil, ""
	all := &census{choice: cfg.Flow, byKey: map[conntrack.Tuple]*Connection{}}
	rep, err := all.take(ctx, cfg.Replay)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	out := &ScriptFrom{Connections: len(all.order), Problems: rep.Problems, MoreProblems: rep.ProblemsInAll - len(rep.Problems)}
	if cfg.Flow == nil {
		out.Meant = all.order
		return out, nil
	}
	if out.Meant = all.meant(); len(out.Meant) != 1 {
		return out, nil
	}
	t := &scriptTake{con: *out.Meant[0], cfg: &cfg, name: name}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	out.Segments = len(t.segments)
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

// scriptTake is the connection that becomes a scenario.
type scriptTake struct {
	con      Connection
	cfg      *ScriptConfig
	name     string // of the capture
	begin    conntrack.Instant
	segments []takenSegment
	left     int // segments outside of the frames that were asked for
}

// takenSegment is a segment of the connection, and what the policy decided about it among all others.
type takenSegment struct {
	n       int
	at      conntrack.Instant
	seg     conntrack.Segment
	options []scenario.Option
	deed    string
}

// take reads the capture again and keeps the connection's segments.
func (t *scriptTake) take(ctx context.Context) error {
	key, _ := t.con.Tuple.Canonical()
	many := 0
	cfg := t.cfg.Replay
	cfg.options = true
	cfg.Frame = func(f *ReplayFrame) error {
		if t.begin == 0 {
			t.begin = f.Time
		}
		if f.Segment == nil || nameless(f.Segment) {
			return nil
		}
		if k, _ := f.Segment.Tuple.Canonical(); k != key {
			return nil
		}
		if f.N < t.cfg.From || t.cfg.To != 0 && f.N > t.cfg.To {
			t.left++
			return nil
		}
		if many++; many > maxScript {
			return nil
		}
		t.segments = append(t.segments, takenSegment{n: f.N, at: f.Time, seg: *f.Segment, options: f.options,
			deed: deedText(f.Verdict, f.Reason, f.Reply, f.Peer)})
		return nil
	}
	if _, err := RunReplay(ctx, cfg); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case many > maxScript:
		return fmt.Errorf("scenario: %d segments passed between %s; a scenario holds %d: choose some of them with --frames FIRST-LAST", many, t.con.Tuple, maxScript)
	case many == 0:
		return fmt.Errorf("scenario: none of the frames that were asked for is of %s, whose frames are from %d to %d", t.con.Tuple, t.con.First, t.con.Last)
	}
	return nil
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
	rec := &scenario.Recording{Prose: t.prose(), Sets: t.cfg.Replay.Overrides,
		Flows: []scenario.RecordedFlow{{Names: [2]string{"c", "s"}, Ends: [2]netip.AddrPort{t.con.Tuple.From(), t.con.Tuple.To()}}}}
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
	if flow := t.con.flowText(); flow != "" {
		where = flow + ", " + where
	}
	lines := []string{
		fmt.Sprintf("From %s: what passed between %s and %s.", plainName(t.name), t.con.Tuple.From(), t.con.Tuple.To()),
		fmt.Sprintf("%s, from %s on. Community ID %s.", strings.ToUpper(where[:1])+where[1:], stamp(t.segments[0].at), t.con.CommunityID()),
	}
	if t.left > 0 {
		lines = append(lines, fmt.Sprintf("%d other segments of the connection are left out.", t.left))
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
