package experiment

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// timed are outcomes of clients with one connection each, whose times to connect a function of the arm and the client's number in it gives.
func timed(spec *Spec, clients int, connect func(arm, i int) float64) (out []*Outcome) {
	seen := make([]int, len(spec.Arms))
	for c := range clients {
		o := &Outcome{Flow: uint64(c + 1), Start: spec.Start.Add(time.Duration(c) * time.Minute), Connected: true, Finished: true,
			Client:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(c >> 8), byte(c)}), 4000),
			Server:    netip.MustParseAddrPort("192.0.2.9:515"),
			ResponseS: math.NaN(), RecoveryS: math.NaN(), ChallengeS: math.NaN()}
		o.End = o.Start.Add(time.Second)
		arm := spec.ArmOf(o.Start, tupleOf(o))
		o.Arm, o.ConnectS = spec.Arms[arm].Name, connect(arm, seen[arm])
		seen[arm]++
		out = append(out, o)
	}
	return out
}

// TestDirectionOfTimes: what was tested says whether times rise or fall, and the sentence has a number that goes the same way, or none.
func TestDirectionOfTimes(t *testing.T) {
	mostly := func(i int, from int, v, w float64) float64 { // v, but w of every tenth from a number on
		if i%10 < from {
			return v + float64(i)*1e-9
		}
		return w + float64(i)*1e-9
	}
	for _, c := range []struct {
		name    string
		connect func(arm, i int) float64
		kind    VerdictKind
		words   string
	}{
		{"the tail falls, the median stays", func(arm, i int) float64 {
			if arm == 0 && i%10 >= 6 {
				return 5
			}
			return 0.02
		}, Better, "the time to connect falls by 4.98 s in the 95th percentile"},
		{"the tail rises, the median stays", func(arm, i int) float64 {
			if arm == 1 && i%10 >= 6 {
				return 5
			}
			return 0.02
		}, Harm, "the time to connect rises by 4.98 s in the 95th percentile"},
		{"the median falls a little, nearly half are slow", func(arm, i int) float64 {
			if arm == 0 {
				return mostly(i, 5, 0.020, 0.022)
			}
			return mostly(i, 6, 0.0205, 3)
		}, Harm, "the time to connect rises by "},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := testSpec(false)
			r := Analyze(spec, values2(timed(spec, 600, c.connect)), Options{Final: true, Resamples: 400})
			if r.Verdict.Kind != c.kind || !strings.Contains(r.Verdict.Sentence, c.words) {
				e := r.EffectOf("short", ConnectTime)
				t.Errorf("%s: %s\nwant %s: %s (median %+v, p95 %+v)", r.Verdict.Kind, r.Verdict.Sentence, c.kind, c.words, e.Difference, e.P95)
			}
		})
	}
}

// TestFoundWithoutInterval: what is found is told, where there are too few units for an interval of the quantiles too.
func TestFoundWithoutInterval(t *testing.T) {
	spec := testSpec(false)
	list := timed(spec, 16, func(arm, i int) float64 { return float64(1+4*arm) + float64(i)/100 })
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400})
	e := r.EffectOf("short", ConnectTime)
	if e.Difference != nil || !e.Found {
		t.Fatalf("difference %+v, found %v: this tests nothing", e.Difference, e.Found)
	}
	if want := "the time to connect rises by ranks"; e.Small || r.Verdict.Kind != Harm || !strings.Contains(r.Verdict.Sentence, want) {
		t.Errorf("%s: %s (small: %v), want harm: %s", r.Verdict.Kind, r.Verdict.Sentence, e.Small, want)
	}
}

// TestSmallAlpha: a smaller alpha takes more resamples, and not the intervals away.
func TestSmallAlpha(t *testing.T) {
	w, spec := newWorld(3, 300), testSpec(false)
	r := Analyze(spec, w.outcomes(spec), Options{Final: true, Alpha: 0.005})
	if e := r.EffectOf("short", ConnectTime); e.Difference == nil {
		t.Errorf("no interval: %s", e.Note)
	}
}

