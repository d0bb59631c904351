package scripted

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/decisionlog"
)

// rec is a line of a log, put together of what a test wants to say. at is in seconds after a fixed time.
func rec(at float64, flow int, dir, fields string) string {
	t := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC).Add(time.Duration(at * float64(time.Second)))
	ends := `"src_ip":"10.0.0.1","src_port":721,"dest_ip":"192.0.2.9","dest_port":515`
	if dir == "to_client" {
		ends = `"src_ip":"192.0.2.9","src_port":515,"dest_ip":"10.0.0.1","dest_port":721`
	}
	if dir != "" {
		dir = `"direction":"` + dir + `",`
	}
	return fmt.Sprintf(`{"timestamp":%q,"flow_id":%d,%s%s,%s}`, decisionlog.AppendTime(nil, t.UnixNano()), flow, dir, ends, fields)
}

func tcp(flags string, seq, ack, length int) string {
	return fmt.Sprintf(`"tcp":{"flags":%q,"seq":%d,"ack":%d,"win":64240,"len":%d}`, flags, seq, ack, length)
}

// sent is a segment that the gateway made: it offers no window.
func sent(flags string, seq, ack int) string {
	return strings.Replace(tcp(flags, seq, ack, 0), "64240", "0", 1)
}

// decision is a decision's object. more is put into it.
func decision(id, verdict, reason, before, after, effect, more string) string {
	return fmt.Sprintf(`"event_type":"decision","decision":{"id":%q,"verdict":%q,"reason":%q,"preset":"openbsd-pf","policy_rev":%q,"state_before":%q,"state_after":%q,"action":{"state":%q}%s}`,
		id, verdict, reason, presetRev("openbsd-pf"), before, after, effect, more)
}

// redial is the log of an incident: a connection whose data was only counted, half a minute of silence, and a new dial that the gateway
// answers itself.
func redial() []string {
	return []string{
		rec(0, 7, "", `"event_type":"flow","flow":{"event":"new","state":"SYN_SENT"}`),
		rec(0, 7, "to_server", tcp("S", 1000, 0, 0)+","+decision("a1", "forward", "new", "NONE", "SYN_SENT", "create", "")),
		rec(.001, 7, "to_client", tcp("S.", 9000, 1001, 0)+","+decision("a2", "forward", "syn-ack", "SYN_SENT", "SYN_RECV", "track", "")),
		rec(.002, 7, "to_server", tcp(".", 1001, 9001, 0)+","+decision("a3", "forward", "handshake", "SYN_RECV", "ESTABLISHED", "track", "")),
		rec(30, 7, "to_client", sent(".", 9051, 1501)+`,"event_type":"inject","inject":{"id":"b1","cause":"a4","kind":"ack-tracked","to":"client"}`),
		rec(30, 7, "to_server", tcp("S", 700000, 0, 0)+","+decision("a4", "drop", "syn-established", "ESTABLISHED", "ESTABLISHED", "keep",
			`,"reply":{"kind":"ack-tracked","flags":".","seq":9051,"ack":1501},"idle_s":25,"age_s":30,"expected":{"seq":1501,"ack":9051,"seq_hi":65741}`)),
		rec(90, 7, "", `"event_type":"flow","flow":{"event":"end","reason":"killed","counted":12,"end":"2026-11-23T18:00:05+0000","state":"ESTABLISHED"}`),
	}
}

