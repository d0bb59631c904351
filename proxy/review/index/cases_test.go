package index

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
	"halfopen/proxy/review/trouble"
)

// sameTrouble holds the index's groups of trouble against those that reading the whole log gives.
func sameTrouble(t *testing.T, x *Index, dir string, f trouble.Filter) *trouble.Report {
	t.Helper()
	want, _, err := trouble.Read(dir, f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.Trouble(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.MarshalIndent(got, "", " ")
	b, _ := json.MarshalIndent(want, "", " ")
	if string(a) != string(b) {
		al, bl := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
		for i := range al {
			if i >= len(bl) || al[i] != bl[i] {
				t.Fatalf("line %d of the report:\n%s\nwant\n%s", i, strings.Join(al[max(i-8, 0):min(i+4, len(al))], "\n"), strings.Join(bl[max(i-8, 0):min(i+4, len(bl))], "\n"))
			}
		}
		t.Fatalf("the report ends after %d lines of %d", len(al), len(bl))
	}
	return got
}

// sameCases holds every case that is over against those of a search through the whole log.
func sameCases(t *testing.T, x *Index, dir string) {
	t.Helper()
	var want, got []string
	text := func(c *trouble.Case) string { b, _ := json.Marshal(c); return string(b) }
	tracker := trouble.NewTracker(func(c *trouble.Case) { want = append(want, text(c)) })
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		tracker.Add(e)
	}
	p, err := x.Cases(ctx, "", trouble.Filter{}, 0, 1<<30)
	if err != nil || p.Total != len(want) {
		t.Fatalf("%d cases, want %d (%v)", p.Total, len(want), err)
	}
	for i := range p.Cases {
		got = append(got, text(&p.Cases[i]))
	}
	slices.Sort(want)
	slices.Sort(got)
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("case %s\nwant %s", got[i], want[i])
		}
	}
}

// The index finds the trouble that reading the log finds: at once, piece by piece, and by processes that follow each other.
func TestTrouble(t *testing.T) {
	for i, c := range []loggen.Config{{Seed: 21, Decisions: 4000, Flows: 600}, {Seed: 22, Decisions: 2000, Flows: 400, Runs: 4, MaxFileBytes: 200 << 10, Compress: true}} {
		if i == 0 && breadth > 1 {
			continue
		}
		dir, _ := generate(t, c)
		x := open(t, dir)
		r := sameTrouble(t, x, dir, trouble.Filter{})
		sameCases(t, x, dir)
		if r.Troubled < 40 || len(r.Groups) < 3 {
			t.Errorf("%d cases in %d groups: the test shows little", r.Troubled, len(r.Groups))
		}
		sameTrouble(t, x, dir, trouble.Filter{Reason: []string{"syn-established"}})
		sameTrouble(t, x, dir, trouble.Filter{Since: r.From.Add(12 * time.Hour), Arm: []string{"A"}})
		for _, g := range r.Groups {
			p, err := x.Cases(ctx, g.Kind, trouble.Filter{}, 0, 5)
			if err != nil || uint64(p.Total) > g.Cases || p.Total == 0 || len(p.Cases) != min(5, p.Total) || p.Cases[0].Kind != g.Kind || p.Cases[0].What == "" {
				t.Errorf("%s: %d cases of %d, %+v, %v", g.Kind, p.Total, g.Cases, p.Cases, err)
			}
		}
		// Half of a line is worth nothing, and neither is the state of a process that died in between.
		if _, err := x.write.Exec("UPDATE tracker SET state = x'00'"); err != nil {
			t.Fatal(err)
		}
		x.Close()
		x = open(t, dir)
		sameTrouble(t, x, dir, trouble.Filter{})
		x.Close()
	}
}

// A log that grows is watched as it grows, by two that take turns.
func TestTroubleOfGrowingLog(t *testing.T) {
	whole, _ := generate(t, loggen.Config{Seed: 23, Decisions: 1500, Flows: 250, MaxFileBytes: 400 << 10})
	files, _ := decisionlog.Files(whole)
	dir := t.TempDir()
	var x, y *Index
	turns := 0
	for i, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(strings.Replace(name, whole, dir, 1))
		if err != nil {
			t.Fatal(err)
		}
		for len(text) > 0 {
			n := min(len(text), breadth*(30000+i*1000))
			out.Write(text[:n])
			text = text[n:]
			if x == nil {
				x, y = open(t, dir), open(t, dir)
			}
			if err := x.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			x, y = y, x
			if turns++; turns%6 == 0 {
				sameTrouble(t, x, dir, trouble.Filter{})
			}
		}
		out.Close()
		if i == len(files)/2 {
			x.Close()
			x = open(t, dir)
		}
	}
	sameTrouble(t, x, dir, trouble.Filter{})
	sameTrouble(t, y, dir, trouble.Filter{})
}
