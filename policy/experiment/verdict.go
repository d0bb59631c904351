package experiment

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// wrongShare is how many connections may be in another arm than their unit's hash says before a verdict is withheld.
const wrongShare = 0.001

// conclude makes the verdict. In this order:
//
//  1. Data that cannot be trusted withhold it: arms of the wrong size, connections in another arm than their unit's, an
//     experiment that was changed on the way.
//  2. An arm with fewer than two units has none; where that is the control, or every arm that is compared, there is none at all.
//  3. What was found decides, whichever way. Found is, at the end, a Holm-adjusted chance of at most alpha; before it, and of
//     an arm that was stopped early, the same of always-valid chances, those of the confidence sequences. Descriptive metrics, those in which an A/A arm differs
//     and times that differ by too little to matter decide nothing.
//  4. Where nothing was found, it is no difference only if the interval of connect failures, or of what a guardrail watches, is
//     narrower than the smallest difference that matters; else there is too little data.
func (a *Accumulator) conclude(r *Report) {
	v := &r.Verdict
	noise(r)
	if v.Reasons = a.distrust(r); len(v.Reasons) > 0 {
		v.Kind = Withheld
		for i := range r.Effects { // what is not to be believed is found nowhere in the report
			r.Effects[i].Found, r.Effects[i].Small, r.Effects[i].Noise = false, false, false
		}
		v.Sentence = "No verdict: " + strings.Join(v.Reasons, "; ") + "."
		return
	}
	if short := a.tooFew(); short != "" {
		v.Kind = TooLittle
		if !r.Final {
			v.Kind = Running
		}
		v.Sentence = "No verdict: " + short + "."
		return
	}
	for i := 1; i < len(a.spec.Arms); i++ {
		switch short := a.short(i); {
		case a.spec.Arms[i].AA:
		case short != "":
			w := ArmWord{Arm: a.spec.Arms[i].Name, Kind: TooLittle, Because: short}
			if !r.Final {
				w.Kind = Running
			}
			v.Arms = append(v.Arms, w)
		default:
			v.Arms = append(v.Arms, a.word(r, i))
		}
	}
	v.Kind = overall(v.Arms)
	for _, w := range v.Arms {
		if w.Kind == TooLittle || w.Kind == Running {
			v.DaysToGo = math.Max(v.DaysToGo, a.daysToGo(r, w.Arm))
		}
	}
	v.Sentence = sentence(v)
}

// noise marks the metrics in which the A/A arm differs: there the arms differ by something else than their policies.
func noise(r *Report) {
	for i := range r.Effects {
		if aa := &r.Effects[i]; aa.AA && aa.Found && !aa.Descriptive {
			for k := range r.Effects {
				if e := &r.Effects[k]; e.Metric == aa.Metric {
					e.Noise = true
				}
			}
		}
	}
}

// distrust says why no winner may be named.
func (a *Accumulator) distrust(r *Report) (why []string) {
	for i := range a.opt.Events {
		if e := &a.opt.Events[i]; e.Kind == EventReassigned {
			text := "the experiment was changed on the way, and units got other arms"
			if e.Detail != "" {
				text += " (" + e.Detail + ")"
			}
			why = append(why, text)
			break
		}
	}
	if r.SRM != nil && r.SRM.Alarm {
		p := r.SRM.Sequential
		if a.opt.Final {
			p = math.Min(p, r.SRM.P)
		}
		var parts []string
		for i := range r.SRM.Units {
			parts = append(parts, fmt.Sprintf("%s %d where %s were due", r.Arms[i].Name, r.SRM.Units[i], digits(math.Round(r.SRM.Expected[i]))))
		}
		why = append(why, fmt.Sprintf("sample ratio mismatch, the arms have not the units that their weights promise (%s; p %s)", strings.Join(parts, ", "), FormatP(p)))
	}
	if r.Assignment.Share > wrongShare {
		why = append(why, fmt.Sprintf("%d of %d connections are in another arm than the hash of their unit says", r.Assignment.Wrong, r.Assignment.Checked))
	}
	return why
}

