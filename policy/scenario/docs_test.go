package scenario

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const manual = "../../docs/scenarios.md"

// factsText is the manual's table of facts.
func factsText() string {
	var b strings.Builder
	b.WriteString("<!-- facts -->\n| fact | of | value | meaning |\n|---|---|---|---|\n")
	for _, f := range factTable() {
		of := "a segment"
		if f.sweep {
			of = "both"
		}
		value := map[factKind]string{durationFact: "a duration", countFact: "a number", numberFact: "a number", windowFact: "`LO:HI`", nameFact: "a name"}[f.kind]
		switch {
		case f.kind == listFact:
			value = "`" + strings.Join(f.words, "`, `") + "`, or `none`; several with commas between"
		case value == "":
			value = "`" + strings.Join(f.words, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, of, value, f.meaning)
	}
	return b.String() + "<!-- /facts -->"
}

// The manual's example is a scenario that comes out as written, and its table names the facts that there are.
func TestManual(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if _, rest, ok := strings.Cut(text, "<!-- facts -->"); ok {
		table, _, _ := strings.Cut(rest, "<!-- /facts -->")
		if got := "<!-- facts -->" + table + "<!-- /facts -->"; got != factsText() {
			if os.Getenv("UPDATE_MANUAL") != "" {
				_ = os.WriteFile(manual, []byte(strings.Replace(text, got, factsText(), 1)), 0o644)
			}
			t.Errorf("the table of facts should be\n%s", factsText())
		}
	} else {
		t.Error("no table of facts")
	}
	blocks := strings.Split(text, "```scn\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("no example")
	}
	for _, b := range blocks {
		b, _, _ = strings.Cut(b, "```")
		s := parsed(t, b)
		if r := s.Run(Config{}); len(r.Problems) > 0 || r.Decisions == 0 {
			t.Errorf("%v", r.Problems)
		}
	}
	for _, w := range append(verbs(), "emit", "would", "sweep", "win", "urg", "cksum", "defect", "mss", "sackOK", "wscale", "fastopen", "kind") {
		if !strings.Contains(text, "`"+w) && !strings.Contains(text, "`  "+w) && !strings.Contains(text, " "+w) {
			t.Errorf("the manual says nothing of %s", w)
		}
	}
}
