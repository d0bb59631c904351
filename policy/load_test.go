package policy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// full is a policy that uses every key.
const full = `
description: "every key: \"quoted\" and größer"
preset: openbsd-pf
timeouts: {syn_sent: 1s, syn_recv: 2s, established: 1.5s, fin_wait: 4s, close_wait: 5s, last_ack: 6s, time_wait: 0s, close: 8s, syn_sent2: 9s, denied: 10s}
window: {check: liberal, rst: rfc5961, near: 1000, syn_band: 2000, ack: pf, old: 3000, retransmits: 9}
limits: {flows: 1000, embryonic: 10, tombstones: 0, per_source: 77}
on_full: evict-closing
adopt: 0s
late: 1h
log: {detail: packet, rate: {all: 5, new: unlimited, rst*: 0}}
reload: drop
on:
  new: {packet: hold, hold: 1s, then: drop}
  urgent: {packet: rewrite, strip: [push, urgent]}
  syn-retransmit: {packet: rewrite, strip: [data, unknown], mss: 1360}
  syn-established: {packet: drop, reply: ack-tracked, window: tracked, timer: 5s}
  syn-time-wait: {packet: drop, state: deny, timer: 3s}
  idle-expired: {reply: rst-tracked, peer: rst-tracked}
rules:
  - name: "[a]"
    match: {src: [10.0.0.0/8, "2001:db8::1"], dst: "::/0", src_port: 721-731, dst_port: [515, 0], direction: reply}
    timeouts: {established: 1m}
    window: {check: off}
    on: {rst: drop, new: forward}
  - name: b
    match: {dst_port: 80}
    on: {mid-stream: {packet: drop, reply: icmp-port}, rst-no-state: drop}
  - name: last
`

// TestYAMLRoundTrip: the policy in force, written out, means the same.
func TestYAMLRoundTrip(t *testing.T) {
	texts := map[string]string{"full": full, "one rate": "preset: observe\nlog: {rate: 0}\n"}
	for _, name := range Presets() {
		texts[name] = "preset: " + name
	}
	for name, text := range texts {
		p, problems := Load(name+".yaml", []byte(text), nil)
		if p == nil {
			t.Fatal(problems)
		}
		again, problems := Load("again.yaml", p.YAML(), nil)
		if again == nil {
			t.Fatalf("%s: %v\n%s", name, problems, p.YAML())
		}
		if again.Rev() != p.Rev() || len(Diff(p, again)) > 0 {
			t.Errorf("%s differs: %v\n%s", name, Diff(p, again), p.YAML())
		}
		if again.Description() != p.Description() {
			t.Errorf("%s: description %q", name, again.Description())
		}
	}
}

// TestFull: what every key does is in force.
func TestFull(t *testing.T) {
	p, problems := Load("full.yaml", []byte(full), nil)
	if p == nil {
		t.Fatal(problems)
	}
	if want := (conntrack.Timeouts{0, time.Second, 2 * time.Second, 1500 * time.Millisecond, 4 * time.Second, 5 * time.Second, 6 * time.Second, 0, 8 * time.Second, 9 * time.Second, 10 * time.Second}); *p.Timeouts(-1) != want {
		t.Errorf("timeouts %v", *p.Timeouts(-1))
	}
	if want := (conntrack.Rules{Check: conntrack.SeqLiberal, RST: conntrack.RSTRFC5961, Near: 1000, SynBand: 2000, ACK: conntrack.ACKPF, Old: 3000, Retransmits: 9, TombLate: time.Hour}); *p.Window(-1) != want {
		t.Errorf("window %+v", *p.Window(-1))
	}
	if want := (Limits{1000, 10, 0, 77}); p.Limits() != want || p.OnFull() != EvictClosing || p.Adopt() != 0 || p.Reload() != ReloadDrop || p.Preset() != "openbsd-pf" {
		t.Errorf("%+v %s %v %s %s", p.Limits(), p.OnFull(), p.Adopt(), p.Reload(), p.Preset())
	}
	l := p.Log()
	if l.Detail != LogPacket || l.Rate[conntrack.New] != Unlimited || l.Rate[conntrack.Rst] != 0 || l.Rate[conntrack.RstNoState] != 0 || l.Rate[conntrack.Fin] != 5 || l.Rate[conntrack.IdleExpired] != DefaultRate {
		t.Errorf("log %+v", *l)
	}
	if d := p.Timeouts(0)[conntrack.Established]; d != time.Minute || p.Window(0).Check != conntrack.SeqOff {
		t.Errorf("rule: %v %+v", d, *p.Window(0))
	}
}