// made makes a script of lines.
func madeOf(t testing.TB, o Options, lines ...string) *Script {
	t.Helper()
	b := New(o)
	for _, line := range lines {
		var e decisionlog.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		b.Add(&e)
	}
	s, err := b.Script()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Segments that were only counted are stood for, so that the connection is what it was when the surprising segment came: the script
// comes out as the log says, with the log's numbers.
func TestCountedSegments(t *testing.T) {
	got := madeOf(t, Options{Log: "halfopen"}, redial()...)
	want := `# From halfopen: what passed between 10.0.0.1:721 and 192.0.2.9:515.
# Flow 7 from 2026-11-23T18:00:00Z on. Community ID 1:GskBVTSNJBWKbUvjgfTMqZGmUDw=.
# The log only counts 12 segments more. Where numbers show that some went by, lines without a decision stand for them.

policy   openbsd-pf
flow     c 10.0.0.1:721 s 192.0.2.9:515

+0      c > s S  0:0(0) win 64240                              => forward/new state=SYN_SENT
+1ms    s > c S. 0:0(0) ack 1 win 64240                        => forward/syn-ack state=SYN_RECV
+1ms    c > s .  1:1(0) ack 1 win 64240                        => forward/handshake state=ESTABLISHED
# Segments without records: these stand for them.
gap
+4998ms c > s P. 499:500(1) ack 1 win 64240
+0      c > s P. 500:501(1) ack 1 win 64240
+0      s > c P. 49:50(1) ack 501 win 64240
+0      s > c P. 50:51(1) ack 501 win 64240
+0      s > c .  51:51(0) ack 501 win 64240
+0      c > s .  501:501(0) ack 51 win 64240
+25s    c > s S  699000:699000(0) win 64240                    => drop/syn-established reply=ack-tracked
  emit  s > c .  51:51(0) ack 501
`
	if string(got.Text) != want || got.Segments != 4 || got.Counted != 12 || got.Otherwise != 0 {
		t.Errorf("%d segments, %d counted, %d otherwise\n%s", got.Segments, got.Counted, got.Otherwise, got.Text)
	}
	// A lost record of what was sent is made up for by the decision's own word.
	lines := redial()
	if again := madeOf(t, Options{Log: "halfopen"}, append(lines[:4:4], lines[5:]...)...); string(again.Text) != want {
		t.Errorf("%s", again.Text)
	}
}

func TestScriptSaysWhatItLacks(t *testing.T) {
	lines := redial()
	other := strings.ReplaceAll(lines[5], presetRev("openbsd-pf"), "sha256:77")
	unknown := strings.ReplaceAll(lines[5], "syn-established", "syn-of-tomorrow")
	gap := `{"event_type":"gap","gap":{"where":"ring","count":3}}`
	stats := `{"event_type":"stats","stats":{"suppressed":{"new":2}}}`
	sack := strings.Replace(lines[3], `"len":0`, `"len":0,"options":"ts 7:3,sack 1,wscale 20,mss 1400,sackOK,tfo,md5,other"`, 1)
	for _, c := range []struct {
		lines     []string
		want      []string
		otherwise int
	}{
		{append(lines[:5:5], other), []string{"# The policy changed meanwhile: 2 revisions decided.", "# Decided by a policy built on openbsd-pf that is not at hand, revision sha256:77: put", "\npolicy   openbsd-pf\n"}, -1},
		{[]string{other}, []string{"# The log does not tell how the connection began.", "revision sha256:77"}, -1},
		{append(lines[:5:5], unknown), []string{"# The log says drop, for a reason that this version does not know: syn-of-tomorrow\n+25s    c > s S  699000:699000(0) win 64240\n"}, 0},
		{[]string{stats, gap, lines[1], gap}, []string{"# A rate limit held back 2 records of the whole log;", "# Gap records of the log admit 6 messages;"}, 0},
		{[]string{lines[1], lines[2], sack}, []string{"# SACK blocks are left out", "<TS val 7 ecr 3,kind 3 len 3,kind 2 len 4,kind 4 len 2,fastopen,kind 19 len 18>"}, 0},
		{[]string{strings.ReplaceAll(lines[1], "openbsd-pf", "")}, []string{"# Decided by a policy that is not at hand", "\n\nflow "}, -1},
		{[]string{lines[1], strings.Replace(lines[2], "forward", "drop", 1)}, []string{"# Played under openbsd-pf, 1 line comes out otherwise than the log says: halfopen test tells which.\n"}, 1},
		{[]string{strings.Replace(lines[1], `"reason":"new"`, `"reason":"adopted"`, 1)}, []string{"\nadopt\n"}, 1},
	} {
		got := madeOf(t, Options{}, c.lines...)
		for _, w := range c.want {
			if !strings.Contains(string(got.Text), w) {
				t.Errorf("no %q in\n%s", w, got.Text)
			}
		}
		if got.Otherwise != c.otherwise {
			t.Errorf("%d lines come out otherwise, want %d\n%s", got.Otherwise, c.otherwise, got.Text)
		}
	}
	// Another policy than the log's is played where it was asked for, with a setting.
	got := madeOf(t, Options{Policy: "observe", Overrides: []string{"timeouts.established=2h"}}, lines...)
	if !strings.Contains(string(got.Text), "policy   observe\nset      timeouts.established=2h\n") || got.Otherwise != 2 { // the SYN passes, and nothing is sent
		t.Errorf("%d\n%s", got.Otherwise, got.Text)
	}
}

// Time, holds, probes and policies on trial have their lines.
func TestWhatTimeDid(t *testing.T) {
	hold := decision("h1", "hold", "new", "NONE", "NONE", "keep", "")
	settled := decision("h2", "drop", "new", "", "", "keep", `,"settles":"h1","reply":{"kind":"icmp-port"}`)
	icmp := `"event_type":"inject","inject":{"id":"i1","cause":"h2","kind":"icmp-port","to":"client"}`
	got := madeOf(t, Options{}, rec(0, 0, "", tcp("S", 1000, 0, 0)+","+hold), rec(6, 0, "to_client", icmp), rec(6, 0, "", tcp("S", 1000, 0, 0)+","+settled))
	want := "+0      c > s S  0:0(0) win 64240                              => hold/new\n+6s     sweep                                                  => reply=icmp-port released=drop\n  emit  s > c icmp-port\n"
	if !strings.HasSuffix(string(got.Text), want) {
		t.Errorf("%s", got.Text)
	}
	lines := redial()[:4]
	inject := func(at float64, dir, to, trigger, kind, flags string, seq, ack int) string {
		return rec(at, 7, dir, sent(flags, seq, ack)+fmt.Sprintf(`,"event_type":"inject","inject":{"id":"p%s%v","trigger":%q,"kind":%q,"to":%q}`, to, at, trigger, kind, to))
	}
	lines = append(lines, inject(60, "to_client", "client", "probe", "probe-ack", ".", 9009, 1031), inject(60, "to_server", "server", "probe", "probe-ack", ".", 1030, 9010),
		inject(75, "to_client", "client", "dead-connection", "rst-tracked", "R", 9010, 0), inject(75, "to_server", "server", "dead-connection", "rst-tracked", "R", 1031, 0),
		inject(75, "to_server", "server", "dead-connection", "rst-tracked", "R", 1011, 0),
		rec(75, 7, "", `"event_type":"flow","flow":{"event":"end","reason":"dead","counted":3,"end":"2026-11-23T18:00:20+0000","state":"ESTABLISHED"}`))
	got = madeOf(t, Options{}, lines...)
	for _, want := range []string{
		"gap\n+19998ms c > s P. 29:30(1) ack 1 win 64240\n+0      c > s P. 30:31(1) ack 1 win 64240\n+0      s > c P. 8:9(1) ack 31 win 64240\n+0      s > c P. 9:10(1) ack 31",
		"+40s    sweep                                                  => reply=probe-ack peer=probe-ack\n  emit  s > c .  9:9(0) ack 31\n  emit  c > s .  30:30(0) ack 10\n",
		"+15s    sweep                                                  => dead-connection reply=rst-tracked peer=rst-tracked\n  emit  s > c R  10:10(0)\n  emit  c > s R  31:31(0)\n  emit  c > s R  11:11(0)\n"} {
		if !strings.Contains(string(got.Text), want) {
			t.Errorf("no\n%s\nin\n%s", want, got.Text)
		}
	}
	unanswered := rec(80, 7, "", `"event_type":"decision","decision":{"id":"u1","trigger":"probe-unanswered","reason":"probe-unanswered","state_before":"ESTABLISHED"}`)
	got = madeOf(t, Options{}, append(redial()[:4], unanswered, rec(99, 7, "", `"event_type":"flow","flow":{"event":"end","reason":"idle","counted":1,"end":"2026-11-23T18:01:29+0000","state":"ESTABLISHED"}`))...)
	if !strings.HasSuffix(string(got.Text), "=> probe-unanswered\n# Segments without records: these stand for them.\n+9s     c > s .  1:1(0) ack 1 win 64240\n+0      s > c .  1:1(0) ack 1 win 64240\n+10s    sweep                                                  => idle-expired\n") {
		t.Errorf("%s", got.Text)
	}
	would := fmt.Sprintf(`,"would":{"verdict":"drop","reason":"new","preset":"openbsd-pf","policy_rev":%q,"reply":{"kind":"rst"}}`, presetRev("openbsd-pf"))
	got = madeOf(t, Options{}, rec(0, 7, "to_server", tcp("S", 1000, 0, 0)+","+decision("a1", "forward", "new", "NONE", "SYN_SENT", "create", would)))
	if text := string(got.Text); !strings.Contains(text, "shadow   openbsd-pf\n") || !strings.HasSuffix(text, "\n  would openbsd-pf drop/new reply=rst\n") {
		t.Error(text)
	}
}

// A FIN that was acknowledged by a segment without record left its mark on the state, and the script gets there.
func TestStateOfCountedSegments(t *testing.T) {
	lines := append(redial()[:4],
		rec(1, 7, "to_server", tcp("F.", 1001, 9001, 0)+","+decision("f1", "forward", "fin", "ESTABLISHED", "FIN_WAIT", "track", `,"idle_s":0.998,"expected":{"seq":1001,"ack":9001}`)),
		rec(2, 7, "to_client", tcp("F.", 9001, 1002, 0)+","+decision("f2", "forward", "fin", "FIN_WAIT", "LAST_ACK", "track", `,"idle_s":1,"expected":{"seq":9001,"ack":1002}`)),
		rec(9, 7, "to_server", tcp("S", 700000, 0, 0)+","+decision("f3", "drop", "syn-time-wait", "TIME_WAIT", "TIME_WAIT", "keep", `,"idle_s":6,"expected":{"seq":1002,"ack":9002}`)))
	got := madeOf(t, Options{}, lines...)
	if !strings.Contains(string(got.Text), "these stand for them.\n+1s     c > s .  2:2(0) ack 2 win 64240\n+6s     c > s S  699000:699000(0) win 64240                    => drop/syn-time-wait\n") {
		t.Errorf("%s", got.Text)
	}
}

// Segment reads what a record tells.
func TestSegment(t *testing.T) {
	var e decisionlog.Event
	line := rec(0, 1, "to_client", `"tcp":{"flags":"FSRPUEWe.","seq":7,"ack":8,"win":9,"len":10,"options":"mss 1400"},"decision":{"checksum":"bad","defect":"bad-options"}`)
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	s := Segment(&e)
	if s.Tuple.String() != "192.0.2.9:515 > 10.0.0.1:721" || s.Flags != 0x1ff || s.Seq != 7 || s.Ack != 8 || s.Window != 9 || s.Len != 10 || s.Bytes != 50 ||
		s.Checksum != conntrack.ChecksumBad || s.Defect != conntrack.DefectOptions || s.Options.MSS != 1400 {
		t.Errorf("%+v", s)
	}
}

// writeLog writes a log of one file.
func writeLog(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "decisions-1.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func byID(id uint64) Pick { return func(_ conntrack.Tuple, flow uint64) bool { return flow == id } }

// Ends that talk again and again: a flow is told with its neighbours.
func TestFlowOfMany(t *testing.T) {
	var lines []string
	for i := range 5 {
		lines = append(lines, rec(float64(100*i), 10+i, "to_server", tcp("S", 1000*i+1000, 0, 0)+","+decision(fmt.Sprint("d", i), "forward", "new", "NONE", "SYN_SENT", "create", "")),
			"damaged", rec(float64(100*i+99), 0, "", tcp("R", 5, 0, 0)+","+decision(fmt.Sprint("e", i), "drop", "rst-no-state", "NONE", "NONE", "keep", "")))
	}
	lines = append(lines, strings.NewReplacer(`"src_port":721`, `"src_port":722`, `"flow_id":10`, `"flow_id":50`).Replace(lines[0]))
	log := writeLog(t, lines...)
	for id, want := range map[uint64]int{10: 4, 11: 6, 12: 6, 13: 6, 14: 4} {
		got, err := FromLog(log, byID(id), Options{})
		if err != nil || got.Script == nil || got.Segments != want || len(got.Bad) != 5 || len(got.Meant) < 1 {
			t.Errorf("flow %d: %v, %+v", id, err, got)
		}
	}
	all, bad, err := Connections(log)
	if err != nil || len(bad) != 5 || len(all) != 2 || all[0].Records != 10 || len(all[0].Flows) != 4 {
		t.Fatal(err, bad, all)
	}
	if line := all[0].String(); line != "10 11 12 13            10 records from 2026-11-23T18:00:00.000Z  1:GskBVTSNJBWKbUvjgfTMqZGmUDw=  10.0.0.1:721 > 192.0.2.9:515" {
		t.Errorf("%q", line)
	}
	two, err := FromLog(log, func(conntrack.Tuple, uint64) bool { return true }, Options{})
	if err != nil || two.Script != nil || len(two.Meant) != 2 {
		t.Error(err, two)
	}
	if none, err := FromLog(log, byID(99), Options{}); err != nil || none.Script != nil || len(none.Meant) != 0 {
		t.Error(err, none)
	}
	if _, err := FromLog(filepath.Join(t.TempDir(), "missing"), byID(1), Options{}); err == nil {
		t.Error("a log that is not there")
	}
	if _, err := FromLog(log, byID(10), Options{Policy: "no-such"}); err == nil || !strings.Contains(err.Error(), "no-such") {
		t.Error(err)
	}
	if _, err := New(Options{}).Script(); err == nil {
		t.Error("a script of nothing")
	}
	if presetRev("no-such") != "" || presetRev(policy.Presets()[0]) == "" {
		t.Error("revisions of presets")
	}
}

func FuzzBuilder(f *testing.F) {
	f.Add([]byte(strings.Join(redial(), "\n")))
	f.Add([]byte(rec(1, 0, "to_client", `"tcp":{"flags":"R"},"inject":{"kind":"rst-tracked","trigger":"idle-expired","to":"server"}`) + "\n" + redial()[5]))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := New(Options{Log: "fuzz"})
		for i, line := range strings.Split(string(data), "\n") {
			var e decisionlog.Event
			if i < 200 && json.Unmarshal([]byte(line), &e) == nil {
				b.Add(&e)
			}
		}
		got, err := b.Script()
		if err != nil {
			return
		}
		s, problems := scenario.Parse("fuzz.scn", got.Text)
		if s == nil {
			t.Fatalf("%v\n%s", problems, got.Text)
		}
	})
}
