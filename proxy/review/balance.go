package review

import "fmt"

// finish draws a run's sum when everything was read.
func (v *verifier) finish(s *runState) {
	r := s.run
	for _, c := range s.causes {
		if !s.lostDecisions && !r.Partial && !s.decisions.has(c.id) {
			r.problem(Problem{NoCause, c.file, c.line, "its cause, decision " + c.id + ", is not in the log"})
		}
	}
	for _, p := range s.bad {
		r.problem(p)
	}
	if s.crashKernel != nil {
		s.kernel(s.crashKernel)
	}
	s.truth()
	r.Status = s.status(r == v.rep.Runs[len(v.rep.Runs)-1])
	r.FastPath = s.proveFast()
	if len(r.Problems) > 0 {
		r.Status = Mismatch
		v.rep.OK = false
	}
}

// truth chooses the number that the run is held against.
func (s *runState) truth() {
	r := s.run
	switch {
	case s.hasKernel:
		r.Truth = TruthKernel
		r.Messages = r.Counter - min(r.Base, r.Counter)
	case s.hasReceived:
		r.Truth = TruthReceived
		r.Messages = s.received
	}
}

// status compares, and writes down what does not fit.
func (s *runState) status(newest bool) Status {
	r := s.run
	if r.End == "none" {
		if !newest {
			r.problem(Problem{NoEnd, s.file, 0, "the run ends without a final stats record, and no later run accounts for it"})
		}
		return Open
	}
	if r.End == "crash" {
		if known := r.Explained.Sum(); s.crashKnown != known {
			r.problem(Problem{LinesMissing, s.file, 0,
				fmt.Sprintf("the run's records explain %d messages, but explained %d when the next run started", known, s.crashKnown)})
		}
		if s.crashUnknown {
			return Unknown
		}
	}
	if r.Truth == TruthNone {
		r.problem(Problem{NotExplained, s.file, 0, "no counter in the log"})
		return Unknown
	}
	switch exact := r.Exact(); {
	case r.Messages > exact+r.Slack():
		r.problem(Problem{NotExplained, "", 0, fmt.Sprintf("%d messages reached the queue rule and nothing in the log explains them",
			r.Messages-exact-r.Slack())})
	case r.Messages < exact:
		r.problem(Problem{TooMuch, "", 0, fmt.Sprintf("the log explains %d messages more than reached the queue rule", exact-r.Messages)})
	case r.Messages == exact:
		return Balanced
	}
	return Bounded
}
