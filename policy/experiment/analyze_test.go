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
	"halfopen/policy/experiment/stats"
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

// TestLossBound: by hand. 2 of 10 failed in the arm, 1 of 10 in the control; 5 may be lost.
func TestLossBound(t *testing.T) {
	b := lossBound(sums{num: 2, den: 10}, sums{num: 1, den: 10}, 5)
	// Worst: all in the arm, failed: 7/15 - 1/10. Best: all in the control, failed: 2/10 - 6/15.
	if math.Abs(b.Hi-(7.0/15-0.1)) > 1e-6 || math.Abs(b.Lo-(0.2-6.0/15)) > 1e-6 {
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

// TestSmall: what is certain and means nothing decides nothing.
func TestSmall(t *testing.T) {
	e := Effect{Kind: "time", Control: &Figure{Value: 0.5}, Difference: &Estimate{Value: 0.0004}, P95: &Estimate{Value: -0.0009}}
	if !e.tooSmall() {
		t.Errorf("%+v matters", e)
	}
	e.Control.Value = 0.01 // four parts in a hundred
	if e.tooSmall() {
		t.Errorf("%+v does not matter", e)
	}
	e.Control.Value, e.P95.Value = 0.5, 0.002
	if e.tooSmall() {
		t.Errorf("%+v does not matter", e)
	}
	w, spec := newWorld(21, 1500), testSpec(false)
	tiny := func(yield func(*Outcome) bool) {
		for o := range w.outcomes(spec) {
			o.ConnectS = 2 + float64(o.Start.UnixNano()%1000)/1e7
			if o.Arm == "short" {
				o.ConnectS += 0.0003
			}
			if !yield(o) {
				return
			}
		}
	}
	r := Analyze(spec, tiny, Options{Final: true, Resamples: 400})
	if e := r.EffectOf("short", ConnectTime); !e.Found || !e.Small || found(r) {
		t.Errorf("%+v; %s", e, r.Verdict.Sentence)
	}
}

// TestWrongArms: a few connections in another arm are left out and told.
func TestWrongArms(t *testing.T) {
	w, spec := newWorld(7, 900), testSpec(false)
	list := collect(spec, w)
	for _, i := range []int{100, 2000} {
		list[i].Arm = map[string]string{"control": "short", "short": "control"}[list[i].Arm]
	}
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400})
	if r.Excluded.Misassigned != 2 || r.Excluded.MixedUnits != 2 || r.Assignment.Checked != len(list) || r.Verdict.Kind == Withheld {
		t.Errorf("%+v %+v %s", r.Excluded, r.Assignment, r.Verdict.Sentence)
	}
	if !slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.Contains(c, "of 2 units, are in another arm") }) {
		t.Errorf("%q", r.Caveats)
	}
}

// TestOverTimeAndSegments: the parts are the whole, and few.
func TestOverTimeAndSegments(t *testing.T) {
	w, spec := newWorld(19, 900), testSpec(false)
	w.harm = map[string]float64{"short": 0.1}
	r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
	want := [2]int{r.Arms[0].Load.Connections, r.Arms[1].Load.Connections}
	var got [2]int
	for i, p := range r.OverTime {
		for k := range p.Arms {
			got[k] += p.Arms[k].Connections
		}
		if i > 0 && p.From.Before(r.OverTime[i-1].To) {
			t.Errorf("%s overlaps %s", p.From, r.OverTime[i-1].To)
		}
	}
	if got != want || len(r.OverTime) > maxPoints || len(r.OverTime) < 20 {
		t.Errorf("%d points with %v connections, want %v", len(r.OverTime), got, want)
	}
	byKind := map[string][2]int{}
	for _, s := range r.Segments {
		n := byKind[s.Kind]
		for k := range s.Arms {
			n[k] += s.Arms[k].Connections
		}
		byKind[s.Kind] = n
		found := false
		for _, e := range s.Effects {
			if e.Metric == "connect-failure" {
				found = e.Difference.Lo < 0.1 && 0.1 < e.Difference.Hi && e.Difference.Hi-e.Difference.Lo < 0.15
			}
		}
		if !found {
			t.Errorf("%s %s: %+v", s.Kind, s.Value, s.Effects)
		}
	}
	if byKind["port"] != want || byKind["family"] != want || len(byKind) != 2 {
		t.Errorf("segments have %v, want %v", byKind, want)
	}
}

