package index

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"halfopen/proxy/review/loggen"
)

// The manual's queries run, its tables are the schema's, and its filters are all there are.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(b)
	dir, _ := generate(t, loggen.Config{Seed: 14, Decisions: 4000})
	x := open(t, dir)
	var query []string
	queries, answered := 0, 0
	for line := range strings.Lines(manual) {
		text, ok := strings.CutPrefix(line, "    ")
		if !ok || len(query) == 0 && !strings.HasPrefix(text, "SELECT") {
			query = nil
			continue
		}
		query = append(query, text)
		if !strings.Contains(text, ";") {
			continue
		}
		rows, err := x.SQL().Query(strings.Join(query, ""))
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(query, ""), err)
		}
		queries++
		if rows.Next() {
			answered++
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v", strings.Join(query, ""), err)
		}
		rows.Close()
		query = nil
	}
	if queries < 4 || answered < queries-1 { // the log may have nothing of the hour that one asks for
		t.Errorf("%d queries, %d with an answer", queries, answered)
	}
	_, schema, _ := strings.Cut(manual, "## Schema")
	rows, err := x.SQL().Query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	behind := []string{"flow_rows", "injections", "minute_rows", "cases", "tracker", "meta", "frames"} // what views and we alone read
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(schema, "`"+name+"`") && !slices.Contains(behind, name) {
			t.Errorf("the manual does not name %s", name)
		}
	}
	table := regexp.MustCompile("(?m)^\\| `([a-z -]+)` \\| ").FindAllStringSubmatch(manual, -1)
	var keys []string
	for _, m := range table {
		keys = append(keys, strings.Fields(m[1])...)
	}
	for _, k := range Keys() {
		if !slices.Contains(keys, k) {
			t.Errorf("the manual does not tell of the filter %s", k)
		}
	}
}
