package experiment

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"halfopen/policy"
)

// specJSON is a Spec as records and reports carry it: the object spec of an experiment record. Percentages are numbers from 0 to 100,
// durations seconds, times RFC 3339; what is not said is left out.
type specJSON struct {
	Name       string          `json:"name"`
	Unit       string          `json:"unit"`
	Salt       string          `json:"salt"`
	Share      float64         `json:"share"`
	Match      *matchJSON      `json:"match,omitempty"`
	Start      string          `json:"start,omitempty"`
	End        string          `json:"end,omitempty"`
	WarmUpS    float64         `json:"warm_up_s"`
	Switchback *switchbackJSON `json:"switchback,omitempty"`
	Arms       []armJSON       `json:"arms"`
	Guardrails []guardrailJSON `json:"guardrails,omitempty"`
}

type matchJSON struct {
	Src     []string `json:"src,omitempty"`
	Dst     []string `json:"dst,omitempty"`
	SrcPort []string `json:"src_port,omitempty"`
	DstPort []string `json:"dst_port,omitempty"`
}

type switchbackJSON struct {
	BlockS float64 `json:"block_s"`
	Seed   uint64  `json:"seed"`
}

type armJSON struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	Policy string  `json:"policy,omitempty"`
	Preset string  `json:"preset,omitempty"`
	Rev    string  `json:"policy_rev,omitempty"`
	AA     bool    `json:"aa,omitempty"`
}

type guardrailJSON struct {
	Metric      string   `json:"metric"`
	MaxIncrease *float64 `json:"max_increase,omitempty"`
	Max         *float64 `json:"max,omitempty"`
	Alpha       float64  `json:"alpha,omitempty"`
}

