package capture

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
)

// docs is where the files for Wireshark are.
func docs(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "wireshark", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// noteWords are the words that a comment can have, but for the verdict.
func noteWords() (all []string) {
	n := fullNote()
	for rest := strings.TrimPrefix(n.String(), "halfopen drop"); rest != ""; {
		var key string
		if key, _, rest, _ = nextWord(rest); key != "" {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return all
}

// The fields of halfopen.lua are the words of a comment.
func TestLuaKnowsEveryWord(t *testing.T) {
	var have []string
	for _, m := range regexp.MustCompile(`(?m)^  \{ "(\w+)",`).FindAllStringSubmatch(docs(t, "halfopen.lua"), -1) {
		if m[1] != "verdict" {
			have = append(have, m[1])
		}
	}
	slices.Sort(have)
	if want := noteWords(); !slices.Equal(have, want) {
		t.Errorf("halfopen.lua has %q\nwant %q", have, want)
	}
}

// The table of words is complete, and its examples are comments.
func TestManualKnowsEveryWord(t *testing.T) {
	text := docs(t, "README.md")
	_, table, _ := strings.Cut(text, "| word | field of the log |")
	table, _, _ = strings.Cut(table, "\n\n")
	var have []string
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(first, -1) {
			have = append(have, m[1])
		}
	}
	slices.Sort(have)
	if want := noteWords(); !slices.Equal(have, want) {
		t.Errorf("the table has %q\nwant %q", have, want)
	}
	examples := regexp.MustCompile(`(?m)^    (halfopen (?:drop|inject) .*)$`).FindAllStringSubmatch(text, -1)
	for _, m := range examples {
		n, ok := ParseNote(m[1])
		want := strings.ReplaceAll(strings.ReplaceAll(m[1], " id=01...", ""), " cause=01...", "") // ids are cut short there
		if got := n.String(); !ok || got != want {
			t.Errorf("%q is read as %q", m[1], got)
		}
	}
	if len(examples) != 2 {
		t.Errorf("%d examples", len(examples))
	}
}

// The colours and buttons know the reasons of a healthy connection as the catalogue of findings does.
func TestProfileKnowsHealthyReasons(t *testing.T) {
	var want []string
	for f := range conntrack.NumFindings {
		if info := f.Info(); info.Plain && info.Packet {
			want = append(want, info.Word)
		}
	}
	slices.Sort(want)
	found := 0
	for _, name := range []string{"colorfilters", "dfilter_buttons"} {
		for _, m := range regexp.MustCompile(`forward reason=\(([a-z|-]+)\)`).FindAllStringSubmatch(docs(t, "profiles/halfopen/"+name), -1) {
			found++
			have := strings.Split(m[1], "|")
			slices.Sort(have)
			if !slices.Equal(have, want) {
				t.Errorf("%s has %q\nwant %q", name, have, want)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d lists of reasons, want one of colours and one of buttons", found)
	}
}
