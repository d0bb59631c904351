//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// told is an outcome as `review --outcomes -o json` prints it.
type told struct {
	FlowID        uint64   `json:"flow_id"`
	Met           uint64   `json:"met"`
	Client        string   `json:"client"`
	Finished      bool     `json:"finished"`
	Continued     bool     `json:"continued"`
	Connected     bool     `json:"connected"`
	ConnectS      *float64 `json:"connect_s"`
	Again         int      `json:"syn_retransmits"`
	Retries       int      `json:"retries"`
	EndedBy       string   `json:"ended_by"`
	Interventions int      `json:"interventions"`
	Dropped       int      `json:"dropped"`
	Resets        int      `json:"resets"`
	Recovered     bool     `json:"recovered"`
	RecoveryS     *float64 `json:"recovery_s"`
	Challenged    bool     `json:"challenged"`
	ChallengeRST  bool     `json:"challenge_rst"`
	ChallengeS    *float64 `json:"challenge_s"`
}

// outcomesOf lists a log's outcomes by the client's port, in their order.
func outcomesOf(t *testing.T, log string) map[string][]told {
	t.Helper()
	out, words, status := halfopen(t, "review", log, "--outcomes", "-o", "json")
	if status != 0 || words != "" {
		t.Fatalf("review --outcomes: status %d, %s", status, words)
	}
	all := map[string][]told{}
	for line := range strings.Lines(out) {
		var o told
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		port := o.Client[strings.LastIndexByte(o.Client, ':')+1:]
		all[port] = append(all[port], o)
	}
	return all
}

// around reports whether a number of seconds is known and between two others.
func around(s *float64, lo, hi float64) bool { return s != nil && *s >= lo && *s <= hi }

// Outcomes of the incident, through the queue and real stacks: where nobody recovers, where the client's RST heals it, and where the policy does.
func TestOutcomesOfTheIncident(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		check func(day, night []told) bool
	}{
		{"nobody recovers", []string{"--policy", "lpd-case-2015", "--far-policy", example(t, "far.yaml")}, func(day, night []told) bool {
			return len(day) == 2 && day[0].Connected && day[0].FlowID != 0 &&
				day[1].FlowID == 0 && day[1].Met == day[0].FlowID && !day[1].Connected && day[1].Again == 2 && day[1].Interventions == 3 && day[1].Dropped == 3 &&
				day[1].Challenged && !day[1].ChallengeRST && day[1].ChallengeS == nil && !day[1].Recovered &&
				len(night) == 2 && night[0].Connected && night[0].EndedBy == "idle" && night[1].FlowID != 0 && !night[1].Connected && night[1].Again == 2 &&
				night[1].Interventions == 0 && night[1].Challenged && night[1].ChallengeS == nil
		}},
		{"the client's RST heals it", []string{"--policy", "lpd-case-2015"}, func(day, night []told) bool {
			return len(day) == 2 && day[0].EndedBy == "client-rst" && day[1].Connected && around(day[1].ConnectS, 0, 1.5) && day[1].Again >= 1 && day[1].Interventions == 1 &&
				day[1].Recovered && around(day[1].RecoveryS, 0, 1.5) && day[1].Challenged && day[1].ChallengeRST && around(day[1].ChallengeS, 0, 1.5) &&
				len(night) == 3 && night[1].Continued && night[1].EndedBy == "client-rst" && night[2].Connected && around(night[2].ConnectS, 0, 3) && night[2].Challenged &&
				night[2].ChallengeRST && around(night[2].ChallengeS, 0, 3)
		}},
		{"two lines heal it", []string{"--policy", example(t, "healed.yaml")}, func(day, night []told) bool {
			return len(day) >= 2 && day[0].EndedBy == "gateway-rst" && day[0].Resets >= 1 && day[0].Interventions >= 1 && day[0].Recovered && day[len(day)-1].Connected &&
				around(day[len(day)-1].ConnectS, 0, 3) && night[len(night)-1].Connected && around(night[len(night)-1].ConnectS, 0, 3)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := playIncident(t, c.args...)
			all := outcomesOf(t, r.Log)
			if day, night := all[fmt.Sprint(portRemembered)], all[fmt.Sprint(portForgotten)]; !c.check(day, night) {
				out, _, _ := halfopen(t, "review", r.Log, "--outcomes")
				t.Errorf("%s", out)
			}
		})
	}
}
