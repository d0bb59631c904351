package experiment

import (
	"fmt"
	"strings"

	"halfopen/policy"
)

// decoder makes specs of a document and collects what is wrong with them.
type decoder struct {
	doc  *policy.Document
	arms map[string]int // the lines of the names of all arms
	all  int            // arms
	// places are where the specs are told, in their order.
	places []place
}

// place is where an experiment and those of its keys stand that must fit others.
type place struct {
	name, match policy.Value
}

// specs decodes the value of the key experiment.
func (d *decoder) specs(v policy.Value) []Spec {
	items := []policy.Value{v}
	if v.IsList() {
		items = d.doc.List(v, "")
	} else if !v.IsMapping() {
		d.doc.Wrong(v, "an experiment: a mapping with a name and arms, or a list of them")
		return nil
	}
	if len(items) == 0 {
		d.doc.Problem(v, "no experiment", "at least one, or no key experiment")
	}
	d.arms = map[string]int{}
	var out []Spec
	lines := map[string]int{}
	for _, item := range items {
		if !item.IsMapping() {
			d.doc.Wrong(item, "an experiment: a mapping with a name and arms")
			continue
		}
		s, at := d.spec(item)
		if first, again := lines[s.Name]; again && s.Name != "" {
			d.doc.Problem(at.name, "the experiment "+policy.Quote(s.Name)+" again", fmt.Sprintf("another name (it stands in line %d)", first))
		}
		lines[s.Name] = at.name.Line()
		out, d.places = append(out, s), append(d.places, at)
	}
	if d.all > MaxArms {
		d.doc.Problem(v, fmt.Sprintf("%d arms", d.all), fmt.Sprintf("at most %d in all", MaxArms))
	}
	return out
}

// spec decodes one experiment. What must fit other keys is checked once all of them are known.
func (d *decoder) spec(v policy.Value) (Spec, place) {
	s := Spec{Share: perHundred}
	at := place{v, v}
	found := map[string]policy.Value{}
	d.doc.Mapping(v, "an experiment", names(experimentKeys()), func(name string, value policy.Value) {
		found[name] = value
		switch name {
		case "name":
			s.Name, at.name = d.name(value), value
		case "unit":
			if i := d.doc.Word(value, unitWords[:]); i >= 0 {
				s.Unit = Unit(i)
			}
		case "salt":
			s.Salt = d.salt(value)
		case "share":
			s.Share = d.percent(value)
		case "match":
			s.Match, at.match = d.doc.Match(value), value
		case "start":
			s.Start = d.time(value)
		case "end":
			s.End = d.time(value)
		case "warm_up":
			s.WarmUp, _ = d.doc.Duration(value)
		case "switchback":
			s.Switchback = d.switchback(value)
		case "guardrails":
			s.Guardrails = d.guardrails(value)
		}
	})
	if _, ok := found["name"]; !ok {
		d.doc.Problem(v, "an experiment without a name", "name: WORD")
	}
	if _, ok := found["salt"]; !ok {
		s.Salt = s.Name
	}
	d.armList(v, &s)
	d.fit(&s, found)
	return s, at
}

// fit checks keys of an experiment against each other.
func (d *decoder) fit(s *Spec, found map[string]policy.Value) {
	if !s.Start.IsZero() && !s.End.IsZero() {
		switch length := s.End.Sub(s.Start); {
		case length <= 0:
			d.doc.Problem(found["end"], "an end that is not after the start ("+text(found["start"])+")", "a later time")
		case s.WarmUp >= length:
			d.doc.Problem(found["warm_up"], "a warm-up of "+policy.FormatDuration(s.WarmUp)+" in an experiment of "+policy.FormatDuration(length), "a shorter one: nothing would be left to analyse")
		}
	}
	if _, ok := found["switchback"]; !ok || s.Switchback == nil {
		return
	}
	if u, ok := found["unit"]; ok {
		d.doc.Problem(u, "a unit beside switchback", "one of them: a switchback assigns blocks of time, not units")
	}
	if v, ok := found["share"]; ok && s.Share < perHundred {
		d.doc.Problem(v, "a share beside switchback", "one of them: in a switchback the whole gateway alternates")
	}
	if _, ok := found["start"]; !ok {
		d.doc.Problem(found["switchback"], "a switchback without a start", "start: TIME, from which the blocks are counted on every gateway and after every restart")
	}
	if b := s.Switchback.Block; b > 0 && s.WarmUp >= b {
		d.doc.Problem(found["warm_up"], "a warm-up of "+policy.FormatDuration(s.WarmUp)+" in blocks of "+policy.FormatDuration(b), "a shorter one: nothing of a block would be left to analyse")
	}
}

