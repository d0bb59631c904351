package habits

import "time"

// Question is one that the lab's experiment can answer, and whose answer is known.
type Question struct {
	Name string
	Asks string
	// Control and Treatment are the two arms; what they do to a connection is Expect's to say.
	Control, Treatment Arm
	// Better names the arm that does its users less harm.
	Better string
	// Primary is the metric in which the two must differ, a word of policy/experiment.
	Primary string
	// Patience is how long a client waits for a response before it gives the connection up. How long it waits for a connection is
	// its kernel's affair.
	Patience time.Duration
	// Linger is how long the gateway runs on after the last conversation, so that what did not happen is known not to have happened: a
	// retry.
	Linger time.Duration
	// Switches: what an arm does to a connection is over with it, so that the arms may alternate in time.
	Switches bool

	live   func(*life)
	expect func(q *Question, talks []*Talk, arm *Arm, out []Expected)
}

// Arm is one policy of a question.
type Arm struct {
	Name   string
	Policy string // the text of a policy file

	idle    time.Duration // its idle timer; 0 for one that the experiment does not live to see
	answers bool          // it answers a SYN on a connection that it remembers, and forwards none
}

// Questions returns those that there are.
func Questions() []*Question { return []*Question{idleQuestion(), staleQuestion()} }

// Find returns the question of a name, nil if there is none.
func Find(name string) *Question {
	for _, q := range Questions() {
		if q.Name == name {
			return q
		}
	}
	return nil
}

// Arms are the control and the treatment.
func (q *Question) Arms() []*Arm { return []*Arm{&q.Control, &q.Treatment} }

// Expected is what a talk meets under an arm.
type Expected struct {
	// Connects: its dial succeeds. Where it does not the client dials once more, and that succeeds.
	Connects bool
	// StillThere: the gateway forgets the connection by its idle timer, and the client says something on it later.
	StillThere bool
	// Broken: a request of it gets no response. The client gives the connection up and dials once more.
	Broken bool
	// GaveUp: its dial fails, and the client does not try again.
	GaveUp bool
}

// Retried reports whether the client dials a second time.
func (e *Expected) Retried() bool { return !e.Connects && !e.GaveUp || e.Broken }

// Expect returns what each of the plan's talks meets if all clients are of this arm, in the order of the talks.
func (q *Question) Expect(p *Plan, arm *Arm) []Expected {
	of := make([][]*Talk, p.Clients)
	for i := range p.Talks {
		t := &p.Talks[i]
		of[t.Client] = append(of[t.Client], t)
	}
	out := make([]Expected, len(p.Talks))
	for _, talks := range of {
		q.expect(q, talks, arm, out)
	}
	return out
}
