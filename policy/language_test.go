package policy

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// TestKeysAreRead: every key of the tables is looked at by the parser. A list of lists is no value of any key.
func TestKeysAreRead(t *testing.T) {
	const nonsense = "[[x]]"
	try := func(where, format string, keys []key) {
		for _, k := range keys {
			text := fmt.Sprintf(format, k.name+": "+nonsense)
			_, problems := Parse("x.yaml", []byte(text))
			if !slices.ContainsFunc(problems, func(p Problem) bool { return !strings.Contains(p.Found, "unknown key") }) {
				t.Errorf("%s.%s is not read: %v", where, k.name, problems)
			}
		}
	}
	try("file", "%s\n", fileKeys())
	try("timeouts", "timeouts: {%s}\n", timeoutKeys())
	try("window", "window: {%s}\n", windowKeys())
	try("limits", "limits: {%s}\n", limitKeys())
	try("log", "log: {%s}\n", logKeys())
	try("rule", "rules: [{%s}]\n", ruleKeys())
	try("match", "rules: [{name: a, match: {%s}}]\n", matchKeys())
	try("option", "options: {a: {%s}}\n", optionKeys())
	try("piece", "options: {a: {meaning: x, default: b, values: {b: {%s}, c: {}}}}\n", pieceKeys())
	try("action", "on: {new: {%s}}\n", actionKeys())
}

// TestDefaults: what the manual calls the default is what holds without the key.
func TestDefaults(t *testing.T) {
	p, problems := Load("x.yaml", []byte("on: {new: forward}\n"), nil)
	if p == nil {
		t.Fatal(problems)
	}
	got := map[string]string{"on_full": p.OnFull().String(), "adopt": FormatDuration(p.Adopt()), "late": FormatDuration(p.Window(-1).TombLate),
		"reload": p.Reload().String(), "check": SeqCheckWord(p.Window(-1).Check), "rst": RSTRuleWord(p.Window(-1).RST),
		"ack": ACKRuleWord(p.Window(-1).ACK), "old": fmt.Sprint(p.Window(-1).Old), "retransmits": fmt.Sprint(p.Window(-1).Retransmits),
		"near": fmt.Sprint(p.Window(-1).Near), "syn_band": fmt.Sprint(p.Window(-1).SynBand), "flows": fmt.Sprint(p.Limits().Flows),
		"tombstones": fmt.Sprint(p.Limits().Tombstones), "per_source": fmt.Sprint(p.Limits().PerSource), "detail": p.Log().Detail.String(), "rate": rateText(p.Log().Rate[conntrack.New])}
	for _, f := range append(p.Upkeep(-1).facts(), p.fileFacts()...) {
		got[f.key[strings.LastIndex(f.key, ".")+1:]] = f.value
	}
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		got[stateKey(s)] = FormatDuration(p.Timeouts(-1)[s])
	}
	for _, k := range slices.Concat(fileKeys(), timeoutKeys(), windowKeys(), limitKeys(), logKeys(), probeKeys(), capKeys(), adaptiveKeys(), injectKeys()) {
		if k.kind == kindText || k.kind == kindSection || k.kind == kindFindings || k.kind == kindRules || k.kind == kindOptions || k.name == "embryonic" {
			continue
		}
		if want, err := ParseDuration(k.dflt); k.kind == kindDuration && (err != nil || FormatDuration(want) != got[k.name]) ||
			k.kind != kindDuration && k.dflt != got[k.name] {
			t.Errorf("%s: default %q, in force %q", k.name, k.dflt, got[k.name])
		}
	}
	if p.Limits().Embryonic != p.Limits().Flows/2 {
		t.Errorf("embryonic %d", p.Limits().Embryonic)
	}
}

// TestNeutral: a policy that says nothing forwards everything, sends nothing, and is free of contradictions.
func TestNeutral(t *testing.T) {
	for f := range conntrack.NumFindings {
		for _, packet := range []PacketAction{Forward, Drop} {
			a := NaturalAction(f, packet)
			if !f.Info().Packet && packet == Drop {
				continue
			}
			if cs := (&actionParts{}).contradictions(f, &a); len(cs) > 0 {
				t.Errorf("%s %s: %v", f, packet, cs)
			}
		}
	}
}

