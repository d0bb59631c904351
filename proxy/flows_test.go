package proxy

import (
	"bytes"
	"strings"
	"testing"
	"text/tabwriter"

	"halfopen/conntrack"
	"halfopen/policy"
)

func TestFlowFilter(t *testing.T) {
	e4 := &conntrack.Entry{ID: 42, Arm: 2, State: conntrack.Established, Tuple: tuple("10.2.3.4:721", "192.0.2.1:515")}
	e6 := &conntrack.Entry{ID: 43, State: conntrack.TimeWait, Tuple: tuple("[2001:db8::1]:50000", "[2001:db8:1::2]:80")}
	for _, c := range []struct {
		text   string
		v4, v6 bool
	}{
		{"", true, true},
		{"all", true, true},
		{"src=10.2.0.0/16", true, false},
		{"src=10.2.3.4", true, false},
		{"src=10.2.3.5", false, false},
		{"src=192.0.2.1", false, false},
		{"dst=192.0.2.1", true, false},
		{"addr=192.0.2.1", true, false},
		{"addr=10.2.3.4,2001:db8:1::/48", true, true},
		{"src=0.0.0.0/0", true, false},
		{"src=::/0", true, true}, // IPv4 addresses are held as IPv4-mapped ones
		{"src=2001:db8::/48", false, true},
		{"sport=721-731", true, false},
		{"sport=515", false, false},
		{"dport=515,80", true, true},
		{"port=721", true, false},
		{"port=0-65535", true, true},
		{"state=established", true, false},
		{"state=TIME_WAIT,ESTABLISHED", true, true},
		{"state=SYN_SENT", false, false},
		{"id=42", true, false},
		{"id=41,43", false, true},
		{"arm=short", true, false},
		{"arm=none", false, true},
		{"arm=short,none dport=80", false, true},
		{"src=10.2.0.0/16 dport=515 state=ESTABLISHED id=42", true, false},
		{"src=10.2.0.0/16 dport=80", false, false},
	} {
		f, err := ParseFlowFilter(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if err := f.resolve([]string{"", "control", "short"}); err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
		if v4, v6 := f.Match(e4), f.Match(e6); v4 != c.v4 || v6 != c.v6 {
			t.Errorf("%q picks %v, %v, want %v, %v", c.text, v4, v6, c.v4, c.v6)
		}
		if all := c.text == "" || c.text == "all"; f.All() != all {
			t.Errorf("%q: All is %v", c.text, f.All())
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(e4) }); n != 0 {
			t.Errorf("%q allocates %v times a match", c.text, n)
		}
	}
	if f, err := ParseFlowFilter("arm=long"); err != nil || f.resolve([]string{"", "short"}) == nil {
		t.Error("an arm that there is not")
	}
	for _, bad := range []string{"src", "arm=", "src=", "=x", "src=10.2.3", "src=fe80::1%eth0", "sport=x", "sport=65536", "sport=9-1", "sport=-1", "state=OPEN",
		"state=NONE", "id=-1", "id=x", "colour=red", "dport=80,"} {
		if f, err := ParseFlowFilter(bad); err == nil || !strings.HasPrefix(err.Error(), "filter: ") {
			t.Errorf("%q: %+v, %v", bad, f, err)
		}
	}
}

func FuzzParseFlowFilter(f *testing.F) {
	f.Add("src=10.0.0.0/8 sport=1-2 state=CLOSE id=7")
	f.Add("addr=::ffff:10.0.0.0/97")
	e := &conntrack.Entry{State: conntrack.Established, Tuple: tuple("10.2.3.4:721", "192.0.2.1:515")}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := ParseFlowFilter(text)
		if (filter == nil) == (err == nil) {
			t.Fatalf("%v and %v", filter, err)
		}
		if err == nil && filter.All() && !filter.Match(e) {
			t.Error("a filter of everything refuses something")
		}
	})
}

