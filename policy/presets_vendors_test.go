package policy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// vendorPresets are the presets that imitate commercial firewalls.
var vendorPresets = []string{"cisco-asa", "checkpoint-scr", "checkpoint-legacy", "paloalto", "juniper-srx", "fortigate", "netdefendos"}

// Actions as values gives them.
const (
	vForward = "forward none none keep leave"
	vDrop    = "drop none none keep leave"
	vRST     = "drop rst none keep leave"
	vTrack   = "forward none none track refresh"
	vReplace = "forward none none replace refresh"
	vLiberal = "forward none none create-liberal refresh"
	vDelete  = "forward none none delete leave"
	vEnd     = "forward none none delete refresh" // there is no timer to be set any more
	vProbe   = "drop none probe-from-syn keep leave"
	vBoth    = "forward rst-tracked rst-tracked delete leave"
	vSilent  = "forward none none delete leave"
	vCleared = "rewrite none none track refresh -urgent"
	vPlain   = "rewrite none none create refresh -fastopen -mptcp -md5 -unknown -mss 1380" // a SYN without what ASA does not know
	vNewer   = vReplace + " only_if isn-newer else drop"
	vInside  = vReplace + " only_if isn-in-window else drop"
)

// values returns an action as words.
func values(a *Action) string {
	w := []string{a.Packet.String(), a.Reply.String(), a.Peer.String(), a.State.String(), a.Timer.Op.String()}
	if a.Timer.D != 0 {
		w = append(w, FormatDuration(a.Timer.D))
	}
	for _, part := range a.Strip.Words() {
		if w = append(w, "-"+part); part == "mss" {
			w = append(w, strconv.Itoa(int(a.MSS)))
		}
	}
	if a.conditional() {
		w = append(w, "only_if", a.OnlyIf.String(), "else", a.Else.String())
	}
	return strings.Join(w, " ")
}

// holdTo compares actions of a policy without a rule with what they should be.
func holdTo(t *testing.T, p *Policy, on map[string]string) {
	t.Helper()
	for word, want := range on {
		f, ok := conntrack.FindingByWord(word)
		if !ok {
			t.Fatalf("no finding %q", word)
		}
		for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
			if got := values(p.Action(-1, dir, f)); got != want {
				t.Errorf("%s: %s is %q, want %q", p.Name(), word, got, want)
			}
		}
	}
}

