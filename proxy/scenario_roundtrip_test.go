package proxy

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
)

// scripts returns the scenarios that come with the policies.
func scripts(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("../policy/testdata/*/*.scn")
	if err != nil || len(names) < 80 {
		t.Fatalf("%d scenarios, %v", len(names), err)
	}
	return names
}

// someScripts are the scripts, in the fast tier one of several of each preset's; which ones they are depends on their number alone.
func someScripts(t testing.TB) (out []string) {
	for i, name := range scripts(t) {
		if i%breadth == 0 {
			out = append(out, name)
		}
	}
	return out
}

func readScript(t testing.TB, name string) *scenario.Script {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s, problems := scenario.Parse(name, data)
	if s == nil {
		t.Fatal(problems)
	}
	return s
}

// step is a segment of a script and what was decided about it.
type step struct {
	text    string
	seg     conntrack.Segment
	options []scenario.Option
	deed    string // verdict, finding, kinds of what is sent
	effect  string
	sent    []policy.Emit
}

// playSteps plays a script, which must come out as written.
func playSteps(t testing.TB, s *scenario.Script) (list []step) {
	t.Helper()
	res := s.Run(scenario.Config{Read: os.ReadFile, Played: func(p *scenario.Played) {
		if p.Segment == nil {
			return
		}
		out, d := p.Outcome, deedOf(p.Outcome)
		st := step{text: p.Text, seg: *p.Segment, options: p.Options, deed: deedText(d.Verdict, d.Reason, d.Reply, d.Peer),
			effect: fmt.Sprint(out.Strip, out.Effect, out.Before, out.After, out.Rule, out.Unmet, out.PeerOmitted, out.ReplyOmitted, out.Dir, out.Idle)}
		if out.HasPeer {
			st.sent = append(st.sent, out.Peer)
		}
		if out.HasReply {
			st.sent = append(st.sent, out.Reply)
		}
		list = append(list, st)
	}})
	if len(res.Problems) > 0 {
		t.Errorf("%v\n%s", res.Problems, s.Format())
	}
	return list
}

// ofFlow returns the steps of one flow.
func ofFlow(list []step, flow conntrack.Tuple) (out []step) {
	for _, st := range list {
		if st.seg.Tuple == flow || st.seg.Tuple == flow.Reverse() {
			out = append(out, st)
		}
	}
	return out
}

// scriptPolicy returns what to call the script's policy outside of it: files that ride along are put into a directory.
func scriptPolicy(t testing.TB, s *scenario.Script) string {
	t.Helper()
	data, along := s.File(s.PolicyName())
	if !along {
		return s.PolicyName()
	}
	path := filepath.Join(t.TempDir(), s.PolicyName())
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeScript writes a script's capture.
func writeScript(t testing.TB, s *scenario.Script) (string, *ScriptCapture) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	done, err := WriteScript(f, s, scenario.Config{Read: os.ReadFile})
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if len(done.Result.Problems) > 0 {
		t.Fatal(done.Result.Problems)
	}
	return path, done
}

// unlike are scripts whose replay decides otherwise, and why. Their segments are the same.
func unlike(s *scenario.Script) string {
	text := string(s.Format())
	for word, why := range map[string]string{"\nreload ": "a reload is no packet", "\ngap\n": "what passed unseen is no packet"} {
		if strings.Contains(text, word) {
			return why
		}
	}
	return ""
}

// A scenario that was written as a capture is decided the same by a replay of it under the same policy.
func TestScriptCaptureReplaysAlike(t *testing.T) {
	var alike atomic.Int32
	t.Run("of", func(t *testing.T) {
		for _, name := range someScripts(t) {
			t.Run(strings.TrimPrefix(name, "../policy/testdata/"), func(t *testing.T) {
				t.Parallel()
				s := readScript(t, name)
				if replaysAlike(t, s); unlike(s) == "" {
					alike.Add(1)
				}
			})
		}
	})
	if n := len(someScripts(t)); int(alike.Load()) < n-3 {
		t.Errorf("%d of %d scenarios were compared", alike.Load(), n)
	}
}

