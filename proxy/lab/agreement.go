package lab

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"halfopen/policy/experiment"
)

// Agreement says how far the outcomes that were read from the log are what the clients experienced, connection by connection.
type Agreement struct {
	Lived     int      `json:"lived"`     // connections and attempts of the clients
	Matched   int      `json:"matched"`   // of them, ones that the log tells of
	Invented  int      `json:"invented"`  // outcomes that no client lived
	Arm       Same     `json:"arm"`       // the arm that the client's address belongs to
	Connected Same     `json:"connected"` // whether the dial succeeded
	Response  Same     `json:"response"`  // whether the first request was answered, and after how long
	GaveUp    Same     `json:"gave_up"`   // whether the purpose of the dial was given up
	Forgotten Same     `json:"forgotten"` // whether the client spoke on a connection that the gateway had forgotten
	Server    Same     `json:"server"`    // the requests that the server answered are those of which the client got the response
	Examples  []string `json:"examples,omitempty"`
}

// Same counts connections for which log and client say the same, and others.
type Same struct {
	Same   int `json:"same"`
	Differ int `json:"differ"`
}

// Total is the number of differences, connections of which only one side knows included.
func (a *Agreement) Total() int {
	return a.Lived - a.Matched + a.Invented + a.Arm.Differ + a.Connected.Differ + a.Response.Differ + a.GaveUp.Differ + a.Forgotten.Differ + a.Server.Differ
}

// maxExamples bounds the differences that are told one by one.
const maxExamples = 10

func (a *Agreement) differ(format string, args ...any) {
	if len(a.Examples) < maxExamples {
		a.Examples = append(a.Examples, fmt.Sprintf(format, args...))
	}
}

func (a *Agreement) check(s *Same, l *Lived, what string, log, client any) {
	if log == client {
		s.Same++
		return
	}
	s.Differ++
	a.differ("talk %d (%s), attempt %d of %v: %s: %v by the log, %v by the client", l.Talk, l.Habit, l.Attempt, l.From, what, log, client)
}

// Tolerances of the comparison: a client's clock starts before its SYN leaves and stops after the response has woken it.
const (
	sameDial     = 5 * time.Second // a machine that stands still; of several outcomes the nearest is taken
	sameResponse = 250 * time.Millisecond
)

// witness compares what both ends of each connection experienced.
func (a *Agreement) witness(s *testimony) {
	type key struct{ talk, attempt int }
	answered := map[key]int{}
	for _, v := range s.served {
		answered[key{v.Talk, v.Attempt}] += v.Requests
	}
	for _, l := range s.lived {
		got := len(l.ResponseS)
		if l.Unanswered {
			got--
		}
		if server := answered[key{l.Talk, l.Attempt}]; server != got {
			a.Server.Differ++
			a.differ("talk %d (%s), attempt %d of %v: %d requests answered by the server, %d by the client", l.Talk, l.Habit, l.Attempt, l.From, server, got)
			continue
		}
		a.Server.Same++
	}
}

// agree compares. Each attempt is matched with the outcome of the same addresses and ports that began about when the client dialled.
func agree(lived []*Lived, outcomes []experiment.Outcome, forgotten func(*Lived) bool) *Agreement {
	a := &Agreement{Lived: len(lived)}
	type ends struct{ client, server netip.AddrPort }
	of := map[ends][]*experiment.Outcome{}
	for i := range outcomes {
		if o := &outcomes[i]; !o.Continued {
			k := ends{o.Client, o.Server}
			of[k] = append(of[k], o)
		}
	}
	redialled := redials(lived)
	for i, l := range lived {
		k := ends{l.From, l.To}
		at := nearest(of[k], l.Dialled)
		if at < 0 {
			a.differ("talk %d (%s), attempt %d of %v: the log knows nothing of it", l.Talk, l.Habit, l.Attempt, l.From)
			continue
		}
		o := of[k][at]
		of[k] = slices.Delete(of[k], at, at+1)
		a.Matched++
		a.check(&a.Arm, l, "arm", o.Arm, l.Arm)
		a.check(&a.Connected, l, "connected", o.Connected, l.Connected)
		a.check(&a.GaveUp, l, "gave up", o.GaveUp, !l.Connected && !redialled[i])
		a.check(&a.Forgotten, l, "user still there", o.StillThere, forgotten(l))
		a.response(l, o)
	}
	for k, rest := range of {
		for _, o := range rest {
			a.Invented++
			a.differ("flow %d of %v at %v: no client lived it", o.Flow, k.client, o.Start.Format(time.TimeOnly))
		}
	}
	return a
}

// nearest is the place of the outcome that began nearest to a time, -1 where none began about then.
func nearest(outcomes []*experiment.Outcome, t time.Time) int {
	at, least := -1, sameDial
	for i, o := range outcomes {
		if d := o.Start.Sub(t).Abs(); d < least {
			at, least = i, d
		}
	}
	return at
}

// response compares the time to the first response.
func (a *Agreement) response(l *Lived, o *experiment.Outcome) {
	answered := len(l.ResponseS) > 1 || len(l.ResponseS) == 1 && !l.Unanswered
	seen := !math.IsNaN(o.ResponseS)
	if answered && seen && math.Abs(l.ResponseS[0]-o.ResponseS) > sameResponse.Seconds() {
		a.Response.Differ++
		a.differ("talk %d (%s), attempt %d of %v: response after %.3f s by the log, %.3f s by the client", l.Talk, l.Habit, l.Attempt, l.From,
			o.ResponseS, l.ResponseS[0])
		return
	}
	a.check(&a.Response, l, "answered", seen, answered)
}

// redials says of each attempt whether the same client reached the same service by a later one: what it wanted was then had.
func redials(lived []*Lived) []bool {
	out := make([]bool, len(lived))
	type path struct {
		client netip.Addr
		server netip.AddrPort
	}
	of := map[path][]*Lived{}
	for _, l := range lived {
		p := path{l.From.Addr(), l.To}
		of[p] = append(of[p], l)
	}
	for i, l := range lived {
		for _, m := range of[path{l.From.Addr(), l.To}] {
			if m.Connected && m.Dialled.After(l.Dialled) {
				out[i] = true
				break
			}
		}
	}
	return out
}
