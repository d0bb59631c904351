package decisionlog

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// fullDecision is the decision of the case that halfopen exists for, with every
// part filled.
func fullDecision() Record {
	return Record{
		Time: time.Date(2026, 11, 23, 18, 1, 36, 123456789, time.UTC).UnixNano(), Event: EventDecision, Dir: ToServer,
		FlowID: 1234567890123, Src: netip.MustParseAddrPort("10.2.0.7:721"), Dst: netip.MustParseAddrPort("192.0.2.9:515"),
		PcapCnt: 41, InIface: "eth1", OutIface: "eth2",
		TCP: TCP{Set: true, Flags: FlagSYN, Seq: 500000, Win: 64240, Opts: OptMSS | OptSACKOK | OptTimestamp | OptWScale,
			MSS: 1460, WScale: 7, TSVal: 5, History: History{'S', 'h', 'A', 'D'}},
		Decision: Decision{
			ID: ID{Hi: 1 << 50, Lo: 2<<48 | 17}, Verdict: VerdictDrop, Reason: "syn-established", Rule: "print-servers",
			Preset: "openbsd-pf", PolicyRev: "sha256:9f2c", Arm: "B", Queue: 2, Known: true,
			StateBefore: "ESTABLISHED", StateAfter: "ESTABLISHED", Idle: 1800e9, Remaining: -5e8, Age: 1805.02e9,
			Action: Action{Packet: "drop", Reply: "ack-tracked", Peer: "none", State: "keep", Timer: "leave"},
			Reply:  Made{Kind: "ack-tracked", Flags: FlagACK, Seq: 1, Ack: 101},
			Peer:   Made{Kind: "rst-tracked", Flags: FlagRST, Seq: 101},
			Expected: Expected{HasSeq: true, HasAck: true, HasSeqWindow: true, HasAckWindow: true, Seq: 101, SeqLo: 1, SeqHi: 65000, Ack: 1, AckLo: 1, AckHi: 101, SeenEnd: 500001,
				HasEdge: true, Edge: 7, SeenEdge: 6, HasTS: true, TS: 5, SeenTS: 4, HasLen: true, Len: 1460},
			Tombstone: Tombstone{Set: true, At: 1, Why: "idle-timer", State: "ESTABLISHED", Timeout: 3600e9, Idle: 3600e9, Age: 7200e9, FlowID: 9, ClientSeq: 4},
			Would:     Would{Verdict: VerdictForward, Reason: "syn-established", Reply: Made{Kind: "x"}},
			Latency:   38000,
		},
	}
}

// fullRecords is one filled record of each event type.
func fullRecords() []Record {
	src, dst := netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:443")
	cs := []Count{{"syn-established", 3}, {"a", math.MaxUint64}}
	return []Record{
		fullDecision(),
		{Event: EventHeader, header: &Header{Schema: SchemaVersion, Version: "v", Run: "R", BootID: "b", FileSeq: 1, Kernel: Kernel{Set: true}}},
		{Event: EventTrailer, header: &Header{Schema: SchemaVersion, Run: "R", FileSeq: 1}},
		{Event: EventFlow, Src: src, Dst: dst, FlowID: math.MaxUint64, Flow: Flow{Kind: FlowEnd, Pkts: [2]uint64{3, 4}, Bytes: [2]uint64{5, 6},
			Fast: [2]uint64{1, 1}, FastBytes: [2]uint64{2, 3}, Counted: 4, FastCounted: [2]int64{2, -5}, State: "CLOSE", ConnState: "SF", History: History{'S', 'h', 0}, Start: 1e9, Last: 3e9,
			EndReason: "closed", Outcome: "ok", Predecessor: 7, Adopted: true, Probes: 2, Answered: "both", Rule: "r", Preset: "p", PolicyRev: "x", Arm: "A",
			Handshake: 1500e3, Response: 2e9, SYNRetransmits: 255, Retransmits: [2]uint32{8, math.MaxUint32}, OutOfWindow: [2]uint32{10, 11},
			Stall: 4294967295e3, Stalled: true, EndedBy: "client-fin", Interventions: 3, Resets: 2}},
		{Event: EventInject, Src: src, Dst: dst, TCP: TCP{Set: true, Flags: FlagRST | FlagACK}, Inject: Inject{ID: ID{1, 2}, Cause: ID{1, 1},
			Trigger: "expiry", Kind: "rst-tracked", To: "server", WireSrc: src, WireDst: dst, Error: "no route to host"}},
		{Event: EventReload, Reload: &Reload{OK: true, Preset: "p", PolicyRev: "b", PreviousRev: "a", Flows: "keep", FlowsTouched: 1, Error: "e"}},
		{Event: EventStats, Stats: &Stats{Run: "R", Final: true, Uptime: 5e9, Kernel: Kernel{Set: true, Base: 1, Now: 9}, Received: 8,
			Verdicts: cs, Reasons: cs, Suppressed: cs, FastPath: FastPathStats{State: "off", Why: "w", Flows: 1, Packets: 2, Bytes: 3, Installed: 4,
				Punts: cs, Full: 5, Evicted: 6, Foreign: 7, Lost: 8, Kept: cs, Returned: [2]uint64{1, 2}, Unproven: "u", Redirected: 9, Fallbacks: cs}}},
		{Event: EventGap, Gap: &Gap{Where: GapCrash, Count: 5, Bound: BoundUpper, From: 1, To: 2, Run: "R", Kernel: Kernel{Set: true},
			Records: cs, Reasons: cs, Fast: [2]int64{math.MaxInt64, math.MinInt64}, Detail: "d"}},
		{Event: EventExperiment, Experiment: &Experiment{Name: "n", Kind: "start", Arm: "A", Unit: "10.0.0.1", Detail: "d", Spec: []byte(`{"name":"n","arms":[1]}`)}},
	}
}

