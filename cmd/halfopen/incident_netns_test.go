//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/trouble"
)

// labReport is what `halfopen lab run -o json` prints, field by field.
type labReport struct {
	Scenario string `json:"scenario"`
	Policy   string `json:"policy"`
	Phases   []struct {
		Name   string `json:"name"`
		Client struct {
			Connected        bool    `json:"connected"`
			Seconds          float64 `json:"seconds"`
			SYNSent          int     `json:"syn_sent"`
			BareACKsReceived int     `json:"bare_acks_received"`
			RSTSent          int     `json:"rst_sent"`
		} `json:"client"`
		Server struct {
			SYNReceived  int `json:"syn_received"`
			BareACKsSent int `json:"bare_acks_sent"`
		} `json:"server"`
		Gateway    labGateway     `json:"gateway"`
		FarGateway *labGateway    `json:"far_gateway"`
		Facts      map[string]any `json:"facts"`
	} `json:"phases"`
	Captures struct {
		Inside  string `json:"inside"`
		Outside string `json:"outside"`
		Between string `json:"between"`
	} `json:"captures"`
	Log string `json:"log"`

	// With two gateways only.
	FarPolicy string `json:"far_policy"`
	FarLog    string `json:"far_log"`
}

type labGateway struct {
	Decisions map[string]int `json:"decisions"`
	Injected  int            `json:"injected"`
	Forwarded int            `json:"forwarded"`
	Dropped   int            `json:"dropped"`
}

// playIncident runs the scenario through the program and reads its report strictly: a field more is an error here, a field less below.
func playIncident(t *testing.T, args ...string) *labReport {
	t.Helper()
	args = append([]string{"lab", "run", "silence-on-the-wire", "-o", "json", "--out", t.TempDir()}, args...)
	out, words, status := halfopen(t, args...)
	if status != 0 {
		t.Fatalf("halfopen %s: status %d\n%s", strings.Join(args, " "), status, words)
	}
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	r := &labReport{}
	if err := dec.Decode(r); err != nil {
		t.Fatalf("report: %v\n%s", err, out)
	}
	if dec.More() {
		t.Fatalf("more than one object:\n%s", out)
	}
	if len(r.Phases) != 2 || r.Phases[0].Name != "remembered" || r.Phases[1].Name != "forgotten" {
		t.Fatalf("phases of %s", out)
	}
	checkFields(t, out, r.FarPolicy != "")
	return r
}

// checkFields holds the names in a report against those that were promised.
func checkFields(t *testing.T, report string, far bool) {
	t.Helper()
	var top map[string]json.RawMessage
	if err := json.Unmarshal([]byte(report), &top); err != nil {
		t.Fatal(err)
	}
	var phases []map[string]json.RawMessage
	if err := json.Unmarshal(top["phases"], &phases); err != nil {
		t.Fatal(err)
	}
	gateway := "decisions dropped forwarded injected"
	want := map[string]string{
		"": "captures log phases policy scenario", "phase": "client facts gateway name server", "captures": "inside outside",
		"client": "bare_acks_received connected rst_sent seconds syn_sent", "server": "bare_acks_sent syn_received", "gateway": gateway,
	}
	if far {
		want[""], want["phase"] = "captures far_log far_policy log phases policy scenario", "client facts far_gateway gateway name server"
		want["captures"], want["far_gateway"] = "between inside outside", gateway
	}
	got := map[string]string{"": keys(t, top)}
	for _, p := range phases {
		got["phase"] = keys(t, p)
		for _, part := range []string{"client", "server", "gateway", "far_gateway"} {
			if raw, there := p[part]; there {
				got[part] = keys(t, raw)
			}
		}
	}
	got["captures"] = keys(t, top["captures"])
	for part, names := range want {
		if got[part] != names {
			t.Errorf("fields of report %s: %q, want %q", part, got[part], names)
		}
	}
	if !far && got["far_gateway"] != "" {
		t.Error("a far gateway in the report of one gateway")
	}
}

