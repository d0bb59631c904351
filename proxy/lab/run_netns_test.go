//go:build netns

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// play runs a scenario and fails the test if the lab itself failed. Its text is logged: a failure is then explained by its ladder.
func play(t *testing.T, o Options) *Report {
	t.Helper()
	if o.Out == "" {
		o.Out = t.TempDir()
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Error(err)
	}
	t.Log("\n" + text.String())
	return r
}

func (r *Report) phase(t *testing.T, name string) *Phase {
	t.Helper()
	for _, p := range r.Phases {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("report of %s has no phase %s", r.Scenario, name)
	return nil
}

// tshark counts the frames of a capture that a display filter matches.
func tshark(t *testing.T, file, filter string) int {
	t.Helper()
	out, err := exec.Command("tshark", "-r", file, "-Y", filter, "-T", "fields", "-e", "frame.number").Output()
	if err != nil {
		t.Fatalf("tshark -Y %q: %v", filter, err)
	}
	return len(strings.Fields(string(out)))
}

// TestPlainForwarding plays the scenarios without a firewall: two Linux ends alone. It holds the lab's measuring against what those ends are
// known to do, so that what differs under a policy is the policy's doing.
func TestPlainForwarding(t *testing.T) {
	type want struct {
		syn, bareACKs, rst int
		connected          bool
	}
	for _, c := range []struct {
		scenario, phase string
		want            want
	}{
		// RFC 9293, 3.10.7.4: the server answers the SYN with a challenge ACK, the client resets it by the ACK's number and dials again.
		{"silence-on-the-wire", "remembered", want{2, 1, 1, true}},
		{"port-reuse", "after-fin", want{2, 1, 1, true}},
		{"port-reuse", "time-wait", want{1, 0, 0, true}}, // RFC 6191: the server takes a SYN in TIME-WAIT
		{"port-reuse", "after-rst", want{1, 0, 0, true}},
		{"server-reboot", "client-sends", want{1, 0, 0, true}},
		{"server-reboot", "client-dials", want{1, 0, 0, true}},
		{"idle-expiry", "client-sends", want{0, 0, 0, true}},
		{"idle-expiry", "server-sends", want{0, 0, 0, true}},
	} {
		t.Run(c.scenario+"/"+c.phase, func(t *testing.T) {
			t.Parallel()
			r := play(t, Options{Scenario: c.scenario, Phase: c.phase, Policy: PlainForwarding})
			p := r.phase(t, c.phase)
			got := want{p.Client.SYNSent, p.Client.BareACKsReceived, p.Client.RSTSent, p.Client.Connected}
			if c.phase == "server-sends" {
				got.bareACKs = 0 // the client's own acknowledgements flow freely on a connection that stands
			}
			if got != c.want {
				t.Errorf("client %+v, want %+v", got, c.want)
			}
			if p.Gateway.Dropped != 0 || p.Gateway.Injected != 0 || p.Gateway.Forwarded == 0 {
				t.Errorf("plain forwarding: %+v", p.Gateway)
			}
			if p.Server.SYNReceived != p.Client.SYNSent || p.Server.BareACKsSent != p.Client.BareACKsReceived {
				t.Errorf("server %+v, client %+v: plain forwarding loses nothing", p.Server, p.Client)
			}
			// The report's SYNs are tshark's: the first connection's and the incident's.
			filter := "tcp.flags.syn==1 && tcp.flags.ack==0"
			if n := tshark(t, r.Captures.Inside, filter); n != c.want.syn+1 {
				t.Errorf("tshark finds %d SYNs inside, want %d", n, c.want.syn+1)
			}
			if in, out := tshark(t, r.Captures.Inside, "tcp"), tshark(t, r.Captures.Outside, "tcp"); in != out || in == 0 {
				t.Errorf("%d segments inside, %d outside", in, out)
			}
		})
	}
}

func TestTwoGatewaysIPv6(t *testing.T) {
	r := play(t, Options{
		Scenario: "silence-on-the-wire", Phase: "remembered", Policy: PlainForwarding, FarPolicy: PlainForwarding, IPv6: true,
	})
	p := r.phase(t, "remembered")
	if !p.Client.Connected || p.FarGateway == nil || p.FarGateway.Forwarded != p.Gateway.Forwarded || p.Gateway.Forwarded == 0 {
		t.Errorf("client %+v, far gateway %+v, gateway %+v", p.Client, p.FarGateway, p.Gateway)
	}
	for _, file := range r.Captures.list() {
		if tshark(t, file, "tcp && ipv6") == 0 {
			t.Errorf("no IPv6 segment in %s", file)
		}
	}
}

// TestNATTranslates holds the scenario's own rules against the captures; what halfopen injects under them is another test's matter.
func TestNATTranslates(t *testing.T) {
	r := play(t, Options{Scenario: "nat", Policy: PlainForwarding})
	for phase, filter := range map[string]string{
		"snat":       "ip.src==198.51.100.77 && tcp.srcport>=40000 && tcp.srcport<41000 && tcp.dstport==515",
		"masquerade": "ip.src==198.51.100.1 && tcp.dstport==515",
		"dnat":       "ip.src==192.0.2.10 && ip.dst==198.51.100.10 && tcp.srcport==723 && tcp.dstport==515",
	} {
		if tshark(t, r.Captures.Outside, filter) == 0 {
			t.Errorf("%s: nothing outside matches %s", phase, filter)
		}
		if !r.phase(t, phase).Client.Connected {
			t.Errorf("%s: not connected", phase)
		}
	}
	if tshark(t, r.Captures.Inside, "ip.dst==198.51.100.99 && tcp.dstport==9100") == 0 {
		t.Error("dnat: the client never dialled the virtual address")
	}
}

func TestReportJSON(t *testing.T) {
	r := play(t, Options{Scenario: "port-reuse", Phase: "after-rst", Policy: PlainForwarding})
	var buf bytes.Buffer
	if err := r.WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Scenario, Policy, Log string
		Phases                []struct {
			Name   string
			Client struct {
				Connected *bool
				SYNSent   *int `json:"syn_sent"`
			}
			Gateway struct{ Decisions map[string]int }
			Facts   map[string]any
		}
		Captures map[string]string
	}
	dec := json.NewDecoder(&buf)
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	p := got.Phases[0]
	if got.Scenario != "port-reuse" || p.Client.Connected == nil || p.Client.SYNSent == nil || p.Gateway.Decisions == nil ||
		p.Facts["why"] == nil || got.Captures["inside"] == "" || got.Captures["outside"] == "" {
		t.Errorf("report %+v", got)
	}
	if _, there := got.Captures["between"]; there {
		t.Error("a capture between with one gateway")
	}
}

// TestCancelCleansUp ends a run in the middle, as ^C does.
func TestCancelCleansUp(t *testing.T) {
	before := ours(t)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, err := Run(ctx, Options{Scenario: "idle-expiry", Policy: PlainForwarding, Out: t.TempDir()})
	if err == nil {
		t.Fatal("a cancelled run reports no error")
	}
	if after := ours(t); after != before {
		t.Errorf("namespaces of this process: %q before, %q after", before, after)
	}
}

// ours lists this process's namespaces.
func ours(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(netnsDir, "ho"+strconv.Itoa(os.Getpid())+".*"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}