// TestRevision: same meaning, same revision; any other meaning, another one.
func TestRevision(t *testing.T) {
	rev := func(text string, set ...Override) string {
		p, problems := Load("x.yaml", []byte(text), nil, set...)
		if p == nil {
			t.Fatal(problems)
		}
		return p.Rev()
	}
	base := rev(full)
	if !strings.HasPrefix(base, "sha256:") || len(base) != 7+64 {
		t.Error(base)
	}
	for _, same := range []string{full + "# a comment\n", strings.Replace(full, "größer", "kleiner", 1), strings.Replace(full, "1.5s", "1500ms", 1),
		strings.Replace(full, "rst: drop,", "rst: {packet: drop},", 1), strings.Replace(full, "mid-stream:", "\"mid-stream\":", 1)} {
		if rev(same) != base {
			t.Errorf("another revision for\n%s", same)
		}
	}
	seen := map[string]string{base: "the file"}
	for _, s := range []string{"timeouts.syn_sent=2s", "window.check=strict", "window.rst=pf", "window.near=1", "window.syn_band=1", "window.ack=linux", "window.old=1", "window.retransmits=1", "limits.flows=999", "limits.embryonic=11",
		"limits.tombstones=1", "on_full=refuse", "adopt=1s", "late=2h", "log.detail=decision", "log.rate.new=7", "reload=keep", "on.new=forward", "on.fin=drop",
		"rules.b.timeouts.close=99s", "rules.b.window.near=9", "rules.b.on.fin={packet: drop, reply: rst}", "on.syn-established={packet: drop, reply: ack-tracked}",
		"on.syn-established={packet: drop, reply: ack-tracked, timer: 5s}", "on.syn-established={packet: drop, reply: ack-tracked, window: tracked, timer: 6s}",
		"on.syn-established={packet: drop, reply: ack-tracked, window: tracked, timer: 5s, peer: rst-tracked}", "on.new={packet: hold, hold: 2s, then: drop}"} {
		o, err := ParseOverride(s)
		if err != nil {
			t.Fatal(err)
		}
		r := rev(full, o)
		if other, ok := seen[r]; ok {
			t.Errorf("%s has the revision of %s", s, other)
		}
		seen[r] = s
	}
}