func (d *decoder) switchback(v policy.Value) *Switchback {
	out := &Switchback{}
	if !v.IsMapping() {
		d.doc.Wrong(v, "a mapping such as {block: 10m, seed: 1}")
		return nil
	}
	d.doc.Mapping(v, "switchback", names(switchbackKeys()), func(name string, value policy.Value) {
		switch name {
		case "block":
			b, ok := d.doc.Duration(value)
			if out.Block = b; ok && b < MinBlock {
				d.doc.Wrong(value, "blocks of at least "+policy.FormatDuration(MinBlock)+", so that connections begin and end in one")
			}
		case "seed":
			out.Seed = d.seed(value)
		}
	})
	if _, ok := v.Find("block"); !ok {
		d.doc.Problem(v, "a switchback without block", "block: DURATION")
	}
	return out
}

// armList decodes the arms and checks their weights.
func (d *decoder) armList(v policy.Value, s *Spec) {
	list, ok := v.Find("arms")
	if !ok {
		d.doc.Problem(v, "an experiment without arms", "arms: at least two, the control first")
		return
	}
	items := d.doc.List(list, "a list of arms, each as {name: WORD, weight: PERCENT, policy: NAME|FILE}, the control first")
	if !list.IsList() {
		return
	}
	if len(items) < 2 {
		d.doc.Problem(list, []string{"no arm", "a single arm"}[len(items)], "at least two, the control first")
	}
	weighed := 0
	for i, item := range items {
		if !item.IsMapping() {
			d.doc.Wrong(item, "an arm: a mapping with name, weight and policy")
			continue
		}
		if _, ok := item.Find("weight"); ok {
			weighed++
		}
		s.Arms = append(s.Arms, d.arm(item, i == 0))
	}
	d.all += len(items)
	if len(s.Arms) == len(items) && len(items) >= 2 {
		d.weights(list, items, s, weighed)
	}
}

// weights checks the arms' weights against each other; a switchback's may be left out.
func (d *decoder) weights(list policy.Value, items []policy.Value, s *Spec, weighed int) {
	n := len(items)
	if s.Switchback != nil && weighed == 0 {
		for i := range s.Arms {
			s.Arms[i].Weight = perHundred / n
			if i < perHundred%n {
				s.Arms[i].Weight++
			}
		}
		return
	}
	if weighed < n {
		for _, item := range items {
			if _, ok := item.Find("weight"); !ok {
				d.doc.Problem(item, "an arm without weight", "weight: PERCENT")
			}
		}
		return
	}
	sum, lo, hi, known := 0, perHundred, 0, true
	for _, a := range s.Arms {
		sum, lo, hi, known = sum+a.Weight, min(lo, a.Weight), max(hi, a.Weight), known && a.Weight > 0
	}
	switch {
	case !known: // it was said
	case s.Switchback != nil && hi-lo > 1:
		d.doc.Problem(list, "arms of different weights beside switchback", "the same weight for each, or none: each arm gets as many blocks as another")
	case sum != perHundred:
		d.doc.Problem(list, "weights whose sum is "+percentText(sum)+"%", "100%")
	}
}