// TestVendorPresetValues holds the presets to what their sources say of the defaults. The timeouts are in the order of the
// states: SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2.
func TestVendorPresetValues(t *testing.T) {
	for _, c := range []struct {
		name     string
		timeouts conntrack.Timeouts // seconds
		on       map[string]string
	}{
		{"cisco-asa", conntrack.Timeouts{0, 30, 30, 3600, 600, 600, 600, 0, 0, 30}, map[string]string{
			"syn-established": vDrop, "syn-established-reverse": vDrop, "syn-half-closed": vDrop, "syn-closing": vDrop, "syn-new-isn": vDrop,
			"syn-new-isn-lower": vDrop, "simultaneous-open": vDrop, "synack-data": vDrop, "new": vPlain, "syn-data": vPlain,
			"urgent": vCleared, "in-window": vCleared,
			"synack-bad-ack": vDrop, "synack-established": vDrop, "handshake-bad-ack": vDrop, "ack-for-syn": vDrop, "seq-above": vDrop,
			"seq-above-near": vDrop, "ack-above": vDrop, "rst-out-of-window": vDrop, "rst-inexact": vDrop, "fin-out-of-window": vDrop,
			"data-after-fin": vDrop, "paws": vDrop, "mss-exceeded": vCleared, "checksum-bad": vForward, "ack-no-state": vDrop,
			"late-after-expiry": vDrop, "idle-expired": vSilent, "table-full": vDrop}},
		{"checkpoint-scr", conntrack.Timeouts{0, 25, 25, 3600, 20, 20, 20, 20, 20, 25}, map[string]string{
			"syn-established": vProbe, "syn-established-duplicate": vProbe, "syn-half-closed": vProbe, "syn-closing": vProbe, "syn-time-wait": vProbe,
			"syn-after-rst": vProbe, "syn-established-reverse": vDrop, "rst-for-probe": vDelete, "ack-for-probe": vTrack,
			"probe-unanswered": vForward, "ack-no-state": vDrop, "fin-no-state": vDrop, "ack-for-syn": vDrop, "idle-expired": vSilent}},
		{"checkpoint-legacy", conntrack.Timeouts{0, 25, 25, 3600, 20, 20, 20, 20, 20, 25}, map[string]string{
			"syn-established": vDrop, "syn-half-closed": vDrop, "syn-closing": vDrop, "syn-time-wait": vDrop, "syn-after-rst": vDrop, "ack-no-state": vDrop}},
		{"paloalto", conntrack.Timeouts{0, 5, 10, 3600, 120, 120, 15, 15, 15, 10}, map[string]string{
			"syn-established": vDrop, "syn-half-closed": vDrop, "syn-closing": vReplace, "syn-time-wait": vReplace, "syn-after-rst": vReplace,
			"new": "rewrite none none create refresh -mptcp", "syn-ack": "rewrite none none track refresh -mptcp", "urgent": vCleared, "fin": vCleared,
			"ack-for-syn": vForward, "rst-after-challenge": vDrop, "rst": vTrack, "rst-inexact": "forward none none keep shorten 30s",
			"rst-out-of-window": vDrop, "seq-above": vDrop, "seq-below": vDrop, "ack-above": vDrop, "timestamp-null": vDrop, "simultaneous-open": vTrack,
			"ack-no-state": vDrop, "rst-no-state": vDrop, "idle-expired": vSilent}},
		{"juniper-srx", conntrack.Timeouts{0, 20, 20, 1800, 150, 150, 2, 2, 2, 20}, map[string]string{
			"ack-no-state": vDrop, "late-after-expiry": vDrop, "seq-above": vDrop, "seq-below": vDrop, "ack-above": vDrop, "synack-bad-ack": vDrop,
			"rst-out-of-window": vForward, "rst": vForward, "syn-time-wait": vForward, "syn-closing": vForward, "syn-half-closed": vDrop,
			"syn-established": vDrop, "data-before-handshake": "forward none none track leave", "flags-illegal": vForward, "idle-expired": vSilent}},
		{"fortigate", conntrack.Timeouts{0, 10, 10, 3600, 120, 120, 120, 1, 5, 10}, map[string]string{
			"ack-no-state": vDrop, "late-after-expiry": vDrop, "seq-above": vDrop, "seq-below": vDrop, "ack-above": vDrop, "synack-bad-ack": vDrop,
			"rst-out-of-window": vForward, "rst": vTrack, "syn-established": vDrop, "syn-established-reverse": vDrop, "ack-for-syn": vForward,
			"syn-time-wait": vForward, "flags-illegal": vDrop, "idle-expired": vSilent}},
		{"netdefendos", conntrack.Timeouts{0, 60, 60, 262144, 80, 80, 80, 80, 80, 60}, map[string]string{
			"syn-established": vNewer, "syn-established-duplicate": vNewer, "syn-half-closed": vNewer, "syn-closing": vNewer, "syn-time-wait": vNewer,
			"syn-after-rst": vNewer, "seq-above": vDrop, "seq-below": vDrop, "rst-out-of-window": vDrop, "synack-bad-ack": vDrop,
			"synack-established": vDrop, "ack-for-syn": vDrop, "ack-no-state": vDrop, "urgent": vCleared,
			"new": "rewrite none none create refresh -ecn -push -fastopen -mptcp -md5 -unknown -mss 1460"}},
	} {
		p := load(t, c.name)
		for s := conntrack.SynSent; s <= conntrack.SynSent2; s++ {
			if want := c.timeouts[s] * time.Second; p.Timeouts(-1)[s] != want {
				t.Errorf("%s: timeout %s %v, want %v", c.name, s, p.Timeouts(-1)[s], want)
			}
		}
		holdTo(t, p, c.on)
	}
	if d := load(t, "paloalto").Timeouts(-1)[conntrack.Denied]; d != 90*time.Second {
		t.Errorf("paloalto: a denied session is discarded for %v", d)
	}
	for name, rst := range map[string]conntrack.RSTRule{"cisco-asa": conntrack.RSTRFC5961, "paloalto": conntrack.RSTRFC5961,
		"juniper-srx": conntrack.RSTWindow, "fortigate": conntrack.RSTWindow, "netdefendos": conntrack.RSTWindow, "checkpoint-scr": conntrack.RSTWindow} {
		if w := load(t, name).Window(-1); w.Check != conntrack.SeqStrict || w.RST != rst {
			t.Errorf("%s: window %+v", name, *w)
		}
	}
}

