package story

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/ladder"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; -update writes it anew\n%s", name, got)
	}
}

func told(t *testing.T, log string, flow uint64) *Story {
	t.Helper()
	r, bad, err := Read(filepath.Join("testdata", log+".jsonl"), flow)
	if err != nil || len(bad) > 0 {
		t.Fatal(err, bad)
	}
	return Tell(r)
}

func text(t *testing.T, s *Story, o Text) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteText(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func svg(t *testing.T, s *Story, o ladder.SVG) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Ladder().WriteSVG(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The logs in testdata were written by replays of captures under the policies that they name; that of rewritten.jsonl has one verdict
// changed by hand.
var golds = []struct {
	log  string
	flow uint64
}{{"closed", 1}, {"day", 1}, {"night", 1}, {"night", 2}, {"healed", 1}, {"healed", 2}, {"stalled", 1}, {"held", 1}, {"late", 1}, {"refused", 1},
	{"refused", 2}, {"rewritten", 1}, {"shadowed", 1}}

func TestGolden(t *testing.T) {
	for _, g := range golds {
		name := fmt.Sprintf("%s-%d", g.log, g.flow)
		s := told(t, g.log, g.flow)
		plain := text(t, s, Text{Width: 100})
		golden(t, name+".txt", []byte(plain))
		fits(t, name, plain, 100)
		drawn := svg(t, s, ladder.SVG{})
		golden(t, name+".svg", []byte(drawn))
		wellFormed(t, name, drawn)
		if again := svg(t, told(t, g.log, g.flow), ladder.SVG{}); again != drawn {
			t.Errorf("%s: drawn twice, it differs", name)
		}
		for _, width := range []int{80, 120} {
			fits(t, name, text(t, s, Text{Width: width}), width)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Story
		if err := json.Unmarshal(b, &back); err != nil || len(back.Steps) != len(s.Steps) {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := json.Marshal(&back); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: as JSON it comes back as\n%s, not\n%s", name, again, b)
		}
	}
}

// fits checks that no line is wider than it may be.
func fits(t *testing.T, name, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
			t.Errorf("%s: %d characters of %d: %s", name, n, width, line)
		}
	}
}

// wellFormed checks that a drawing is XML that fetches and runs nothing, with a title, a description and unique ids.
func wellFormed(t *testing.T, name, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	d.Strict = true
	ids, elements := map[string]bool{}, map[string]int{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		elements[el.Name.Local]++
		for _, a := range el.Attr {
			switch {
			case a.Name.Local == "id" && ids[a.Value]:
				t.Errorf("%s: id %s twice", name, a.Value)
			case a.Name.Local == "id":
				ids[a.Value] = true
			case strings.HasPrefix(a.Name.Local, "on"), a.Name.Local == "href", a.Name.Local == "style", a.Name.Local == "src":
				t.Errorf("%s: attribute %s", name, a.Name.Local)
			}
		}
	}
	for el := range elements {
		switch el {
		case "svg", "title", "desc", "style", "rect", "line", "path", "circle", "text", "g":
		default:
			t.Errorf("%s: element %s", name, el)
		}
	}
	if elements["title"] < 1 || elements["desc"] != 1 || elements["text"] == 0 || strings.Contains(svg, "url(") || strings.Contains(svg, "@import") {
		t.Errorf("%s: %v", name, elements)
	}
}

// What the goldens must say, whatever they look like.
func TestStories(t *testing.T) {
	for _, c := range []struct {
		log  string
		flow uint64
		want []string
		not  []string
	}{
		{"closed", 1, []string{"Connected in 730 µs", "server response  41 ms", "1 repeated", "stalled", "⇄ 15 segments here and below, 9.1 kB", "⋮ 3 s", "FIN 121 ack 9001"},
			[]string{"Trouble", "A0"}},
		{"day", 1, []string{"Trouble: answered by an old connection", "SYN B0", "✗│", "◀╌╌╌╌╌ ACK A2 ack A13 ╌╌│", "[1] syn-established: dropped", "[1] ack-tracked",
			"Number B0, expected A13.", "silent for", "⇄ 4 segments, 13 bytes", "⋮ 25 s"}, nil},
		{"night", 2, []string{"flow 1, begun 2026-03-01 08:00:00.000, connected, 6", "was forgotten 8 h", "by its idle timer of 1 h, after", "ACK A2 ack A13",
			"exactly the numbers", "Never connected", "3 SYNs"}, nil},
		{"night", 1, []string{"The gateway forgets the connection by its idle timer, 1 h after its last segment.", "After it on these ports: flow 2"}, []string{"A0"}},
		{"healed", 2, []string{"┼", "╌╌ RST A13 ╌", "[1] rst-tracked", "[1] syn-established → SYN_SENT"}, []string{"Trouble"}},
		{"healed", 1, []string{"for a new one on its ports", "reset by the gateway"}, []string{"Trouble"}},
		{"stalled", 1, []string{"Trouble: stalled and died", "1 out of window", "expected 1001", "834760 above", "Rule printers."}, nil},
		{"held", 1, []string{"◇", "new: held", "It had been held, and goes on now.", "│── SYN 0 ──────────────▶│"}, nil},
		{"late", 1, []string{"Trouble: cut off", "✗┊", "The connection was forgotten 1 h"}, nil},
		{"refused", 1, []string{"refused", "RST"}, nil},
		{"rewritten", 1, []string{"◆", "new: rewritten", "What it lost: mss, timestamps."}, nil},
	} {
		s := told(t, c.log, c.flow)
		got := text(t, s, Text{Width: 100})
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s %d does not say %q:\n%s", c.log, c.flow, w, got)
			}
		}
		for _, w := range c.not {
			if strings.Contains(got, w) {
				t.Errorf("%s %d says %q:\n%s", c.log, c.flow, w, got)
			}
		}
	}
}

