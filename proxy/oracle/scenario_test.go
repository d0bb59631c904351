package oracle

import (
	"fmt"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
)

// presets are those that the scenarios name.
var presets = map[string]*policy.Policy{}

var endNames = [2]string{"client", "server"}

// scenario returns the flow as a script that "halfopen test" plays, with the engine's decisions, and the kernel's verdicts as comments
// above them where the two differ. The engine must not know the flow's ports yet. Numbers are relative where that plays with the same
// decisions: some of the kernel's depend on how a number compares with zero.
func (f *flow) scenario(e *engine, kernel []string) string {
	results := make([]result, len(f.segs))
	for i := range f.segs {
		results[i] = e.step(f, i)
	}
	text := f.script(results, kernel, bases(f.segs))
	s, problems := scenario.Parse("flow.scn", []byte(text))
	if len(problems) > 0 {
		return text
	}
	if len(s.Run(scenario.Config{Presets: presets}).Problems) > 0 {
		text = f.script(results, kernel, nil)
		if s, problems = scenario.Parse("flow.scn", []byte(text)); len(problems) > 0 {
			return text
		}
	}
	return string(s.Format())
}

// script writes the flow with numbers relative to base, or as on the wire where that is nil.
func (f *flow) script(results []result, kernel []string, base []uint32) string {
	var b strings.Builder
	ends := f.ends()
	fmt.Fprintf(&b, "policy linux-default\nflow client %s server %s\n\n", address(ends[0].String(), f.ports[0]), address(ends[1].String(), f.ports[1]))
	for i, r := range results {
		if r.drop != (kernel[i] == "INVALID") {
			fmt.Fprintf(&b, "# The kernel says %s.\n", kernel[i])
		}
		fate := "forward"
		if r.drop {
			fate = "drop"
		}
		state := ""
		if r.after != conntrack.StateNone {
			state = " state=" + r.after.String()
		}
		fmt.Fprintf(&b, "+1ms %s => %s/%s%s\n", f.segs[i].notation(base), fate, r.finding, state)
	}
	return b.String()
}

func address(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, port)
}

// notation returns the segment as a line of a scenario. An acknowledgment without its bit cannot be written.
func (s *seg) notation(base []uint32) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s %s ", endNames[s.from], endNames[1-s.from], s.flags)
	span := uint32(s.length)
	if s.seq == 0 {
		fmt.Fprintf(&b, "@0:@%d(%d)", span, span)
	} else {
		fmt.Fprintf(&b, "%s:%s(%d)", distance(s.seq, base, s.from), distance(s.seq+span, base, s.from), span)
	}
	if s.flags.Has(ack) {
		fmt.Fprintf(&b, " ack %s", number(s.ack, base, 1-s.from))
	}
	fmt.Fprintf(&b, " win %d", s.win)
	b.WriteString([numDamages]string{"", " cksum bad", " defect bad-data-offset", " defect bad-data-offset", " defect bad-options"}[s.damage])
	if o := s.optionWords(base); len(o) > 0 {
		fmt.Fprintf(&b, " <%s>", strings.Join(o, ","))
	}
	return b.String()
}

func (s *seg) optionWords(base []uint32) []string {
	var o []string
	if s.bare || s.damage == badOption {
		return nil
	}
	if s.flags.Has(syn) {
		o = append(o, "mss 1460")
	}
	if s.wscale >= 0 {
		o = append(o, fmt.Sprintf("wscale %d", s.wscale))
	}
	if s.sackOK {
		o = append(o, "sackOK")
	}
	if len(s.sack) > 0 {
		blocks := "sack"
		for _, k := range s.sack {
			blocks += fmt.Sprintf(" %s:%s", number(k[0], base, 1-s.from), number(k[1], base, 1-s.from))
		}
		o = append(o, blocks)
	}
	return o
}

// number writes a number of side i. Zero on the wire is written as such: a RST may have it in place of a number.
func number(n uint32, base []uint32, i int) string {
	if n == 0 {
		return "@0"
	}
	return distance(n, base, i)
}

// distance writes a number of side i relative to base, or as it is on the wire where that is nil.
func distance(n uint32, base []uint32, i int) string {
	if base == nil {
		return fmt.Sprintf("@%d", n)
	}
	if d := int32(n - base[i]); d < 0 && d > -1<<20 {
		return fmt.Sprint(d)
	}
	return fmt.Sprint(n - base[i])
}

// TestScenarios: a flow written as a scenario plays with the same decisions. What cannot be written is left out.
func TestScenarios(t *testing.T) {
	played := 0
	for n := range uint64(400) {
		f := newFlow(5, n)
		f.ports = [2]uint16{uint16(1024 + n), 515}
		if !f.writable() {
			continue
		}
		kernel := make([]string, len(f.segs))
		text := f.scenario(newEngine(t), kernel)
		s, problems := scenario.Parse("flow.scn", []byte(text))
		if len(problems) > 0 {
			t.Fatalf("%v in\n%s", problems, text)
		}
		if r := s.Run(scenario.Config{Presets: presets}); len(r.Problems) > 0 {
			t.Fatalf("flow %d: %v in\n%s", n, r.Problems, text)
		}
		played++
	}
	if played < 200 {
		t.Errorf("%d flows could be written", played)
	}
}

// writable reports whether the notation has a word for all of the flow.
func (f *flow) writable() bool {
	for i := range f.segs {
		s := &f.segs[i]
		if s.ack != 0 && !s.flags.Has(ack) || s.wscale > 14 || s.damage != sound && s.damage != badChecksum {
			return false
		}
	}
	return true
}
