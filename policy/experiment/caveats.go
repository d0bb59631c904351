package experiment

import (
	"fmt"
	"slices"
	"strings"

	"halfopen/policy/experiment/stats"
)

// caveats are what a reader must know before believing the numbers.
func (a *Accumulator) caveats(r *Report) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if l := a.opt.Loss; l.Gaps > 0 || l.Flows > 0 {
		say("the log admits %s of loss: up to %s without a record and up to %s without an outcome or with a wrong one. Differences of shares have the bounds between which they lie wherever those belong and however they went.",
			counted(int(l.Gaps), "record"), counted(int(l.Packets), "packet"), counted(int(l.Flows), "connection"))
	}
	if a.spec.Switchback == nil && a.spec.Unit == UnitFlow {
		say("the unit is the connection: a client meets both arms, and what one arm does to it (a port that stays taken, a retry) may show in the other. Intervals take connections for independent.")
	}
	if a.spec.Switchback == nil {
		say("the arms share the gateway, its queue and its links: what one arm costs there, the other pays too. Compare the load of each arm; a switchback has not this fault.")
	}
	a.caveatsOfUnits(r, say)
	a.caveatsOfTime(r, say)
	for _, e := range r.Effects {
		if e.Noise && e.AA {
			say("%s differs between the control and the arm %s, whose policies are the same (difference %s): what decides it is not the policy, and it decides nothing here.",
				e.What, e.Arm, differenceText(&e))
		}
	}
	if slices.ContainsFunc(r.Effects, func(e Effect) bool { return e.Descriptive && e.Treated != nil }) {
		say("unrecovered and recovery-time compare only connections in which an arm intervened, which the arm itself chose: they describe and decide nothing.")
	}
	if slices.ContainsFunc(r.Effects, func(e Effect) bool { return e.Found && e.Metric == ConnectFailure.String() && !e.AA }) {
		say("times to connect and to respond are of connections that stood: where an arm fails more, some of its slowest are not among them.")
	}
	if len(r.Segments) > 0 && slices.ContainsFunc(r.Segments, func(s Segment) bool { return len(s.Effects) > 0 }) {
		say("segments are many looks: about one interval in %s does not hold the truth, by chance alone. They are places to look at, no findings.", digits(1/r.Alpha))
	}
	if stopped := slices.DeleteFunc(slices.Clone(r.Arms), func(x ArmReport) bool { return x.Halted == nil }); r.Final && len(stopped) > 0 {
		say("the arm %s was stopped because of what was seen: it is judged by confidence sequences, which hold wherever one stops; tests for one look would not.", stopped[0].Name)
	}
	if !r.Final {
		say("the experiment is looked at while it runs: only confidence sequences are shown, which hold at every moment. Tests for one look come with the end.")
	}
	for _, text := range a.opt.Remarks {
		say("%s", text)
	}
	for i, c := range out {
		out[i] = strings.ToUpper(c[:1]) + c[1:]
	}
	return out
}

func (a *Accumulator) caveatsOfUnits(r *Report, say func(string, ...any)) {
	x := &r.Excluded
	if a.spec.Switchback != nil {
		say("%s", stats.SwitchbackCaveat)
		if x.CarriedOver > 0 {
			say("%s met an older one of the block before, and are left out.", counted(x.CarriedOver, "attempt"))
		}
		if x.BlocksDropped > 0 {
			say("%s of blocks beyond the first %d are left out.", counted(x.BlocksDropped, "connection"), maxSlots)
		}
	} else if x.Misassigned > 0 {
		say("%d of %d connections, of %s, are in another arm than the hash of their unit says, and are left out.", x.Misassigned, r.Assignment.Checked,
			counted(len(a.mixed), "unit"))
	}
	if x.Moved > 0 {
		say("%s of units whose arm was stopped went to the control's policy, and are left out; a stopped arm is compared with the control as it was until then.",
			counted(x.Moved, "connection"))
	}
	if x.WithoutEnds > 0 {
		say("%s without addresses in the log are left out.", counted(x.WithoutEnds, "connection"))
	}
	for i := range a.arms {
		s := a.arms[i]
		if text := a.short(i); text != "" && a.spec.Arms[i].AA {
			say("%s: whether the arms differ without cause is not known.", text)
		}
		if s.units > maxSlots {
			say("the arm %s has more than %d units: sums are kept of as many groups of units.", r.Arms[i].Name, maxSlots)
		}
		for m := range NumMetrics {
			if m.Kind() == KindTime && s.cut(m) && a.spec.Switchback == nil {
				say("of a unit with more than %d connections, as many of its times (%s) are kept, drawn at random.", maxTimes, m)
				return
			}
		}
	}
}