// TestOverrides: settings have the last word, in their order, and are named in what is wrong with them.
func TestOverrides(t *testing.T) {
	data, _ := Preset("openbsd-pf")
	rules := append(bytes.Clone(data), "\nrules: [{name: lpd, match: {dst_port: 515}, timeouts: {established: 1h}}]\n"...)
	p, problems := Load("openbsd-pf", rules, nil, Override{"timeouts.established", "9s"}, Override{"timeouts.established", "2s"},
		Override{"on.syn-established", "{packet: forward, state: replace}"}, Override{"on.mid-stream", "{packet: drop, reply: rst-tracked}"})
	if p != nil || !strings.Contains(problems.Error(), "--set on.mid-stream={packet: drop, reply: rst-tracked}: reply: rst-tracked on") {
		t.Fatalf("%v", problems)
	}
	p, problems = Load("openbsd-pf", rules, nil, Override{"timeouts.established", "9s"}, Override{"timeouts", "{established: 2s, close: 1s}"},
		Override{"on.syn-established", "{packet: forward, state: replace}"}, Override{"rules.lpd.timeouts.established", "3s"}, Override{"rules.lpd.on.fin", "drop"})
	if p == nil {
		t.Fatal(problems)
	}
	if p.Timeouts(-1)[conntrack.Established] != 2*time.Second || p.Timeouts(-1)[conntrack.Close] != time.Second || p.Timeouts(0)[conntrack.Established] != 3*time.Second {
		t.Errorf("timeouts %v %v", p.Timeouts(-1), p.Timeouts(0))
	}
	if a := p.Action(-1, 0, conntrack.SynEstablished); a.Packet != Forward || a.State != conntrack.Replace {
		t.Errorf("%+v", *a)
	}
	if p.Action(0, 0, conntrack.Fin).Packet != Drop || p.Action(-1, 0, conntrack.Fin).Packet != Forward {
		t.Error("a rule's setting")
	}
	if p.Name() != "openbsd-pf" || p.Preset() != "openbsd-pf" {
		t.Errorf("%s %s", p.Name(), p.Preset())
	}
	for set, want := range map[string]string{
		"timeouts.etsablished=2s":              `--set timeouts.etsablished=2s: unknown key "etsablished" in timeouts, expected`,
		"timeouts.established=2":               `--set timeouts.established=2: "2", expected a duration such as 30s, 2h4m or 5d (did you mean "2s"?)`,
		"on.syn-established.packet=drop":       `--set on.syn-established.packet=drop: a part of an action, expected the whole action, as in on.syn-established={`,
		"rules.nope.timeouts.close=1s":         `--set rules.nope.timeouts.close=1s: no rule "nope", expected the name of a rule in openbsd-pf`,
		"rules.lpd.match.src=10.0.0.1":         `--set rules.lpd.match.src=10.0.0.1: unknown key "match" in rule lpd`,
		"rules=[]":                             `--set rules=[]: a list, expected rules.NAME.KEY`,
		"preset=observe":                       `--set preset=observe: preset in a setting`,
		"a..b=1":                               `--set a..b=1: the path "a..b"`,
		"limits.flows=[":                       `--set limits.flows=[: no YAML: `,
		"on.new={packet: drop, state: create}": `--set on.new={packet: drop, state: create}: state: create on new, which is dropped`,
	} {
		o, err := ParseOverride(set)
		if err != nil {
			t.Fatal(err)
		}
		p, problems := Load("openbsd-pf", rules, nil, o)
		if p != nil || !strings.HasPrefix(problems.Error(), want) {
			t.Errorf("%s: got\n%v\nwant\n%s", set, problems, want)
		}
	}
	for _, bad := range []string{"", "a", "=", "a=", "=b", " = "} {
		if o, err := ParseOverride(bad); err == nil {
			t.Errorf("%q is %v", bad, o)
		}
	}
}

