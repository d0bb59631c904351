package experiment

import (
	"encoding/json"
	"slices"
	"time"

	"halfopen/policy"
	"halfopen/policy/experiment/stats"
)

// Report analyses what was taken in. It may be called again after more was.
func (a *Accumulator) Report() *Report {
	r := &Report{Name: a.spec.Name, Final: a.opt.Final, Alpha: a.opt.alpha(), Unit: a.spec.Unit.String(), Salt: a.spec.Salt, Share: float64(a.spec.Share) / 10000,
		From: a.first, To: a.last, Excluded: a.excluded, Events: a.opt.Events, Loss: a.opt.Loss, Caveats: []string{}, behind: a.behind}
	r.Excluded.MixedUnits = len(a.mixed)
	r.Spec, _ = json.Marshal(a.spec) // it has nothing that JSON has not
	r.Assignment = Assignment{Checked: a.checked, Wrong: a.excluded.Misassigned}
	if a.checked > 0 {
		r.Assignment.Share = round(float64(r.Assignment.Wrong) / float64(a.checked))
	}
	a.looks.look(a)
	for i := range a.spec.Arms {
		r.Arms = append(r.Arms, a.armReport(i))
	}
	if sb := a.spec.Switchback; sb != nil {
		r.Switchback = &Alternates{BlockS: sb.Block.Seconds(), Seed: sb.Seed, Blocks: a.unitCounts()}
	}
	r.SRM = a.ratioMismatch()
	a.effects(r)
	r.Guardrails = a.rails(r)
	r.OverTime = a.overTime()
	r.Segments = a.segments()
	a.conclude(r)
	r.Caveats = a.caveats(r)
	return r
}

func (a *Accumulator) armReport(i int) ArmReport {
	arm, s := &a.spec.Arms[i], a.arms[i]
	out := ArmReport{Name: arm.Name, Control: i == 0, AA: arm.AA, Weight: float64(arm.Weight) / 10000, Policy: arm.Policy, Units: s.units,
		Revs: slices.Sorted(keys(s.revs)), Unfinished: s.unfinished, Load: s.load}
	if out.Policy == "" && arm.AA {
		out.Policy = a.spec.Arms[0].Policy
	}
	if h := a.halts[i]; !h.IsZero() {
		out.Halted = &h
	}
	if p, control := a.opt.Policies[arm.Name], a.opt.Policies[a.spec.Arms[0].Name]; i > 0 && p != nil && control != nil {
		for _, d := range policy.Diff(control, p) {
			out.Differences = append(out.Differences, PolicyDifference{d.Key, d.A, d.B})
		}
	}
	for m := range NumMetrics {
		if m.Kind() == KindTime {
			if f, ok := timeFigure(m, s.values(m), 1-a.opt.alpha()); ok {
				out.Times = append(out.Times, f)
			}
		}
	}
	return out
}

// keys are a set's members.
func keys(set map[string]struct{}) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range set {
			if !yield(k) {
				return
			}
		}
	}
}

// srmRunning is the always-valid chance below which arms of the wrong size raise the alarm while the experiment runs. At the end either test
// may, each at [stats.SRMAlarm]: together one report in a hundred at most is withheld without cause.
const srmRunning = 0.01

// ratioMismatch tests whether the arms have the units that their weights promise; nil where units are not assigned to arms.
func (a *Accumulator) ratioMismatch() *SRMReport {
	if a.spec.Switchback != nil {
		return nil
	}
	r := &SRMReport{P: 1, Sequential: 1, Units: append([]int(nil), a.dealt...)}
	weights, total := make([]float64, len(a.spec.Arms)), 0
	for i := range a.spec.Arms {
		weights[i] = float64(a.spec.Arms[i].Weight)
		total += a.dealt[i]
	}
	for _, w := range weights {
		r.Expected = append(r.Expected, round(w/10000*float64(total)))
	}
	if total == 0 {
		r.Note = "no unit yet"
		return r
	}
	p, err := stats.SRM(r.Units, weights)
	if err != nil {
		r.Note = err.Error()
		return r
	}
	r.P, r.Sequential = round(p), round(a.looks.srm())
	r.Alarm = r.Sequential < srmRunning
	if a.opt.Final {
		r.Alarm = min(r.P, r.Sequential) < stats.SRMAlarm
	}
	return r
}

