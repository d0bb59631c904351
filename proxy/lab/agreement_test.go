package lab

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment"
)

// lifetimes are a dial that fails and its retry, and one conversation that breaks, as the client saw them and as the log has them.
func lifetimes() ([]*Lived, []experiment.Outcome) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server := netip.MustParseAddrPort("198.51.100.10:515")
	from := func(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
	lived := []*Lived{
		{Talk: 1, Attempt: 1, Arm: "control", From: from("198.18.0.1:721"), To: server, Dialled: at},
		{Talk: 1, Attempt: 2, Arm: "control", From: from("198.18.0.1:20001"), To: server, Dialled: at.Add(3 * time.Second), Connected: true, ResponseS: []float64{0.010}},
		{Talk: 2, Attempt: 1, Arm: "short", From: from("198.18.0.2:20002"), To: server, Dialled: at, Connected: true, ResponseS: []float64{0.010, 2}, Unanswered: true},
		{Talk: 3, Attempt: 1, Arm: "short", From: from("198.18.0.3:721"), To: server, Dialled: at},
	}
	nan := math.NaN()
	outcomes := []experiment.Outcome{
		{Flow: 9, Client: from("198.18.0.1:721"), Server: server, Start: at.Add(-time.Minute), Continued: true}, // counts for nothing
		{Met: 9, Arm: "control", Client: from("198.18.0.1:721"), Server: server, Start: at.Add(time.Millisecond), ResponseS: nan, Retries: 1},
		{Flow: 2, Arm: "control", Client: from("198.18.0.1:20001"), Server: server, Start: at.Add(3 * time.Second), Connected: true, ResponseS: 0.009},
		{Flow: 3, Arm: "short", Client: from("198.18.0.2:20002"), Server: server, Start: at, Connected: true, ResponseS: 0.009, StillThere: true},
		{Flow: 4, Arm: "short", Client: from("198.18.0.3:721"), Server: server, Start: at, ResponseS: nan, GaveUp: true},
	}
	return lived, outcomes
}

func broken(l *Lived) bool { return l.Unanswered }

func TestAgreement(t *testing.T) {
	a := compared(t, nil)
	if a.Total() != 0 || a.Matched != 4 || a.GaveUp.Same != 4 || len(a.Examples) != 0 {
		t.Fatalf("log and clients say the same, and the comparison says %+v", a)
	}
	for _, c := range []struct {
		name  string
		spoil func(o []experiment.Outcome) []experiment.Outcome
		words string
	}{
		{"connected", func(o []experiment.Outcome) []experiment.Outcome { o[1].Connected = true; return o }, "connected: true by the log, false by the client"},
		{"arm", func(o []experiment.Outcome) []experiment.Outcome { o[2].Arm = "short"; return o }, "arm: short by the log, control by the client"},
		{"gave up", func(o []experiment.Outcome) []experiment.Outcome { o[4].GaveUp = false; return o }, "gave up: false by the log, true"},
		{"gave up though retried", func(o []experiment.Outcome) []experiment.Outcome { o[1].GaveUp = true; return o }, "gave up: true by the log, false"},
		{"still there", func(o []experiment.Outcome) []experiment.Outcome { o[3].StillThere = false; return o }, "user still there: false by the log"},
		{"late response", func(o []experiment.Outcome) []experiment.Outcome { o[2].ResponseS = 1; return o }, "response after 1.000 s by the log, 0.010 s"},
		{"no response", func(o []experiment.Outcome) []experiment.Outcome { o[2].ResponseS = math.NaN(); return o }, "answered: false by the log, true"},
		{"unknown", func(o []experiment.Outcome) []experiment.Outcome { return o[:4] }, "the log knows nothing of it"},
		{"invented", func(o []experiment.Outcome) []experiment.Outcome {
			o = append(o, o[2])
			o[5].Start = o[2].Start.Add(time.Minute)
			return o
		}, "no client lived it"},
	} {
		if a := compared(t, c.spoil); a.Total() != 1 || len(a.Examples) != 1 || !strings.Contains(a.Examples[0], c.words) {
			t.Errorf("%s: %d differences, %q, want one with %q", c.name, a.Total(), a.Examples, c.words)
		}
	}
}

func compared(t *testing.T, spoil func([]experiment.Outcome) []experiment.Outcome) *Agreement {
	t.Helper()
	lived, outcomes := lifetimes()
	if spoil != nil {
		outcomes = spoil(outcomes)
	}
	return agree(lived, outcomes, broken)
}

func TestWitness(t *testing.T) {
	lived, _ := lifetimes()
	s := &testimony{lived: lived, served: []*Served{{Talk: 1, Attempt: 2, Requests: 1}, {Talk: 2, Attempt: 1, Requests: 1}}}
	a := &Agreement{}
	if a.witness(s); a.Server != (Same{4, 0}) {
		t.Errorf("both ends say the same, and the comparison says %+v", a)
	}
	s.served[1].Requests = 2 // an answer that did not arrive
	a = &Agreement{}
	if a.witness(s); a.Server != (Same{3, 1}) || len(a.Examples) != 1 || !strings.Contains(a.Examples[0], "2 requests answered by the server, 1 by the client") {
		t.Errorf("%+v", a)
	}
}
