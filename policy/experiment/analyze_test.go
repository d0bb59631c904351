package experiment

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

func tupleOf(o *Outcome) *conntrack.Tuple {
	tu := conntrack.MakeTuple(o.Client, o.Server)
	return &tu
}

func collect(spec *Spec, w *world) (out []*Outcome) {
	for o := range w.outcomes(spec) {
		c := *o
		out = append(out, &c)
	}
	return out
}

func values2(list []*Outcome) func(func(*Outcome) bool) { return slices.Values(list) }

// TestVerdicts: what may be concluded, by what was done to the data.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world, s *Spec, o *Options)
		spoil  func(list []*Outcome) []*Outcome
		kind   VerdictKind
		words  string
	}{
		{"harm", func(w *world, _ *Spec, _ *Options) { w.harm = map[string]float64{"short": 0.05} }, nil, Harm, "Short breaks connections: "},
		{"harm while it runs", func(w *world, _ *Spec, o *Options) { w.harm, o.Final = map[string]float64{"short": 0.05}, false }, nil, Harm, "Short breaks connections: "},
		{"slower", func(w *world, _ *Spec, _ *Options) { w.slow = map[string]float64{"short": 1.5} }, nil, Harm, "Short makes connections worse: the time to connect rises by "},
		{"better", func(w *world, _ *Spec, _ *Options) { w.fail, w.harm = 0, map[string]float64{"control": 0.05} }, nil, Better, "Short is better: "},
		{"mixed", func(w *world, _ *Spec, _ *Options) {
			w.harm, w.slow = map[string]float64{"short": 0.05}, map[string]float64{"short": 0.5}
		}, nil, Mixed, "Short is worse in one thing and better in another: "},
		{"nothing", func(w *world, _ *Spec, o *Options) { o.Least = map[Metric]float64{ConnectFailure: 0.03} }, nil, NoDifference,
			"No difference found between short and control: a rise of connect failures by more than "},
		{"nothing yet", func(w *world, _ *Spec, o *Options) { o.Final = false }, nil, Running, "No verdict: nothing found yet between short and control: "},
		{"too little", func(w *world, _ *Spec, _ *Options) { w.clients = 100 }, nil, TooLittle, "No verdict: too little data on short: "},
		{"changed on the way", func(w *world, _ *Spec, o *Options) {
			o.Events = []Event{{Kind: EventReassigned, Detail: "salt a -> b"}}
		}, nil, Withheld, "No verdict: the experiment was changed on the way, and units got other arms (salt a -> b)."},
		{"changed in what matters less", func(w *world, _ *Spec, o *Options) {
			w.harm, o.Events = map[string]float64{"short": 0.05}, []Event{{Kind: EventChanged, Detail: "end later"}}
		}, nil, Harm, "Short breaks connections: "},
		{"units are lost", nil, func(list []*Outcome) []*Outcome {
			return slices.DeleteFunc(list, func(o *Outcome) bool { return o.Arm == "short" && o.Client.Addr().As4()[3]%4 == 0 })
		}, Withheld, "No verdict: sample ratio mismatch, the arms have not the units that their weights promise (control "},
		{"units are lost while it runs", func(_ *world, _ *Spec, o *Options) { o.Final = false }, func(list []*Outcome) []*Outcome {
			return slices.DeleteFunc(list, func(o *Outcome) bool { return o.Arm == "short" && o.Client.Addr().As4()[3]%2 == 0 })
		}, Withheld, "No verdict: sample ratio mismatch"},
		{"assigned by another hash", nil, func(list []*Outcome) []*Outcome {
			for i, o := range list {
				if i%200 == 0 {
					o.Arm = map[string]string{"control": "short", "short": "control"}[o.Arm]
				}
			}
			return list
		}, Withheld, "connections are in another arm than the hash of their unit says."},
		{"an arm without units", nil, func(list []*Outcome) []*Outcome {
			return slices.DeleteFunc(list, func(o *Outcome) bool { return o.Arm == "short" })[:12]
		}, TooLittle, "No verdict: the arm short has no unit."},
		{"an arm with one", nil, func(list []*Outcome) []*Outcome {
			var one netip.Addr
			return slices.DeleteFunc(list, func(o *Outcome) bool {
				if o.Arm == "short" && !one.IsValid() {
					one = o.Client.Addr()
				}
				return o.Arm == "short" && o.Client.Addr() != one
			})[:12]
		}, TooLittle, "has one unit, and one tells nothing about others"},
		{"no outcome at all", nil, func([]*Outcome) []*Outcome { return nil }, TooLittle, "the arm control has no unit; the arm short has no unit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, spec, opt := newWorld(7, 900), testSpec(false), Options{Final: true, Resamples: 400}
			if c.change != nil {
				c.change(w, spec, &opt)
			}
			list := collect(spec, w)
			if c.spoil != nil {
				list = c.spoil(list)
			}
			r := Analyze(spec, values2(list), opt)
			if r.Verdict.Kind != c.kind || !strings.Contains(r.Verdict.Sentence, c.words) {
				t.Errorf("%s: %s\nwant %s: ...%s", r.Verdict.Kind, r.Verdict.Sentence, c.kind, c.words)
			}
			if strings.Contains(r.Verdict.Sentence, "\n") || strings.Count(r.Verdict.Sentence, ". ") > 0 {
				t.Errorf("more than a sentence: %s", r.Verdict.Sentence)
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTrueEffect: the interval holds what was done.
func TestTrueEffect(t *testing.T) {
	w, spec := newWorld(3, 4000), testSpec(true)
	w.harm = map[string]float64{"short": 0.04}
	r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
	e := r.EffectOf("short", ConnectFailure)
	if d := e.Difference; d == nil || d.Lo > 0.04 || d.Hi < 0.04 || d.Hi-d.Lo > 0.02 {
		t.Errorf("difference %+v, want 0.04 within", d)
	}
	if aa := r.EffectOf("again", ConnectFailure); aa.Found || aa.Adjusted == nil {
		t.Errorf("the A/A arm: %+v", aa)
	}
	if e.Test != MethodRatio || *e.Adjusted < *e.P {
		t.Errorf("test %s, p %v, adjusted %v", e.Test, *e.P, *e.Adjusted)
	}
}

// TestNoise: what differs between two arms of one policy decides nothing.
func TestNoise(t *testing.T) {
	w, spec := newWorld(3, 3000), testSpec(true)
	w.slow = map[string]float64{"short": 2, "again": 2}
	w.harm = map[string]float64{"short": 0.06}
	r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
	if e := r.EffectOf("short", ConnectTime); !e.Found || !e.Noise {
		t.Errorf("connect-time: %+v", e)
	}
	if !slices.Contains(r.Verdict.Arms[0].Worse, "connect-failure") || slices.Contains(r.Verdict.Arms[0].Worse, "connect-time") {
		t.Errorf("worse in %v", r.Verdict.Arms[0].Worse)
	}
	if !slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.Contains(c, "whose policies are the same") }) {
		t.Errorf("no caveat tells of it: %q", r.Caveats)
	}
}

// TestExcluded: what is left out is counted, by why.
func TestExcluded(t *testing.T) {
	spec := testSpec(false)
	spec.End = spec.Start.Add(24 * time.Hour)
	spec.WarmUp = time.Hour
	at := spec.Start.Add(2 * time.Hour)
	client := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 4000)
	}
	server := netip.MustParseAddrPort("192.0.2.1:443")
	good := func(i int) Outcome {
		o := Outcome{Start: at, Client: client(i), Server: server, Finished: true, Connected: true, ConnectS: 0.1, ResponseS: math.NaN(), RecoveryS: math.NaN()}
		o.Arm = spec.Arms[spec.ArmOf(at, tupleOf(&o))].Name
		return o
	}
	opt := Options{Now: spec.Start.Add(20 * time.Hour)}
	a := NewAccumulator(spec, opt)
	for i := range 50 {
		o := good(i)
		a.Add(&o)
	}
	for _, change := range []func(*Outcome){
		func(o *Outcome) { o.Arm = "" },
		func(o *Outcome) { o.Arm = "elsewhere" },
		func(o *Outcome) { o.Start = spec.Start.Add(-time.Second) },
		func(o *Outcome) { o.Start = spec.End },
		func(o *Outcome) { o.Start = spec.Start.Add(time.Minute) },
		func(o *Outcome) { o.Adopted = true },
		func(o *Outcome) { o.Start, o.Finished, o.Connected = opt.Now.Add(-time.Minute), false, false },
		func(o *Outcome) { o.Client = netip.AddrPort{} },
	} {
		o := good(0)
		change(&o)
		a.Add(&o)
	}
	r := a.Report()
	want := Excluded{NoPart: 1, OtherArm: 1, BeganBefore: 1, After: 1, WarmUp: 1, Adopted: 1, Pending: 1, WithoutEnds: 1}
	if r.Excluded != want {
		t.Errorf("left out %+v, want %+v", r.Excluded, want)
	}
	if n := r.Arms[0].Load.Connections + r.Arms[1].Load.Connections; n != 50 {
		t.Errorf("%d connections count", n)
	}
}

