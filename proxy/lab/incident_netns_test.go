//go:build netns

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/policy"
)

// farPolicy is the customer's own firewall of the case: it lets the new SYN through and drops what is no answer to it.
const farPolicy = `preset: observe
on: {syn-established: {packet: forward, state: replace}, ack-for-syn: {packet: drop}}
`

// halfopen builds the program whose gateways these tests play against, and returns its path.
func halfopen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "halfopen")
	cmd := exec.Command("go", "build", "-o", path, "halfopen/cmd/halfopen")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return path
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fields lets tshark print fields of the frames that a filter matches, with absolute sequence numbers, one frame a line.
func fields(t *testing.T, file, filter string, names ...string) []string {
	t.Helper()
	args := []string{"-r", file, "-o", "tcp.relative_sequence_numbers:FALSE", "-Y", filter, "-T", "fields", "-E", "separator=,"}
	for _, n := range names {
		args = append(args, "-e", n)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark -Y %q: %v", filter, err)
	}
	return strings.Fields(string(out))
}

const (
	firstSYN = "tcp.flags.syn==1 && tcp.flags.ack==0"
	bareACK  = "tcp.srcport==515 && tcp.flags==0x010 && tcp.len==0"
)

// TestIncident is the case itself, between real ends, read from the captures.
func TestIncident(t *testing.T) {
	binary := halfopen(t)
	far := writeFile(t, "far.yaml", farPolicy)

	t.Run("remembered behind a firewall that drops bare ACKs", func(t *testing.T) {
		t.Parallel()
		r := play(t, Options{Scenario: "silence-on-the-wire", Phase: "remembered", FarPolicy: far, Binary: binary})
		p := r.phase(t, "remembered")
		if p.Client.Connected || p.Client.SYNSent < 3 || p.Server.SYNReceived != 0 || p.Client.BareACKsReceived != 0 {
			t.Errorf("client %+v, server %+v", p.Client, p.Server)
		}
		if p.Gateway.Decisions["syn-established"] != p.Client.SYNSent || p.FarGateway.Decisions["ack-for-syn"] != p.Client.SYNSent {
			t.Errorf("decisions: gateway %v, far gateway %v", p.Gateway.Decisions, p.FarGateway.Decisions)
		}
		// The old connection's last valid numbers, from the last acknowledgement that the client itself sent on it.
		last := fields(t, r.Captures.Inside, "tcp.srcport==721 && tcp.flags.ack==1", "tcp.ack", "tcp.seq")
		answers := fields(t, r.Captures.Between, bareACK+" && frame.time_epoch > "+epoch(p), "tcp.seq", "tcp.ack")
		if len(answers) != p.Client.SYNSent {
			t.Errorf("%d SYNs, %d answers", p.Client.SYNSent, len(answers))
		}
		for _, a := range answers {
			if a != last[len(last)-1] {
				t.Errorf("the gateway answers seq/ack %s, the old connection stands at %s", a, last[len(last)-1])
			}
		}
		if n := tshark(t, r.Captures.Outside, firstSYN); n != 1 {
			t.Errorf("%d SYNs outside, want the first connection's only", n)
		}
	})

	t.Run("remembered", func(t *testing.T) {
		t.Parallel()
		p := play(t, Options{Scenario: "silence-on-the-wire", Phase: "remembered", Binary: binary}).phase(t, "remembered")
		if !p.Client.Connected || p.Client.Seconds > 1.5 || p.Client.RSTSent == 0 || p.Gateway.Injected == 0 {
			t.Errorf("client %+v, gateway %+v: the client's RST should heal it within 1.5 s", p.Client, p.Gateway)
		}
	})

	t.Run("remembered, IPv6", func(t *testing.T) {
		t.Parallel()
		p := play(t, Options{Scenario: "silence-on-the-wire", Phase: "remembered", Binary: binary, IPv6: true}).phase(t, "remembered")
		if !p.Client.Connected || p.Gateway.Injected == 0 || p.Facts["bare_acks_with_old_numbers"] == 0 {
			t.Errorf("client %+v, gateway %+v, facts %v", p.Client, p.Gateway, p.Facts)
		}
	})

	t.Run("forgotten", func(t *testing.T) {
		t.Parallel()
		r := play(t, Options{Scenario: "silence-on-the-wire", Phase: "forgotten", Binary: binary})
		p := r.phase(t, "forgotten")
		if p.Server.SYNReceived == 0 || p.Server.BareACKsSent == 0 || p.Client.BareACKsReceived == 0 || p.Gateway.Injected != 0 ||
			p.Facts["gateway_forgot"] != true {
			t.Errorf("client %+v, server %+v, gateway %+v, facts %v", p.Client, p.Server, p.Gateway, p.Facts)
		}
		checkTombstone(t, r, p)
	})

	for _, phase := range []string{"remembered", "forgotten"} {
		t.Run("transparent-resync/"+phase, func(t *testing.T) {
			t.Parallel()
			p := play(t, Options{Scenario: "silence-on-the-wire", Phase: phase, Policy: "transparent-resync", Binary: binary}).phase(t, phase)
			if !p.Client.Connected || p.Client.Seconds > 3 || p.Gateway.Injected != 0 || p.Facts["data_flows"] != true {
				t.Errorf("client %+v, gateway %+v", p.Client, p.Gateway)
			}
		})
	}
}

