package disagree

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const shadowed = "../story/testdata/shadowed.jsonl"

// The log was written by a replay with four shadows; what its text and JSON must say.
func TestReport(t *testing.T) {
	r, err := Read(t.Context(), shadowed, "")
	if err != nil || len(r.Shadows) != 4 || !r.Disagrees() {
		t.Fatal(err, r)
	}
	var names []string
	for _, p := range r.Shadows {
		names = append(names, fmt.Sprintf("%s %d/%d/%d/%d", p.Policy, p.Agreed, p.Disagreed, p.Timed, p.Diverged))
	}
	want := []string{"observe 6/0/0/0", "lpd-case-2015 5/1/0/0", "strict.yaml 5/0/1/1", "nodata.yaml 3/1/0/2"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if k := r.Shadows[2].Kinds[0]; k.Live != (Deed{Reason: Nothing}) || k.Shadow != (Deed{Reason: "idle-expired", Reply: "rst-tracked", Peer: "rst-tracked"}) || k.Flows != 1 ||
		k.Examples[0].N != 7 || k.Examples[0].Src != "10.2.0.7:721" {
		t.Errorf("%+v", k)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"It would have done the same about every segment.", "forward/in-window, the shadow drop/in-window reply=rst rule=printers",
		"nothing, the shadow idle-expired reply=rst-tracked peer=rst-tracked", "nothing | idle-expired", "frame 4  10.2.0.7:721 > 10.3.0.1:515  flow 1"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	body, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(body), `"disagreed_by_time":1`) || strings.Contains(string(body), "null") {
		t.Errorf("%v %s", err, body)
	}
	one, err := Read(t.Context(), shadowed, "nodata.yaml")
	if err != nil || len(one.Shadows) != 1 {
		t.Errorf("%v %+v", err, one)
	}
	if _, err := Read(t.Context(), shadowed, "other"); err == nil || !strings.Contains(err.Error(), `no shadow "other"`) || !strings.Contains(err.Error(), "nodata.yaml") {
		t.Errorf("%v", err)
	}
	if _, err := Read(t.Context(), t.TempDir(), ""); err == nil {
		t.Error("an empty directory is a log")
	}
}

// lines writes a log of these lines.
func lines(t *testing.T, text ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(text, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the log lost, left out or cannot tell is said; runs add up, and only the last stats record of each counts.
func TestReportIsHonest(t *testing.T) {
	stats := func(run, rest string) string {
		return `{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"stats","stats":{"run":"` + run + `","final":true,"shadows":[{"policy":"a","policy_rev":"sha256:1","live_rev":"sha256:0",` + rest + `}]}}`
	}
	differing := `{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"decision","flow_id":7,"src_ip":"10.0.0.1","src_port":1,"dest_ip":"10.0.0.2","dest_port":2,"decision":{"id":"x","verdict":"forward","reason":"new","policy_rev":"sha256:arm"},"shadow":[%s]}`
	path := lines(t, stats("one", `"segments":5,"agreed":5,"agreements":{"new new":5}`), stats("one", `"segments":10,"agreed":8,"disagreed":2,"disagreements":{"new new":2},"agreements":{"new new":8}`),
		fmt.Sprintf(differing, `{"policy":"a","policy_rev":"sha256:1","verdict":"drop","reason":"new","agrees":false,"diverged":false}`),
		fmt.Sprintf(differing, `{"policy":"a","policy_rev":"sha256:1","verdict":"drop","reason":"new","agrees":false,"diverged":true}`),
		fmt.Sprintf(differing, `{"policy":"a","policy_rev":"sha256:1","verdict":"drop","reason":"new","agrees":false,"diverged":false,"relaxed":true}`),
		fmt.Sprintf(differing, `{"policy":"a","policy_rev":"sha256:1","verdict":"forward","reason":"new","agrees":true,"diverged":false}`),
		stats("two", `"segments":3,"agreed":2,"relaxed":1,"shed":90,"sheds":2,"shed_from":"2026-11-23T18:00:00.000000000+0000","shed_to":"2026-11-23T18:01:00.000000000+0000","forgotten":4,"agreements":{"new new":2}`),
		`{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"gap","gap":{"where":"ring","count":0,"bound":"exact","records":{"decision":3}}}`,
		`{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"gap","gap":{"where":"fail-open","count":12,"bound":"exact"}}`,
		`{"broken`)
	r, err := Read(t.Context(), path, "")
	if err != nil || len(r.Shadows) != 1 {
		t.Fatal(err, r)
	}
	p := r.Shadows[0]
	if p.Runs != 2 || p.Segments != 13 || p.Agreed != 10 || p.Disagreed != 2 || p.Recorded != 1 || p.Matrix[0] != (Cell{"new", "new", 10, 2}) || r.LostRecords != 3 || r.Unseen != 12 || r.Bad != 1 {
		t.Errorf("%+v %+v", r, p)
	}
	var text strings.Builder
	_ = r.WriteText(&text)
	for _, want := range []string{"shed: it was not shown 90 segments (87.4 % of 103 segments), 2 times between 2026-11-23T18:00:00Z to 2026-11-23T18:01:00Z",
		"not claimed: 1 segment and 0 ends", "1 of 2 first disagreements have no record", "4 connections that had parted were forgotten",
		"lost      3 records", "unseen    12 messages", "bad       1 lines"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
}

// A record whose stats record is missing is told of all the same.
func TestReportWithoutStats(t *testing.T) {
	path := lines(t, `{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"decision","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","decision":{"id":"x","verdict":"forward","reason":"new","policy_rev":"sha256:0"},"shadow":[{"policy":"a\u001b[31m","policy_rev":"sha256:1","verdict":"drop","reason":"new","agrees":false,"diverged":false}]}`)
	r, err := Read(t.Context(), path, "")
	if err != nil || len(r.Shadows) != 1 || r.Shadows[0].Recorded != 1 || len(r.Shadows[0].Kinds) != 1 || !r.Disagrees() {
		t.Errorf("%v %+v", err, r)
	}
	var text strings.Builder
	_ = r.WriteText(&text)
	if strings.Contains(text.String(), "\x1b") {
		t.Errorf("a name steers the terminal: %q", text.String())
	}
}