// TestStoppedArm: an arm that a guardrail has stopped is compared with the control as it was until then.
func TestStoppedArm(t *testing.T) {
	w, spec := newWorld(5, 3000), testSpec(true)
	spec.Guardrails = []Guardrail{{Metric: ConnectFailure, Max: 0.02}}
	w.harm = map[string]float64{"short": 0.06}
	stop := spec.Start.Add(48 * time.Hour)
	list := collect(spec, w)
	slices.SortFunc(list, func(a, b *Outcome) int { return a.Start.Compare(b.Start) })
	moved, before := 0, 0
	for _, o := range list {
		o.Gateway = "a"
		if !o.Start.Before(stop) {
			if o.Arm == "short" {
				o.Arm = ""
				moved++
			}
			o.Connected = false // a bad time for all
		} else if o.Arm == "control" {
			before++
		}
	}
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400, Events: []Event{{Time: stop, Kind: EventGuardrail, Arm: "short", Gateway: "a", Detail: "connect-failure: 5.1 points"}}})
	if r.Excluded.Moved != moved || r.Excluded.Misassigned != 0 {
		t.Errorf("moved %d, misassigned %d, want %d and 0", r.Excluded.Moved, r.Excluded.Misassigned, moved)
	}
	if r.SRM.Alarm {
		t.Errorf("units that came after the stop count: %+v", r.SRM)
	}
	e, aa := r.EffectOf("short", ConnectFailure), r.EffectOf("again", ConnectFailure)
	if e.Control.Den != float64(before) || e.Test != MethodSequence || e.Difference != nil || e.Sequence.Lo > 0.06 || e.Sequence.Hi < 0.06 {
		t.Errorf("short: %s, %+v of the control %+v, want %d connections", e.Test, e.Sequence, e.Control, before)
	}
	if aa.Test != MethodRatio {
		t.Errorf("the arm that goes on is tested by %s", aa.Test)
	}
	if aa.Control.Value < 0.5 || aa.Difference.Lo > 0 || aa.Difference.Hi < 0 {
		t.Errorf("again: %+v of %+v", aa.Difference, aa.Control)
	}
	if g := r.Guardrails[0]; g.Arm != "short" || g.Crossed == nil || !g.Crossed.Equal(stop) || g.Gateway != "a" || len(r.Guardrails) != 1 {
		t.Errorf("guardrails %+v", r.Guardrails)
	}
	if !strings.Contains(r.Verdict.Sentence, "it was stopped at 2026-12-03 08:00 UTC") || r.Arms[1].Halted == nil {
		t.Error(r.Verdict.Sentence)
	}
}