// TestVendorOptions: what the values of the vendors' options change, by the vendors' names.
func TestVendorOptions(t *testing.T) {
	for ref, on := range map[string]map[string]string{
		"cisco-asa:timeout-idle=reset":                                                   {"idle-expired": vBoth, "idle-half-closed": vSilent, "idle-embryonic": vSilent},
		"cisco-asa:synack-data=allow":                                                    {"synack-data": "rewrite none none track refresh -fastopen -mptcp -md5 -unknown -mss 1380"},
		"cisco-asa:urgent-flag=allow":                                                    {"urgent": vTrack, "fin": vTrack, "new": vPlain},
		"cisco-asa:tcp-options-range=allow":                                              {"new": "rewrite none none create refresh -mss 1380", "urgent": vCleared},
		"cisco-asa:syn-data=drop":                                                        {"syn-data": vDrop, "syn-fast-open": vDrop, "new": vPlain},
		"cisco-asa:invalid-ack=allow":                                                    {"ack-above": vForward, "handshake-bad-ack": vForward, "seq-above": vDrop},
		"cisco-asa:seq-past-window=allow":                                                {"seq-above": vTrack, "ack-above": vDrop},
		"cisco-asa:exceed-mss=drop":                                                      {"mss-exceeded": vDrop},
		"cisco-asa:checksum-verification=on":                                             {"checksum-bad": vDrop},
		"cisco-asa:service-resetinbound=on":                                              {"ack-no-state": vRST, "late-fin": vRST, "rst-no-state": vDrop, "late-rst": vDrop},
		"cisco-asa:tcp-state-bypass=on":                                                  {"ack-no-state": vLiberal, "fin-no-state": vLiberal, "syn-established": "forward none none keep refresh"},
		"cisco-asa:tcp-state-bypass=on,synack-data=drop":                                 {"synack-data": vTrack, "urgent": vTrack}, // the bypass has the last word
		"checkpoint-scr:fwconn_smart_conn_reuse=0":                                       {"syn-established": vDrop, "syn-time-wait": vDrop},
		"checkpoint-legacy:fwconn_smart_conn_reuse=1":                                    {"syn-established": vProbe},
		"checkpoint-scr:fw_allow_out_of_state_tcp=1":                                     {"ack-no-state": vLiberal, "rst-no-state": vForward},
		"checkpoint-scr:sequence-verifier=block":                                         {"seq-above": vDrop, "ack-below": vDrop, "rst-out-of-window": vDrop},
		"checkpoint-scr:reject-on-expiry=rst-both":                                       {"idle-expired": vBoth, "idle-embryonic": vBoth},
		"paloalto:allow-challenge-ack=yes":                                               {"ack-for-syn": vForward, "rst-after-challenge": vTrack},
		"paloalto:asymmetric-path=bypass":                                                {"seq-above": vTrack, "ack-below": vTrack, "rst-out-of-window": vDrop, "handshake-one-sided": vTrack},
		"paloalto:reject-non-syn=no":                                                     {"data-no-state": vLiberal},
		"paloalto:drop-null-timestamp=no":                                                {"timestamp-null": vTrack},
		"paloalto:unverified-rst=600s":                                                   {"rst-inexact": "forward none none keep shorten 10m"},
		"paloalto:split-handshake=drop":                                                  {"simultaneous-open": vDrop},
		"paloalto:tcp-syn-with-data=drop":                                                {"syn-data": vDrop, "syn-fast-open": "rewrite none none create refresh -mptcp"},
		"paloalto:tcp-synack-with-data=drop":                                             {"synack-data": vDrop},
		"paloalto:urgent-data-flag=do-not-modify":                                        {"urgent": vTrack, "fin": vTrack},
		"paloalto:strip-tcp-options=none":                                                {"new": "forward none none create refresh", "syn-ack": vTrack},
		"paloalto:strip-tcp-options=mptcp-fast-open":                                     {"new": "rewrite none none create refresh -fastopen -mptcp", "syn-fast-open": "rewrite none none create refresh -data -fastopen -mptcp"},
		"paloalto:strip-tcp-options=mptcp-timestamp":                                     {"new": "rewrite none none create refresh -timestamps -mptcp"},
		"netdefendos:TCPUrg=Ignore":                                                      {"urgent": vTrack},
		"netdefendos:TCPUrg=DropLog":                                                     {"urgent": vDrop, "in-window": vCleared},
		"netdefendos:TCPOPT_OTHER=Ignore":                                                {"new": "rewrite none none create refresh -ecn -push -mss 1460"},
		"juniper-srx:tcp-rst=on":                                                         {"ack-no-state": vRST, "late-after-expiry": vRST, "rst-no-state": vDrop},
		"juniper-srx:tcp-rst=on,no-syn-check=on":                                         {"ack-no-state": vLiberal},
		"juniper-srx:strict-syn-check=on":                                                {"data-before-handshake": vDrop},
		"juniper-srx:rst-sequence-check=on":                                              {"rst-inexact": "drop ack-tracked none keep leave", "rst-out-of-window": "drop ack-tracked none keep leave", "rst": vForward},
		"juniper-srx:rst-invalidate-session=on":                                          {"rst": vEnd, "rst-out-of-window": vDelete},
		"juniper-srx:rst-invalidate-session=on,rst-sequence-check=on,field-report-2s=on": {"rst": vEnd, "rst-out-of-window": "drop ack-tracked none keep leave", "syn-after-rst": vForward},
		"juniper-srx:fin-invalidate-session=on":                                          {"fin": vEnd, "fin-retransmit": vEnd},
		"juniper-srx:field-report-2s=on":                                                 {"rst": vTrack, "syn-after-rst": vForward, "synack-established": vForward},
		"fortigate:anti-replay=loose":                                                    {"syn-new-isn": vTrack, "seq-above": vDrop},
		"fortigate:anti-replay=disable":                                                  {"flags-illegal": vForward, "syn-established": vForward},
		"fortigate:check-reset-range=strict":                                             {"rst-out-of-window": vDrop, "rst-inexact": vDrop},
		"fortigate:reset-sessionless-tcp=enable":                                         {"ack-no-state": vRST},
		"fortigate:tcp-session-without-syn=all":                                          {"ack-no-state": vLiberal},
		"fortigate:timeout-send-rst=enable":                                              {"idle-expired": vBoth, "idle-half-closed": vSilent},
		"fortigate:timeout-send-rst=enable-offloaded":                                    {"idle-expired": "forward rst-initial rst-initial delete leave"},
		"netdefendos:TCPSequenceNumbers=Ignore":                                          {"syn-established": vReplace},
		"netdefendos:TCPSequenceNumbers=ReopenValidate":                                  {"syn-established": vReplace, "seq-above": vDrop},
		"netdefendos:TCPSequenceNumbers=ValidateReopen":                                  {"syn-established": vInside, "syn-time-wait": vInside},
		"netdefendos:TCPSequenceNumbers=ValidateSilent":                                  {"syn-established": vNewer},
		"netdefendos:allow-tcp-reopen=no":                                                {"syn-established": vDrop, "syn-after-rst": vDrop},
	} {
		holdTo(t, optioned(t, ref), on)
	}
}