// TestPatterns: the entry that names the fewest findings decides, wherever it stands.
func TestPatterns(t *testing.T) {
	for _, text := range []string{
		"on: {all: drop, syn-*: forward, syn-est*: {packet: drop, reply: rst}, syn-established-reverse: forward, mid-stream: forward, rst-no-state: drop}",
		"on: {rst-no-state: drop, mid-stream: forward, syn-established-reverse: forward, syn-est*: {packet: drop, reply: rst}, syn-*: forward, all: drop}",
	} {
		p, problems := Load("x.yaml", []byte(text), nil)
		if p == nil {
			t.Fatal(problems)
		}
		for word, want := range map[string]PacketAction{"new": Drop, "syn-retransmit": Forward, "syn-established": Drop, "syn-established-reverse": Forward,
			"ack-no-state": Forward, "rst-no-state": Drop, "late-after-expiry": Forward, "idle-expired": Forward, "synack-no-state": Forward, "synack-established": Drop} {
			f, _ := conntrack.FindingByWord(word)
			if a := p.Action(-1, conntrack.Reply, f); a.Packet != want {
				t.Errorf("%s: %s, want %s", word, a.Packet, want)
			}
		}
		if a := p.Action(-1, conntrack.Original, conntrack.SynEstablished); a.Reply != ReplyRST {
			t.Errorf("syn-established %+v", *a)
		}
	}
}

