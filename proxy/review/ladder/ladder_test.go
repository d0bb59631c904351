package ladder

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNumbers(t *testing.T) {
	one := Numbers{}
	one.SYN(4294967290)
	one.SYN(4294967290)
	one.SYNACK(100, 4294967291)
	two := one
	two.SYN(3000000000)
	two.SYNACK(900000000, 3000000001)
	lost := two
	lost.SYNACK(5, 77)
	anchored := Numbers{}
	anchored.Anchor(true, 1000)
	anchored.Anchor(true, 2000)
	for _, c := range []struct {
		of   *Numbers
		s    Segment
		want string
	}{
		{&one, Segment{ToServer: true, Flags: "S", Seq: 4294967290}, "SYN 0"},
		{&one, Segment{Flags: "S.", Seq: 100, Ack: 4294967291}, "SYN/ACK 0 ack 1"},
		{&one, Segment{ToServer: true, Flags: "P.", Seq: 5, Ack: 101, Len: 20}, "data 11+20 ack 1"},
		{&one, Segment{ToServer: true, Flags: ".", Seq: 4294967289, Ack: 101}, "ACK -1 ack 1"},
		{&one, Segment{Flags: "F.", Seq: 2000000100, Ack: 1}, "FIN 2000000000 ack 7"},
		{&one, Segment{Flags: "R", Seq: 100}, "RST 0"},
		{&one, Segment{Flags: "P", Seq: 100}, "no flags 0"},
		{&two, Segment{ToServer: true, Flags: "S", Seq: 3000000000}, "SYN B0"},
		{&two, Segment{Flags: ".", Seq: 113, Ack: 4294967295}, "ACK A13 ack A5"},
		{&two, Segment{Flags: "S.", Seq: 900000000, Ack: 3000000001}, "SYN/ACK B0 ack B1"},
		{&two, Segment{ToServer: true, Flags: ".", Seq: 2999999999, Ack: 99}, "ACK B-1 ack A-1"},
		{&two, Segment{ToServer: true, Flags: ".", Seq: 1500000000, Ack: 100}, "ACK 1500000000 ack A0"},
		{&lost, Segment{Flags: ".", Seq: 6, Ack: 3000000001}, "ACK ?1 ack B1"},
		{&anchored, Segment{ToServer: true, Flags: ".", Seq: 1500, Ack: 42}, "ACK 500 ack 42"},
		{&Numbers{}, Segment{ToServer: true, Flags: ".", Seq: 42, Ack: 4000000000}, "ACK 42 ack 4000000000"},
	} {
		if got := c.of.Label(&c.s); got != c.want {
			t.Errorf("%+v: %s, want %s", c.s, got, c.want)
		}
	}
	if !one.Knows(true, 4294967290) || !one.Knows(true, 50) || one.Knows(true, 2000000000) || one.Knows(false, 3000000000) {
		t.Error("knows")
	}
	many := Numbers{}
	for i := range uint32(30) {
		many.SYN(i << 27)
	}
	if a, b := many.Client(25<<27+3), many.Client(26<<27); a != "Z3" || b != "3489660928" { // the letters are used up
		t.Errorf("%s %s", a, b)
	}
}

// everything is a ladder with each kind of row and sign.
func everything() *Ladder {
	long := "a sentence that is long enough to need more than one line beside an arrow, whatever the width"
	return &Ladder{Title: "title", Lines: []string{"good", "bad"}, Facts: [][2]string{{"a", "b"}, {"c", strings.Repeat("d", 90)}}, Parties: []string{"client", "gateway", "server"}, Keeper: 1,
		Rows: []Row{
			{Kind: Line, At: -1, Label: "before it"},
			{From: 0, To: 2, Label: "SYN 0", Head: "new", Words: []string{long}, Knows: true},
			{At: time.Millisecond, From: 2, To: 0, Label: "SYN/ACK 0 ack 1", Changed: true, Knows: true},
			{Kind: Many, At: 2 * time.Millisecond, Label: "7 segments", Knows: true},
			{At: time.Hour, Pause: time.Hour, From: 0, To: 1, Label: "SYN 5", Cross: true, Mark: "1", Head: "h", Bad: true, Knows: true},
			{At: time.Hour, From: 1, To: 0, Label: "ACK 1 ack 1", Made: true, Mark: "1", Knows: true},
			{At: time.Hour, From: 1, To: 2, Label: "RST 1", Made: true, Mark: "1", Odd: true, Head: "x", Knows: true},
			{At: time.Hour, From: 2, To: 1, Label: "data 123456789+1448 ack 123456789", Held: true, Knows: true},
			{Kind: Line, At: time.Hour, Label: long},
			{Kind: Line, At: time.Hour, Label: "short", Head: "head", Words: []string{"word"}},
		}}
}