// optioned opens a preset with choices.
func optioned(t testing.TB, ref string) *Policy {
	t.Helper()
	return once(t, "preset "+ref, func() (*Policy, error) {
		p, problems, ok := OpenPreset(ref)
		if !ok || p == nil {
			return nil, fmt.Errorf("%s: %v", ref, problems)
		}
		return p, nil
	})
}

// TestVendorOptionsBeyondActions: options that change something else than what is done about a finding.
func TestVendorOptionsBeyondActions(t *testing.T) {
	if u := optioned(t, "cisco-asa:dcd=on").Upkeep(-1).Probes; u != (Probes{5, 15 * time.Second, ProbeAfter, EndsBoth, AliveAll}) {
		t.Errorf("dcd %+v", u)
	}
	if u := load(t, "cisco-asa").Upkeep(-1).Probes; u.Tries != 0 {
		t.Errorf("no dcd %+v", u)
	}
	for ref, d := range map[string]time.Duration{"cisco-asa:sysopt-connection-timewait=on": 15 * time.Second, "juniper-srx:time-wait-state=session-timeout": 150 * time.Second} {
		if got := optioned(t, ref).Timeouts(-1)[conntrack.TimeWait]; got != d {
			t.Errorf("%s: %v", ref, got)
		}
	}
	for ref, rst := range map[string]conntrack.RSTRule{"juniper-srx:rst-sequence-check=on": conntrack.RSTLastOrNext, "fortigate:check-reset-range=strict": conntrack.RSTUnacked} {
		if got := optioned(t, ref).Window(-1).RST; got != rst {
			t.Errorf("%s: %v", ref, got)
		}
	}
	for _, ref := range []string{"cisco-asa:tcp-state-bypass=on", "juniper-srx:no-sequence-check=on", "fortigate:anti-replay=disable", "netdefendos:TCPSequenceNumbers=Ignore"} {
		if got := optioned(t, ref).Window(-1).Check; got != conntrack.SeqOff {
			t.Errorf("%s: %v", ref, got)
		}
	}
	for ref, r := range map[string]Refresh{"fortigate": RefreshEither, "fortigate:refresh-direction=outgoing": RefreshOriginal, "fortigate:refresh-direction=incoming": RefreshReply, "netdefendos": RefreshProgress} {
		if got := optioned(t, ref).Upkeep(-1).Refresh; got != r {
			t.Errorf("%s: %v", ref, got)
		}
	}
	if r := optioned(t, "checkpoint-scr:connection-persistence=rematch").Reload(); r != ReloadRematch {
		t.Error(r)
	}
	if l := optioned(t, "netdefendos:TCPSequenceNumbers=ValidateSilent").Log(); l.Rate[conntrack.SeqAbove] != 0 || l.Rate[conntrack.Rst] != DefaultRate {
		t.Error("ValidateSilent logs")
	}
	on, off := load(t, "cisco-asa"), optioned(t, "cisco-asa:service-resetoutbound=off")
	if on.Rules() != 2 || off.Rules() != 0 {
		t.Errorf("resetoutbound: %d and %d rules", on.Rules(), off.Rules())
	}
	for dir, want := range map[conntrack.Direction]string{conntrack.Original: vRST, conntrack.Reply: vDrop} {
		if got := values(on.Action(0, dir, conntrack.DataNoState)); got != want {
			t.Errorf("resetoutbound, %s: %s", dir, got)
		}
	}
}

