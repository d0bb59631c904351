package capture

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"halfopen/proxy/decisionlog"
)

func fullNote() Note {
	return Note{
		Verdict: "drop", Kind: "k", To: "client", Trigger: "probe", Reason: "syn-established", Rule: "stale-syn", Reply: "ack-tracked", Peer: "rst-tracked",
		ReplyOmitted: "rate", PeerOmitted: "no-numbers", Unmet: "isn-newer", Stripped: 9, RewriteOmitted: "gso", State: "ESTABLISHED", StateAfter: "CLOSE", Known: true, Idle: 1800e9,
		Defect: "bad-options", Checksum: "unverified", Tombstone: 76, TombstoneWhy: "idle", Forgotten: 412_500_000_000,
		Would: WouldNote{Verdict: "forward", Reason: "in-window", Rule: "r", Reply: "a", Peer: "b", Stripped: 1 << 12, Diverged: true},
		Flow:  77, Direction: decisionlog.ToServer, In: "eth0", Out: "eth 1", PcapCnt: 9, Error: "no \"route\"\nto host",
		ID: decisionlog.ID{Hi: 1 << 40, Lo: 7}, Cause: decisionlog.ID{Hi: 1 << 40, Lo: 6}, Settles: decisionlog.ID{Hi: 1 << 40, Lo: 5},
	}
}

// The note that tests take for a full one is: a field that is added is tested, and documented.
func TestFullNoteIsFull(t *testing.T) {
	n := fullNote()
	for _, v := range []reflect.Value{reflect.ValueOf(n), reflect.ValueOf(n.Would)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not set", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

// The lines that documentation shows.
func TestNoteText(t *testing.T) {
	id := decisionlog.ID{Hi: 1 << 60, Lo: 1<<48 | 3}
	for want, n := range map[string]Note{
		"halfopen drop reason=syn-established rule=stale-syn reply=ack-tracked state=ESTABLISHED idle=1800s flow=77 direction=to_server id=" + id.String(): {
			Verdict: "drop", Reason: "syn-established", Reply: "ack-tracked", Rule: "stale-syn", State: "ESTABLISHED", Known: true, Idle: 1800e9, Flow: 77,
			Direction: decisionlog.ToServer, ID: id,
		},
		"halfopen inject kind=rst-tracked to=server trigger=idle-expired direction=to_server error=\"no route\"": {
			Verdict: Inject, Kind: "rst-tracked", To: "server", Trigger: "idle-expired", Direction: decisionlog.ToServer, Error: "no route",
		},
		"halfopen forward state=SYN_SENT state_after=SYN_RECV idle=0.000213s": {
			Verdict: "forward", State: "SYN_SENT", StateAfter: "SYN_RECV", Known: true, Idle: 213_999,
		},
		"halfopen forward idle=-1.5s": {Verdict: "forward", Known: true, Idle: -1_500_000_000},
		"halfopen forward idle=0s":    {Verdict: "forward", Known: true},
	} {
		if got := n.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestNoteIsReadBack(t *testing.T) {
	for _, want := range []Note{fullNote(), {Verdict: "forward"}, {Verdict: "forward", Known: true, Idle: -500_000}} {
		got, ok := ParseNote(want.String())
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: %v\n%s", want.String(), ok, diff)
		}
	}
}

// A flow id has 51 bits, as in the log: wherever it is read, it is the same number.
func TestNoteFlowID(t *testing.T) {
	n := Note{Verdict: "forward", Flow: 1<<63 | 5}
	if got, _ := ParseNote(n.String()); got.Flow != 5 {
		t.Errorf("flow %d, want 5", got.Flow)
	}
}

func TestNoNote(t *testing.T) {
	for _, c := range []string{"", "halfopen", "halfopen ", "a comment of somebody's", "halfopen reason=x", "halfopenforward", "Halfopen drop"} {
		if n, ok := ParseNote(c); ok {
			t.Errorf("%q is a note: %+v", c, n)
		}
	}
}

// What a later version adds, or somebody has damaged, does not hide the rest.
func TestNoteLeavesOutWhatItCannotRead(t *testing.T) {
	n, ok := ParseNote(`halfopen drop colour=blue reason=rst-inexact loose flow=x idle=1e9s id=short rule="open  verdict=hold state=CLOSE`)
	want := Note{Verdict: "drop", Reason: "rst-inexact", State: "CLOSE"}
	if diff := cmp.Diff(want, n); !ok || diff != "" {
		t.Errorf("%v\n%s", ok, diff)
	}
}

func TestNoteAllocatesNothing(t *testing.T) {
	n := fullNote()
	buf := make([]byte, 0, 1024)
	if a := testing.AllocsPerRun(100, func() { buf, _ = n.AppendText(buf[:0]) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestDeciderIsReadBack(t *testing.T) {
	for _, want := range []Decider{
		{Policy: "/etc/half open/site.yaml", Preset: "openbsd-pf", Rev: "sha256:1"},
		{Policy: "observe", Preset: "observe", Rev: "sha256:1", WouldPolicy: "x", WouldPreset: "y", WouldRev: "sha256:2"},
	} {
		got, ok := ParseDecider(want.String())
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: %v\n%s", want.String(), ok, diff)
		}
	}
	if d, ok := ParseDecider("the office's uplink"); ok {
		t.Errorf("no decider, and read as one: %+v", d)
	}
}

// A note that was read says the same when it is written again.
func FuzzParseNote(f *testing.F) {
	full := fullNote()
	f.Add(full.String())
	f.Add(`halfopen inject error="a\xffb" idle=-0.5s forgotten=9223372036.000001s`)
	f.Add(`halfopen drop reason= rule="" =x a== flow=18446744073709551615`)
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseNote(s)
		if !ok {
			return
		}
		line := n.String()
		again, ok := ParseNote(line)
		if n.TombstoneWhy == "" {
			n.Tombstone, n.Forgotten = 0, 0 // written together or not at all
		}
		if n.Would.Verdict == "" {
			n.Would = WouldNote{}
		}
		if diff := cmp.Diff(n, again); !ok || diff != "" {
			t.Errorf("%q\n%q\n%s", s, line, diff)
		}
		if strings.ContainsAny(line, "\n\r\x00") {
			t.Errorf("%q is no line", line)
		}
	})
}
