package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

var (
	endC = netip.MustParseAddrPort("10.0.0.1:721")
	endS = netip.MustParseAddrPort("192.0.2.9:515")
)

// recorded is a recording of one connection.
func recorded(events ...RecordedEvent) *Recording {
	return &Recording{Prose: []string{"What was seen."}, Policy: "observe",
		Flows: []RecordedFlow{{Names: [2]string{"c", "s"}, Ends: [2]netip.AddrPort{endC, endS}}}, Events: events}
}

// seen is a segment from c, or with reply from s.
func seen(reply bool, f conntrack.Flags, seq, ack conntrack.Seq, n uint32) RecordedEvent {
	s := conntrack.Segment{Tuple: conntrack.MakeTuple(endC, endS), Flags: f, Seq: seq, Ack: ack, Len: n, Window: 500}
	if reply {
		s.Tuple = s.Tuple.Reverse()
	}
	return RecordedEvent{Wait: time.Millisecond, Segment: &s}
}

// lines returns the events of a script, without what is the same in all of them.
func lines(t *testing.T, rec *Recording) []string {
	t.Helper()
	s, err := rec.Script("test")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(string(s.Format())), "\n") {
		if rest, ok := strings.CutPrefix(line, "+1ms    "); ok {
			line = strings.ReplaceAll(rest, " win 500", "")
			out = append(out, line)
		} else if strings.HasPrefix(line, "  ") || line == "gap" || strings.HasPrefix(line, "# Here") {
			out = append(out, line)
		}
	}
	return out
}

