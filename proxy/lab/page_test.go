package lab

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"halfopen/conntrack"
	"halfopen/proxy/review/ladder"
)

// handMade is a matrix with a cell of each kind, and with names that would be markup.
func handMade() *Matrix {
	drawn := incident()
	const hostile = `/etc/<u>"own" & 'x'.yaml`
	return &Matrix{
		Policies: []string{"observe", hostile}, Seconds: 61, Began: time.Date(2026, 11, 26, 7, 12, 0, 0, time.UTC), Version: "v1.2.3", Kernel: "Linux 6.1 <x>", Set: []string{"log.rate=unlimited", "on.paws={packet: <u>}"},
		LeftOut:   []string{"lpd: <i>rlpr</i> is missing"},
		Incidents: []Incident{{"port-reuse", "a port is used again", "A paragraph & more."}},
		Presets:   []PolicyInfo{{"observe", "sha256:12", "forwards everything"}, {hostile, "", "</p><script>alert(1)</script>"}},
		Rows: []Row{
			{Scenario: "port-reuse", Phase: "after-fin", Title: "a FIN came", Set: []string{"timeouts.established=2s"}, Cells: []Cell{
				{Policy: "observe", Connected: true, Seconds: 0.0004, SYNSent: 1, Why: "the first SYN was forwarded."},
				{
					Policy: hostile, GaveUp: "client", Seconds: 7.02, SYNSent: 3, Why: "nobody <answered>", ladder: drawn.ladder(),
					Decisive: []*Decision{
						{Event: "the idle timer ran out", Lines: []PolicyLine{
							{Key: "timeouts.established", Value: "2s", File: "--set", Text: []string{"timeouts.established=2s"}},
							{Key: "timeouts.established", Value: "1h", File: hostile, Line: 3, Text: []string{"established: 1h # <s>one</s> hour"}, Overruled: true},
						}},
						{Finding: "syn-established", Verdict: "drop", Reply: "ack-tracked", Peer: "rst-tracked", Rule: "<r>", Segment: "SYN B0", Segments: 3, Memory: "remembered",
							Numbers: []string{"seq: expected A1, seen B0"}, Lines: []PolicyLine{
								{Key: "on.syn-established", Value: "{packet: drop}", File: "openbsd-pf.yaml", Line: 9, Text: []string{"syn-established:", "  packet: drop"}, Comment: "so <it> is", Option: "o=v"},
								{Key: "timeouts.established", Value: "2s", File: "--set", Text: []string{"timeouts.established=2s"}},
								{Key: "timeouts.established", Value: "1h", File: hostile, Line: 3, Text: []string{"established: 1h"}, Overruled: true},
							}},
						{Finding: "ack-for-syn", Verdict: "forward", Segments: 1, Lines: []PolicyLine{{Key: "on.ack-for-syn", Value: "{packet: forward}"}}},
					},
				},
			}},
			{Scenario: "idle-expiry", Phase: "server-sends", Title: "the server speaks", Cells: []Cell{
				{Policy: "observe", Connected: true, Seconds: 1.04, SYNSent: 2, Why: "only SYN number 2 was answered."},
				{Policy: hostile, Error: "it <broke>"},
			}},
		},
	}
}

func page(t *testing.T, m *Matrix) string {
	t.Helper()
	var b bytes.Buffer
	if err := m.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMatrixPage compares the page with testdata/matrix.html; UPDATE=1 rewrites it. Style and script are left out there.
func TestMatrixPage(t *testing.T) {
	whole := page(t, handMade())
	if again := page(t, handMade()); again != whole {
		t.Error("the same matrix gives another page")
	}
	checkPage(t, whole, 4)
	got := regexp.MustCompile(`(?s)<style>.*?</style>|<script>.*?</script>`).ReplaceAllString(whole, "")
	for _, hostile := range []string{"<u>", "<s>", "<it>", "<r>", "<i>rlpr", "<broke>", "<answered>", "<script", "<x>"} {
		if strings.Contains(got, hostile) {
			t.Errorf("%s is not escaped", hostile)
		}
	}
	const golden = "testdata/matrix.html"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

// checkPage holds a page against what every page promises: its tags are balanced, its ids are unique, each link inside leads somewhere,
// nothing comes from outside, headers of tables have a scope, and each of the cells leads to a panel of its own.
func checkPage(t *testing.T, text string, cells int) {
	t.Helper()
	void := []string{"meta", "br"}
	var open, links []string
	ids, panels := map[string]bool{}, map[string]bool{}
	for z := html.NewTokenizer(strings.NewReader(text)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				t.Error(z.Err())
			}
			break
		}
		tok := z.Token()
		switch kind {
		case html.StartTagToken:
			if !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("</%s> inside of %v", tok.Data, open)
			}
			open = open[:len(open)-1]
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		at := map[string]string{}
		for _, a := range tok.Attr {
			at[a.Key] = a.Val
		}
		if id := at["id"]; id != "" {
			if ids[id] {
				t.Errorf("the id %q twice", id)
			}
			ids[id] = true
			if at["class"] == "panel" {
				panels[id] = true
			}
		}
		if tok.Data == "th" && at["scope"] == "" {
			t.Errorf("a header without a scope: %s", tok)
		}
		if href, ok := at["href"]; ok {
			to, inside := strings.CutPrefix(href, "#")
			if !inside {
				t.Errorf("a link to %q", href)
			}
			links = append(links, to)
		}
		if at["src"] != "" || tok.Data == "link" || tok.Data == "base" || tok.Data == "iframe" {
			t.Errorf("a reference: %s", tok)
		}
	}
	if len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
	for _, to := range links {
		if !ids[to] {
			t.Errorf("a link to #%s, which is nowhere", to)
		}
	}
	if outside := regexp.MustCompile(`(?i)@import|url\(|fetch\(|https?://[^w]`).FindString(text); outside != "" {
		t.Errorf("the page refers to something outside: %q", outside)
	}
	if len(panels) != cells {
		t.Errorf("%d panels for %d cells", len(panels), cells)
	}
	for p := range panels {
		if !ids["cell."+p] || !slices.Contains(links, p) {
			t.Errorf("no cell leads to panel %s, or it does not lead back", p)
		}
	}
	for _, part := range []string{"<main>", "<header", "<footer>", "<nav", "lang=", "<caption"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s", part)
		}
	}
}

