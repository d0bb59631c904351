package habits

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/policy"
)

func plan(t *testing.T, q *Question, seed uint64, clients int) *Plan {
	t.Helper()
	p, err := q.Make(seed, clients, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanIsAFunctionOfTheSeed(t *testing.T) {
	for _, q := range Questions() {
		a, b := plan(t, q, 7, 50), plan(t, q, 7, 50)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the same seed makes two plans", q.Name)
		}
		if other := plan(t, q, 8, 50); reflect.DeepEqual(a.Talks, other.Talks) {
			t.Errorf("%s: another seed makes the same plan", q.Name)
		}
		// A client's life does not depend on how many there are.
		more := plan(t, q, 7, 51)
		of := func(p *Plan, client int) (out []Talk) {
			for _, talk := range p.Talks {
				if talk.Client == client {
					talk.ID = 0
					out = append(out, talk)
				}
			}
			return out
		}
		for c := range 50 {
			if !reflect.DeepEqual(of(a, c), of(more, c)) {
				t.Errorf("%s: client %d lives another life among 51", q.Name, c)
			}
		}
	}
}

// TestPlanIsPlayable: each talk has a port of its own at its time, its numbers are in order, and it ends.
func TestPlanIsPlayable(t *testing.T) {
	for _, q := range Questions() {
		p := plan(t, q, 3, 400)
		type place struct {
			client int
			port   uint16
		}
		free := map[place]time.Duration{}
		for i := range p.Talks {
			talk := &p.Talks[i]
			if talk.ID != i+1 || i > 0 && talk.At < p.Talks[i-1].At {
				t.Fatalf("%s: talk %d is %+v", q.Name, i, talk)
			}
			at := place{talk.Client, talk.Port}
			if until, used := free[at]; used && talk.At < until {
				t.Errorf("%s: client %d dials from port %d at %v, where it talks until %v", q.Name, talk.Client, talk.Port, talk.At, until)
			}
			free[at] = talk.At + talk.length() + time.Second
			if talk.RetryPort != 0 {
				retry := place{talk.Client, talk.RetryPort}
				if _, used := free[retry]; used {
					t.Errorf("%s: port %d of client %d is used twice", q.Name, talk.RetryPort, talk.Client)
				}
				free[retry] = math.MaxInt64
			}
			last := talk.Steps[len(talk.Steps)-1].Do
			if last == Say || talk.Steps[0].Do != Say || (last == Hangup) != (talk.Server == HangsUp) {
				t.Errorf("%s: talk %+v does not end as its server does", q.Name, talk)
			}
		}
		if end := p.End(); end < p.Span || end > p.Span+30*time.Second {
			t.Errorf("%s: ends at %v of %v", q.Name, end, p.Span)
		}
	}
}

// TestHabits: every habit is there, and the silences and returns that the questions are about.
func TestHabits(t *testing.T) {
	want := map[string]string{
		"idle":      "keepalive short silence silence-close vanish",
		"stale-syn": "reboot reprint short vanish vanish-lost",
	}
	for _, q := range Questions() {
		p := plan(t, q, 1, 400)
		seen := map[string]int{}
		for _, talk := range p.Talks {
			seen[talk.Habit]++
		}
		for w, n := range seen {
			if n < len(p.Talks)/40 {
				t.Errorf("%s: %d of %d talks are %s", q.Name, n, len(p.Talks), w)
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != want[q.Name] {
			t.Errorf("%s: habits %s, want %s", q.Name, got, want[q.Name])
		}
	}
}

// TestSilencesAvoidTimers: which side of a timer a silence lies on must not depend on the machine.
func TestSilencesAvoidTimers(t *testing.T) {
	q := Find("idle")
	over := map[time.Duration]int{}
	for _, talk := range plan(t, q, 5, 1000).Talks {
		for _, s := range talk.Steps {
			for _, arm := range q.Arms() {
				if d := (s.Wait - arm.idle).Abs(); d < idleMargin {
					t.Errorf("talk %d is silent for %v, %v from the timer of arm %s", talk.ID, s.Wait, d, arm.Name)
				}
				if s.Wait > arm.idle {
					over[arm.idle]++
				}
			}
		}
	}
	if c, s := over[idleControl], over[idleShort]; c == 0 || s < 5*c {
		t.Errorf("%d silences are longer than the control's timer, %d longer than the short one", c, s)
	}
}

// TestTruth: the effects are large, and the right way round, whatever the seed.
func TestTruth(t *testing.T) {
	for _, q := range Questions() {
		for seed := range uint64(20) {
			truths := q.Truths(plan(t, q, seed, 100))
			if truths[0].Metric != q.Primary || len(truths) != len(Metrics()) {
				t.Fatalf("%s: truths %+v", q.Name, truths)
			}
			effect := truths[0].Effect()
			if (effect < 0) != (q.Better == q.Treatment.Name) || math.Abs(effect) < 0.15 {
				t.Errorf("%s, seed %d: effect %.3f on %s, and %s is better", q.Name, seed, effect, q.Primary, q.Better)
			}
		}
	}
}

// TestExpectByHand holds what a plan foretells against lives told by hand.
func TestExpectByHand(t *testing.T) {
	say := func(wait time.Duration) Step { return Step{Wait: wait, Do: Say, Bytes: 64} }
	vanish, closing, hangup := Step{Do: Vanish}, Step{Do: Close}, Step{Do: Hangup}
	sec := time.Second
	for _, c := range []struct {
		question string
		talks    []Talk
		control  []Expected
		treated  []Expected
	}{
		{"idle", []Talk{
			{Steps: []Step{say(0), say(sec), closing}},
			{Steps: []Step{say(0), say(5 * sec), closing}},
			{Steps: []Step{say(0), say(11 * sec), closing}},
			{Steps: []Step{say(0), {Wait: 5 * sec, Do: Close}}},
			{Steps: []Step{say(0), {Wait: 5 * sec, Do: Vanish}}},
			{Steps: []Step{say(0), say(11 * sec), closing}, Service: Keepalive},
		}, []Expected{
			{Connects: true}, {Connects: true}, {Connects: true, StillThere: true, Broken: true}, {Connects: true}, {Connects: true}, {Connects: true},
		}, []Expected{
			{Connects: true}, {Connects: true, StillThere: true, Broken: true}, {Connects: true, StillThere: true, Broken: true},
			{Connects: true}, {Connects: true}, {Connects: true},
		}},
		{"stale-syn", []Talk{
			{Port: 721, RetryPort: 1, Steps: []Step{say(0), vanish}},
			{Port: 722, RetryPort: 2, Steps: []Step{say(0), hangup}, Server: HangsUp},
			{Port: 721, RetryPort: 3, Steps: []Step{say(0), hangup}, Server: HangsUp}, // the gateway remembers
			{Port: 722, RetryPort: 4, Steps: []Step{say(0), hangup}, Server: HangsUp}, // both ends had closed
			{Port: 721, RetryPort: 0, Steps: []Step{say(0), hangup}, Server: HangsUp}, // it remembers still, and the client is impatient
			{Port: 723, RetryPort: 5, Steps: []Step{say(0), vanish}, Server: Loses},
			{Port: 723, RetryPort: 6, Steps: []Step{say(0), hangup}, Server: HangsUp},
		}, []Expected{
			{Connects: true}, {Connects: true}, {}, {Connects: true}, {GaveUp: true}, {Connects: true}, {},
		}, []Expected{
			{Connects: true}, {Connects: true}, {Connects: true}, {Connects: true}, {Connects: true}, {Connects: true}, {Connects: true},
		}},
	} {
		q := Find(c.question)
		p := &Plan{Clients: 1, Talks: c.talks}
		for i := range p.Talks {
			p.Talks[i].ID = i + 1
		}
		for _, side := range []struct {
			arm  *Arm
			want []Expected
		}{{&q.Control, c.control}, {&q.Treatment, c.treated}} {
			if got := q.Expect(p, side.arm); !reflect.DeepEqual(got, side.want) {
				t.Errorf("%s, %s:\n got %+v\nwant %+v", c.question, side.arm.Name, got, side.want)
			}
		}
	}
	// A retry is a connection more.
	q := Find("stale-syn")
	p := &Plan{Clients: 1, Talks: []Talk{
		{ID: 1, Port: 721, RetryPort: 1, Steps: []Step{say(0), vanish}}, {ID: 2, Port: 721, RetryPort: 2, Steps: []Step{say(0), hangup}}}}
	if got, want := fmt.Sprint(q.Truths(p)[0]), "{connect-failure {1 3} {0 2}}"; got != want {
		t.Errorf("truth %s, want %s", got, want)
	}
}

func TestBounds(t *testing.T) {
	q := Find("idle")
	for _, c := range []struct {
		clients int
		span    time.Duration
		want    string
	}{{1, time.Minute, "1 clients: want 2 to 4000"}, {4001, time.Minute, "4001 clients"}, {10, time.Second, "a span of 1s: want 10s to 1h0m0s"}, {10, 2 * time.Hour, "a span of 2h"}} {
		if _, err := q.Make(1, c.clients, c.span); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d clients, %v: error %v, want %q", c.clients, c.span, err, c.want)
		}
	}
	if Find("nothing") != nil {
		t.Error("there is a question nothing")
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		client int
		want   string
	}{{0, "198.18.0.1"}, {254, "198.18.0.255"}, {255, "198.18.1.0"}, {MaxClients - 1, "198.18.15.160"}} {
		a := Address(c.client)
		back, ok := ClientOf(a)
		if a.String() != c.want || back != c.client || !ok {
			t.Errorf("client %d has %s, which is client %d's (%v); want %s", c.client, a, back, ok, c.want)
		}
	}
}

// TestPoliciesAreGood: the arms' files are policies.
func TestPoliciesAreGood(t *testing.T) {
	for _, q := range Questions() {
		for _, arm := range q.Arms() {
			p, problems := policy.Load(arm.Name+".yaml", []byte(arm.Policy), nil)
			if p == nil {
				t.Errorf("%s, %s: %v", q.Name, arm.Name, problems)
			}
		}
	}
}