// overTime are the figures over time.
func (a *Accumulator) overTime() (out []TimePoint) {
	width := widths[a.line.width]
	for _, k := range sorted(a.line.points) {
		from := time.Unix(k*int64(width/time.Second), 0).UTC()
		p := TimePoint{From: from, To: from.Add(width)}
		cells := a.line.points[k]
		for i := range cells {
			p.Arms = append(p.Arms, a.point(i, &cells[i]))
		}
		out = append(out, p)
	}
	return out
}

func (a *Accumulator) point(arm int, c *cell) ArmPoint {
	p := ArmPoint{Arm: a.spec.Arms[arm].Name, Connections: c.conns}
	for m := range NumMetrics {
		if c.den[m] > 0 {
			if p.Figures == nil {
				p.Figures = make(map[string]float64)
			}
			p.Figures[m.String()] = round(c.num[m] / c.den[m])
		}
	}
	return p
}

// shownParts is how many segments of a kind a report has, those with the most connections.
const shownParts = 12

// segments are the figures of parts of the traffic.
func (a *Accumulator) segments() (out []Segment) {
	for _, kind := range [...]string{"port", "family", "gateway"} {
		var all []*part
		for _, p := range a.parts.of {
			if p.kind == kind {
				all = append(all, p)
			}
		}
		slices.SortFunc(all, func(x, y *part) int {
			if x.conns != y.conns {
				return y.conns - x.conns
			}
			return x.order - y.order
		})
		for _, p := range all[:min(len(all), shownParts)] {
			s := Segment{Kind: p.kind, Value: p.value}
			for i := range p.arms {
				s.Arms = append(s.Arms, a.point(i, &p.arms[i].cell))
			}
			for i := 1; i < len(p.arms); i++ {
				if !a.halts[i].IsZero() || a.spec.Switchback != nil {
					continue // the control has other times, or units meet all arms
				}
				for m := range NumMetrics {
					if m.Descriptive() {
						continue
					}
					d, _, err := stats.RatioDiff(p.arms[i].clusters(m), p.arms[0].clusters(m), 1-a.opt.alpha())
					if err == nil && p.arms[i].num[m]+p.arms[0].num[m] > 0 {
						s.Effects = append(s.Effects, SegmentEffect{a.spec.Arms[i].Name, m.String(), estimate(d)})
					}
				}
			}
			out = append(out, s)
		}
	}
	return out
}

// rails are the guardrails' states.
func (a *Accumulator) rails(r *Report) (out []Rail) {
	silent, watched := 0, 0
	for g := range a.spec.Guardrails {
		if a.spec.Guardrails[g].Alpha == 0 {
			silent++
		}
	}
	for i := range a.spec.Arms {
		if a.spec.watched(i) {
			watched++
		}
	}
	for g := range a.spec.Guardrails {
		rail := &a.spec.Guardrails[g]
		for i := range a.spec.Arms {
			if !a.spec.watched(i) {
				continue
			}
			name := a.spec.Arms[i].Name
			x := Rail{Arm: name, Metric: rail.Metric.String(), Max: rail.Max, Absolute: rail.Absolute, Alpha: round(rail.alpha(silent) / float64(watched))}
			if e := r.EffectOf(name, rail.Metric); e != nil {
				switch {
				case rail.Absolute && e.Treated != nil:
					x.Now = &e.Treated.Value
				case !rail.Absolute && e.Treated != nil && e.Control != nil:
					d := round(e.Treated.Value - e.Control.Value)
					x.Now = &d
				}
			}
			for k := range a.opt.Events {
				if e := &a.opt.Events[k]; e.Kind == EventGuardrail && e.Arm == name && e.of(rail.Metric) && (x.Crossed == nil || e.Time.Before(*x.Crossed)) {
					x.Crossed, x.Gateway, x.Detail = &e.Time, e.Gateway, e.Detail
				}
			}
			out = append(out, x)
		}
	}
	return out
}

// of says whether an event is about a metric: its detail begins with the metric's word.
func (e *Event) of(m Metric) bool {
	word := m.String()
	return e.Detail == "" || len(e.Detail) >= len(word) && e.Detail[:len(word)] == word && (len(e.Detail) == len(word) || e.Detail[len(word)] == ' ' || e.Detail[len(word)] == ':')
}

// estimate is an interval as a report has it.
func estimate(i stats.Interval) Estimate {
	return Estimate{round(i.Estimate), round(i.Lo), round(i.Hi)}
}
