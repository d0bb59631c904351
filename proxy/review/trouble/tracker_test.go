package trouble

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"halfopen/proxy/decisionlog"
)

// TestSave: a Tracker that is put away after each record finds the same, and its pending cases are what Settle reports.
func TestSave(t *testing.T) {
	for _, c := range cases {
		want := found(t, c.log)
		var got []string
		var cases []Case
		take := func(c *Case) { cases = append(cases, *c) }
		tr := NewTracker(take)
		for _, e := range script(t, c.log) {
			tr.Add(e)
			data, err := tr.Save()
			if err != nil {
				t.Fatal(err)
			}
			if tr, err = LoadTracker(data, take); err != nil {
				t.Fatalf("%s: %v\n%s", c.name, err, data)
			}
		}
		before := len(cases)
		var pending []Case
		tr.Pending(func(c *Case) { pending = append(pending, *c) })
		if len(cases) != before {
			t.Errorf("%s: Pending reports to the wrong one", c.name)
		}
		if tr.Settle(); !reflect.DeepEqual(append([]Case{}, cases[before:]...), append([]Case{}, pending...)) {
			t.Errorf("%s: pending %+v, settled %+v", c.name, pending, cases[before:])
		}
		for _, k := range cases {
			b, err := json.Marshal(&k)
			if err != nil {
				t.Fatal(err)
			}
			var back Case
			if err := json.Unmarshal(b, &back); err != nil || !back.At.Equal(k.At.Time) || !back.Until.Equal(k.Until.Time) {
				t.Errorf("%s: %+v came back as %+v, %v", c.name, k, back, err)
			}
			if back.At, back.Until = k.At, k.Until; back != k {
				t.Errorf("%s: %+v came back as %+v", c.name, k, back)
			}
			got = append(got, brief(&k))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, want)
		}
	}
	for _, bad := range []string{"", "{}", `{"version":1,"waiting":[{"track":0}]}`, `{"version":1,"tries":[{"track":-1}]}`,
		`{"version":1,"tracks":[{"facts":{"client":"","server":""}}],"tries":[{"track":0}]}`, `{"version":9}`} {
		if tr, err := LoadTracker([]byte(bad), nil); err == nil || tr != nil {
			t.Errorf("%s is a tracker", bad)
		}
	}
}

// TestTrackerIsBounded: what waits does not grow without end, and early reports are complete.
func TestTrackerIsBounded(t *testing.T) {
	n := 0
	tr := NewTracker(func(c *Case) { n++ })
	tr.limit = 1000
	line := script(t, "+0s 0 > S 100 0 0 drop/new NONE>NONE")[0]
	const floods = 5000
	for i := range floods {
		line.SrcIP = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		tr.Add(line)
		if len(tr.waiting) > tr.limit || len(tr.loose) > tr.limit || len(tr.pairs) > tr.limit {
			t.Fatalf("%d wait", len(tr.waiting))
		}
	}
	if tr.Settle(); n != floods {
		t.Errorf("%d cases of %d", n, floods)
	}
	// Connections whose ends are lost, in trouble and out of it.
	for _, line := range []string{"+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT", "+0s 1 > . 101 501 10 drop/seq-above ESTABLISHED>ESTABLISHED",
		"+0s 1 > . 101 501 10 forward/fin ESTABLISHED>FIN_WAIT"} {
		e := script(t, line)[0]
		for i := range 5000 {
			e.FlowID, e.SrcPort = uint64(i+1), uint16(i)
			tr.Add(e)
			if len(tr.open) > tr.limit {
				t.Fatalf("%d are open", len(tr.open))
			}
		}
	}
	tr.Settle()
	// One client, one server: not all attempts can be linked, and none is lost.
	n = 0
	for i := range 10 * maxTries {
		line.SrcIP, line.SrcPort = "10.2.0.7", uint16(1000+i)
		tr.Add(line)
		if l := tr.pairs[pair{netip.MustParseAddr("10.2.0.7"), netip.MustParseAddrPort("192.0.2.9:515")}]; l.n > maxTries {
			t.Fatalf("%d can be linked", l.n)
		}
	}
	data, err := tr.Save()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadTracker(data, func(c *Case) { n++ })
	if err != nil {
		t.Fatal(err)
	}
	if l := again.pairs[pair{netip.MustParseAddr("10.2.0.7"), netip.MustParseAddrPort("192.0.2.9:515")}]; l.n != maxTries || l.last.a.ISN != 100 {
		t.Errorf("%d can be linked after they were put away", l.n)
	}
	if again.Settle(); n != 10*maxTries {
		t.Errorf("%d cases after they were put away", n)
	}
	n = 0
	if tr.Settle(); n != 10*maxTries {
		t.Errorf("%d cases", n)
	}
}

// Whatever a log holds, it is read to its end, and nothing of it stays behind.
func FuzzTracker(f *testing.F) {
	for _, c := range cases {
		var b []byte
		for _, e := range script(f, c.log) {
			line, err := json.Marshal(e)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, line...), '\n')
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Groups
		tr := NewTracker(func(c *Case) {
			if words[c.Kind].variants[c.Variant] == "" {
				t.Errorf("no words for %s/%s", c.Kind, c.Variant)
			}
			g.Add(c)
		})
		for line := range bytes.Lines(b) {
			var e decisionlog.Event
			if json.Unmarshal(line, &e) == nil {
				tr.Add(&e)
			}
		}
		tr.Settle()
		if len(tr.open)+len(tr.recent)+len(tr.late)+len(tr.loose)+len(tr.pairs)+len(tr.waiting) != 0 {
			t.Error("something is left after the end")
		}
		var out bytes.Buffer
		if err := g.Report().WriteText(&out, nil); err != nil || !utf8.Valid(out.Bytes()) {
			t.Errorf("%v\n%s", err, out.Bytes())
		}
	})
}
