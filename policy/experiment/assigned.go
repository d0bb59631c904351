package experiment

import (
	"halfopen/conntrack"
)

// noArm counts a connection that belongs to no arm. After an arm was stopped those are its units' too: they have the control's policy, and
// are neither the arm's nor the control's.
func (a *Accumulator) noArm(o *Outcome) {
	if o.Client.IsValid() && o.Server.IsValid() && !a.halt.IsZero() && !o.Start.Before(a.halt) {
		tu := conntrack.MakeTuple(o.Client, o.Server)
		if want := a.spec.ArmOf(o.Start, &tu); want > 0 && a.stopped(want, o) {
			a.excluded.Moved++
			return
		}
	}
	a.excluded.NoPart++
}

// rightArm computes a connection's arm again. One in another arm than it should be is counted and left out.
func (a *Accumulator) rightArm(o *Outcome, tu *conntrack.Tuple, arm int, unit uint64) bool {
	want := a.spec.ArmOf(o.Start, tu)
	if a.spec.Switchback != nil {
		if want != arm { // an attempt that met an older connection is decided by that one's policy
			a.excluded.CarriedOver++
		}
		return want == arm
	}
	a.checked++
	switch {
	case want == arm:
		return true
	case want > 0 && arm == 0 && a.stopped(want, o):
		a.checked--
		a.excluded.Moved++
	default:
		a.excluded.Misassigned++
		a.mixed[unit] = struct{}{}
	}
	return false
}
