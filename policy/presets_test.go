package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// load compiles a preset.
func load(t testing.TB, name string) *Policy {
	t.Helper()
	return once(t, name, func() (*Policy, error) { return Open(name, nil) })
}

// TestPresetValues holds the presets to what their sources say.
func TestPresetValues(t *testing.T) {
	const (
		annotate = "forward none none annotate leave"
		replace  = "forward none none replace refresh"
		forward  = "forward none none keep leave"
		drop     = "drop none none keep leave"
		answer   = "drop ack-tracked none keep leave"
		rearm    = "drop rst none rearm leave"
		liberal  = "forward none none create-liberal refresh"
		track    = "forward none none track refresh"
		both     = "forward rst-tracked rst-tracked delete leave"
	)
	for _, c := range []struct {
		name     string
		timeouts conntrack.Timeouts // seconds
		on       map[string]string
	}{
		{"linux-default", conntrack.Timeouts{0, 120, 60, 432000, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": annotate, "syn-established-reverse": drop, "syn-half-closed": annotate, "syn-closing": annotate,
			"syn-time-wait": replace, "syn-after-rst": replace, "ack-no-state": liberal, "data-no-state": liberal,
			"synack-no-state": drop, "fin-no-state": drop, "rst-no-state": drop, "ack-for-syn": forward, "rst-after-challenge": track,
			"seq-below": forward, "ack-below": forward, "seq-above-near": forward, "seq-above": drop, "ack-above": drop,
			"rst-out-of-window": drop, "rst-inexact": "forward none none track shorten 10s", "table-full": drop}},
		{"openbsd-pf", conntrack.Timeouts{0, 120, 30, 86400, 900, 900, 45, 90, 90, 30}, map[string]string{
			"syn-established": answer, "syn-established-reverse": answer, "syn-half-closed": answer,
			"syn-closing": replace, "syn-time-wait": replace, "syn-after-rst": replace, "ack-for-syn": rearm, "synack-bad-ack": rearm,
			"syn-new-isn": "forward none none track leave", "syn-new-isn-far": drop, "seq-above": drop, "seq-below": drop,
			"ack-above": drop, "rst-inexact": drop, "rst-out-of-window": drop, "ack-no-state": drop, "late-after-expiry": drop}},
		{"freebsd-pf-classic", conntrack.Timeouts{0, 120, 30, 86400, 900, 900, 45, 90, 90, 30}, map[string]string{
			"syn-established": drop, "syn-established-reverse": drop, "syn-half-closed": drop, "syn-closing": replace, "ack-for-syn": rearm}},
		{"lpd-case-2015", conntrack.Timeouts{0, 30, 30, 3600, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": answer, "ack-for-syn": forward, "rst-after-challenge": track, "syn-after-rst": replace,
			"ack-no-state": liberal, "idle-expired": "forward none none delete leave"}},
		{"transparent-resync", conntrack.Timeouts{0, 120, 60, 432000, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": annotate, "ack-for-syn": forward, "rst-after-challenge": track, "synack-bad-ack": forward,
			"idle-expired": "forward none none delete leave"}},
		{"observe", conntrack.Timeouts{0, 120, 60, 432000, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": annotate, "ack-for-syn": forward, "ack-no-state": liberal, "malformed": forward, "table-full": forward}},
		{"linux-strict", conntrack.Timeouts{0, 120, 60, 432000, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": annotate, "seq-below": drop, "ack-below": drop, "rst-after-challenge": drop, "ack-no-state": drop, "data-no-state": drop,
			"synack-no-state": drop, "fin-no-state": drop, "rst-no-state": drop, "late-after-expiry": drop, "ack-for-syn": forward, "syn-time-wait": replace}},
		{"pf-aggressive", conntrack.Timeouts{0, 30, 5, 18000, 60, 60, 30, 30, 30, 5}, map[string]string{"syn-established": answer, "ack-for-syn": rearm}},
		{"pf-conservative", conntrack.Timeouts{0, 3600, 900, 432000, 3600, 3600, 600, 180, 180, 900}, map[string]string{"syn-established": answer, "ack-for-syn": rearm}},
		{"pf-highlatency", conntrack.Timeouts{0, 180, 35, 86400, 905, 905, 50, 95, 95, 35}, map[string]string{"syn-established": answer, "ack-for-syn": rearm}},
		{"ipfw-keepalive", conntrack.Timeouts{0, 20, 20, 300, 300, 300, 1, 1, 1, 20}, map[string]string{
			"syn-established": forward, "syn-established-reverse": forward, "syn-half-closed": forward, "syn-closing": forward, "syn-time-wait": forward,
			"syn-after-rst": forward, "ack-for-syn": "forward none none keep refresh", "rst": track, "ack-no-state": drop, "late-after-expiry": drop, "table-full": drop}},
		{"rfc5382-nat", conntrack.Timeouts{0, 240, 240, 7440, 240, 240, 240, 240, 240, 240}, map[string]string{
			"new": "forward none none create refresh", "simultaneous-open": track, "idle-expired": "forward none none delete leave"}},
		{"cpe-short", conntrack.Timeouts{0, 120, 60, 240, 120, 60, 30, 120, 10, 120}, map[string]string{
			"syn-established": forward, "late-after-expiry": drop, "idle-expired": "forward none none delete leave"}},
		{"cloud-natgw-350", conntrack.Timeouts{0, 120, 60, 350, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": "drop rst none keep leave", "late-fin": "drop rst none keep leave", "late-rst": drop, "rst-no-state": drop,
			"idle-expired": "forward none none delete leave"}},
		{"azure-lb-4min", conntrack.Timeouts{0, 120, 60, 240, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": drop, "idle-expired": "forward none none delete leave"}},
		{"azure-lb-4min:enableTcpReset=true", conntrack.Timeouts{0, 120, 60, 240, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": drop, "idle-expired": both}},
		{"aws-netfw", conntrack.Timeouts{0, 120, 60, 350, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": drop, "data-no-state": drop, "new": "forward none none create refresh"}},
		{"aws-netfw:StreamExceptionPolicy=CONTINUE", conntrack.Timeouts{0, 120, 60, 350, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": liberal, "data-no-state": liberal, "fin-no-state": forward, "late-rst": forward}},
		{"aws-netfw:StreamExceptionPolicy=REJECT", conntrack.Timeouts{0, 120, 60, 350, 120, 60, 30, 120, 10, 120}, map[string]string{
			"late-after-expiry": "drop rst none keep leave", "data-no-state": "drop rst none keep leave", "rst-no-state": drop, "late-rst": drop}},
		{"f5-fastl4", conntrack.Timeouts{0, 5, 5, 300, 5, 5, 5, 0, 0, 5}, map[string]string{
			"idle-expired": both, "ack-no-state": drop, "late-after-expiry": drop, "fin": track}},
		{"f5-fastl4:resetOnTimeout=false,looseInitialization=true,looseClose=true", conntrack.Timeouts{0, 5, 5, 300, 5, 5, 5, 0, 0, 5}, map[string]string{
			"idle-expired": "forward none none delete leave", "ack-no-state": liberal, "late-after-expiry": liberal, "fin": "forward none none delete refresh"}},
	} {
		p := load(t, c.name)
		if p.Name() != c.name || p.Preset() != c.name || p.Description() == "" {
			t.Errorf("%s: name %q, preset %q, description %q", c.name, p.Name(), p.Preset(), p.Description())
		}
		for s := conntrack.SynSent; s < conntrack.Denied; s++ {
			if want := c.timeouts[s] * time.Second; p.Timeouts(-1)[s] != want {
				t.Errorf("%s: timeout %s %v, want %v", c.name, s, p.Timeouts(-1)[s], want)
			}
		}
		for word, want := range c.on {
			f, ok := conntrack.FindingByWord(word)
			if !ok {
				t.Fatalf("no finding %q", word)
			}
			for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
				a := p.Action(-1, dir, f)
				got := a.Packet.String() + " " + a.Reply.String() + " " + a.Peer.String() + " " + a.State.String() + " " + a.Timer.Op.String()
				if a.Timer.D != 0 {
					got += " " + FormatDuration(a.Timer.D)
				}
				if got != want {
					t.Errorf("%s: %s is %q, want %q", c.name, word, got, want)
				}
			}
		}
	}
}

// TestObserveIsInvisible: the preset that only watches neither drops nor injects, whatever it finds.
func TestObserveIsInvisible(t *testing.T) {
	p := load(t, "observe")
	for f := range conntrack.NumFindings {
		a := p.Action(-1, conntrack.Original, f)
		if a.Packet != Forward || a.Reply != ReplyNone || a.Peer != PeerNone {
			t.Errorf("%s: %+v", f, *a)
		}
	}
}

// TestPresetWindows: numbers that the sources give.
func TestPresetWindows(t *testing.T) {
	for _, name := range strings.Fields("ipfw-keepalive rfc5382-nat cpe-short cloud-natgw-350 azure-lb-4min aws-netfw f5-fastl4") {
		if w := load(t, name).Window(-1); w.Check != conntrack.SeqOff {
			t.Errorf("%s looks at numbers: %+v", name, *w)
		}
	}
	w := load(t, "openbsd-pf").Window(-1)
	if w.RST != conntrack.RSTPF || w.SynBand != 67035 || w.Check != conntrack.SeqStrict {
		t.Errorf("openbsd-pf window %+v", *w)
	}
	if w := load(t, "linux-default").Window(-1); w.Check != conntrack.SeqKernel || w.TombLate != DefaultLate {
		t.Errorf("linux-default window %+v", *w)
	}
}

// TestPresetUpkeep: what keeps or ends connections beside the timeouts.
func TestPresetUpkeep(t *testing.T) {
	const m = 5 * time.Minute
	for name, want := range map[string]conntrack.Caps{
		"linux-default": {Retransmitted: m, Unacknowledged: m, ZeroWindow: m, OneWay: m}, "lpd-case-2015": {}, "observe": {},
		"transparent-resync": {OneWay: m}, "openbsd-pf": {}, "linux-strict": {Retransmitted: m, Unacknowledged: m, ZeroWindow: m, OneWay: m},
		"cpe-short": {}, "f5-fastl4": {}, "aws-netfw": {}, "azure-lb-4min": {}, "cloud-natgw-350": {}, "rfc5382-nat": {},
	} {
		u := load(t, name).Upkeep(-1)
		want.Retransmits = 3 // window.retransmits
		if u.Caps != want {
			t.Errorf("%s: caps %+v", name, u.Caps)
		}
		if p := u.Probes; (p.Tries > 0) != (name == "transparent-resync") || p.Tries > 0 && (p.Span() != 75*time.Second || p.Alive != AliveAll || p.When != ProbeAfter) {
			t.Errorf("%s: probes %+v", name, p)
		}
	}
	if p := load(t, "openbsd-pf").Pressure(); p.Start != 60 || p.End != 120 {
		t.Errorf("openbsd-pf: %+v", *p)
	}
	ipfw := load(t, "ipfw-keepalive") // in the last 20 s, every 5 s; dyn_max
	if u, want := ipfw.Upkeep(-1), (Probes{Tries: 4, Every: 5 * time.Second}); u.Refresh != RefreshProgress || u.Probes != want || u.Probes.Span() != 20*time.Second || ipfw.Limits().Flows != 16384 || ipfw.Limits().Embryonic != 16384 {
		t.Errorf("ipfw-keepalive: %+v, %+v", *u, ipfw.Limits())
	}
	if u := load(t, "f5-fastl4:keepAliveInterval=60").Upkeep(-1); u.Probes.Tries != 4 || u.Probes.Every != time.Minute {
		t.Errorf("f5-fastl4: %+v", *u)
	}
	nat := load(t, "rfc5382-nat") // REQ-4
	if a := nat.Action(nat.RuleByName("outside"), conntrack.Original, conntrack.New); a.Packet != Hold || a.HoldFor != 6*time.Second || a.HoldThen != Drop || a.Reply != ReplyICMPPort {
		t.Errorf("rfc5382-nat: %+v", *a)
	}
	p := load(t, "transparent-resync")
	for _, f := range []conntrack.Finding{conntrack.IdleExpired, conntrack.DeadConnection} {
		if a := p.Action(-1, conntrack.Original, f); (a.Reply == ReplyRSTTracked && a.Peer == PeerRSTTracked) != (f == conntrack.DeadConnection) {
			t.Errorf("transparent-resync: %s on %s", a.Text(), f)
		}
	}
}

// TestFarPolicy is the customer's own firewall of the print-server case, as the lab writes it.
func TestFarPolicy(t *testing.T) {
	p, problems := Load("far.yaml", []byte("preset: observe\non: {syn-established: {packet: forward, state: replace}, ack-for-syn: {packet: drop}}\n"), nil)
	if p == nil {
		t.Fatal(problems)
	}
	if a := p.Action(-1, conntrack.Original, conntrack.SynEstablished); a.Packet != Forward || a.State != conntrack.Replace || a.Timer.Op != conntrack.TimerRefresh {
		t.Errorf("syn-established %+v", *a)
	}
	if a := p.Action(-1, conntrack.Reply, conntrack.AckForSyn); a.Packet != Drop || a.State != conntrack.Keep || a.Reply != ReplyNone {
		t.Errorf("ack-for-syn %+v", *a)
	}
	if a := p.Action(-1, conntrack.Original, conntrack.AckNoState); a.State != conntrack.CreateLiberal {
		t.Errorf("ack-no-state %+v", *a)
	}
	if p.Preset() != "observe" || p.Name() != "far.yaml" {
		t.Errorf("name %q, preset %q", p.Name(), p.Preset())
	}
}

// TestVendorWords: a preset that imitates a product says what the product calls its timers and options.
func TestVendorWords(t *testing.T) {
	ours := []string{"observe", "transparent-resync", "lpd-case-2015"} // nobody's product
	for _, name := range Presets() {
		words := load(t, name).VendorWords()
		if !slices.Contains(ours, name) && !slices.ContainsFunc(words, func(w VendorWord) bool { return slices.Contains(w.Keys, "timeouts.established") }) {
			t.Errorf("%s does not say what its vendor calls the idle timeout", name)
		}
	}
	find := func(p *Policy, word string) string {
		for _, w := range p.VendorWords() {
			if w.Word == word {
				return w.Value + " " + strings.Join(w.Keys, " ")
			}
		}
		return ""
	}
	p, err := Open("openbsd-pf:optimization=aggressive", nil)
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{"tcp.closing": "1m timeouts.fin_wait timeouts.close_wait", "optimization": "aggressive options.optimization",
		"adaptive.end": "{start: 60, end: 120} adaptive", "nothing": ""} {
		if got := find(p, word); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// TestScenarios: the scenarios of a preset come with the program.
func TestScenarios(t *testing.T) {
	for _, name := range Presets() {
		names := map[string]bool{}
		for _, f := range Scenarios(name) {
			names[f.Name] = len(f.Text) > 0
		}
		if len(names) < 13 || !names[name+"/reuse.scn"] {
			t.Errorf("%s: %v", name, names)
		}
	}
	if s := Scenarios("regressions"); s != nil {
		t.Errorf("%d scenarios of no preset", len(s))
	}
}
