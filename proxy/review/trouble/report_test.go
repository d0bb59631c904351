package trouble

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"halfopen/conntrack"
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

// everything is the report of a log in which every case of the table happens.
func everything(t *testing.T, f Filter) *Report {
	t.Helper()
	var g Groups
	tr := NewTracker(func(c *Case) {
		if f.Match(c) {
			g.Add(c)
		}
	})
	var last time.Time
	for i, c := range cases {
		var shift time.Duration
		for _, e := range script(t, c.log) {
			if e.Header != nil {
				continue
			}
			if shift == 0 && !last.IsZero() {
				shift = last.Add(time.Minute).Sub(e.Timestamp.Time)
			}
			e.Timestamp.Time = e.Timestamp.Add(shift)
			if e.Decision != nil && e.Decision.Tombstone != nil {
				e.Decision.Tombstone.Forgotten.Time = e.Decision.Tombstone.Forgotten.Add(shift)
				e.Decision.Tombstone.FlowID += uint64(10 * i)
			}
			if e.Flow != nil && e.Flow.Event == "new" {
				e.Flow.Start = e.Timestamp
			}
			if e.FlowID != 0 {
				e.FlowID += uint64(10 * i)
			}
			if e.Flow != nil && e.Flow.Predecessor != 0 {
				e.Flow.Predecessor += uint64(10 * i)
			}
			tr.Add(e)
			last = e.Timestamp.Time
		}
	}
	tr.Settle()
	r := g.Report()
	r.Path, r.Connections = "LOG", tr.Connections()
	r.From.Time, r.To.Time = tr.Span()
	return r
}

func TestReport(t *testing.T) {
	r := everything(t, Filter{})
	var text, object bytes.Buffer
	if err := r.WriteText(&text, func(c *Case) string { return "halfopen review LOG" }); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > textWidth {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	if r.Groups[0].Kind != OldConnection {
		t.Errorf("the first group is %s", r.Groups[0].Kind)
	}
	golden(t, "report.txt", text.Bytes())
	if err := r.WriteJSON(&object); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", object.Bytes())
	var back Report
	if err := json.Unmarshal(object.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, g := range back.Groups {
		sum += g.Cases
		if len(g.Examples) > maxExamples || len(g.Reasons) > maxReasons || len(g.Servers) > maxServers {
			t.Errorf("%s holds too much", g.Kind)
		}
		of := uint64(0)
		for _, v := range g.Variants {
			of += v.Cases
		}
		if of != g.Cases {
			t.Errorf("%s: %d cases, %d by variant", g.Kind, g.Cases, of)
		}
	}
	if sum != r.Troubled || sum == 0 {
		t.Errorf("%d cases in groups of %d", sum, r.Troubled)
	}
}

func TestFilter(t *testing.T) {
	all := everything(t, Filter{})
	some := everything(t, Filter{Reason: []string{"syn-established"}})
	if some.Troubled == 0 || some.Troubled >= all.Troubled {
		t.Errorf("%d of %d", some.Troubled, all.Troubled)
	}
	for _, g := range some.Groups {
		if len(g.Reasons) != 1 || g.Reasons[0].Reason != "syn-established" {
			t.Errorf("%+v", g.Reasons)
		}
	}
	last := all.Groups[len(all.Groups)-1].Last.Time
	if r := everything(t, Filter{Since: last}); r.Troubled == 0 || r.Troubled >= all.Troubled {
		t.Errorf("since: %d of %d", r.Troubled, all.Troubled)
	}
	if r := everything(t, Filter{Until: all.From.Time}); r.Troubled != 0 {
		t.Errorf("until: %d", r.Troubled)
	}
	net := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		f    Filter
		want uint64
	}{
		{Filter{Addr: net("10.2.0.0/16"), Src: net("10.0.0.0/8"), Dst: net("192.0.2.9/32"), DstPort: []uint16{515}}, all.Troubled},
		{Filter{Addr: net("192.0.2.0/24"), Port: []uint16{1, 515}}, all.Troubled},
		{Filter{Src: net("192.0.2.0/24")}, 0}, {Filter{Dst: net("10.0.0.0/8")}, 0}, {Filter{Addr: net("11.0.0.0/8")}, 0}, {Filter{DstPort: []uint16{721}}, 0},
		{Filter{SrcPort: []uint16{723}}, 1}, {Filter{Port: []uint16{723}}, 1}, {Filter{Arm: []string{"B"}}, 0}, {Filter{Rule: []string{"no-urgent"}}, 1},
		{Filter{Verdict: []string{"hold"}}, 0}, {Filter{Kind: []Kind{OldConnection}}, 3}, {Filter{Flow: []uint64{1 << 40}}, 0},
	} {
		if r := everything(t, c.f); r.Troubled != c.want {
			t.Errorf("%+v: %d, want %d", c.f, r.Troubled, c.want)
		}
	}
}

func TestNoTrouble(t *testing.T) {
	var g Groups
	r := g.Report()
	r.Connections = 2
	var text, object bytes.Buffer
	if err := r.WriteText(&text, nil); err != nil || text.String() != "No trouble in 2 connections.\n" {
		t.Errorf("%v %q", err, text.String())
	}
	if err := r.WriteJSON(&object); err != nil || !strings.Contains(object.String(), `"groups": []`) {
		t.Errorf("%v %s", err, object.String())
	}
}

// A rule's name is somebody else's text.
func TestHostileNames(t *testing.T) {
	var g Groups
	g.Add(&Case{Kind: NeverConnected, Variant: "dropped", Reason: "new", Rule: "a\x1b[31m\nb\u0085", What: "x"})
	var text bytes.Buffer
	if err := g.Report().WriteText(&text, nil); err != nil || strings.ContainsAny(text.String(), "\x1b\u0085") {
		t.Errorf("%v %q", err, text.String())
	}
}

// The manual's table is of these words.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "<!-- trouble -->\n| kind | variant | |\n|---|---|---|\n")
	table, _, found := strings.Cut(rest, "<!-- /trouble -->")
	want := map[string]bool{}
	var order []string
	for _, k := range kinds {
		w := words[k]
		order = append(order, fmt.Sprintf("| `%s` | %s | %s |\n", k, w.title, w.sentence))
		want[order[len(order)-1]] = true
		for v, sentence := range w.variants {
			want[fmt.Sprintf("| | `%s` | %s |\n", v, sentence)] = true
		}
	}
	n := 0
	for line := range strings.Lines(table) {
		if !want[line] {
			t.Errorf("the manual has a line that is none: %s", line)
		}
		if strings.HasPrefix(line, "| `") {
			if n == len(order) || line != order[n] {
				t.Errorf("out of order: %s", line)
			}
			n++
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("the manual lacks %s", line)
	}
	if !found || !strings.Contains(string(manual), "within 30 s") || RetryWindow != 30*time.Second || !strings.Contains(string(manual), "after 3 s") || patience != 3*time.Second {
		t.Error("the manual's times are others")
	}
}

// Each reason that the table has for forgetting a connection has words.
func TestForgottenBy(t *testing.T) {
	for why := conntrack.EndNone + 1; why < conntrack.NumEndReasons; why++ {
		if text := ForgottenBy(why.String(), 3600); strings.HasPrefix(text, "(") {
			t.Errorf("no words for %s", why)
		}
	}
	if got := ForgottenBy("idle", 3600); got != "by its idle timer of 1 h" {
		t.Error(got)
	}
}