func TestAppendJSON(t *testing.T) {
	r := fullDecision()
	const want = `{"timestamp":"2026-11-23T18:01:36.123456789+0000","event_type":"decision","flow_id":1234567890123,` +
		`"community_id":"1:XXX","src_ip":"10.2.0.7","src_port":721,"dest_ip":"192.0.2.9","dest_port":515,` +
		`"proto":"TCP","direction":"to_server","pcap_cnt":41,"in_iface":"eth1","out_iface":"eth2",` +
		`"tcp":{"flags":"S","seq":500000,"ack":0,"win":64240,"len":0,"options":"mss 1460,sackOK,ts 5:0,wscale 7","state":"ESTABLISHED","history":"ShAD"},` +
		`"decision":{"id":"10000000000000010000000000H","verdict":"drop","reason":"syn-established","rule":"print-servers",` +
		`"preset":"openbsd-pf","policy_rev":"sha256:9f2c","arm":"B","queue":2,"state_before":"ESTABLISHED","state_after":"ESTABLISHED",` +
		`"idle_s":1800.0,"remaining_s":-0.5,"age_s":1805.02,` +
		`"action":{"packet":"drop","reply":"ack-tracked","peer":"none","state":"keep","timer":"leave"},` +
		`"reply":{"kind":"ack-tracked","flags":".","seq":1,"ack":101},"peer":{"kind":"rst-tracked","flags":"R","seq":101,"ack":0},` +
		`"expected":{"seq":101,"seq_lo":1,"seq_hi":65000,"seen_end":500001,"ack":1,"ack_lo":1,"ack_hi":101,` +
		`"edge":7,"seen_edge":6,"ts":5,"seen_ts":4,"len":1460},` +
		`"tombstone":{"forgotten":"1970-01-01T00:00:00.000000001+0000","why":"idle-timer","state":"ESTABLISHED","timeout_s":3600.0,"idle_s":3600.0,"age_s":7200.0,"flow_id":9,"client_seq":4,"client_ack":0,"server_seq":0,"server_ack":0},` +
		`"would":{"verdict":"forward","reason":"syn-established","reply":{"kind":"x"}},"latency_ns":38000}}`
	got := string(r.AppendJSON(nil))
	cid := string(AppendCommunityID(nil, r.Src, r.Dst))
	w := strings.Replace(want, "1:XXX", cid, 1)
	w = strings.Replace(w, "10000000000000010000000000H", r.Decision.ID.String(), 1)
	if got != w {
		t.Errorf("line\n got %s\nwant %s", got, w)
	}
}

// Every event type gives valid JSON, in snake_case, with no number above 2^53
// and its own object under its own name.
func TestEveryEventType(t *testing.T) {
	seen := map[EventType]bool{}
	for _, r := range fullRecords() {
		seen[r.Event] = true
		line := r.AppendJSON(nil)
		dec := json.NewDecoder(strings.NewReader(string(line)))
		dec.UseNumber()
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			t.Fatalf("%s: %v\n%s", r.Event, err, line)
		}
		if _, ok := m[r.Event.String()].(map[string]any); !ok {
			t.Errorf("%s: no object of that name in %s", r.Event, line)
		}
		walk(t, r.Event.String(), m)
	}
	for e := EventNone + 1; e < numEvents; e++ {
		if !seen[e] {
			t.Errorf("event type %s has no sample", e)
		}
	}
}