// tooFew says which arms have too few units where nothing can be said for that: the control has, or every arm that is compared with it.
func (a *Accumulator) tooFew() string {
	var short []string
	enough := false
	for i := range a.spec.Arms {
		if text := a.short(i); text != "" {
			short = append(short, text)
		} else if i > 0 && !a.spec.Arms[i].AA {
			enough = true
		}
	}
	if enough && a.short(0) == "" {
		return ""
	}
	return strings.Join(short, "; ")
}

// short says that an arm has too few units, "" where it has enough.
func (a *Accumulator) short(arm int) string {
	what := "unit"
	if a.spec.Switchback != nil {
		what = "block"
	}
	switch name := a.spec.Arms[arm].Name; a.arms[arm].units {
	case 0:
		return fmt.Sprintf("the arm %s has no %s", name, what)
	case 1:
		return fmt.Sprintf("the arm %s has one %s, and one tells nothing about others", name, what)
	}
	return ""
}

// word concludes about one arm.
func (a *Accumulator) word(r *Report, arm int) ArmWord {
	w := ArmWord{Arm: a.spec.Arms[arm].Name, Halted: !a.halts[arm].IsZero()}
	var worse, better []string
	broken := false
	doubt := ""
	for _, m := range rank {
		e := r.EffectOf(w.Arm, m)
		if e == nil || !e.Found || e.Noise || e.Small || e.Descriptive {
			continue
		}
		up := e.Up()
		if up {
			w.Worse = append(w.Worse, e.Metric)
			worse = append(worse, m.change(e))
			broken = broken || nouns[m].harm == breaks
		} else {
			w.Better = append(w.Better, e.Metric)
			better = append(better, m.change(e))
		}
		if b := e.LossBound; b != nil && (up && b.Lo <= 0 || !up && b.Hi >= 0) {
			doubt = fmt.Sprintf(", though the %s that the log may have lost could explain it if all were of one arm", counted(int(a.opt.Loss.Flows), "connection"))
		}
	}
	name := w.Arm + a.about(r, arm)
	switch {
	case len(worse) > 0 && len(better) > 0:
		w.Kind = Mixed
		w.Because = fmt.Sprintf("%s is worse in one thing and better in another: %s; %s", name, few(worse), few(better))
	case len(worse) > 0:
		w.Kind = Harm
		does := "makes connections worse"
		if broken {
			does = "breaks connections"
		}
		w.Because = fmt.Sprintf("%s %s: %s", name, does, few(worse))
	case len(better) > 0:
		w.Kind = Better
		w.Because = fmt.Sprintf("%s is better: %s", name, few(better))
	default:
		a.nothing(r, &w, name)
	}
	w.Because += doubt
	if w.Halted {
		w.Because += fmt.Sprintf(" (it was stopped at %s)", a.halts[arm].UTC().Format("2006-01-02 15:04 UTC"))
	}
	return w
}

// deciding is the estimate that a finding rests on.
func (e *Effect) deciding() *Estimate {
	if e.Test == MethodSequence {
		return e.Sequence
	}
	return e.Difference
}

// Up says whether a found effect is a rise: that of what was tested, which of times are the ranks (their median may stay where it is, or
// have no interval), and of a sequence the look that showed it.
func (e *Effect) Up() bool {
	if e.above != 0 {
		return e.above > 0
	}
	d := e.deciding()
	return d != nil && d.Value > 0
}

// few are the first three of what was found.
func few(parts []string) string {
	if len(parts) <= 3 {
		return strings.Join(parts, "; ")
	}
	return strings.Join(parts[:3], "; ") + fmt.Sprintf("; and %d more", len(parts)-3)
}

// about says in brackets in what an arm's policy differs, where that is short.
func (a *Accumulator) about(r *Report, arm int) string {
	ds := r.Arms[arm].Differences
	if len(ds) == 0 || len(ds) > 2 {
		return ""
	}
	var parts []string
	for _, d := range ds {
		key := strings.TrimPrefix(strings.TrimPrefix(d.Key, "timeouts."), "on.")
		if d.Arm == "" {
			parts = append(parts, "without "+key)
		} else {
			parts = append(parts, key+" "+d.Arm)
		}
	}
	text := strings.Join(parts, ", ")
	if len(text) > 80 {
		return ""
	}
	return " (" + text + ")"
}