// MarshalJSON writes the spec as records carry it. The encoding of a spec is always the same.
func (s Spec) MarshalJSON() ([]byte, error) {
	out := specJSON{Name: s.Name, Unit: s.Unit.String(), Salt: s.Salt, Share: float64(s.Share) / 100, Start: timeText(s.Start), End: timeText(s.End),
		WarmUpS: s.WarmUp.Seconds()}
	if m := s.Match; len(m.Src)+len(m.Dst)+len(m.SrcPort)+len(m.DstPort) > 0 {
		out.Match = &matchJSON{prefixTexts(m.Src), prefixTexts(m.Dst), portTexts(m.SrcPort), portTexts(m.DstPort)}
	}
	if s.Switchback != nil {
		out.Switchback = &switchbackJSON{s.Switchback.Block.Seconds(), s.Switchback.Seed}
	}
	for _, a := range s.Arms {
		out.Arms = append(out.Arms, armJSON{a.Name, float64(a.Weight) / 100, a.Policy, a.Preset, a.Rev, a.AA})
	}
	for _, g := range s.Guardrails {
		j := guardrailJSON{Metric: g.Metric.String(), Alpha: g.Alpha}
		if g.Absolute {
			j.Max = &g.Max
		} else {
			j.MaxIncrease = &g.Max
		}
		out.Guardrails = append(out.Guardrails, j)
	}
	return json.Marshal(out)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func prefixTexts(prefixes []netip.Prefix) []string {
	var out []string
	for i := range prefixes {
		out = append(out, (&policy.Match{Src: prefixes[i : i+1]}).PartText(policy.MatchSrc))
	}
	return out
}

func portTexts(ranges []policy.PortRange) []string {
	var out []string
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return out
}

// FromJSON reads the object spec of an experiment record. Keys that it does not know are those of later versions and left alone; values
// that no Spec has are an error.
func FromJSON(data []byte) (*Spec, error) {
	s := &Spec{}
	if err := s.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalJSON is [FromJSON] into a Spec.
func (s *Spec) UnmarshalJSON(data []byte) error {
	var in specJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("experiment: a spec in a log: %w", err)
	}
	out, err := in.spec()
	if err != nil {
		return fmt.Errorf("experiment: the spec of %s in a log: %w", policy.Quote(in.Name), err)
	}
	*s = out
	return nil
}

func (in *specJSON) spec() (s Spec, err error) {
	s.Name, s.Salt = in.Name, in.Salt
	unit, ok := ParseUnit(in.Unit)
	share, ok2 := hundredths(in.Share)
	switch {
	case in.Name == "":
		return s, fmt.Errorf("it has no name")
	case !ok:
		return s, fmt.Errorf("the unit %s is not known", policy.Quote(in.Unit))
	case !ok2:
		return s, fmt.Errorf("a share of %v%%", in.Share)
	case len(in.Salt) > maxSalt:
		return s, fmt.Errorf("a salt of more than %d bytes", maxSalt)
	case len(in.Arms) < 2 || len(in.Arms) > MaxArms:
		return s, fmt.Errorf("%d arms", len(in.Arms))
	}
	s.Unit, s.Share = unit, share
	if s.Start, err = readTime(in.Start); err != nil {
		return s, err
	}
	if s.End, err = readTime(in.End); err != nil {
		return s, err
	}
	if s.WarmUp, err = readSeconds(in.WarmUpS); err != nil {
		return s, err
	}
	if b := in.Switchback; b != nil {
		s.Switchback = &Switchback{Seed: b.Seed}
		if s.Switchback.Block, err = readSeconds(b.BlockS); err != nil {
			return s, err
		}
		if s.Switchback.Block < time.Millisecond || s.Start.IsZero() {
			return s, fmt.Errorf("a switchback without blocks or start")
		}
	}
	if s.Arms, err = in.arms(); err != nil {
		return s, err
	}
	if s.Guardrails, err = in.guardrails(); err != nil || in.Match == nil {
		return s, err
	}
	s.Match, err = in.Match.match()
	return s, err
}

func (in *specJSON) arms() (arms []Arm, err error) {
	sum := 0
	for _, a := range in.Arms {
		w, ok := hundredths(a.Weight)
		if !ok || a.Name == "" {
			return nil, fmt.Errorf("an arm %s with weight %v", policy.Quote(a.Name), a.Weight)
		}
		sum += w
		arms = append(arms, Arm{Name: a.Name, Weight: w, Policy: a.Policy, Preset: a.Preset, Rev: a.Rev, AA: a.AA})
	}
	if sum != perHundred && in.Switchback == nil {
		return nil, fmt.Errorf("weights whose sum is %s%%", percentText(sum))
	}
	return arms, nil
}

func (in *specJSON) guardrails() (out []Guardrail, err error) {
	for _, j := range in.Guardrails {
		m, ok := ParseMetric(j.Metric)
		g := Guardrail{Metric: m, Absolute: j.Max != nil, Alpha: j.Alpha}
		switch {
		case !ok:
			return nil, fmt.Errorf("the metric %s is not known", policy.Quote(j.Metric))
		case (j.Max == nil) == (j.MaxIncrease == nil):
			return nil, fmt.Errorf("a limit on %s without one amount", m)
		case j.Max != nil:
			g.Max = *j.Max
		default:
			g.Max = *j.MaxIncrease
		}
		out = append(out, g)
	}
	return out, nil
}

func (m *matchJSON) match() (out policy.Match, err error) {
	if out.Src, err = readPrefixes(m.Src); err != nil {
		return out, err
	}
	if out.Dst, err = readPrefixes(m.Dst); err != nil {
		return out, err
	}
	if out.SrcPort, err = readPorts(m.SrcPort); err != nil {
		return out, err
	}
	out.DstPort, err = readPorts(m.DstPort)
	return out, err
}

func readPrefixes(texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		if p.Addr().Is4() {
			p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
		}
		out = append(out, p)
	}
	return out, nil
}

func readPorts(texts []string) (out []policy.PortRange, err error) {
	for _, text := range texts {
		r, err := policy.ParsePortRange(text)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UTC(), err
}

// maxSeconds is ten years, the longest duration of policies.
const maxSeconds = 3650 * 24 * 3600

func readSeconds(s float64) (time.Duration, error) {
	if !(s >= 0 && s <= maxSeconds) {
		return 0, fmt.Errorf("a duration of %v seconds", s)
	}
	return time.Duration(math.Round(s * float64(time.Second))), nil
}

// hundredths returns a percentage in hundredths of a percent.
func hundredths(percent float64) (n int, ok bool) {
	if !(percent >= 0 && percent <= 100) {
		return 0, false
	}
	return int(math.Round(percent * 100)), true
}