// TestWithheldFindsNothing: nothing is called found in a report whose verdict is withheld.
func TestWithheldFindsNothing(t *testing.T) {
	w, spec := newWorld(7, 900), testSpec(true)
	w.harm, w.slow = map[string]float64{"short": 0.2}, map[string]float64{"again": 3}
	list := slices.DeleteFunc(collect(spec, w), func(o *Outcome) bool { return o.Arm == "short" && o.Client.Addr().As4()[3]%3 == 0 })
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400})
	if r.Verdict.Kind != Withheld {
		t.Fatalf("%s: %s", r.Verdict.Kind, r.Verdict.Sentence)
	}
	for _, e := range r.Effects {
		if e.Found || e.Small || e.Noise {
			t.Errorf("%s of %s: found %v, small %v, noise %v", e.Metric, e.Arm, e.Found, e.Small, e.Noise)
		}
	}
}

// TestLossBoundHolds: no way to divide the lost connections among the arms and to spoil them or the others leaves the bound.
func TestLossBoundHolds(t *testing.T) {
	for _, c := range []struct{ n1, d1, n0, d0, lost int }{{0, 10, 10, 10, 10}, {3, 20, 15, 30, 12}, {1, 5, 1, 40, 9}, {4, 9, 2, 3, 30}, {0, 7, 0, 7, 0}} {
		s := func(n, d int) sums { return sums{num: float64(n), den: float64(d)} }
		b := lossBound(s(c.n1, c.d1), s(c.n0, c.d0), float64(c.lost))
		share := func(n, d int) float64 { return float64(n) / float64(d) }
		lo, hi := 1.0, -1.0
		for one := range c.lost + 1 { // of the first arm
			for missing1 := range one + 1 { // of these, that are not in the log; the others are in it, spoilt or mended
				for missing0 := range c.lost - one + 1 {
					wrong1, wrong0 := one-missing1, c.lost-one-missing0
					hi = max(hi, share(c.n1+min(wrong1, c.d1-c.n1)+missing1, c.d1+missing1)-share(c.n0-min(wrong0, c.n0), c.d0+missing0))
					lo = min(lo, share(c.n1-min(wrong1, c.n1), c.d1+missing1)-share(c.n0+min(wrong0, c.d0-c.n0)+missing0, c.d0+missing0))
				}
			}
		}
		if b.Lo > lo+1e-5 || b.Hi < hi-1e-5 || b.Lo < lo-1e-5 || b.Hi > hi+1e-5 {
			t.Errorf("%+v: bound %+v, possible %v to %v", c, b, lo, hi)
		}
	}
}

// TestNearlyAll: a share that is not all is not written as all.
func TestNearlyAll(t *testing.T) {
	for _, c := range []struct {
		v    float64
		want string
	}{{1, "100 %"}, {0.99999, "> 99.9 %"}, {0.9995, "> 99.9 %"}, {0.9994, "99.9 %"}, {0.5, "50 %"}} {
		if got := ConnectFailure.FormatFigure(c.v); got != c.want {
			t.Error(fmt.Sprint(c.v), got, "want", c.want)
		}
	}
}

// TestStoppedOnOneGateway: where one gateway has stopped an arm and another has not, each has the control of its own connections of the arm.
func TestStoppedOnOneGateway(t *testing.T) {
	w, spec := newWorld(5, 3000), testSpec(false)
	stop := spec.Start.Add(24 * time.Hour)
	list := collect(spec, w)
	slices.SortFunc(list, func(a, b *Outcome) int { return a.Start.Compare(b.Start) })
	control, moved := 0, 0
	for i, o := range list {
		late := !o.Start.Before(stop)
		if o.Gateway = "b"; i%2 == 0 {
			o.Gateway = "a"
		}
		if late && !o.Connected || late && i%4 < 2 { // a bad time for all
			o.Connected, o.ConnectS = false, math.NaN()
		}
		switch {
		case o.Arm == "control" && (!late || o.Gateway == "a"):
			control++
		case o.Arm == "short" && late && o.Gateway == "b":
			o.Arm = ""
			moved++
		}
	}
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400, Events: []Event{{Time: stop, Kind: EventStop, Arm: "short", Gateway: "b"}}})
	e := r.EffectOf("short", ConnectFailure)
	if e.Control.Den != float64(control) || r.Excluded.Moved != moved || e.Found {
		t.Errorf("%d connections of the control, want %d; moved %d, want %d; %s", int(e.Control.Den), control, r.Excluded.Moved, moved, r.Verdict.Sentence)
	}
}