func (a *Accumulator) caveatsOfTime(r *Report, say func(string, ...any)) {
	if a.backward > 0 {
		say("%s before they begin: a gateway's clock was set back. Times of such connections are wrong, and some may be in the wrong stretch of time.", ends(a.backward))
	}
	open := 0
	for i := range r.Arms {
		open += r.Arms[i].Unfinished
	}
	if open > 0 {
		for i := 1; i < len(r.Arms); i++ {
			if d := openShare(&r.Arms[i]) - openShare(&r.Arms[0]); d > 0.05 || d < -0.05 {
				say("%s of the connections of %s are open, and %s of the control's: what is known only of ended ones (stall, retransmission, still-there) is not yet comparable.",
					ConnectFailure.FormatFigure(openShare(&r.Arms[i])), r.Arms[i].Name, ConnectFailure.FormatFigure(openShare(&r.Arms[0])))
			}
		}
		say("%s when the log ends; they count as far as they went, in all arms alike.", are(open))
	}
	if r.Excluded.Pending > 0 {
		say("%s still shaking hands when the log ends are left out.", counted(r.Excluded.Pending, "connection"))
	}
	if !r.From.IsZero() && r.To.Sub(r.From).Hours() < 24 && a.spec.Switchback == nil {
		say("the log covers less than a day: other hours may differ.")
	}
	for i := range a.opt.Events {
		if e := &a.opt.Events[i]; e.Kind == EventChanged {
			say("the experiment was changed at %s: %s. The figures mix what was before and after.", e.Time.UTC().Format("2006-01-02 15:04 UTC"), e.Detail)
		}
	}
	if began := a.began(); began.IsZero() {
		say("no record says when the experiment began: connections that began before it, and its warm-up, cannot be told apart.")
	}
	for i := 1; i < len(a.spec.Arms); i++ {
		if len(a.arms[i].revs) > 1 {
			say("the arm %s was decided by %d revisions of its policy: the figures mix them.", a.spec.Arms[i].Name, len(a.arms[i].revs))
		}
	}
	if len(a.arms[0].revs) > 1 {
		say("the control was decided by %d revisions of its policy: the figures mix them.", len(a.arms[0].revs))
	}
}

// openShare is how many of an arm's connections the log leaves open.
func openShare(a *ArmReport) float64 {
	if a.Load.Connections == 0 {
		return 0
	}
	return float64(a.Unfinished) / float64(a.Load.Connections)
}

func ends(n int) string {
	if n == 1 {
		return "1 connection ends"
	}
	return fmt.Sprintf("%d connections end", n)
}

func are(n int) string {
	if n == 1 {
		return "1 connection is open"
	}
	return fmt.Sprintf("%d connections are open", n)
}

func differenceText(e *Effect) string {
	d := e.Difference
	if d == nil {
		d = e.Sequence
	}
	if d == nil {
		return "not known"
	}
	return fmt.Sprintf("%s%s, %s to %s", e.FormatDifference(d.Value), e.Points(), e.FormatDifference(d.Lo), e.FormatDifference(d.Hi))
}
