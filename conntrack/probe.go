package conntrack

import "time"

// due returns the instant at which the wheel must look at e.
func (e *Entry) due() Instant {
	if e.FastLook != 0 {
		return min(e.Deadline, e.Wake, e.FastLook)
	}
	return min(e.Deadline, e.Wake)
}

// rewake sets Wake by the deadline; it must follow each write to Deadline or Probe.Until. Only an established connection is
// asked about before its end, and not one whose timer was shortened: its end is a matter of seconds.
func (e *Entry) rewake() {
	e.Wake = e.wakes()
	if e.Probe.Until != 0 {
		e.Wake = min(e.Wake, e.Probe.Until)
	}
}

// wakes returns the Wake of e where no probe is under way.
func (e *Entry) wakes() Instant { return wakesAt(e.Deadline, e.Timeout, e.Lead, e.State, e.Flags) }

func wakesAt(deadline Instant, timeout, lead time.Duration, s State, f EntryFlags) Instant {
	if lead > 0 && s == Established && f&EntryShortened == 0 && deadline != Never {
		return deadline.Add(-min(lead, timeout))
	}
	return Never
}

// relieve ends the probing before an expiry that is not to come. What a segment's probe waits for it still waits for.
func (e *Entry) relieve() {
	if e.Probe.Until == 0 {
		e.Probe = Probe{}
	}
}

// asked reports whether the end of direction dir was sent a probe.
func (e *Entry) asked(dir Direction) bool { return e.Probe.Asked&(1<<dir) != 0 }

// answered notes an answer from dir. The first one settles a probe that a segment caused.
func (e *Entry) answered(dir Direction) {
	e.Probe.Answered |= 1 << dir
	if e.Probe.Until != 0 {
		e.Probe = Probe{}
		e.rewake()
	}
}

// wake asks the owner about e, whose Wake has come, and reports whether e ended by that.
func (t *Table) wake(e *Entry) bool {
	at := e.Wake
	e.Wake = Never
	if t.cfg.Woken == nil {
		return false
	}
	next, end := t.cfg.Woken(e, at)
	if end != EndNone {
		t.bury(e, end, at)
		return true
	}
	if e.Probe.Until != 0 && e.Probe.Until <= at {
		e.Probe = Probe{}
		e.rewake()
		e.Wake = max(e.Wake, at) // the time to ask again may have come meanwhile
	} else if next > at {
		e.Wake = next
	}
	return false
}

// Await notes that the end of direction dir was sent a probe that acknowledges ack, and that its answer is awaited until the
// given instant, when the owner is asked ([Config.Woken]).
func (t *Table) Await(e *Entry, dir Direction, ack Seq, until Instant) {
	p := &e.Probe
	if p.Until == 0 {
		*p = Probe{}
	}
	p.Ack[dir], p.Until = ack, until
	p.Asked |= 1 << dir
	p.Answered &^= 1 << dir
	if p.Tries < 255 {
		p.Tries++
	}
	e.rewake()
	t.retimed(e)
}
