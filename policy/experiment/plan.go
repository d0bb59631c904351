package experiment

import (
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/experiment/stats"
)

// PlanOptions says what is planned.
type PlanOptions struct {
	// Spec is the experiment: its unit, match, share, arms and their weights; nil: two arms of half of all clients each.
	Spec     *Spec
	From, To time.Time          // of the past traffic: how long it is matters to everything
	Alpha    float64            // 0: 0.05
	Power    float64            // chance to find an effect that is there; 0: 0.8
	Effects  map[Metric]float64 // asked for: how long does it take to find them
	Remarks  []string
}

// PlanDays are the lengths that a plan tells of.
var PlanDays = [...]float64{1, 7, 14, 28}

// Plan says what an experiment can find, by past traffic.
type Plan struct {
	Unit        string       `json:"unit"`
	From        time.Time    `json:"from"`
	To          time.Time    `json:"to"`
	Days        float64      `json:"days"`
	Units       int          `json:"units"`
	NewPerDay   float64      `json:"new_units_per_day"` // in the second half of the log
	Connections int          `json:"connections"`
	PerUnit     float64      `json:"connections_per_unit"`
	Control     float64      `json:"control_share"` // of all units
	Treatment   float64      `json:"treatment_share"`
	Alpha       float64      `json:"alpha"`
	Power       float64      `json:"power"`
	Comparisons int          `json:"comparisons"` // tests that share alpha
	Metrics     []PlanMetric `json:"metrics"`
	Caveats     []string     `json:"caveats"`
}

// PlanMetric says what can be found in a metric.
type PlanMetric struct {
	Metric string       `json:"metric"`
	What   string       `json:"what"`
	Kind   string       `json:"kind"`
	Unit   string       `json:"unit,omitempty"`
	Figure *Figure      `json:"figure,omitempty"` // in the past; of times the mean
	Finds  []PlanEffect `json:"finds,omitempty"`
	Asked  *PlanAsked   `json:"asked,omitempty"`
	Note   string       `json:"note,omitempty"`
}

// PlanEffect is the smallest effect that is found after some days with the plan's power.
type PlanEffect struct {
	Days float64 `json:"days"`
	Rise float64 `json:"rise,omitempty"`
	Fall float64 `json:"fall,omitempty"` // 0: no fall can be found
	Note string  `json:"note,omitempty"`
}

// PlanAsked is how long it takes to find an effect.
type PlanAsked struct {
	Effect float64 `json:"effect"`
	Days   float64 `json:"days,omitempty"`
	Note   string  `json:"note,omitempty"`
}

// Planner takes the outcomes of past traffic. It is not safe for concurrent use.
type Planner struct {
	spec        Spec
	opt         PlanOptions
	middle      time.Time
	units       map[uint64]int
	early       int // units seen in the first half
	half, whole []slot
	conns       int
	excluded    int
}

// NewPlanner returns one.
func NewPlanner(opt PlanOptions) *Planner {
	p := &Planner{opt: opt, units: make(map[uint64]int), middle: opt.From.Add(opt.To.Sub(opt.From) / 2)}
	p.spec = Spec{Share: perHundred, Arms: []Arm{{Name: "control", Weight: 5000}, {Name: "treatment", Weight: 5000}}}
	if opt.Spec != nil {
		p.spec = *opt.Spec
	}
	return p
}

// Add takes one connection.
func (p *Planner) Add(o *Outcome) {
	if o.Adopted || !o.Client.IsValid() || !o.Server.IsValid() {
		p.excluded++
		return
	}
	tu := conntrack.MakeTuple(o.Client, o.Server)
	if !p.spec.Matches(&tu) {
		p.excluded++
		return
	}
	key := p.spec.Unit.Key(&tu)
	hash := unitHash(key.Bytes())
	i, ok := p.units[hash]
	if !ok {
		i = len(p.units)
		p.units[hash] = i
		if o.Start.Before(p.middle) {
			p.early++
		}
	}
	if i >= maxSlots {
		i = int(hash % maxSlots)
	}
	for len(p.whole) <= i {
		p.whole, p.half = append(p.whole, slot{}), append(p.half, slot{})
	}
	p.conns++
	v := valuesOf(o)
	p.whole[i].add(&v)
	if o.Start.Before(p.middle) {
		p.half[i].add(&v)
	}
}

func (s *slot) add(v *values) {
	for m := range NumMetrics {
		if v.ok[m] {
			s.num[m] += v.num[m]
			s.den[m] += v.den[m]
		}
	}
}