// The manual's story is told so.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(manual), "<!-- story -->\n")
	block, _, ended := strings.Cut(rest, "<!-- /story -->")
	var shown strings.Builder
	for line := range strings.Lines(block) {
		shown.WriteString(strings.TrimPrefix(line, "    "))
	}
	if got := text(t, told(t, "day", 1), Text{Width: 100}); !found || !ended || shown.Len() == 0 || !strings.HasPrefix(got, shown.String()) {
		t.Errorf("the manual shows\n%s\nand the story is\n%s", shown.String(), got)
	}
	for _, n := range []int{keepFirst + keepLast, keepFirst} {
		if !strings.Contains(string(manual), fmt.Sprint(n)) {
			t.Errorf("the manual does not say %d", n)
		}
	}
}

var ansi = regexp.MustCompile("\x1b\\[[0-9]*m")

// Colours are never the only sign: without them the text is the same.
func TestColour(t *testing.T) {
	s := told(t, "day", 1)
	plain, coloured := text(t, s, Text{Width: 100}), text(t, s, Text{Width: 100, Color: true})
	if !strings.Contains(coloured, "\x1b[31m") || strings.Contains(plain, "\x1b") {
		t.Error("no colours, or where none were asked for")
	}
	if got := ansi.ReplaceAllString(coloured, ""); got != plain {
		t.Errorf("without its colours:\n%s\nplain:\n%s", got, plain)
	}
}

// A page brings its own style sheet, and may hold several drawings.
func TestBare(t *testing.T) {
	s := told(t, "day", 1)
	bare := svg(t, s, ladder.SVG{Bare: true, ID: "flow-1"})
	if strings.Contains(bare, "<style") || !strings.Contains(bare, `id="flow-1-title"`) {
		t.Error(bare[:400])
	}
	wellFormed(t, "bare", bare)
}