// TestOneArmWithoutUnits: an arm that has too few does not hide what another does.
func TestOneArmWithoutUnits(t *testing.T) {
	for _, aa := range []bool{true, false} {
		for _, final := range []bool{true, false} {
			w, spec := newWorld(7, 900), testSpec(true)
			spec.Arms[2].Weight, spec.Arms[1].Weight = 1, 5999 // of 900 none
			if spec.Arms[2].AA = aa; !aa {
				spec.Arms[2].Policy = "again.yaml"
			}
			w.harm = map[string]float64{"short": 0.2}
			r := Analyze(spec, w.outcomes(spec), Options{Final: final, Resamples: 400})
			told := strings.Contains(r.Verdict.Sentence, "the arm again has no unit") ||
				slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.HasPrefix(c, "The arm again has no unit") })
			if r.Verdict.Kind != Harm || !strings.HasPrefix(r.Verdict.Sentence, "Short breaks connections: ") || !told {
				t.Errorf("aa %v, final %v: %s: %s\n%q", aa, final, r.Verdict.Kind, r.Verdict.Sentence, r.Caveats)
			}
		}
	}
}

// TestUnitsAreNoSeconds: a limit on seconds of stall is not held against a share of units.
func TestUnitsAreNoSeconds(t *testing.T) {
	w, spec := newWorld(7, 900), testSpec(false)
	w.fail = 0
	spec.Guardrails = []Guardrail{{Metric: StallTime, Max: 0.5}}
	stalls := 0
	list := collect(spec, w)
	for _, o := range list {
		o.Connected, o.StallS, o.GaveUp = true, 0, false
		if o.Arm == "short" && stalls < 4 {
			o.StallS = 3600 // an hour, in one of a few
			stalls++
		}
	}
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400, Least: map[Metric]float64{ConnectFailure: 0.5}})
	if e := r.EffectOf("short", StallTime); e.Of != "units" || e.Found {
		t.Fatalf("%+v: this tests nothing", e)
	}
	if r.Verdict.Kind != TooLittle {
		t.Errorf("%s: %s", r.Verdict.Kind, r.Verdict.Sentence)
	}
}

// TestEarlierLook: what a look has shown stays found, the way that it showed it, also where the difference has turned since.
func TestEarlierLook(t *testing.T) {
	spec := testSpec(false)
	list := timed(spec, 2000, func(int, int) float64 { return 0.02 })
	for i, o := range list {
		bad := "short"
		if i > 400 {
			bad = "control"
		}
		if o.Arm == bad && (i <= 400 && i%2 == 0 || i > 400 && i%6 == 0) {
			o.Connected, o.ConnectS = false, math.NaN()
		}
	}
	r := Analyze(spec, values2(list), Options{})
	e := r.EffectOf("short", ConnectFailure)
	if e.Sequence == nil || e.Sequence.Value >= 0 || !e.Found {
		t.Fatalf("%+v, found %v: this tests nothing", e.Sequence, e.Found)
	}
	if want := "connect failures rise, as an earlier look showed"; r.Verdict.Kind != Harm || !strings.Contains(r.Verdict.Sentence, want) {
		t.Errorf("%s: %s, want harm: %s", r.Verdict.Kind, r.Verdict.Sentence, want)
	}
}