// The lines are those of conntrack-tools 1.4.7 (`conntrack -E`), with packets and bytes as with nf_conntrack_acct and the id
// as with -o id.
func TestFlowEventFormat(t *testing.T) {
	e := conntrack.Entry{ID: 7, State: conntrack.SynSent, Tuple: tuple("10.0.0.1:46886", "10.0.0.2:5150"), Deadline: 120e9, Created: -5e9, LastSeen: -1e9}
	e.Side[0].Packets, e.Side[0].Bytes = 1, 60
	original := "src=10.0.0.1 dst=10.0.0.2 sport=46886 dport=5150 packets=1 bytes=60"
	reply := "src=10.0.0.2 dst=10.0.0.1 sport=5150 dport=46886 packets=0 bytes=0"
	for _, c := range []struct {
		kind  policy.FlowEventKind
		flags conntrack.EntryFlags
		want  string
	}{
		{policy.FlowNew, 0, "    [NEW] tcp      6 120 SYN_SENT " + original + " [UNREPLIED] " + reply + " id=7\n"},
		{policy.FlowUpdate, conntrack.EntryReplied, " [UPDATE] tcp      6 120 SYN_SENT " + original + " " + reply + " id=7\n"},
		{policy.FlowEnd, conntrack.EntryReplied | conntrack.EntryAssured, "[DESTROY] tcp      6 SYN_SENT " + original + " " + reply + " [ASSURED] id=7\n"},
	} {
		e.Flags = c.flags
		l := FlowLine{FlowEvent: policy.FlowEvent{Kind: c.kind, Why: conntrack.EndIdle, At: 0, Rule: "r", Entry: e}, Dropped: 3}
		f := newFlowEvent(&l, 1_790_000_000_000_000_000)
		if got := string(f.AppendConntrack(nil)); got != c.want {
			t.Errorf("got  %swant %s", got, c.want)
		}
		if f.Timestamp != "2026-09-21T14:13:20.000000000+0000" || f.AgeS != 5 || f.IdleS != 1 || f.Dropped != 3 || (f.EndReason == "idle") != (c.kind == policy.FlowEnd) {
			t.Errorf("%+v", f)
		}
	}
}

func TestFlowTable(t *testing.T) {
	never := newFlow(&conntrack.Entry{ID: 1, State: conntrack.Established, Tuple: tuple("10.0.0.1:721", "192.0.2.1:515"), Deadline: conntrack.Never,
		Created: -3700e9, LastSeen: -1500e6, Flags: conntrack.EntryReplied}, "printers", 0)
	never.BytesToServer = 5 << 20
	never.Arm = "short"
	adopted := newFlow(&conntrack.Entry{ID: 2, State: conntrack.SynSent, Tuple: tuple("[2001:db8::1]:1", "[2001:db8::2]:2"), Deadline: 90e9,
		Flags: conntrack.EntryPickedUp}, "", 0)
	var b bytes.Buffer
	table := NewFlowTable(tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0))
	table.Put(&never)
	table.Put(&adopted)
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	want := `ID  STATE        FROM             TO               LEFT   IDLE  AGE     SENT      RECEIVED  RULE      ARM    NOTES
1   ESTABLISHED  10.0.0.1:721     192.0.2.1:515    never  1.5s  1h1m40s  0/5.0M    0/0       printers  short  -
2   SYN_SENT     [2001:db8::1]:1  [2001:db8::2]:2  1m30s  0.0s  0.0s    0/0       0/0       -         -      unreplied adopted
`
	if got := strings.Join(strings.Fields(b.String()), " "); got != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s", b.String())
	}
}

func TestFanoutDropsAndCounts(t *testing.T) {
	f := newFanout()
	ev := &policy.FlowEvent{}
	f.send(ev) // to nobody
	events, cancel := f.subscribe(2)
	for range 5 {
		f.send(ev)
	}
	if l := <-events; l.Dropped != 0 {
		t.Errorf("%d dropped before the first", l.Dropped)
	}
	f.send(ev)
	<-events
	if l := <-events; l.Dropped != 3 || f.dropped.Load() != 3 {
		t.Errorf("%d dropped before the third, %d in all", l.Dropped, f.dropped.Load())
	}
	f.send(ev)
	if l := <-events; l.Dropped != 0 {
		t.Errorf("%d dropped once more before the fourth", l.Dropped)
	}
	cancel()
	cancel()
	f.send(ev)
	if _, open := <-events; open {
		t.Error("open after cancel")
	}
	if n := f.subscribers.Load(); n != 0 {
		t.Errorf("%d subscribers", n)
	}
}