// keys lists an object's names in order.
func keys(t *testing.T, v any) string {
	t.Helper()
	object, ok := v.(map[string]json.RawMessage)
	if raw, isRaw := v.(json.RawMessage); isRaw {
		if err := json.Unmarshal(raw, &object); err != nil {
			t.Fatal(err)
		}
	} else if !ok {
		t.Fatalf("no object: %T", v)
	}
	var names []string
	for k := range object {
		names = append(names, k)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// Ports of the phases.
const (
	portRemembered = 721
	portForgotten  = 722
)

func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "docs", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestIncidentBehindFarGateway is the whole story: nobody recovers, by day or by night.
func TestIncidentBehindFarGateway(t *testing.T) {
	t.Parallel()
	r := playIncident(t, "--policy", "lpd-case-2015", "--far-policy", example(t, "far.yaml"))
	inside, between, outside := tshark(t, r.Captures.Inside), tshark(t, r.Captures.Between), tshark(t, r.Captures.Outside)

	// By day: the gateway remembers.
	there := phaseOf(between, portRemembered)
	if len(there.syns()) != 3 || r.Phases[0].Client.SYNSent != 3 {
		t.Fatalf("remembered: %d SYNs reached the gateway, the report says %+v", len(there.syns()), r.Phases[0].Client)
	}
	client, server := there.lastNumbers()
	answers := there.bareACKs()
	if len(answers) != len(there.syns()) {
		t.Errorf("remembered: %d SYNs, %d answers", len(there.syns()), len(answers))
	}
	for _, a := range answers {
		if a.seq != server || a.ack != client || a.sum != "1" {
			t.Errorf("remembered: answer %+v, the old connection stands at seq %d ack %d", a, server, client)
		}
	}
	behind := cutAt(outside, portRemembered, there.syns()[0].at)
	if len(behind.old) == 0 || len(behind.after) != 0 {
		t.Errorf("remembered: %d segments reached the server's link before, %d after the second dial", len(behind.old), len(behind.after))
	}
	home := phaseOf(inside, portRemembered)
	if len(home.bareACKs()) != 0 || len(home.synACKs()) != 0 || r.Phases[0].Client.Connected {
		t.Errorf("remembered: the client got %d ACKs, %d SYN/ACKs; %+v", len(home.bareACKs()), len(home.synACKs()), r.Phases[0].Client)
	}

	// By night: only the server remembers.
	there, behind, home = phaseOf(between, portForgotten), phaseOf(outside, portForgotten), phaseOf(inside, portForgotten)
	client, server = behind.lastNumbers()
	if len(behind.syns()) == 0 || len(behind.syns()) != len(home.syns()) {
		t.Errorf("forgotten: the client sent %d SYNs, %d reached the server", len(home.syns()), len(behind.syns()))
	}
	if len(behind.bareACKs()) == 0 || len(behind.bareACKs()) != len(there.bareACKs()) {
		t.Errorf("forgotten: the server sent %d bare ACKs, %d passed the gateway", len(behind.bareACKs()), len(there.bareACKs()))
	}
	for _, a := range behind.bareACKs() {
		if a.seq != server || a.ack != client {
			t.Errorf("forgotten: the server's ACK %+v, the old connection stands at seq %d ack %d", a, server, client)
		}
	}
	if len(home.bareACKs()) != 0 || len(home.synACKs()) != 0 || r.Phases[1].Client.Connected {
		t.Errorf("forgotten: the client got %d ACKs, %d SYN/ACKs; %+v", len(home.bareACKs()), len(home.synACKs()), r.Phases[1].Client)
	}
	checkTombstone(t, r.Log, client, server, behind.old[len(behind.old)-1].at)
	checkTrouble(t, r.Log)
}

// checkTrouble asks the gateway's log what went wrong, without saying what to look for: both phases must be named first, each by what it
// was, and their stories must tell it.
func checkTrouble(t *testing.T, log string) {
	t.Helper()
	out, words, status := halfopen(t, "review", log, "--trouble", "-o", "json")
	var r trouble.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != 1 || words != "" {
		t.Fatalf("review --trouble: status %d, %v, %s\n%s", status, err, words, out)
	}
	if r.Troubled != 2 || len(r.Groups) != 1 || r.Groups[0].Kind != trouble.OldConnection {
		t.Fatalf("the incident is not what is named first, and alone:\n%s", out)
	}
	flows := map[string]uint64{}
	for _, c := range r.Groups[0].Examples {
		flows[c.Variant] = c.FlowID
		if c.SYNs != 3 || c.Server.Port() != 515 {
			t.Errorf("%+v", c)
		}
	}
	for variant, tells := range map[string][]string{
		"gateway": {"syn-established: dropped", "◀╌", "ACK A26 ack A26", "SYN B0", "response"},
		"server":  {"Before it on these ports", "by its idle timer of 2 s", "exactly the numbers", "ACK A26 ack A26", "SYN B0"},
	} {
		told, words, status := halfopen(t, "review", log, "--flow", fmt.Sprint(flows[variant]))
		if status != 0 || words != "" {
			t.Errorf("review --flow: status %d, %s", status, words)
		}
		for _, w := range tells {
			if !strings.Contains(told, w) {
				t.Errorf("the story of the phase that the %s answered does not say %q:\n%s", variant, w, told)
			}
		}
	}
}

// checkTombstone reads from the decision log of the phase `forgotten` when, why and at which numbers the old connection was forgotten.
func checkTombstone(t *testing.T, log string, client, server int, lastSeen float64) {
	t.Helper()
	found := 0
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision == nil || e.Decision.Reason != "ack-for-syn" {
			continue
		}
		found++
		tomb := e.Decision.Tombstone
		if tomb == nil {
			t.Fatal("ack-for-syn names no tombstone")
		}
		if int(tomb.ClientSeq) != client || int(tomb.ServerSeq) != server || int(tomb.ClientAck) != server || int(tomb.ServerAck) != client {
			t.Errorf("tombstone %+v, the old connection stands at client %d, server %d", tomb, client, server)
		}
		// Forgotten two seconds (the scenario's idle timer) after its last segment.
		at := float64(tomb.Forgotten.UnixNano()) / float64(time.Second)
		if d := at - lastSeen; d < 1.9 || d > 3 || tomb.Why != "idle" || tomb.TimeoutS != 2 {
			t.Errorf("tombstone %+v: forgotten %.3f s after the last segment", tomb, d)
		}
		if e.Decision.Verdict != "forward" {
			t.Errorf("ack-for-syn: %s", e.Decision.Verdict)
		}
	}
	if found == 0 {
		t.Error("no ack-for-syn in the log")
	}
}

// TestIncidentHeals: what recovers without the far gateway, under the recommended policy, and with two lines changed.
func TestIncidentHeals(t *testing.T) {
	far := example(t, "far.yaml")
	for _, c := range []struct {
		name       string
		args       []string
		within     [2]float64 // seconds, by phase
		resetByEnd bool       // by the client's own RST
	}{
		{"the client's RST", []string{"--policy", "lpd-case-2015"}, [2]float64{1.5, 3}, true},
		{"transparent-resync", []string{"--policy", "transparent-resync"}, [2]float64{3, 3}, true},
		{"transparent-resync over IPv6", []string{"--policy", "transparent-resync", "--ipv6"}, [2]float64{3, 3}, true},
		{"two lines", []string{"--policy", example(t, "healed.yaml")}, [2]float64{3, 3}, false},
		{"two lines behind the far gateway", []string{"--policy", example(t, "healed.yaml"), "--far-policy", far}, [2]float64{3, 3}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := playIncident(t, c.args...)
			inside, outside := tshark(t, r.Captures.Inside), tshark(t, r.Captures.Outside)
			for i, port := range []int{portRemembered, portForgotten} {
				in, p := phaseOf(inside, port), r.Phases[i]
				if len(in.syns()) == 0 {
					t.Fatalf("%s: no second SYN in the capture", p.Name)
				}
				out := cutAt(outside, port, in.syns()[0].at)
				if s := in.secondsToConnect(); s < 0 || s > c.within[i] || !p.Client.Connected || p.Facts["data_flows"] != true {
					t.Errorf("%s: %.3f s from the first SYN to the SYN/ACK; %+v, facts %v", p.Name, s, p.Client, p.Facts)
				}
				byEnd := filter(in.after, func(s seen) bool { return s.toServer && s.isRST() })
				atServer := filter(out.after, func(s seen) bool { return s.toServer && s.isRST() })
				if c.resetByEnd && (len(byEnd) == 0 || len(atServer) == 0) {
					t.Errorf("%s: the client sent %d RSTs, %d reached the server", p.Name, len(byEnd), len(atServer))
				}
				if !c.resetByEnd && len(byEnd) != 0 {
					t.Errorf("%s: the client itself sent %d RSTs", p.Name, len(byEnd))
				}
			}
		})
	}
}