// nothing concludes about an arm in which nothing was found.
func (a *Accumulator) nothing(r *Report, w *ArmWord, name string) {
	control := a.spec.Arms[0].Name
	var seen, hidden []string
	for _, m := range rank {
		e := r.EffectOf(w.Arm, m)
		if e == nil || e.Descriptive {
			continue
		}
		d, least := e.deciding(), a.opt.least(a.spec, m)
		switch {
		case d == nil && least > 0:
			hidden = append(hidden, "nothing is known of "+m.Noun())
		case d == nil:
		case least > 0 && e.Of == "units" && e.Test != MethodNothing: // how much each of them has is another thing
			hidden = append(hidden, fmt.Sprintf("of %s only the units with any are compared, too few have", m.Noun()))
		case least > 0 && e.Of != "units" && d.Hi > least:
			hidden = append(hidden, fmt.Sprintf("%s of %s could be up by %s%s", m.Noun(), w.Arm, e.FormatDifference(d.Hi), e.Points()))
		case m == ConnectFailure || least > 0:
			seen = append(seen, fmt.Sprintf("a rise of %s by more than %s%s", m.Noun(), e.FormatDifference(math.Max(d.Hi, 0)), e.Points()))
		}
	}
	switch {
	case len(hidden) > 0 && !r.Final:
		w.Kind = Running
		w.Because = fmt.Sprintf("nothing found yet between %s and %s: %s", name, control, few(hidden))
	case len(hidden) > 0:
		w.Kind = TooLittle
		w.Because = fmt.Sprintf("too little data on %s: %s", name, few(hidden))
	default:
		w.Kind = NoDifference
		w.Because = fmt.Sprintf("no difference found between %s and %s: %s would have been seen", name, control, list(seen))
	}
}

// overall is the verdict on several arms.
func overall(arms []ArmWord) VerdictKind {
	has := map[VerdictKind]bool{}
	for _, w := range arms {
		has[w.Kind] = true
	}
	switch {
	case has[Mixed], has[Harm] && has[Better]:
		return Mixed
	case has[Harm]:
		return Harm
	case has[Better]:
		return Better
	case has[TooLittle]:
		return TooLittle
	case has[Running]:
		return Running
	}
	return NoDifference
}

// sentence puts what is concluded of each arm together.
func sentence(v *Verdict) string {
	var parts []string
	for _, w := range v.Arms {
		parts = append(parts, w.Because)
	}
	text := strings.Join(parts, "; ")
	if v.Kind == TooLittle || v.Kind == Running {
		text = "no verdict: " + text
		switch days := math.Ceil(v.DaysToGo); {
		case days == 1:
			text += "; about 1 more day is needed"
		case days > 365:
			text += "; at this rate it takes more than another year"
		case days > 1:
			text += fmt.Sprintf("; about %s more days are needed", digits(days))
		}
	}
	if text == "" {
		text = "no verdict: there is no arm to compare with the control"
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// daysToGo is about how much longer it takes until a difference that matters cannot hide, at the rate so far: an interval's width falls
// with the root of what it is made of. 0: not known.
func (a *Accumulator) daysToGo(r *Report, arm string) (days float64) {
	soFar := r.To.Sub(r.From).Hours() / 24
	if soFar <= 0 {
		return 0
	}
	for _, m := range rank {
		e, least := r.EffectOf(arm, m), a.opt.least(a.spec, m)
		if e == nil || least <= 0 {
			continue
		}
		if d := e.deciding(); d != nil && e.Of != "units" && d.Hi > least {
			half := (d.Hi - d.Lo) / 2
			ratio := half / least
			if ratio > 1 {
				days = math.Max(days, soFar*(ratio*ratio-1))
			} else {
				days = math.Max(days, soFar)
			}
		}
	}
	if left := a.spec.End.Sub(a.now()).Hours() / 24; !a.spec.End.IsZero() && !r.Final && days == 0 {
		days = left
	}
	return round(math.Min(math.Max(days, 0), 3650))
}

// now is how far the log goes.
func (a *Accumulator) now() time.Time {
	if !a.opt.Now.IsZero() {
		return a.opt.Now
	}
	return a.last
}

// FormatP writes a chance as people compare it.
func FormatP(p float64) string {
	if p < 0.0001 {
		return "< 0.0001"
	}
	return digits(p)
}