// TestManyTimes: of a unit's times each has the same chance to be kept.
func TestManyTimes(t *testing.T) {
	var s side
	rng := stats.NewRNG(1)
	for i := range 4000 {
		s.keep(ConnectTime, 0, float64(i/1000), rng)
	}
	of := map[float64]int{}
	for _, v := range s.times[ConnectTime][0].vals {
		of[v]++
	}
	if n := len(s.values(ConnectTime)[0]); n != maxTimes || !s.cut(ConnectTime) {
		t.Errorf("%d times are kept", n)
	}
	for v := range 4 {
		if n := of[float64(v)]; n < 2 || n > 16 {
			t.Errorf("%d of %d times are %d, which a quarter is", n, maxTimes, v)
		}
	}
}

// TestBehind: the connections that add the most, of equals the first.
func TestBehind(t *testing.T) {
	var b behind
	for i := range 1000 {
		v := values{}
		v.ok[StallTime], v.num[StallTime], v.den[StallTime] = true, float64((i*7919)%1000), 1
		v.ok[GaveUpRate], v.num[GaveUpRate] = true, float64(i%2)
		b.add(&Outcome{Flow: uint64(i)}, &v)
	}
	if list := b[StallTime]; len(list) != maxBehind || list[0].Value != 999 || list[maxBehind-1].Value != 800 {
		t.Errorf("%d, from %v to %v", len(list), list[0].Value, list[len(list)-1].Value)
	}
	if list := b[GaveUpRate]; len(list) != maxBehind || list[0].Flow != 1 || list[1].Flow != 3 {
		t.Errorf("%d, %d, %d", len(list), list[0].Flow, list[1].Flow)
	}
}

// TestFewEvents: what is rare is not tested by an approximation for what is not.
func TestFewEvents(t *testing.T) {
	for _, c := range []struct {
		unit   Unit
		metric Metric
		want   Method
		of     string
	}{{UnitClient64, StillThere, MethodShare, "connections"}, {UnitClient64, ResetRate, MethodFisherUnits, "units"}, {UnitFlow, StillThere, MethodFisher, "connections"},
		{UnitClient64, ConnectFailure, MethodRatio, "connections"}, {UnitClient64, Unrecovered, MethodRatio, "connections"}} {
		w, spec := newWorld(31, 400), testSpec(false)
		w.fail, spec.Unit = 0.08, c.unit
		n := 0
		rare := func(yield func(*Outcome) bool) {
			for o := range w.outcomes(spec) {
				n++
				o.StillThere, o.Resets = n%150 == 0, 0
				if n%120 == 0 {
					o.Resets = 1
				}
				if !yield(o) {
					return
				}
			}
		}
		e := Analyze(spec, rare, Options{Final: true, Resamples: 400}).EffectOf("short", c.metric)
		if e.Test != c.want || e.Of != c.of || e.Difference == nil || e.P == nil {
			t.Errorf("%s by %s: %s of %s, %+v, want %s of %s", c.metric, c.unit, e.Test, e.Of, e.Difference, c.want, c.of)
		}
	}
}

// TestUnitFlow: the interference that a unit of one connection brings is said.
func TestUnitFlow(t *testing.T) {
	w, spec := newWorld(33, 200), testSpec(false)
	spec.Unit = UnitFlow
	r := Analyze(spec, w.outcomes(spec), Options{})
	if !strings.HasPrefix(r.Caveats[0], "The unit is the connection: a client meets both arms") {
		t.Errorf("%q", r.Caveats)
	}
	if e := r.EffectOf("short", ConnectFailure); e.Treated.Units != int(e.Treated.Den) {
		t.Errorf("%+v", e.Treated)
	}
}

func TestRound(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 1.23456789: 1.23457, -0.000123456789: -0.000123457, 123456789: 123457000, math.Inf(1): 0} {
		if got := round(v); math.Abs(got-want) > math.Abs(want)*1e-9 {
			t.Errorf("round(%v) = %v, want %v", v, got, want)
		}
	}
}