func replaysAlike(t *testing.T, s *scenario.Script) {
	path, done := writeScript(t, s)
	want := playSteps(t, s)
	if done.Packets != len(want) || len(done.Left) > 0 {
		t.Errorf("%d packets of %d segments; %v", done.Packets, len(want), done.Left)
	}
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: scriptPolicy(t, s), Overrides: s.Settings(), Fresh: !s.Adopts()})
	if got.Skipped[SkipOwnDeed] != done.Made || got.Packets != done.Packets+done.Made || len(got.Problems) > 0 {
		t.Errorf("%d frames, %d of them the gateway's own; want %d and %d; %v", got.Packets, got.Skipped[SkipOwnDeed], done.Packets+done.Made, done.Made, got.Problems)
	}
	if r := &got.Recorded; r.Frames != len(want) || r.Same != r.Frames && unlike(s) == "" && !strings.Contains(string(s.Format()), "=> rewrite/") {
		t.Errorf("%d of %d frames are decided as their notes say: %v", r.Same, r.Frames, r.Pairs)
	}
	decided := slices.DeleteFunc(got.texts, func(text string) bool { return strings.HasPrefix(text, "skip/") })
	if len(decided) != len(want) {
		t.Fatalf("%d segments were decided, want %d", len(decided), len(want))
	}
	for i := range want {
		if decided[i] != want[i].deed && unlike(s) == "" {
			t.Errorf("%s: %s, in the replay %s", want[i].text, want[i].deed, decided[i])
		}
	}
}

// scriptOfAll makes a scenario of all connections of a capture.
func scriptOfAll(t testing.TB, cfg ReplayConfig, flows []conntrack.Tuple) *ScriptFrom {
	t.Helper()
	sc := ScriptConfig{Replay: cfg}
	for _, flow := range flows {
		choice, err := ParseFlowChoice(flow.String())
		if err != nil {
			t.Fatal(err)
		}
		sc.Flows = append(sc.Flows, choice)
	}
	got, err := ScriptFromCapture(t.Context(), sc)
	if err != nil || got.Text == nil {
		t.Fatal(err, got)
	}
	return got
}

// A scenario that was written as a capture, and made of the capture again, has the same segments and decisions.
func TestScriptRoundTrip(t *testing.T) {
	var alike, steps atomic.Int32
	t.Run("of", func(t *testing.T) {
		for _, name := range someScripts(t) {
			t.Run(strings.TrimPrefix(name, "../policy/testdata/"), func(t *testing.T) {
				t.Parallel()
				s := readScript(t, name)
				path, _ := writeScript(t, s)
				want := playSteps(t, s)
				var flows []conntrack.Tuple // that have segments
				for _, flow := range s.Flows() {
					if len(ofFlow(want, flow)) > 0 {
						flows = append(flows, flow)
					}
				}
				from := scriptOfAll(t, ReplayConfig{Capture: path, Policy: scriptPolicy(t, s), Overrides: s.Settings(), Fresh: !s.Adopts()}, flows)
				if d := differ(want, playedAgain(t, from.Text), unlike(s) == ""); d != "" || len(from.Problems) > 0 {
					t.Errorf("%s %v\n%s", d, from.Problems, from.Text)
				}
				if unlike(s) == "" {
					alike.Add(1)
					if strings.Contains(string(from.Text), "out otherwise") {
						t.Errorf("it says that the capture is decided otherwise\n%s", from.Text)
					}
				}
				steps.Add(int32(len(want)))
			})
		}
	})
	if n := len(someScripts(t)); int(alike.Load()) < n-3 || int(steps.Load()) < 10*n {
		t.Errorf("%d scenarios of %d, %d segments", alike.Load(), n, steps.Load())
	}
}

// One flow of several has the same segments, and where no bound of the table counts, the same decisions.
func TestScriptRoundTripOfOne(t *testing.T) {
	for _, name := range scripts(t) {
		s := readScript(t, name)
		if filepath.Base(filepath.Dir(name)) != "regressions" || len(s.Flows()) < 2 {
			continue
		}
		path, _ := writeScript(t, s)
		all := playSteps(t, s)
		for _, flow := range s.Flows() {
			from := scriptOfAll(t, ReplayConfig{Capture: path, Policy: scriptPolicy(t, s), Overrides: s.Settings(), Fresh: !s.Adopts()}, []conntrack.Tuple{flow})
			if d := differ(ofFlow(all, flow), playedAgain(t, from.Text), unlike(s) == "" && !apart(s)); d != "" {
				t.Errorf("%s, %s: %s\n%s", name, flow, d, from.Text)
			}
		}
	}
}