// TestActions: what an entry means, parts that it does not name included.
func TestActions(t *testing.T) {
	for _, c := range []struct {
		finding, action string
		want            Action
	}{
		{"in-window", "forward", Action{State: conntrack.Track, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"in-window", "drop", Action{Packet: Drop}},
		{"new", "{}", Action{State: conntrack.Create, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"syn-established", "{packet: drop, reply: ack-tracked}", Action{Packet: Drop, Reply: ReplyACKTracked}},
		{"syn-established", "{packet: drop, reply: ack-tracked, window: tracked}", Action{Packet: Drop, Reply: ReplyACKTracked, TrackedWindow: true}},
		{"syn-established", "{state: replace}", Action{State: conntrack.Replace, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"syn-established", "{state: replace-if-closed}", Action{State: conntrack.ReplaceIfClosed}},
		{"syn-established", "{state: replace, timer: leave}", Action{State: conntrack.Replace}},
		{"syn-established", "{state: annotate}", Action{State: conntrack.Annotate}},
		{"syn-established", "{peer: rst-tracked, state: replace}", Action{Peer: PeerRSTTracked, State: conntrack.Replace, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"rst-inexact", "{timer: 10s}", Action{Timer: conntrack.Timer{Op: conntrack.TimerShorten, D: 10 * time.Second}}},
		{"rst-inexact", "{timer: refresh}", Action{Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"new", "{packet: hold, hold: 6s, then: drop}", Action{Packet: Hold, HoldFor: 6 * time.Second, HoldThen: Drop}},
		{"new", "{packet: hold, hold: 500ms, then: forward}", Action{Packet: Hold, HoldFor: 500 * time.Millisecond, State: conntrack.Create, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"new", "{packet: rewrite, strip: [data, fastopen], mss: 1360}", Action{Packet: Rewrite, Strip: StripData | StripFastOpen | StripMSS, MSS: 1360, State: conntrack.Create, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"urgent", "{packet: rewrite, strip: urgent, state: keep, timer: leave}", Action{Packet: Rewrite, Strip: StripUrgent}},
		{"new", "{packet: drop, state: deny}", Action{Packet: Drop, State: conntrack.Deny, Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"in-window", "{packet: drop, state: deny, timer: 5s}", Action{Packet: Drop, State: conntrack.Deny, Timer: conntrack.Timer{Op: conntrack.TimerShorten, D: 5 * time.Second}}},
		{"denied", "{timer: refresh}", Action{Timer: conntrack.Timer{Op: conntrack.TimerRefresh}}},
		{"ack-for-syn", "{packet: drop, reply: rst, state: rearm}", Action{Packet: Drop, Reply: ReplyRST, State: conntrack.Rearm}},
		{"ack-no-state", "{packet: drop, reply: icmp-admin}", Action{Packet: Drop, Reply: ReplyICMPAdmin}},
		{"rst-out-of-window", "{packet: drop, reply: ack-tracked}", Action{Packet: Drop, Reply: ReplyACKTracked}},
		{"idle-expired", "{reply: rst-tracked, peer: rst-tracked}", Action{Reply: ReplyRSTTracked, Peer: PeerRSTTracked, State: conntrack.Delete}},
	} {
		// An entry replaces what is inherited: the preset's parts must not shine through.
		p, problems := Load("x.yaml", []byte("preset: openbsd-pf\non: {"+c.finding+": "+c.action+"}\n"), nil)
		if p == nil {
			t.Errorf("%s %s: %v", c.finding, c.action, problems)
			continue
		}
		f, _ := conntrack.FindingByWord(c.finding)
		if got := *p.Action(-1, conntrack.Original, f); got != c.want {
			t.Errorf("%s: %s is %s, want %s", c.finding, c.action, got.Text(), c.want.Text())
		}
	}
}

// TestRules: the first rule that matches governs, a file's before its preset's; tables are those of the rule.
func TestRules(t *testing.T) {
	files := map[string]string{"base.yaml": `
preset: linux-default
timeouts: {established: 1h}
rules:
  - {name: base, match: {dst_port: 515}, timeouts: {established: 3h}}
  - {name: rest, match: {dst: ["198.51.100.0/24", "2001:db8::/32"]}, window: {check: liberal}}
`}
	p, problems := Load("site.yaml", []byte(`
preset: ./base.yaml
timeouts: {syn_sent: 7s}
rules:
  - name: site
    match: {src: [10.2.0.0/16, 10.4.0.1], dst_port: [515, 9100-9109], direction: original}
    on: {syn-established: {packet: drop, reply: rst-tracked}, all: drop}
`), func(name string) ([]byte, error) { return []byte(files[name]), nil })
	if p == nil {
		t.Fatal(problems)
	}
	tuple := func(src, dst string) *conntrack.Tuple {
		tu := conntrack.MakeTuple(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
		return &tu
	}
	for _, c := range []struct {
		src, dst string
		state    bool
		want     string
	}{
		{"10.2.255.255:1", "192.0.2.1:515", true, "site"}, {"10.3.0.0:1", "192.0.2.1:515", true, "base"},
		{"10.4.0.1:1", "192.0.2.1:9109", true, "site"}, {"10.4.0.2:1", "192.0.2.1:9109", true, ""},
		{"10.4.0.1:1", "192.0.2.1:9110", true, ""}, {"192.0.2.1:515", "10.2.0.1:721", true, ""},
		{"192.0.2.1:515", "10.2.0.1:721", false, "site"}, {"[2001:db8::1]:1", "[2001:db8:1::]:80", true, "rest"},
		{"[2001:db8::1]:1", "[2001:db9::]:80", true, ""}, {"10.0.0.1:1", "198.51.100.255:22", true, "rest"},
		{"198.51.100.1:22", "10.0.0.1:5", true, ""}, {"198.51.100.1:22", "10.0.0.1:5", false, "rest"},
	} {
		if got := p.RuleName(p.Match(tuple(c.src, c.dst), c.state)); got != c.want {
			t.Errorf("%s > %s state %t: rule %q, want %q", c.src, c.dst, c.state, got, c.want)
		}
	}
	site, base, rest := p.RuleByName("site"), p.RuleByName("base"), p.RuleByName("rest")
	if p.RuleByName("none") != -1 || p.Rules() != 3 || site != 0 {
		t.Errorf("rules %d, %d", p.Rules(), site)
	}
	if d := p.Timeouts(base)[conntrack.Established]; d != 3*time.Hour {
		t.Errorf("base: %v", d)
	}
	if d := p.Timeouts(site)[conntrack.Established]; d != time.Hour || p.Timeouts(site)[conntrack.SynSent] != 7*time.Second {
		t.Errorf("site: %v", d)
	}
	if p.Window(rest).Check != conntrack.SeqLiberal || p.Window(site).Check != conntrack.SeqKernel {
		t.Error("windows")
	}
	if p.Action(site, conntrack.Original, conntrack.InWindow).Packet != Drop || p.Action(site, conntrack.Reply, conntrack.InWindow).Packet != Forward {
		t.Error("direction: original holds for the other direction too, or not at all")
	}
	if a := p.Action(site, conntrack.Original, conntrack.SynEstablished); a.Reply != ReplyRSTTracked {
		t.Errorf("syn-established %+v", *a)
	}
	changes := strings.Join(p.RuleChanges(base), "; ")
	if changes != "timeouts.established: 3h" {
		t.Errorf("changes of base: %s", changes)
	}
}

// TestPrefixes holds covers to netip's own arithmetic.
func TestPrefixes(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 20000 {
		var raw [16]byte
		r.Read(raw[:])
		four := r.Intn(2) == 0
		a := netip.AddrFrom16(raw)
		if four {
			a = netip.AddrFrom4([4]byte(raw[:4]))
		}
		p := netip.PrefixFrom(a, r.Intn(a.BitLen()+1))
		other := raw
		other[r.Intn(16)] ^= 1 << r.Intn(8)
		b := netip.AddrFrom16(other)
		if four {
			b = netip.AddrFrom4([4]byte(other[:4]))
		}
		m, b16 := mapped(p), b.As16()
		if got, want := covers(&m, &b16), p.Masked().Contains(b); got != want {
			t.Fatalf("%s covers %s: %t", p, b, got)
		}
		if text := prefixText(m); text != p.Masked().String() {
			t.Fatalf("%s is written %s", p.Masked(), text)
		}
	}
	// A prefix of IPv4 addresses holds no IPv6 address, not even ::/0 the other way about: mapped addresses are IPv4.
	zero4 := mapped(netip.MustParsePrefix("0.0.0.0/0"))
	six := netip.MustParseAddr("2001:db8::1").As16()
	if covers(&zero4, &six) {
		t.Error("0.0.0.0/0 covers an IPv6 address")
	}
}

// TestDurations: what is a duration, and what is not.
func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"0s": 0, "30s": 30 * time.Second, "2h4m": 124 * time.Minute, "432000s": 5 * day, "5d": 5 * day,
		"1.5s": 1500 * time.Millisecond, "250ms": 250 * time.Millisecond, "1d2h3m4s5ms": day + 2*time.Hour + 3*time.Minute + 4*time.Second + 5*time.Millisecond,
		"3650d": 3650 * day, "0.5h": 30 * time.Minute} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "s", "-5s", "+5s", "5 s", "1m1h", "1h1h", "3651d", "3650d1s", "1y", "1w", "5S", ".5s", "5.s", "1.2.3s", "1e3s",
		"99999999999999999999s", "9999999999999999d", "5µs", "5us", "5ns", strings.Repeat("1", 70) + "s", "٣s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if got := FormatDuration(7*day + time.Hour + time.Millisecond); got != "7d1h1ms" {
		t.Error(got)
	}
}

// TestNearest: what a misspelt word was meant to be, and that far-off words are not guessed.
func TestNearest(t *testing.T) {
	for w, want := range map[string]string{"syn-establised": "syn-established", "SYN_ESTABLISHED": "syn-established", "ack-for-sin": "ack-for-syn",
		"acknostate": "ack-no-state", "midstream": "mid-stream", "rts": "rst", "nwe": "new", "rst-inexcat": "rst-inexact", "": "", "banana": "",
		"x": "", strings.Repeat("syn", 50): ""} {
		if got := nearest(w, findingKeywords()); got != want {
			t.Errorf("%q: %q, want %q", w, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"drop", "dorp", 1}, {"abc", "abc", 0}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