// TestEmbryonicLimit: half of the flows where nobody says more, and never above them.
func TestEmbryonicLimit(t *testing.T) {
	files := map[string]string{"base.yaml": "limits: {flows: 1000, embryonic: 900}\n"}
	for text, want := range map[string]int{"limits: {flows: 1}": 1, "limits: {flows: 1000}": 500, "limits: {flows: 7, embryonic: 7}": 7,
		"preset: base.yaml": 900, "preset: base.yaml\nlimits: {flows: 20}": 20, "preset: base.yaml\nlimits: {embryonic: 3}": 3} {
		p, problems := Load("x.yaml", []byte(text), func(name string) ([]byte, error) { return []byte(files[name]), nil })
		if p == nil {
			t.Fatal(problems)
		}
		if got := p.Limits().Embryonic; got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// TestDiff: what differs, and nothing else; a rule's inherited values are not repeated.
func TestDiff(t *testing.T) {
	parse := func(text string) *Policy {
		p, problems := Load("x.yaml", []byte(text), nil)
		if p == nil {
			t.Fatal(problems)
		}
		return p
	}
	a := parse("preset: observe\ntimeouts: {established: 1h}\nrules:\n  - {name: x, match: {dst_port: 515}, timeouts: {close: 5s}}\n  - {name: gone, match: {dst_port: 1}}\n  - {name: y, match: {dst_port: 2}}\n")
	b := parse("preset: observe\ntimeouts: {established: 2h}\non: {new: drop}\nadopt: 1m\nrules:\n  - {name: y, match: {dst_port: 3}}\n  - {name: x, match: {dst_port: 515}, timeouts: {close: 6s}}\n  - {name: added, match: {src: 10.0.0.0/8}}\n")
	var got strings.Builder
	for _, d := range Diff(a, b) {
		fmt.Fprintf(&got, "%s: %s -> %s\n", d.Key, d.A, d.B)
	}
	want := `timeouts.established: 1h -> 2h
on.new: {packet: forward, state: create, timer: refresh} -> {packet: drop, state: keep, timer: leave}
adopt: 10m -> 1m
rules.x.timeouts.close: 5s -> 6s
rules.gone: {dst_port: 1} -> 
rules.y.match: {dst_port: 2} -> {dst_port: 3}
rules.added:  -> {src: "10.0.0.0/8"}
rules: order [rules.x rules.y] -> order [rules.y rules.x]
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	if d := Diff(a, a); len(d) > 0 {
		t.Errorf("a differs from itself: %v", d)
	}
}

// TestNotes: comments reach policy show, with the file that they are from.
func TestNotes(t *testing.T) {
	p, problems := Load("x.yaml", []byte(`# about
# this file
preset: openbsd-pf
timeouts:
  # a minute
  # is enough
  established: 1m
  close: 5s # "quoted # not here" but this is
on:
  rst: {packet: forward} # why
  new: "forward"
`), nil)
	if p == nil {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		got  Note
		want Note
	}{
		{p.TimeoutNote(conntrack.Established), Note{"a minute is enough", "x.yaml", 7, ""}},
		{p.TimeoutNote(conntrack.Close), Note{`"quoted # not here" but this is`, "x.yaml", 8, ""}},
		{p.TimeoutNote(conntrack.SynRecv), Note{"`tcp.opening`", "openbsd-pf", lineOf(t, "openbsd-pf", "syn_recv: 30s"), ""}},
		{p.FindingNote(conntrack.Rst), Note{"why", "x.yaml", 10, ""}},
		{p.FindingNote(conntrack.New), Note{"", "x.yaml", 11, ""}},
		{p.FindingNote(conntrack.InWindow), Note{}},
	} {
		if c.got != c.want {
			t.Errorf("%+v, want %+v", c.got, c.want)
		}
	}
	if h := p.Head(); len(h) != 2 || h[0] != "about" || h[1] != "this file" {
		t.Errorf("head %q", h)
	}
}

// TestYAMLFeatures: anchors, aliases, merge keys, quoting and line ends.
func TestYAMLFeatures(t *testing.T) {
	p, problems := Load("x.yaml", []byte("\ufeffpreset: 'observe'\r\ntimeouts: &t\r\n  close: 5s\r\n  established: \"1h\"\r\nrules:\r\n  - name: a\r\n    timeouts: {<<: *t, close: 6s}\r\n"), nil)
	if p == nil {
		t.Fatal(problems)
	}
	if p.Timeouts(0)[conntrack.Close] != 6*time.Second || p.Timeouts(0)[conntrack.Established] != time.Hour || p.Timeouts(-1)[conntrack.Close] != 5*time.Second {
		t.Errorf("%v %v", p.Timeouts(-1), p.Timeouts(0))
	}
}

// TestOpenReadError: an error of reading stays what it is.
func TestOpenReadError(t *testing.T) {
	_, err := Open("dir/x.yaml", func(name string) ([]byte, error) {
		return nil, &os.PathError{Op: "read", Path: name, Err: os.ErrPermission}
	})
	if !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	var ps Problems
	_, err = Open("x.yaml", func(string) ([]byte, error) { return []byte("a: b"), nil })
	if !errors.As(err, &ps) || len(ps) != 1 {
		t.Error(err)
	}
	if (Problems{}).Err() != nil || ps.Err() == nil {
		t.Error("Err")
	}
}

// TestLookupsAllocateNothing: they are done for every segment.
func TestLookupsAllocateNothing(t *testing.T) {
	p, problems := Load("full.yaml", []byte(full), nil)
	if p == nil {
		t.Fatal(problems)
	}
	tu := conntrack.Tuple{SrcPort: 5, DstPort: 5}
	if n := testing.AllocsPerRun(200, func() {
		r := p.Match(&tu, false)
		p.Action(r, conntrack.Reply, conntrack.InWindow)
		p.Timeouts(r)
		p.Window(r)
		p.RuleName(r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	p := loadText(b, full)
	tu := conntrack.Tuple{SrcPort: 5, DstPort: 5}
	b.ReportAllocs()
	for b.Loop() {
		p.Match(&tu, true)
	}
}

func BenchmarkLoadPreset(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		load(b, "lpd-case-2015")
	}
}

func loadText(t testing.TB, text string) *Policy {
	p, problems := Load("x.yaml", []byte(text), nil)
	if p == nil {
		t.Fatal(problems)
	}
	return p
}