func (d *decoder) arm(v policy.Value, control bool) Arm {
	var a Arm
	at := map[string]policy.Value{}
	d.doc.Mapping(v, "an arm", names(armKeys()), func(name string, value policy.Value) {
		at[name] = value
		switch name {
		case "name":
			a.Name = d.armName(value)
		case "weight":
			a.Weight = d.percent(value)
		case "policy":
			a.Policy = d.policy(value)
		case "aa":
			a.AA = d.doc.Word(value, []string{"false", "true"}) == 1
		}
	})
	if _, ok := at["name"]; !ok {
		d.doc.Problem(v, "an arm without a name", "name: WORD")
	}
	p, has := at["policy"]
	switch {
	case a.AA && control:
		d.doc.Problem(at["aa"], "aa in the first arm, which is the control", "aa in another arm")
	case a.AA && has:
		d.doc.Problem(p, "a policy beside aa", "one of them: the policy of an aa arm is the control's")
	case !a.AA && !has:
		d.doc.Problem(v, "an arm without policy", "policy: gateway, a preset or a file; or aa: true")
	}
	return a
}

// armName reads a name that no other arm of the file has.
func (d *decoder) armName(v policy.Value) string {
	name := d.name(v)
	if name == "" {
		return ""
	}
	if name == GatewayPolicy || name == "none" {
		d.doc.Problem(v, "the arm "+policy.Quote(name), "another name: gateway and none stand for connections without an arm")
		return name
	}
	if first, again := d.arms[name]; again {
		d.doc.Problem(v, "the arm "+policy.Quote(name)+" again", fmt.Sprintf("another name (it stands in line %d; records name the arm alone, so names are for the whole file)", first))
		return name
	}
	d.arms[name] = v.Line()
	return name
}

// policy reads what decides an arm's connections. Files are the caller's to read.
func (d *decoder) policy(v policy.Value) string {
	ref := strings.TrimSpace(d.doc.Text(v, "gateway, the name of a preset, or a file"))
	if ref == "" || ref == GatewayPolicy || policy.IsFile(ref) {
		return ref
	}
	if _, _, ok := policy.CutReference(ref); !ok {
		name, _, _ := strings.Cut(ref, ":")
		d.doc.Problem(v, "unknown policy "+policy.Quote(ref), policy.OneOf(name, append([]string{GatewayPolicy}, policy.Presets()...))+", or a file (./NAME.yaml)")
	}
	return ref
}

func (d *decoder) guardrails(v policy.Value) []Guardrail {
	var out []Guardrail
	lines := map[Guardrail]int{}
	for _, item := range d.doc.List(v, "a list of limits, each as {metric: NAME, max_increase: AMOUNT}") {
		if !item.IsMapping() {
			d.doc.Wrong(item, "a limit: a mapping such as {metric: connect-failure, max_increase: 2%}")
			continue
		}
		g, ok := d.guardrail(item)
		if !ok {
			continue
		}
		same := Guardrail{Metric: g.Metric, Absolute: g.Absolute}
		if first, again := lines[same]; again {
			d.doc.Problem(item, "the same limit on "+g.Metric.String()+" again", fmt.Sprintf("it once (it stands in line %d)", first))
		}
		lines[same] = item.Line()
		out = append(out, g)
	}
	return out
}

func (d *decoder) guardrail(v policy.Value) (g Guardrail, ok bool) {
	at := map[string]policy.Value{}
	good := true
	d.doc.Mapping(v, "a limit", names(guardrailKeys()), func(name string, value policy.Value) {
		at[name] = value
		switch name {
		case "metric":
			g.Metric, good = d.metric(value)
		case "alpha":
			g.Alpha = d.alpha(value)
		}
	})
	if _, has := at["metric"]; !has {
		d.doc.Problem(v, "a limit without metric", "metric: NAME")
		return g, false
	}
	increase, relative := at["max_increase"]
	most, absolute := at["max"]
	switch {
	case relative && absolute:
		d.doc.Problem(most, "max beside max_increase", "one of them in a limit")
	case !relative && !absolute:
		d.doc.Problem(v, "a limit without an amount", "max_increase: AMOUNT (against the control) or max: AMOUNT")
	case good && relative:
		g.Max = d.amount(increase, g.Metric, false)
	case good:
		g.Absolute = true
		g.Max = d.amount(most, g.Metric, true)
	}
	return g, good && relative != absolute
}

func text(v policy.Value) string { s, _ := v.Scalar(); return s }