// TestLossBound: by hand. 2 of 10 failed in the arm, 1 of 10 in the control; of 5 the log may be wrong.
func TestLossBound(t *testing.T) {
	b := lossBound(sums{num: 2, den: 10}, sums{num: 1, den: 10}, 5)
	// Worst: all in the arm, and failed: 7/10 - 1/10. Best: all in the control, and failed: 2/10 - 6/10.
	if math.Abs(b.Hi-0.6) > 1e-6 || math.Abs(b.Lo+0.4) > 1e-6 {
		t.Errorf("%+v", b)
	}
	w, spec := newWorld(7, 1500), testSpec(false)
	w.harm = map[string]float64{"short": 0.04}
	for lost, explains := range map[uint64]bool{10: false, 400: true} {
		r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400, Loss: Loss{Flows: lost, Packets: lost, Gaps: 1}})
		if got := strings.Contains(r.Verdict.Sentence, "could explain it"); got != explains {
			t.Errorf("%d lost: %s", lost, r.Verdict.Sentence)
		}
		if len(r.Caveats) == 0 || !strings.Contains(r.Caveats[0], fmt.Sprintf("up to %d connections without an outcome", lost)) {
			t.Errorf("%q", r.Caveats)
		}
	}
}

// TestSwitchbackReport: blocks are compared; what meets an older connection is left out.
func TestSwitchbackReport(t *testing.T) {
	w, spec := newWorld(9, 1500), testSpec(false)
	spec.Switchback = &Switchback{Block: 2 * time.Hour, Seed: 4}
	spec.WarmUp = 10 * time.Minute
	w.harm = map[string]float64{"short": 0.06}
	list := collect(spec, w)
	carried := 0
	for i, o := range list {
		if i%50 == 0 && !spec.Analysed(o.Start, spec.Start) == false {
			o.Arm = map[string]string{"control": "short", "short": "control"}[o.Arm]
			carried++
		}
	}
	r := Analyze(spec, values2(list), Options{Final: true})
	if r.SRM != nil || r.Switchback == nil || r.Switchback.Blocks[0] != 42 || r.Switchback.Blocks[1] != 42 {
		t.Fatalf("srm %v, %+v", r.SRM, r.Switchback)
	}
	if r.Excluded.CarriedOver != carried || r.Excluded.WarmUp == 0 || r.Excluded.Misassigned != 0 {
		t.Errorf("left out %+v, want %d carried over", r.Excluded, carried)
	}
	e := r.EffectOf("short", ConnectFailure)
	if e.Test != MethodBlocks || e.Difference == nil || e.Difference.Lo > 0.06 || e.Difference.Hi < 0.06 || r.Verdict.Kind != Harm {
		t.Errorf("%s %+v %s; %s", e.Test, e.Difference, e.Note, r.Verdict.Sentence)
	}
}