// apart reports whether a script's flows bear on each other: one alone may be decided otherwise.
func apart(s *scenario.Script) bool { return strings.Contains(string(s.Format()), "limits") }

// playedAgain plays a scenario that was made.
func playedAgain(t *testing.T, text []byte) []step {
	t.Helper()
	s, problems := scenario.Parse("again.scn", text)
	if s == nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	return playSteps(t, s)
}

// differ compares the steps of two scripts. Numbers may be moved by an amount of each end, but for a zero of the wire.
func differ(want, got []step, decisions bool) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d segments, want %d", len(got), len(want))
	}
	shift := map[string]uint32{} // by end
	moved := func(end string, a, b conntrack.Seq) bool {
		if a == 0 || b == 0 {
			return a == b
		}
		if _, ok := shift[end]; !ok {
			shift[end] = uint32(b - a)
		}
		return shift[end] == uint32(b-a)
	}
	same := func(a, b *conntrack.Segment) bool {
		from, to := a.Tuple.String(), a.Tuple.Reverse().String() // ends of several flows may share an address and port
		if a.Tuple != b.Tuple || a.Defect != b.Defect || (a.Checksum == conntrack.ChecksumBad) != (b.Checksum == conntrack.ChecksumBad) {
			return false
		}
		if a.Defect != conntrack.DefectNone && a.Defect != conntrack.DefectOptions {
			return true // the rest of it is nowhere
		}
		x, y := *a, *b
		x.Seq, x.Ack, x.Options.SACK, x.TTL, x.Bytes, x.Checksum = y.Seq, y.Ack, y.Options.SACK, y.TTL, y.Bytes, y.Checksum
		if a.Flags.Has(conntrack.ACK) && !moved(to, a.Ack, b.Ack) {
			return false
		}
		for i := range a.Options.NSACK {
			if !moved(to, a.Options.SACK[i].Left, b.Options.SACK[i].Left) || !moved(to, a.Options.SACK[i].Right, b.Options.SACK[i].Right) {
				return false
			}
		}
		return moved(from, a.Seq, b.Seq) && (x == y || a.Defect == conntrack.DefectOptions)
	}
	for i := range want {
		a, b := &want[i], &got[i]
		if !same(&a.seg, &b.seg) {
			return fmt.Sprintf("%+v became %+v", a.seg, b.seg)
		}
		if a.seg.Defect == conntrack.DefectNone && optionWords(a.options) != optionWords(b.options) {
			return fmt.Sprintf("%s: options %s became %s", a.text, optionWords(a.options), optionWords(b.options))
		}
		if !decisions {
			continue
		}
		if a.deed != b.deed || a.effect != b.effect || len(a.sent) != len(b.sent) {
			return fmt.Sprintf("%s: %s %s, want %s %s", a.text, b.deed, b.effect, a.deed, a.effect)
		}
		for j := range a.sent {
			if x, y := &a.sent[j].Segment, &b.sent[j].Segment; a.sent[j].Kind == policy.PeerProbeSYN.String() && x.Ack == y.Ack {
				x.Ack, y.Ack = 0, 0 // no number of that end is known, and the gateway has chosen one of its own
			}
			if !same(&a.sent[j].Segment, &b.sent[j].Segment) || a.sent[j].Twice != b.sent[j].Twice {
				return fmt.Sprintf("%s: sent %+v, want %+v", a.text, b.sent[j], a.sent[j])
			}
		}
	}
	return ""
}

// optionWords prints options but for the edges of SACK, which are compared as numbers.
func optionWords(list []scenario.Option) (s string) {
	for _, o := range list {
		if o.Kind == 5 {
			o.Data = binary.BigEndian.AppendUint32(nil, uint32(len(o.Data)))
		}
		s += fmt.Sprintf("%d:%x ", o.Kind, o.Data)
	}
	return s
}
