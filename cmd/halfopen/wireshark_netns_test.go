//go:build netns

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// wireshark is tshark with the profile and the fields of docs/wireshark, installed as its README says.
type wireshark struct {
	t      *testing.T
	config string
}

func newWireshark(t *testing.T) *wireshark {
	t.Helper()
	w := &wireshark{t: t, config: t.TempDir()}
	if err := os.CopyFS(filepath.Join(w.config, "profiles"), os.DirFS(filepath.Join(docsDir, "profiles"))); err != nil {
		t.Fatal(err)
	}
	return w
}

var docsDir = filepath.Join("..", "..", "docs", "wireshark")

// run runs tshark; with lua the fields are there.
func (w *wireshark) run(lua bool, args ...string) (stdout string) {
	w.t.Helper()
	if lua {
		args = append([]string{"-X", "lua_script:" + filepath.Join(docsDir, "halfopen.lua")}, args...)
	}
	cmd := exec.Command("tshark", append([]string{"-C", "halfopen"}, args...)...)
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+w.config)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("tshark %q: %v\n%s", args, err, words.String())
	}
	if said := words.String(); strings.Contains(said, "Lua") || strings.Contains(said, "rror") {
		w.t.Errorf("tshark %q: %s", args, said)
	}
	return out.String()
}

// table reads fields of every frame.
func (w *wireshark) table(file string, fields ...string) (rows []map[string]string) {
	w.t.Helper()
	args := []string{"-r", file, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	for line := range strings.Lines(w.run(true, args...)) {
		row := map[string]string{}
		for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			row[fields[i]] = v
		}
		rows = append(rows, row)
	}
	return rows
}

// matching is how many frames a display filter lets through; it must compile.
func (w *wireshark) matching(lua bool, file, filter string) int {
	w.t.Helper()
	return strings.Count(w.run(lua, "-r", file, "-Y", filter, "-T", "fields", "-e", "frame.number"), "\n")
}