// epoch is when the incident began, for a display filter.
func epoch(p *Phase) string {
	return fmt.Sprintf("%d.%09d", p.incident.Unix(), p.incident.Nanosecond())
}

// checkTombstone: the record of the server's bare ACK says when, why and at which numbers the old connection was forgotten.
func checkTombstone(t *testing.T, r *Report, p *Phase) {
	t.Helper()
	log, err := readLog(r.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log {
		if e.EventType != "decision" || e.Decision.Reason != "ack-for-syn" {
			continue
		}
		tomb := e.Decision.Tomb
		if tomb == nil {
			t.Fatal("ack-for-syn names no tombstone")
		}
		got, err := json.Marshal(map[string]uint32{"client_next": tomb.ClientSeq, "server_next": tomb.ServerSeq})
		if err != nil {
			t.Fatal(err)
		}
		if want := compact(p.Facts["old_connection"]); string(got) != want || tomb.Why != "idle" || tomb.Forgotten.IsZero() {
			t.Errorf("tombstone %+v, want numbers %s", tomb, want)
		}
		return
	}
	t.Errorf("no ack-for-syn in the log; decisions %v", p.Gateway.Decisions)
}

// TestNATInjection: injected segments carry the addresses and ports that the end which gets them knows.
func TestNATInjection(t *testing.T) {
	r := play(t, Options{Scenario: "nat", Binary: halfopen(t)})
	for phase, want := range map[string]string{
		"snat":       "ip.src==198.51.100.77 && tcp.srcport>=40000 && tcp.srcport<41000",
		"masquerade": "ip.src==198.51.100.1",
		"dnat":       "ip.src==192.0.2.10 && ip.dst==198.51.100.10 && tcp.srcport==723",
	} {
		p := r.phase(t, phase)
		if p.Gateway.Injected < 2 || p.Facts["injected_addresses_proper"] != true || !p.Client.Connected {
			t.Errorf("%s: gateway %+v, client %+v, facts %s", phase, p.Gateway, p.Client, compact(p.Facts["injected_on_wire"]))
		}
		// The first RST of the incident outside is the gateway's: the client's own comes after the answer that caused it.
		reset := fields(t, r.Captures.Outside, want+" && tcp.dstport==515 && tcp.flags.reset==1", "tcp.srcport", "tcp.seq")
		used := fields(t, r.Captures.Outside, want+" && tcp.dstport==515 && "+firstSYN, "tcp.srcport")
		if len(reset) == 0 || len(used) == 0 || !strings.HasPrefix(reset[0], used[0]+",") {
			t.Errorf("%s: RST from %v, the connection's own port is %v", phase, reset, used)
		}
	}
}

// TestIncidentWithRealPrinting plays the case with rlpr and lpd.
func TestIncidentWithRealPrinting(t *testing.T) {
	binary := halfopen(t)
	t.Run("healed by the client's RST", func(t *testing.T) {
		t.Parallel()
		r := play(t, Options{Scenario: "lpd", Binary: binary})
		for _, p := range r.Phases {
			if p.Facts["identical_on_arrival"] != true || !p.Client.Connected {
				t.Errorf("%s: client %+v, facts %v", p.Name, p.Client, p.Facts)
			}
		}
		if p := r.phase(t, "remembered"); p.Gateway.Decisions["syn-established"] == 0 {
			t.Errorf("remembered: decisions %v", p.Gateway.Decisions)
		}
		if p := r.phase(t, "forgotten"); p.Gateway.Decisions["ack-for-syn"] == 0 {
			t.Errorf("forgotten: decisions %v", p.Gateway.Decisions)
		}
	})
	t.Run("never printed", func(t *testing.T) {
		t.Parallel()
		r := play(t, Options{Scenario: "lpd", Phase: "remembered", FarPolicy: writeFile(t, "far.yaml", farPolicy), Binary: binary})
		p := r.phase(t, "remembered")
		if p.Client.Connected || p.Facts["identical_on_arrival"] != false || p.Server.SYNReceived != 0 || p.Facts["gave_up"] != "client" {
			t.Errorf("client %+v, server %+v, facts %v", p.Client, p.Server, p.Facts)
		}
	})
}

// TestMatrix plays a part of the matrix: what must differ between policies differs.
func TestMatrix(t *testing.T) {
	m, err := RunMatrix(t.Context(), MatrixOptions{
		Policies: []string{PlainForwarding, "lpd-case-2015", "openbsd-pf", "freebsd-pf-classic"}, Scenarios: []string{"silence-on-the-wire"},
		Binary: halfopen(t), Parallel: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := m.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if m.Failed() {
		t.Error("cells with errors")
	}
	remembered := m.Rows[0].Cells
	if !remembered[0].Connected || !remembered[1].Connected || !remembered[2].Connected {
		t.Errorf("remembered: %+v", remembered)
	}
	// FreeBSD's classic pf drops the SYN silently (reference: behaviours, matrix row one): nobody is told, and the client gives up.
	if c := remembered[3]; c.Connected || c.GaveUp != "client" || c.Seconds < 5 {
		t.Errorf("remembered under %s: %+v", c.Policy, c)
	}
	checkPage(t, page(t, m), 8)
	// Behind a cell stands the line that decided, wherever it is inherited from.
	for col, from := range map[int]string{1: "lpd-case-2015", 2: "openbsd-pf", 3: "freebsd-pf-classic"} {
		c := remembered[col]
		if len(c.Decisive) == 0 || c.Decisive[0].Finding != "syn-established" || len(c.Decisive[0].Lines) == 0 || c.ladder == nil {
			t.Errorf("%s: decisive %+v", c.Policy, c.Decisive)
			continue
		}
		l := c.Decisive[0].Lines[0]
		text, _ := policy.Preset(from)
		lines := strings.Split(string(text), "\n")
		if l.File != from+".yaml" || l.Line < 1 || l.Line > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[l.Line-1]), "syn-established:") || l.Text[0] != strings.TrimSpace(lines[l.Line-1]) {
			t.Errorf("%s: %+v", c.Policy, l)
		}
	}
	if forgotten := m.Rows[1].Cells[2].Decisive; len(forgotten) == 0 || forgotten[0].Event == "" || len(forgotten[0].Lines) < 2 ||
		forgotten[0].Lines[0].File != "--set" || !forgotten[0].Lines[1].Overruled {
		t.Errorf("forgotten under openbsd-pf: %+v", forgotten)
	}
}