func walk(t *testing.T, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if k != strings.ToLower(k) || strings.ContainsAny(k, " .") {
				t.Errorf("%s: key %q is not snake_case", path, k)
			}
			walk(t, path+"."+k, x)
		}
	case json.Number:
		if f, err := v.Float64(); err != nil || math.Abs(f) > 1<<53 {
			t.Errorf("%s: %s is above 2^53", path, v)
		}
	}
}

// Flow ids keep their low 51 bits, and counts above 2^53 - 1 are written as that.
func TestLargeNumbers(t *testing.T) {
	r := Record{Event: EventFlow, FlowID: 1<<63 | 1<<51 | 5, Flow: Flow{Counted: math.MaxUint64, Predecessor: 1<<52 | 6}}
	line := string(r.AppendJSON(nil))
	for _, want := range []string{`"flow_id":5,`, `"counted":9007199254740991,`, `"predecessor":6}`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// A record of a rare type without its part must not panic or break the line.
func TestMissingPart(t *testing.T) {
	for e := EventNone; e <= numEvents; e++ {
		r := Record{Event: e}
		if line := r.AppendJSON(nil); !json.Valid(line) {
			t.Errorf("%s: %s", e, line)
		}
		r.Explains()
	}
}

func TestAppendJSONAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 8192)
	for _, r := range fullRecords() {
		if n := testing.AllocsPerRun(100, func() { buf = r.AppendJSON(buf[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations", r.Event, n)
		}
	}
}

// The specification's baseline value (community-id-spec, baseline_deflt.json).
func TestCommunityID(t *testing.T) {
	a, b := netip.MustParseAddrPort("128.232.110.120:34855"), netip.MustParseAddrPort("66.35.250.204:80")
	const want = "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
	mapped := netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	for _, p := range [][2]netip.AddrPort{{a, b}, {b, a}, {mapped, b}} {
		if got := string(AppendCommunityID(nil, p[0], p[1])); got != want {
			t.Errorf("%v: %s, want %s", p, got, want)
		}
	}
	// Same address: the port decides.
	c, d := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:2")
	if x, y := string(AppendCommunityID(nil, c, d)), string(AppendCommunityID(nil, d, c)); x != y {
		t.Errorf("%s in one direction, %s in the other", x, y)
	}
}

func TestAppendTime(t *testing.T) {
	for _, c := range []struct {
		in   time.Time
		want string
	}{
		{time.Date(2026, 11, 23, 18, 1, 36, 123456789, time.UTC), "2026-11-23T18:01:36.123456789+0000"},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC), "1969-12-31T23:59:59.999999999+0000"},
		{time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), "2024-02-29T00:00:00.000000000+0000"},
	} {
		if got := string(AppendTime(nil, c.in.UnixNano())); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestAppendSeconds(t *testing.T) {
	for ns, want := range map[int64]string{0: "0.0", 1: "0.000000001", 1500e6: "1.5", -250e6: "-0.25",
		math.MinInt64: "-9223372036.854775808", math.MaxInt64: "9223372036.854775807"} {
		if got := string(appendSeconds(nil, ns)); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("print-servers")
	f.Add("a\"b\\c\n\x00\x7f\xff\u2028\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, s string) {
		line := appendString(nil, s)
		var back string
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%q: %v: %s", s, err, line)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); strings.Count(back, "\ufffd") < strings.Count(want, "\ufffd") ||
			strings.ReplaceAll(back, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Fatalf("%q came back as %q", s, back)
		}
		if strings.ContainsAny(string(line), "\n\r") {
			t.Fatalf("line feed in %q", line)
		}
	})
}

// Whatever the words in a record are, the line is one valid JSON object.
func FuzzAppendJSON(f *testing.F) {
	f.Add("rule\n", []byte("ShAdDa"), uint64(1), int64(-1))
	f.Fuzz(func(t *testing.T, word string, hist []byte, n uint64, ns int64) {
		for _, r := range fullRecords() {
			r.Time, r.FlowID, r.InIface = ns, n, word
			r.TCP.Flags, r.TCP.Opts = uint16(n), uint16(n>>16)
			copy(r.TCP.History[:], hist)
			r.Flow.History, r.Flow.Kind = r.TCP.History, FlowKind(n)
			r.Decision.Rule, r.Decision.Idle, r.Flow.Outcome, r.Inject.Error = word, ns, word, word
			line := r.AppendJSON(nil)
			if !json.Valid(line) || strings.ContainsAny(string(line), "\n\r") {
				t.Fatalf("%s: %q", r.Event, line)
			}
		}
	})
}