// Whatever stands in a record, the text steers no terminal and the drawing stays a drawing.
func TestHostile(t *testing.T) {
	const nasty = "\x1b[2J</text><script>alert(1)</script>\u202e&\"'\x00\xff\n"
	at := func(s float64) decisionlog.Time {
		return decisionlog.Time{Time: time.Date(2026, 11, 23, 7, 12, 0, 0, time.UTC).Add(time.Duration(s * 1e9))}
	}
	idle, n := 1.5, uint32(7)
	events := []*decisionlog.Event{
		{Timestamp: at(0), FlowID: 5, SrcIP: "10.0.0.1", SrcPort: 1, DestIP: "10.0.0.2", DestPort: 2, Flow: &decisionlog.FlowEvent{Event: "new", Rule: nasty, Preset: nasty, PolicyRev: nasty, Predecessor: 4}},
		{Timestamp: at(0), FlowID: 5, SrcIP: "10.0.0.1", SrcPort: 1, DestIP: "10.0.0.2", DestPort: 2, Direction: "to_server", TCP: &decisionlog.TCPEvent{Flags: nasty},
			Decision: &decisionlog.DecisionEvent{ID: nasty, Verdict: nasty, Reason: nasty, Rule: nasty, StateBefore: nasty, StateAfter: nasty, IdleS: &idle,
				Unmet: nasty, Defect: nasty, Stripped: []string{nasty}, RewriteOmitted: nasty, ReplyOmitted: nasty, PeerOmitted: nasty, Reply: &decisionlog.MadeEvent{Kind: nasty}, Peer: &decisionlog.MadeEvent{Kind: nasty},
				Expected: &decisionlog.ExpectedEvent{Seq: &n, SeqLo: &n, SeqHi: &n, Ack: &n, Edge: &n, SeenEdge: &n, TS: &n, SeenTS: &n, Len: &n},
				Would:    &decisionlog.WouldEvent{Verdict: nasty, Reason: nasty}, Tombstone: &decisionlog.TombstoneEvent{Why: nasty, FlowID: 3}}},
		{Timestamp: at(1), FlowID: 5, SrcIP: "10.0.0.2", SrcPort: 2, DestIP: "10.0.0.1", DestPort: 1, Inject: &decisionlog.InjectEvent{Cause: nasty, Kind: nasty, To: nasty, Error: nasty}},
		{Timestamp: at(1), FlowID: 5, SrcIP: "10.0.0.1", SrcPort: 1, DestIP: "10.0.0.2", DestPort: 2, Decision: &decisionlog.DecisionEvent{Reason: nasty, Trigger: nasty}},
		{Timestamp: at(2), FlowID: 5, SrcIP: nasty, Decision: &decisionlog.DecisionEvent{Reason: "malformed", Verdict: "drop"}},
		{Timestamp: at(3), FlowID: 5, SrcIP: "10.0.0.1", SrcPort: 1, DestIP: "10.0.0.2", DestPort: 2, Flow: &decisionlog.FlowEvent{Event: "end", Reason: nasty, Outcome: nasty, EndedBy: nasty, History: nasty, Counted: 1 << 50}},
	}
	s := Tell(Records{Flow: 5, Events: events})
	for _, o := range []Text{{Width: 100}, {}, {Width: 60, Color: true}} {
		got := ansi.ReplaceAllString(text(t, s, o), "")
		if strings.ContainsAny(got, "\x1b\x00\u202e\r") || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
	}
	drawn := svg(t, s, ladder.SVG{ID: nasty})
	wellFormed(t, "hostile", drawn)
	if strings.Contains(drawn, "<script") || !utf8.ValidString(drawn) {
		t.Error(drawn)
	}
}

// Every finding has words, and every packet that a gateway makes.
func TestWords(t *testing.T) {
	for f := conntrack.Finding(0); f < conntrack.NumFindings; f++ {
		if w := upper(meaning(f.String())); len(w) < 8 || !strings.HasSuffix(w, ".") {
			t.Errorf("%s: %q", f, w)
		}
	}
	if upper("") != "" || meaning("of-tomorrow") != "of-tomorrow" {
		t.Error("a reason of a newer version")
	}
	data, err := os.ReadFile("../../../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	for k := range kinds {
		if !strings.Contains(string(data), "`"+k+"`") && !strings.Contains(k, "icmp") {
			t.Errorf("docs/log.md does not know the kind %s", k)
		}
	}
}

// Whatever records say, their story can be told: text in its width, and a drawing that is one.
func FuzzTell(f *testing.F) {
	for _, g := range golds {
		b, err := os.ReadFile(filepath.Join("testdata", g.log+".jsonl"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, g.flow)
	}
	f.Add([]byte(`{"flow_id":1,"src_ip":"10.0.0.1","src_port":1,"dest_ip":"10.0.0.2","dest_port":2,"tcp":{"flags":"S"},"decision":{"reason":"late-fin","idle_s":1e300,"tombstone":{"flow_id":1}}}`), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, flow uint64) {
		c := Collector{Flow: flow}
		var events []*decisionlog.Event
		for line := range bytes.Lines(b) {
			e := &decisionlog.Event{}
			if json.Unmarshal(line, e) == nil {
				events = append(events, e)
			}
		}
		for _, e := range events {
			c.Find(e)
		}
		for _, e := range events {
			c.Add(e)
		}
		s := Tell(c.Records())
		fits(t, "text", text(t, s, Text{Width: 100}), 100+20) // times of a thousand years are wide
		wellFormed(t, "drawing", svg(t, s, ladder.SVG{}))
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	})
}