func TestTextSigns(t *testing.T) {
	for _, width := range []int{0, 60, 72, 80, 100, 132} {
		var b bytes.Buffer
		if err := everything().WriteText(&b, Text{Width: width}); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		for _, want := range []string{"│── SYN 0 ─", "◆", "⇄ 7 segments", "⋮ 1 h", "── SYN 5 ─", "✗", "╌ ACK 1 ack 1 ╌╌│", "│╌╌ RST 1 ╌", "◇", "data 123456789+1448 ack 123456789",
			"[1] h", "[1] x", "head", "word", "made by the gateway", "dropped", "held", "rewritten", "counted", "remembers nothing", "┊", "longer"[:4]} {
			if !strings.Contains(got, want) {
				t.Errorf("width %d: no %q in\n%s", width, want, got)
			}
		}
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); width > 0 && n > width {
				t.Errorf("%d characters of %d: %s", n, width, line)
			}
		}
	}
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	if err := everything().WriteText(&full{left: 300}, Text{Width: 100}); err == nil {
		t.Error("text: no error")
	}
	if err := everything().WriteSVG(&full{}, SVG{}); err == nil {
		t.Error("SVG: no error")
	}
}

// classes counts the elements of a drawing by their classes, and returns its texts.
func classes(t *testing.T, svg string) (count map[string]int, texts []string) {
	t.Helper()
	count = map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	inside := ""
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			inside = tok.Name.Local
			for _, a := range tok.Attr {
				if a.Name.Local == "class" {
					for c := range strings.FieldsSeq(a.Value) {
						count[c]++
					}
				}
			}
		case xml.CharData:
			if inside == "text" {
				texts = append(texts, string(tok))
			}
		case xml.EndElement:
			inside = ""
		}
	}
}

func TestSVGSigns(t *testing.T) {
	var b bytes.Buffer
	if err := everything().WriteSVG(&b, SVG{}); err != nil {
		t.Fatal(err)
	}
	count, texts := classes(t, b.String())
	all := strings.Join(texts, "\n")
	for class, want := range map[string]int{
		"hol-made": 2*2 + 2, "hol-stop": 1 + 1, "hol-cross": 1 + 1, "hol-wait": 1 + 1, "hol-changed": 1 + 1, "hol-many": 1 + 1, "hol-passed": 1, // the second of each in the legend
		"hol-break": 3, "hol-knows": 1, "hol-blank": 2 + 1, "hol-link": 2, "hol-mark": 3 + 1, "hol-note": 3, "hol-party": 3, "hol-title": 1, "hol-name": 2,
	} {
		if count[class] != want {
			t.Errorf("%d elements of class %s, want %d", count[class], class, want)
		}
	}
	for _, want := range []string{"title", "good", "bad", "SYN 0", "7 segments", "⋮ 1 h", "data 123456789+1448 ack 123456789", "made by the gateway", "the gateway remembers nothing"} {
		if !strings.Contains(all, want) {
			t.Errorf("no text %q in\n%s", want, all)
		}
	}
	for class := range count {
		if class != "hol" && !strings.Contains(CSS, "."+class) {
			t.Errorf("the style sheet has nothing for %s", class)
		}
	}
	lab := everything()
	lab.Parties, lab.Keeper = []string{"client", "far gateway", "gateway", "server"}, 0
	b.Reset()
	if err := lab.WriteSVG(&b, SVG{Bare: true}); err != nil {
		t.Fatal(err)
	}
	if count, _ := classes(t, b.String()); count["hol-party"] != 4 || count["hol-knows"] != 0 || strings.Contains(b.String(), "<style") {
		t.Errorf("%v", count)
	}
}