// TestApproximationsSaySo: what no source was read for is marked in the comment on it, and the preset's description says that there
// is such a thing.
func TestApproximationsSaySo(t *testing.T) {
	for name, words := range map[string]string{
		"cisco-asa":      "syn-established syn-established-reverse syn-half-closed syn-closing syn-new-isn rst-inexact ack-for-syn flags-illegal table-full",
		"checkpoint-scr": "syn-established-reverse syn-half-closed syn-time-wait syn-after-rst syn-new-isn simultaneous-open ack-for-syn synack-bad-ack flags-illegal table-full",
		"paloalto":       "syn-established syn-established-reverse syn-half-closed syn-after-rst seq-above ack-above flags-illegal table-full",
		"juniper-srx":    "rst syn-established syn-established-reverse syn-half-closed table-full",
		"fortigate":      "syn-established syn-established-reverse syn-half-closed syn-new-isn ack-for-syn table-full",
		"netdefendos":    "simultaneous-open table-full ack-above",
	} {
		p := load(t, name)
		for _, w := range strings.Fields(words) {
			f, ok := conntrack.FindingByWord(w)
			if n := p.FindingNote(f); !ok || !strings.Contains(n.Text, "approximation") {
				t.Errorf("%s: %s has the comment %q", name, w, n.Text)
			}
		}
	}
	for _, name := range vendorPresets {
		p := load(t, name)
		if !strings.Contains(p.Description(), "approximation") {
			t.Errorf("%s calls itself %q", name, p.Description())
		}
		if head := strings.Join(p.Head(), " "); name != "checkpoint-legacy" && !strings.Contains(head, "Not imitated: ") {
			t.Errorf("%s does not say what it does not imitate", name)
		}
	}
}
