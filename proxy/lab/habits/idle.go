package habits

import (
	"math"
	"time"
)

// The timers of question idle: an hour and five minutes, shortened.
const (
	idleControl = 9 * time.Second
	idleShort   = 3 * time.Second
	// idleMargin: no silence is this near to a timer, so that which side of it a silence lies on does not depend on the machine.
	idleMargin  = 800 * time.Millisecond
	idleLongest = 12 * time.Second
)

func idleQuestion() *Question {
	return &Question{
		Name: "idle",
		Asks: "do shorter idle timers break anything?",
		Control: Arm{Name: "control", idle: idleControl, Policy: `# A firewall that forgets a connection after 9 s of silence (an hour, shortened) and drops what comes later.
preset: openbsd-pf
description: the lab's experiment idle, control
timeouts: {established: 9s}
`},
		Treatment: Arm{Name: "short", idle: idleShort, Policy: `# The same firewall, which forgets after 3 s.
preset: openbsd-pf
description: the lab's experiment idle, shorter timer
timeouts: {established: 3s}
`},
		Better:   "control",
		Primary:  "still-there",
		Patience: 2 * time.Second,
		Switches: true,
		live:     idleLife,
		expect:   idleExpect,
	}
}

// idleTalks is how many conversations a client has.
const idleTalks = 3

// idleLife is a client with a few conversations of different kinds, at any time. No port is used twice.
func idleLife(l *life) {
	for range idleTalks {
		at := l.between(0, l.span)
		switch x := l.rng.Float64(); {
		case x < 0.20:
			l.short(at)
		case x < 0.70: // speaks again after a silence
			l.talk(Talk{Habit: "silence", At: at, Port: l.port(),
				Steps: []Step{l.say(0), l.say(l.silence()), {l.between(50*time.Millisecond, 300*time.Millisecond), Close, 0}}})
		case x < 0.78: // says no more, and closes after a silence
			l.talk(Talk{Habit: "silence-close", At: at, Port: l.port(), Steps: []Step{l.say(0), {l.silence(), Close, 0}}})
		case x < 0.90: // goes without a word
			l.talk(Talk{Habit: "vanish", At: at, Port: l.port(),
				Steps: []Step{l.say(0), {l.between(50*time.Millisecond, 900*time.Millisecond), Vanish, 0}}})
		default: // its server's keepalives refresh every timer
			l.talk(Talk{Habit: "keepalive", At: at, Port: l.port(), Service: Keepalive,
				Steps: []Step{l.say(0), l.say(l.silence()), {l.between(50*time.Millisecond, 300*time.Millisecond), Close, 0}}})
		}
	}
}

// short is a conversation without a silence to speak of, from a port that is used once.
func (l *life) short(at time.Duration) {
	steps := []Step{l.say(0)}
	for range l.rng.IntN(3) {
		steps = append(steps, l.say(l.between(50*time.Millisecond, 800*time.Millisecond)))
	}
	l.talk(Talk{Habit: "short", At: at, Port: l.port(), Steps: append(steps, Step{50 * time.Millisecond, Close, 0})})
}

// silence draws a log-normal silence (median 4 s, a factor of 2.5 either way in two cases of three) that is near to no timer.
func (l *life) silence() time.Duration {
	for {
		s := time.Duration(4000*math.Exp(0.9*l.rng.NormFloat64())) * time.Millisecond
		if s >= 200*time.Millisecond && s <= idleLongest && (s-idleShort).Abs() >= idleMargin && (s-idleControl).Abs() >= idleMargin {
			return s
		}
	}
}

// idleExpect: a connection is forgotten where a silence is longer than the timer and no keepalive breaks it. What the client says after
// that is dropped.
func idleExpect(_ *Question, talks []*Talk, arm *Arm, out []Expected) {
	for _, t := range talks {
		e := &out[t.ID-1]
		e.Connects = true
		for _, s := range t.Steps {
			if s.Wait <= arm.idle || t.Service == Keepalive || s.Do == Vanish {
				continue
			}
			// A lone FIN that comes too late tells of nobody who wanted anything.
			e.StillThere, e.Broken = s.Do == Say, s.Do == Say
			break
		}
	}
}