// TestSameReport: the same outcomes make the same report, and one that is looked at in between is no other.
func TestSameReport(t *testing.T) {
	w, spec := newWorld(11, 600), testSpec(true)
	one := Analyze(spec, w.outcomes(spec), Options{Seed: 5})
	a := NewAccumulator(spec, Options{Seed: 5})
	for o := range w.outcomes(spec) {
		a.Add(o)
	}
	a.Report()
	if two := a.Report(); !reflect.DeepEqual(one, two) {
		t.Error("two reports of the same outcomes differ")
	}
}

// TestNoNumberPretends: what a metric has no data for has no figure, and says why.
func TestNoNumberPretends(t *testing.T) {
	w, spec := newWorld(13, 300), testSpec(false)
	for _, final := range []bool{true, false} {
		r := Analyze(spec, w.outcomes(spec), Options{Final: final, Resamples: 400})
		for _, e := range r.Effects {
			switch has := e.Difference != nil || e.Sequence != nil; {
			case !has && e.Note == "":
				t.Errorf("%s has no number and does not say why: %+v", e.Metric, e)
			case has && e.P == nil:
				t.Errorf("%s has a difference and no p", e.Metric)
			case e.Descriptive && (e.Adjusted != nil || e.Found):
				t.Errorf("%s decides", e.Metric)
			}
		}
	}
}
