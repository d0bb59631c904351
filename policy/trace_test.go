package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// lineOf returns the line of a preset that contains a text.
func lineOf(t *testing.T, preset, text string) int {
	t.Helper()
	data, _ := Preset(preset)
	for i, l := range strings.Split(string(data), "\n") {
		if strings.Contains(l, text) {
			return i + 1
		}
	}
	t.Fatalf("%s has no line %q", preset, text)
	return 0
}

// TestExplain: a step that is explained decides and remembers what a plain one does, and its trace tells how.
func TestExplain(t *testing.T) {
	p, problems := Load("site.yaml", []byte(`timeouts: {established: 1h}
on:
  syn-established: {packet: drop, reply: ack-tracked}
rules:
  - name: mail
    match: {dst_port: 25}
    on: {syn-established: drop}
  - name: far
    match: {dst_port: 515, src: 10.9.0.0/16}
  - name: print-servers
    match: {dst_port: 515, src: 10.2.0.0/16}
    timeouts:
      established: 2h
    on:
      syn-established: {packet: forward, peer: rst-tracked, state: replace}
`), nil)
	if p == nil {
		t.Fatal(problems)
	}
	tu := conntrack.MakeTuple(netip.MustParseAddrPort("10.2.0.1:721"), netip.MustParseAddrPort("10.3.0.1:515"))
	script := []struct {
		after time.Duration
		seg   conntrack.Segment
	}{
		{0, conntrack.Segment{Tuple: tu, Flags: conntrack.SYN, Seq: 100, Window: 1000}},
		{1, conntrack.Segment{Tuple: tu.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101, Window: 1000}},
		{1, conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 1000}},
		{25 * time.Second, conntrack.Segment{Tuple: tu, Flags: conntrack.SYN, Seq: 9000, Window: 1000}},
		{3 * time.Hour, conntrack.Segment{Tuple: tu.Reverse(), Flags: conntrack.ACK, Seq: 501, Ack: 101, Window: 1000}},
	}
	plain, told := NewEngine(EngineConfig{Policy: p, NoAdopt: true}), NewEngine(EngineConfig{Policy: p, NoAdopt: true})
	now := conntrack.Instant(time.Hour)
	var traces []*Trace
	for i := range script {
		now = now.Add(script[i].after)
		want := *plain.Step(now, &script[i].seg)
		got, trace := told.Explain(now, &script[i].seg)
		want.Flows, got.Flows = nil, nil
		if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", *got) {
			t.Errorf("segment %d: Step\n%+v\nExplain\n%+v", i, want, *got)
		}
		traces = append(traces, trace)
	}
	if told.trace != nil {
		t.Error("the engine goes on tracing")
	}
	again := traces[3]
	if again.Entry == nil || again.Entry.State != conntrack.Established || again.After == nil || again.After.State != conntrack.SynSent ||
		again.After.ID == again.Entry.ID || again.Timeouts[conntrack.Established] != 2*time.Hour {
		t.Errorf("the SYN that replaces: before %+v after %+v", again.Entry, again.After)
	}
	if n := len(again.Tried); n != 3 || again.Rule != 2 || !again.Tried[2].Matched ||
		!slices.Equal(again.Tried[0].Failed, []MatchPart{MatchDstPort}) || !slices.Equal(again.Tried[1].Failed, []MatchPart{MatchSrc}) {
		t.Errorf("rules tried: %+v", again.Tried)
	}
	late := traces[4]
	if late.Expired == nil || late.Entry != nil || late.After != nil || late.Subject != tu || late.RuleDir != conntrack.Reply {
		t.Errorf("the late ACK: %+v", late)
	}
	for _, c := range []struct {
		note Note
		want string
	}{
		{first(p.ActionNote(2, conntrack.Original, conntrack.SynEstablished)), "site.yaml:15"},
		{first(p.ActionNote(1, conntrack.Original, conntrack.SynEstablished)), "site.yaml:3"},
		{first(p.ActionNote(-1, conntrack.Original, conntrack.New)), ""},
		{first(p.KeyNote(2, "timeouts.established")), "site.yaml:13"},
		{first(p.KeyNote(0, "timeouts.established")), "site.yaml:1"},
		{p.RuleNote(1), "site.yaml:8"},
	} {
		if c.note.String() != c.want {
			t.Errorf("%+v is %q, want %q", c.note, c.note.String(), c.want)
		}
	}
}

func first(n Note, _ bool) Note { return n }

// TestExplainRefused: the trace tells what a full table stood against.
func TestExplainRefused(t *testing.T) {
	p, problems := Load("x.yaml", []byte("preset: observe\nlimits: {flows: 1}\non_full: refuse\non: {table-full: drop, embryonic-limit: drop}\n"), nil)
	if p == nil {
		t.Fatal(problems)
	}
	e := NewEngine(EngineConfig{Policy: p})
	e.Step(1, &conntrack.Segment{Tuple: pair(1), Flags: conntrack.SYN, Seq: 1})
	out, trace := e.Explain(2, &conntrack.Segment{Tuple: pair(2), Flags: conntrack.SYN, Seq: 1})
	if !trace.Refused || trace.Class.Finding != conntrack.New || out.Finding != conntrack.TableFull && out.Finding != conntrack.EmbryonicLimit || trace.Wanted.State != conntrack.Create {
		t.Errorf("%+v", trace)
	}
}

func pair(port uint16) conntrack.Tuple {
	return conntrack.MakeTuple(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("10.0.0.2:80"))
}