func TestPageCountsRunsOfSegmentsDecidedAlike(t *testing.T) {
	l := &ladder.Ladder{Parties: []string{"client", "gateway", "server"}}
	add := func(n int, label, word string) {
		for range n {
			l.Rows = append(l.Rows, ladder.Row{To: 2, Label: label, Words: []string{word}})
		}
	}
	add(1, "SYN A0", "new: forward")
	add(9, "data A1+5 ack A1", "data-after-rst: forward")
	add(5, "ACK A6 ack A1", "rst-ignored: forward")
	got := pageLadder(l)
	if len(got.Rows) != 1+5+5 || got.Rows[4].Label != "5 more segments, decided alike" || got.Rows[5].Head != "data-after-rst: forward" {
		t.Errorf("%d rows: %+v", len(got.Rows), got.Rows)
	}
	if len(l.Rows) != 15 || l.Rows[1].Head != "" {
		t.Error("the ladder itself was changed")
	}
}

// TestPolicyLines: the line that decided is found through inheritance, options and the lab's own settings.
func TestPolicyLines(t *testing.T) {
	dir := t.TempDir()
	own := dir + "/own.yaml"
	if err := os.WriteFile(own, []byte("preset: pf-aggressive\non:\n  # clients come back\n  syn-established:\n    packet: forward\n    state: replace\nrules:\n  - name: lpd\n    match: {dst_port: 515}\n    on: {ack-for-syn: forward} # let it pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := openPolicyFiles(own, []string{"timeouts.established=2s"})
	if err != nil {
		t.Fatal(err)
	}
	p := &Phase{decisive: []*Decision{
		{Event: "gone", state: "ESTABLISHED"},
		{Finding: "syn-established", state: "CLOSE_WAIT"},
		{Finding: "ack-for-syn", Rule: "lpd"},
		{Finding: "rst-inexact"},
		{Finding: "urgent", dir: conntrack.Reply},
	}}
	p.source(files)
	var got []string
	for _, d := range p.decisive {
		for _, l := range d.Lines {
			text := l.at() + " | " + strings.Join(l.Text, "/") + " | " + strings.Split(l.Comment, " before")[0] + " | " + l.Option
			if l.Overruled {
				text += " overruled"
			}
			got = append(got, l.Key+" = "+l.Value+" | "+text)
		}
	}
	window := func(key, value string) string {
		return "window." + key + " = " + value + " | openbsd-pf.yaml:LINE | window: {check: strict, rst: pf, ack: pf, syn_band: 67035} | A SYN's number may be 67035 off | "
	}
	want := []string{
		"timeouts.established = 2s | --set | timeouts.established=2s |  | ",
		"timeouts.established = 5h | openbsd-pf.yaml:LINE | established: 18000s # `tcp.established` |  | optimization=aggressive overruled",
		"options.optimization = aggressive | pf-aggressive.yaml:LINE | options: {optimization: aggressive} |  | ",
		"on.syn-established = {packet: forward, state: replace, timer: refresh} | " + own + ":4 | syn-established:/  packet: forward/  state: replace | clients come back | ",
		"timeouts.close_wait = 1m | openbsd-pf.yaml:LINE | close_wait: 60s # `tcp.closing` |  | optimization=aggressive",
		"options.optimization = aggressive | pf-aggressive.yaml:LINE | options: {optimization: aggressive} |  | ",
		window("check", "strict"),
		"on.ack-for-syn = {packet: forward, state: keep, timer: leave} | " + own + ":10 | on: {ack-for-syn: forward} # let it pass |  | ",
		"on.rst-inexact = {packet: drop, state: keep, timer: leave} | openbsd-pf.yaml:LINE | rst-inexact: drop # a RST needs the exact number or the exact ack |  | ",
		window("check", "strict"),
		window("rst", "pf"),
		"on.urgent = {packet: forward, state: track, timer: refresh} |  |  |  | ",
	}
	for i := range got {
		got[i] = regexp.MustCompile(`((openbsd-pf|pf-aggressive)\.yaml):[1-9]\d*`).ReplaceAllString(got[i], "$1:LINE")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