// clustersOf are the sums of units that a metric applies to.
func clustersOf(slots []slot, m Metric) (out []stats.Cluster) {
	for i := range slots {
		if slots[i].den[m] > 0 {
			out = append(out, stats.Cluster{Num: slots[i].num[m], Den: slots[i].den[m]})
		}
	}
	return out
}

// Plan says what can be found.
func (p *Planner) Plan() *Plan {
	o := &p.opt
	out := &Plan{Unit: p.spec.Unit.String(), From: o.From, To: o.To, Days: round(o.To.Sub(o.From).Hours() / 24), Units: len(p.units), Connections: p.conns,
		Alpha: 0.05, Power: 0.8, Caveats: []string{}}
	if o.Alpha > 0 {
		out.Alpha = o.Alpha
	}
	if o.Power > 0 {
		out.Power = o.Power
	}
	if len(p.units) > 0 {
		out.PerUnit = round(float64(p.conns) / float64(len(p.units)))
	}
	if out.Days > 0 {
		out.NewPerDay = round(float64(len(p.units)-p.early) / (out.Days / 2))
	}
	treated, tested := p.arms(out)
	for m := range NumMetrics {
		if !m.Descriptive() {
			out.Comparisons++
		}
	}
	out.Comparisons *= tested
	design := stats.Design{Control: out.Control, Treatment: treated, Alpha: out.Alpha, Comparisons: out.Comparisons, Power: out.Power}
	for m := range NumMetrics {
		if !m.Descriptive() {
			out.Metrics = append(out.Metrics, p.metric(m, &design, out.Days))
		}
	}
	out.Caveats = p.caveats(out)
	return out
}

// arms are the shares of the control and of the smallest arm that is compared with it, and how many are.
func (p *Planner) arms(out *Plan) (treated float64, tested int) {
	share := float64(p.spec.Share) / perHundred
	treated = 1
	for i := range p.spec.Arms {
		w := share * float64(p.spec.Arms[i].Weight) / perHundred
		switch {
		case i == 0:
			out.Control = round(w)
		case !p.spec.Arms[i].AA:
			tested++
			treated = min(treated, w)
		}
	}
	out.Treatment = round(treated)
	return treated, max(tested, 1)
}

func (p *Planner) metric(m Metric, design *stats.Design, days float64) PlanMetric {
	whole := clustersOf(p.whole, m)
	out := PlanMetric{Metric: m.String(), What: m.What(), Kind: m.Kind().String(), Unit: m.UnitWord(), Figure: figureOf(sumsOf(whole))}
	b, err := stats.NewBaseline(clustersOf(p.half, m), whole, days, m.Kind() == KindShare)
	if err != nil {
		out.Note = err.Error()
		return out
	}
	for _, d := range PlanDays {
		e := PlanEffect{Days: d}
		up, down, err := design.MDE(b, d)
		if err != nil {
			e.Note = err.Error()
		} else {
			e.Rise, e.Fall = round(up), round(down)
		}
		out.Finds = append(out.Finds, e)
	}
	if effect, ok := p.opt.Effects[m]; ok {
		out.Asked = &PlanAsked{Effect: effect}
		if d, err := design.DaysFor(b, effect); err != nil {
			out.Asked.Note = err.Error()
		} else {
			out.Asked.Days = round(d)
		}
	}
	return out
}

func (p *Planner) caveats(out *Plan) []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if out.Days < 1 {
		say("the log covers %s days: days that differ by their hour or weekday are not in it, and what is said of longer times is far from it.", digits(out.Days))
	} else if out.Days < 7 {
		say("the log covers %s days: weekdays and weekends may differ.", digits(out.Days))
	}
	if out.Units < 100 {
		say("there are %d units: with so few the variation between them is hardly known.", out.Units)
	}
	if len(p.units) > maxSlots {
		say("there are more than %d units: sums are kept of as many groups of units.", maxSlots)
	}
	if p.spec.Switchback != nil {
		say("a switchback is planned by unit here, as if units were assigned for good: blocks that differ among each other need more time.")
	}
	if p.excluded > 0 {
		say("%s older than the gateway or outside the match are left out.", counted(p.excluded, "connection"))
	}
	say("times are planned by their mean, and tested by rank and bootstrap: what is found may be smaller where few long times make the mean.")
	say("the past is taken for the future: as many units, connections and failures as in the log.")
	for _, r := range p.opt.Remarks {
		say("%s", r)
	}
	for i, c := range all {
		all[i] = strings.ToUpper(c[:1]) + c[1:]
	}
	return all
}
