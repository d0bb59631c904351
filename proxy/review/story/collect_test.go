package story

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"halfopen/proxy/decisionlog"
)

// long is the log of a connection with n records of its own, m of the connection before it, m of the one after, and m segments without
// a connection before and after, among those of others.
func long(n, m int) (events []*decisionlog.Event) {
	add := func(flow uint64, port uint16, e decisionlog.Event) {
		e.FlowID, e.SrcIP, e.SrcPort, e.DestIP, e.DestPort, e.Line = flow, "10.0.0.1", port, "10.0.0.2", 515, len(events)+1
		if len(events)%2 == 1 { // the other direction
			e.SrcIP, e.SrcPort, e.DestIP, e.DestPort = e.DestIP, e.DestPort, e.SrcIP, e.SrcPort
		}
		e.Raw = []byte("line")
		events = append(events, &e)
	}
	many := func(flow uint64, n int) {
		for range n {
			add(flow, 721, decisionlog.Event{Decision: &decisionlog.DecisionEvent{Reason: "seq-above"}})
			add(99, 721, decisionlog.Event{Decision: &decisionlog.DecisionEvent{Reason: "seq-above"}}) // of long before
			add(flow, 722, decisionlog.Event{Decision: &decisionlog.DecisionEvent{Reason: "seq-above"}})
		}
	}
	many(1, m)
	many(0, m)
	add(2, 721, decisionlog.Event{Flow: &decisionlog.FlowEvent{Event: "new", Predecessor: 1}})
	many(2, n)
	many(0, m)
	add(3, 721, decisionlog.Event{Flow: &decisionlog.FlowEvent{Event: "new", Predecessor: 2}})
	many(3, m)
	return events
}

func TestCollector(t *testing.T) {
	for _, c := range []struct{ n, m, own, before, after, loose, omitted int }{
		{10, 5, 11, 5, 6, 10, 0},
		{5000, 1000, keepFirst + keepLast, 2 * keepOther, 2 * keepOther, 3 * keepOther, 5001 - keepFirst - keepLast},
	} {
		events := long(c.n, c.m)
		k := Collector{Flow: 2}
		for _, e := range events {
			k.Find(e)
		}
		if !k.Found() {
			t.Fatal("not found")
		}
		for _, e := range events {
			k.Add(e)
		}
		r := k.Records()
		known := NewCollector(2, netip.MustParseAddrPort("10.0.0.1:721"), netip.MustParseAddrPort("10.0.0.2:515"), 1)
		for _, e := range events {
			known.Add(e)
		}
		if !known.Found() || !reflect.DeepEqual(known.Records(), r) {
			t.Error("one that is told the ends collects other records")
		}
		count := map[uint64]int{}
		line := 0
		for _, e := range r.Events {
			count[e.FlowID]++
			if e.Line <= line || e.Raw != nil || e.SrcPort == 722 || e.DestPort == 722 {
				t.Fatalf("%+v after line %d", e, line)
			}
			line = e.Line
		}
		if count[2] != c.own || count[1] != c.before || count[3] != c.after || count[0] != c.loose || count[99] != 0 || r.Omitted != c.omitted || r.Flow != 2 {
			t.Errorf("%d of %d: %v, %d omitted", c.n, c.m, count, r.Omitted)
		}
		s := Tell(r)
		if s.Omitted != c.omitted || c.omitted > 0 && !strings.Contains(text(t, s, Text{Width: 100}), "1001 records of its middle left out.") {
			t.Errorf("%d omitted", s.Omitted)
		}
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "decisions-20261123T180136.000Z-000001.jsonl")
	for _, c := range []struct {
		path string
		flow uint64
		want string
	}{
		{filepath.Join(dir, "none"), 1, "no such file"}, {dir, 1, "no decision log"},
		{"testdata/day.jsonl", 77, "no record of flow 77"}, {"testdata/day.jsonl", 0, "no record of flow 0"},
	} {
		if _, _, err := Read(c.path, c.flow); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %d: %v, want %s", c.path, c.flow, err, c.want)
		}
	}
	good, err := os.ReadFile("testdata/day.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(append([]byte("no record\n"), good...), "{\"cut"...), 0o600); err != nil {
		t.Fatal(err)
	}
	r, bad, err := Read(dir, 1)
	if err != nil || len(bad) != 2 || len(r.Events) != 11 {
		t.Errorf("%v, %v, %d records", err, bad, len(r.Events))
	}
}