func TestRecordingNumbers(t *testing.T) {
	const syn, ack, rst = conntrack.SYN, conntrack.ACK, conntrack.RST
	for _, c := range []struct {
		name   string
		events []RecordedEvent
		want   string
	}{
		{"from the first SYN of each end", []RecordedEvent{seen(false, syn, 1000, 0, 0), seen(true, syn|ack, 9000, 1001, 0), seen(false, ack, 1001, 9001, 7)},
			"c > s S  0:0(0)|s > c S. 0:0(0) ack 1|c > s .  1:8(7) ack 1"},
		{"mid-stream data begins at 1", []RecordedEvent{seen(true, ack, 5000, 300, 10), seen(false, ack, 300, 5010, 0)}, "s > c .  1:11(10) ack 1|c > s .  1:1(0) ack 11"},
		{"what stands before the SYN lies below it", []RecordedEvent{seen(false, ack, 990, 70, 0), seen(false, syn, 1000, 0, 0)}, "c > s .  -10:-10(0) ack 1|c > s S  0:0(0)"},
		{"a second incarnation", []RecordedEvent{seen(false, syn, 1000, 0, 0), seen(false, syn, 501000, 0, 0)}, "c > s S  0:0(0)|c > s S  500000:500000(0)"},
		{"numbers that wrap", []RecordedEvent{seen(false, syn, 0xfffffffe, 0, 0), seen(false, ack, 0xffffffff, 77, 1), seen(false, ack, 0, 77, 10), seen(true, ack, 77, 0, 0)},
			"c > s S  0:0(0)|c > s .  1:2(1) ack 1|c > s .  2:12(10) ack 1|s > c .  1:1(0) ack @0"},
		{"an ACK of all, whose number wraps to 0", []RecordedEvent{seen(false, syn, 0xfffffffe, 0, 0), seen(false, ack, 0xffffffff, 77, 1), seen(true, ack, 77, 0, 0)},
			"c > s S  0:0(0)|c > s .  1:2(1) ack 1|s > c .  1:1(0) ack 2"},
		{"the RST of a host that knows no number", []RecordedEvent{seen(false, syn, 1000, 0, 0), seen(true, rst|ack, 0, 1001, 0)}, "c > s S  0:0(0)|s > c R. @0:@0(0) ack 1"},
		{"a RST with ack 0", []RecordedEvent{seen(false, syn, 1000, 0, 0), seen(true, syn|ack, 9000, 1001, 0), seen(false, rst|ack, 1001, 0, 0)},
			"c > s S  0:0(0)|s > c S. 0:0(0) ack 1|c > s R. 1:1(0) ack @0"},
		{"an end that is only acknowledged", []RecordedEvent{seen(false, ack, 100, 900, 0), seen(false, ack, 100, 950, 0)}, "c > s .  1:1(0) ack 1|c > s .  1:1(0) ack 51"},
		{"beyond 2 GiB", []RecordedEvent{seen(false, syn, 0, 0, 0), seen(false, ack, 1<<30, 1, 0), seen(false, ack, 1<<31, 1, 0), seen(false, ack, 3<<30, 1, 9)},
			"c > s S  0:0(0)|c > s .  1073741824:1073741824(0) ack 1|c > s .  2147483648:2147483648(0) ack 1|c > s .  3221225472:3221225481(9) ack 1"},
	} {
		if got := strings.Join(lines(t, recorded(c.events...)), "|"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestRecordingOptions(t *testing.T) {
	option := func(kind byte, data ...byte) Option { return Option{kind, data} }
	for _, c := range []struct {
		flags conntrack.Flags
		list  []Option
		want  string
	}{
		{conntrack.SYN, []Option{option(2, 5, 0xb4), option(4), option(8, 0, 0, 0, 7, 0, 0, 0, 3), option(1), option(3, 7)}, "<mss 1460,sackOK,TS val 7 ecr 3,nop,wscale 7>"},
		{conntrack.SYN, []Option{option(3, 200)}, "<wscale 14>"},
		{conntrack.SYN, []Option{option(2, 1, 0), option(2, 2, 0)}, "<kind 2 len 4,mss 512>"},                                // the last of two counts
		{conntrack.ACK, []Option{option(2, 5, 0xb4), option(3, 7), option(4)}, "<kind 2 len 4,kind 3 len 3,kind 4 len 2>"},   // on a SYN only
		{conntrack.ACK, []Option{option(5, 0, 0, 0, 200, 0, 0, 0, 210, 0, 0, 1, 44, 0, 0, 1, 54)}, "<sack 101:111 201:211>"}, // of the other end
		{conntrack.ACK, []Option{option(5, 1, 2, 3)}, "<kind 5 len 5>"},                                                      // no blocks
		{conntrack.SYN, []Option{option(34), option(1), option(1)}, "<fastopen,nop,nop>"},                                    // a request
		{conntrack.SYN, []Option{option(34, 1, 2, 3, 4)}, "<fastopen 01020304>"},                                             //
		{conntrack.SYN, []Option{option(254, 0xf9, 0x89, 1, 2, 3, 4)}, "<fastopen 01020304>"},                                // RFC 7413 section 7
		{conntrack.SYN, []Option{option(254, 1, 2)}, "<kind 254 len 4>"},                                                     //
		{conntrack.ACK, []Option{option(30, make([]byte, 18)...), option(0), option(8, 1, 2)}, "<kind 30 len 20>"},           // MPTCP; behind the end is nothing
		{conntrack.SYN, []Option{}, ""}, //
	} {
		ev := seen(false, c.flags, 100, 100, 0)
		ev.Options = c.list
		other := seen(true, conntrack.ACK, 100, 1, 0)
		got := lines(t, recorded(ev, other))[0]
		if _, words, _ := strings.Cut(got, "<"); c.want != "" && "<"+words != c.want || c.want == "" && strings.Contains(got, "<") {
			t.Errorf("%v: %s, want %s", c.list, got, c.want)
		}
	}
	// Without a header those that mean something are written.
	ev := seen(false, conntrack.SYN, 100, 0, 0)
	ev.Segment.Options = conntrack.Options{Has: conntrack.OptMSS | conntrack.OptWScale | conntrack.OptSACKPermitted | conntrack.OptTimestamp, MSS: 9, WScale: 2, TSVal: 1}
	if got := lines(t, recorded(ev))[0]; !strings.HasSuffix(got, "<mss 9,sackOK,TS val 1 ecr 0,wscale 2>") {
		t.Error(got)
	}
}

// What a script says in the end stands in it: comments, gaps, decisions, what is sent, what shadows decide, files that ride along.
func TestRecordingLines(t *testing.T) {
	syn := seen(false, conntrack.SYN, 100, 0, 0)
	syn.Decision = &RecordedDecision{Head: "drop/new", Facts: [][2]string{{"reply", "rst"}, {"rule", "two words"}}}
	syn.Comments, syn.Gap = []string{"Here it   begins."}, true
	rst := seen(true, conntrack.RST|conntrack.ACK, 0, 101, 0)
	rst.Segment.Window = 0
	syn.Emits = []RecordedEmit{{Segment: *rst.Segment}, {Segment: *rst.Segment, ICMP: "icmp-port"}}
	syn.Would = []RecordedWould{{"openbsd-pf", RecordedDecision{Head: "forward/new"}}}
	bad := seen(false, conntrack.SYN, 7777, 9, 5)
	bad.Segment.Defect = conntrack.DefectShortTCP
	odd := seen(false, conntrack.ACK|conntrack.URG, 101, 1, 0)
	odd.Segment.Urgent, odd.Segment.Checksum = 3, conntrack.ChecksumBad
	several := seen(false, conntrack.ACK, 101, 1, 3000)
	several.Segment.GSO, several.Segment.Reserved = true, 5
	sweep := RecordedEvent{Wait: time.Millisecond, Decision: &RecordedDecision{Head: "idle-expired", Facts: [][2]string{{"peer", "rst-tracked"}}}}
	rec := recorded(syn, bad, odd, several, sweep)
	rec.Shadows, rec.Sets, rec.Adopt = []string{"openbsd-pf"}, []string{"timeouts.syn_sent=5s"}, true
	rec.Files = []RecordedFile{{"site.yaml", "on: {new: drop}\n\n"}}
	want := []string{"# Here it begins.", "gap", `c > s S  0:0(0)                                => drop/new reply=rst rule="two words"`,
		"  emit  s > c R. @0:@0(0) ack 1", "  emit  s > c icmp-port", "  would openbsd-pf forward/new",
		"c > s none 0:0(0) defect short-tcp-header", "c > s U. 1:1(0) ack 1 urg 3 cksum bad",
		"c > s .  1:3001(3000) ack 1 reserved 5 cksum partial",
		"sweep                                                  => idle-expired peer=rst-tracked"}
	if got := lines(t, rec); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s, err := rec.Script("test")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(s.Format()); !strings.HasPrefix(text, "# What was seen.\n\npolicy   observe\nshadow   openbsd-pf\nset      timeouts.syn_sent=5s\nadopt\nflow     c 10.0.0.1:721 s 192.0.2.9:515\n\n# Here") ||
		!strings.HasSuffix(text, "\n-- site.yaml --\non: {new: drop}\n") {
		t.Error(text)
	}
	if data, ok := s.File("site.yaml"); !ok || data != "on: {new: drop}\n" || !s.Adopts() || len(s.Flows()) != 1 || strings.Join(s.Settings(), ",") != "timeouts.syn_sent=5s" {
		t.Errorf("%q %v %v %v", data, s.Adopts(), s.Flows(), s.Settings())
	}
	if _, ok := s.File("other"); ok {
		t.Error("a file that does not ride along")
	}
}

func TestRecordingRefuses(t *testing.T) {
	stranger := seen(false, conntrack.SYN, 1, 0, 0)
	stranger.Segment.Tuple.SrcPort = 9
	late := seen(false, conntrack.SYN, 1, 0, 0)
	late.Wait = 4000 * 24 * time.Hour
	sent := seen(false, conntrack.SYN, 1, 0, 0)
	sent.Emits = []RecordedEmit{{Segment: *stranger.Segment}}
	wrong := seen(false, conntrack.SYN, 1, 0, 0)
	wrong.Decision = &RecordedDecision{Head: "drop/no-such-finding"}
	along := recorded(seen(false, conntrack.SYN, 1, 0, 0))
	along.Files = []RecordedFile{{"a.yaml", "x: 1\n-- b --\n"}}
	for want, rec := range map[string]*Recording{"of no flow": recorded(stranger), "of no  flow": recorded(sent), "3650d": recorded(late),
		"no-such-finding": recorded(wrong), "would end it": along} {
		if _, err := rec.Script("test"); err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, "  ", " ")) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if text, res := parsed(t, "flow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s S 0:0(0)\n").Fill(Config{}); text != nil || len(res.Problems) == 0 {
		t.Errorf("a script without policy was played: %s", text)
	}
}

// A recording that is filled in comes out as written, and Played tells each event with its options as on the wire.
func TestRecordingPlays(t *testing.T) {
	syn := seen(false, conntrack.SYN, 1000, 0, 0)
	syn.Options = []Option{{2, []byte{5, 0xb4}}, {Kind: 4}, {Kind: 1}, {3, []byte{7}}, {34, []byte{1, 2, 3, 4}}, {77, []byte{0, 0}}}
	rec := recorded(syn, seen(true, conntrack.SYN|conntrack.ACK, 9000, 1001, 0), seen(false, conntrack.ACK, 1001, 9001, 0))
	s, err := rec.Script("test")
	if err != nil {
		t.Fatal(err)
	}
	text, res := s.Fill(Config{})
	if len(res.Problems) > 0 || strings.Count(string(text), "=> forward/") != 3 {
		t.Fatalf("%v\n%s", res.Problems, text)
	}
	again := parsed(t, string(text)+"gap\n+1m sweep\n")
	var played []Played
	if r := again.Run(Config{Played: func(p *Played) { p.Outcome = nil; played = append(played, *p) }}); len(r.Problems) > 0 || r.Decisions != 3 {
		t.Error(r.Problems)
	}
	if len(played) != 4 || played[3].Segment != nil || strings.Join(played[3].Between, "") != "gap" || played[3].Now.Sub(played[3].Start) != time.Minute+3*time.Millisecond {
		t.Fatalf("%+v", played)
	}
	for i, o := range played[0].Options {
		if o.Kind != syn.Options[i].Kind || string(o.Data) != string(syn.Options[i].Data) {
			t.Errorf("option %d: %v, want %v", i, o, syn.Options[i])
		}
	}
	if p := played[0]; p.Line != 6 || p.Want != "forward/new state=SYN_SENT" || p.Got != p.Want || !strings.HasPrefix(p.Text, "+1ms    c > s S  0:0(0) win 500 <mss 1460,") {
		t.Errorf("%+v", p)
	}
}
