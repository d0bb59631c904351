package habits

import "time"

func staleQuestion() *Question {
	return &Question{
		Name: "stale-syn",
		Asks: "should the gateway answer a SYN on a connection that it remembers, or forward it?",
		Control: Arm{Name: "control", answers: true, Policy: `# The firewall of the print-server case, where its drop of the client's RST keeps both ends from healing.
preset: lpd-case-2015
description: the lab's experiment stale-syn, control; answers the SYN with the old connection's numbers
on: {rst-after-challenge: drop, rst: drop}
`},
		Treatment: Arm{Name: "forward", Policy: `# Lets the ends recover by themselves.
preset: transparent-resync
description: the lab's experiment stale-syn; forwards the SYN
`},
		Better:   "forward",
		Primary:  "connect-failure",
		Patience: 3 * time.Second,
		Linger:   32 * time.Second,
		live:     staleLife,
		expect:   staleExpect,
	}
}

// Times of the habits on a fixed port.
const (
	staleGap   = 7 * time.Second        // between two dials from a port, so that the first is over whichever arm it met
	serverTurn = 500 * time.Millisecond // after its last response a server loses the connection that it is to lose: the client is gone by then
)

// staleLife is a client with two lines, each a fixed port, and perhaps a reboot; or one that vanishes, is back on its port, and has
// no patience.
func staleLife(l *life) {
	if l.chance(0.15) {
		l.impatient = true
		l.back(l.line(), l.between(0, l.span))
		return
	}
	for range 2 {
		at := l.between(0, l.span)
		switch x := l.rng.Float64(); {
		case x < 0.30:
			l.short(at)
		case x < 0.50: // prints twice from the same port, each conversation ended by the server, as an LPD server does
			port := l.line()
			l.reprint(port, at)
			l.reprint(port, at+l.between(staleGap, staleGap+2*time.Second))
		case x < 0.82: // vanishes, and is back on the same port
			port := l.line()
			at = l.back(port, at)
			if l.chance(0.33) {
				l.reprint(port, at+l.between(staleGap, staleGap+2*time.Second))
			}
		default: // the same, and the server lost the connection as well: only the gateway remembers it
			port := l.line()
			l.gone("vanish-lost", port, at, Loses)
			l.reprint(port, at+l.between(1500*time.Millisecond, 4*time.Second))
		}
	}
	if l.chance(0.3) { // a reboot: two connections vanish at once, and are dialled again from the same ports
		at := l.between(0, l.span)
		ports := [2]uint16{l.line(), l.line()}
		for i, p := range ports {
			before := time.Duration(i) * 200 * time.Millisecond
			l.talk(Talk{Habit: "reboot", At: at + before, Port: p, Steps: []Step{l.say(0), {time.Second - before, Vanish, 0}}})
		}
		back := at + l.between(2*time.Second, 4*time.Second)
		for i, p := range ports {
			l.reprint(p, back+time.Duration(i)*100*time.Millisecond)
		}
	}
}

// back is a client that vanishes and is back on the same port. It returns when it is.
func (l *life) back(port uint16, at time.Duration) time.Duration {
	l.gone("vanish", port, at, Holds)
	at += l.between(1500*time.Millisecond, 4*time.Second)
	l.reprint(port, at)
	return at
}

// reprint is a conversation that the server ends.
func (l *life) reprint(port uint16, at time.Duration) {
	l.talk(Talk{Habit: "reprint", At: at, Port: port, Steps: []Step{l.say(0), l.say(l.between(50*time.Millisecond, 300*time.Millisecond)),
		{0, Hangup, 0}}, Server: HangsUp})
}

// gone is a conversation whose client vanishes.
func (l *life) gone(habit string, port uint16, at time.Duration, server ServerEnd) {
	t := Talk{Habit: habit, At: at, Port: port, Server: server,
		Steps: []Step{l.say(0), {l.between(50*time.Millisecond, 200*time.Millisecond), Vanish, 0}}}
	if server != Holds {
		t.ServerAfter = serverTurn
	}
	l.talk(t)
}

// staleExpect: a dial from a port whose last connection vanished fails where the gateway answers the SYN itself. What the client does
// then happens on another port, so the gateway goes on remembering.
func staleExpect(_ *Question, talks []*Talk, arm *Arm, out []Expected) {
	live := map[uint16]bool{} // ports on which the gateway remembers a connection that is not
	for _, t := range talks {
		e := &out[t.ID-1]
		e.Connects = !(live[t.Port] && arm.answers)
		e.GaveUp = !e.Connects && t.RetryPort == 0
		if e.Connects {
			last := t.Steps[len(t.Steps)-1].Do
			live[t.Port] = last == Vanish
		}
	}
}