// buttons are the profile's display filters by label.
func buttons(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docsDir, "profiles", "halfopen", "dfilter_buttons"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m := regexp.MustCompile(`^"TRUE","([^"]*)","([^"]*)","[^"]*"$`).FindStringSubmatch(strings.TrimSpace(line))
		if m == nil && !strings.HasPrefix(line, "#") {
			t.Errorf("dfilter_buttons: %q", line)
		}
		if m != nil {
			out[m[1]] = strings.NewReplacer(`\x22`, `"`, `\x5c`, `\`).Replace(m[2])
		}
	}
	return out
}

// TestWiresharkFields holds the profile and the Lua fields against a capture in which every word occurs: every colour and button compiles and finds
// what it is for, and every field has the value that the comment has.
func TestWiresharkFields(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "all.pcapng")
	comments := writeEveryKind(t, path)
	w := newWireshark(t)

	fields := []string{"frame.comment"}
	lua, err := os.ReadFile(filepath.Join(docsDir, "halfopen.lua"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^  \{ "(\w+)",`).FindAllStringSubmatch(string(lua), -1) {
		fields = append(fields, "halfopen."+m[1])
	}
	rows := w.table(path, append(fields, "halfopen.other")...)
	if len(rows) != len(comments) {
		t.Fatalf("%d frames, want %d", len(rows), len(comments))
	}
	for i, r := range rows {
		words := regexp.MustCompile(` ([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)`).FindAllStringSubmatch(comments[i].text, -1)
		for _, word := range words {
			want := word[2]
			if v, err := strconv.Unquote(want); err == nil {
				want = v
			}
			if word[1] == "idle" || word[1] == "forgotten" {
				want = strings.TrimSuffix(want, "s")
			}
			name := "halfopen." + word[1]
			if word[1] == "colour" { // of a later version
				name, want = "halfopen.other", "colour="+want
			}
			if r[name] != want {
				t.Errorf("frame %d: %s is %q, want %q (%s)", i+1, name, r[name], want, comments[i].text)
			}
		}
		set := 0
		for name, v := range r {
			if v != "" && name != "frame.comment" {
				set++
			}
		}
		if set != len(words)+1 && len(words) > 0 { // and the verdict
			t.Errorf("frame %d: %d fields are set, the comment has %d words: %v", i+1, set, len(words), r)
		}
	}

	colours := strings.Split(strings.TrimSuffix(w.run(false, "-r", path, "--color", "-T", "fields", "-e", "frame.coloring_rule.name"), "\n"), "\n")
	used := map[string]bool{}
	for i, c := range comments {
		used[colours[i]] = true
		if colours[i] != c.colour {
			t.Errorf("frame %d is coloured as %q, want %q (%s)", i+1, colours[i], c.colour, c.text)
		}
	}
	for label, filter := range buttons(t) {
		var want []string
		for i, c := range comments {
			if slices.Contains(c.buttons, label) {
				want = append(want, strconv.Itoa(i+1))
			}
		}
		got := strings.Fields(w.run(false, "-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number"))
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("button %q lets frames %v through, want %v", label, got, want)
		}
	}
	text, err := os.ReadFile(filepath.Join(docsDir, "profiles", "halfopen", "colorfilters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^@([^@]+)@([^@]+)@`).FindAllStringSubmatch(string(text), -1) {
		if !used[m[1]] {
			t.Errorf("no frame has the colour %q", m[1])
		}
		w.matching(false, path, m[2]) // compiles by itself
	}
	if n := w.matching(true, path, `halfopen.verdict == "drop" && halfopen.idle > 1000 && halfopen.flow == 77 && halfopen.in == "eth0"`); n != 1 {
		t.Errorf("%d frames by the fields of a comment, want 1", n)
	}
}

// kindOfFrame is a comment, and how the profile shows it.
type kindOfFrame struct {
	text, colour string
	buttons      []string
}

// writeEveryKind writes a capture with a frame for every colour and button.
func writeEveryKind(t *testing.T, path string) []kindOfFrame {
	t.Helper()
	id := " id=" + decisionlog.ID{Hi: 1, Lo: 2}.String()
	other := "halfopen: the other policy would do otherwise"
	kinds := []kindOfFrame{
		{`halfopen inject kind=rst-tracked to=server trigger=probe error="no \"route\" to\\from host"` + id, "halfopen: made, not sent", []string{"Made here", "Odd"}},
		{`halfopen inject kind=ack-tracked to=client reason=syn-established flow=77 cause=00000000000010000000000003` + id, "halfopen: made here", []string{"Made here", "Odd", "Old connection"}},
		{`halfopen drop reason=syn-established rule=stale-syn reply=ack-tracked state=ESTABLISHED idle=1800s flow=77 direction=to_server in=eth0 out="eth 1"` + id,
			"halfopen: dropped and answered", []string{"Drops", "Answered", "Odd", "Old connection"}},
		{`halfopen drop reason=late-after-expiry reply_omitted=rate peer_omitted=no-numbers unmet=isn-newer defect=x checksum=bad tombstone=76 tombstone_why=idle forgotten=412.5s flow=2251799813685247 colour=blue` + id,
			"halfopen: dropped", []string{"Drops", "Odd", "Forgotten"}},
		{`halfopen hold reason=new state=NONE state_after=SYN_SENT` + id, "halfopen: held or rewritten", []string{"Held", "Odd"}},
		{`halfopen forward reason=new settles=00000000000010000000000003` + id, "halfopen: forwarded, as a healthy connection", []string{"Held"}},
		{`halfopen rewrite reason=urgent stripped=urgent,push rewrite_omitted=gso pcap_cnt=9` + id, "halfopen: held or rewritten", []string{"Rewritten", "Odd"}},
		{`halfopen forward reason=syn-established peer=rst-tracked` + id, "halfopen: forwarded, and something sent", []string{"Odd", "Old connection"}},
		{`halfopen forward reason=in-window would=drop would_reason=ack-no-state would_rule=x would_stripped=mss diverged=true` + id, other, []string{"Would differ"}},
		{`halfopen forward reason=in-window would=forward would_reason=in-window would_peer=rst-tracked` + id, other, []string{"Would differ"}},
		{`halfopen forward reason=in-window would=forward would_reason=in-window would_reply=rst` + id, other, []string{"Would differ"}},
		{`halfopen forward reason=syn-established reply=rst would=forward would_reason=syn-established would_reply=ack-tracked` + id,
			"halfopen: forwarded, and something sent", []string{"Odd", "Old connection", "Would differ"}},
		{`halfopen drop reason=syn-established reply=ack-tracked would=drop would_reason=syn-established would_reply=ack-tracked` + id,
			"halfopen: dropped and answered", []string{"Drops", "Answered", "Odd", "Old connection"}},
		{`halfopen forward reason=in-window would=forward would_reason=in-window` + id, "halfopen: forwarded, as a healthy connection", nil},
		{`halfopen forward reason=rst-inexact` + id, "halfopen: forwarded", []string{"Odd"}},
		{`somebody's own words`, "", nil},
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.AddInterface(capture.Interface{Name: "queue0 in", LinkType: capture.LinkRaw})
	ipv4 := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	for i, k := range kinds {
		o := capture.Options{Comments: []string{k.text}}
		if i == len(kinds)-1 {
			o.DropCount = 5
		}
		err = errors.Join(err, w.WritePacket(0, time.Unix(1790000000, 0), ipv4, 0, o))
	}
	kinds[len(kinds)-1].buttons = []string{"Lost before"}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return kinds
}
