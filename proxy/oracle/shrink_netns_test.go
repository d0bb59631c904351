//go:build netns

package oracle

import (
	"fmt"
	"slices"
	"time"

	"halfopen/conntrack"
)

// outcome is how a flow on its own went: the first segment about which the two differ, below 0 for none.
type outcome struct {
	kernel []string
	at     int
	name   string
}

// alone runs segs as a flow on ports of its own.
func alone(k *kernel, e *engine, ports *portSource, f *flow, segs []seg) (outcome, error) {
	g := &flow{v6: f.v6, segs: segs, ports: ports.next()}
	steps := make([]step, len(segs))
	for i := range steps {
		steps[i] = step{g, i}
	}
	o := outcome{at: -1}
	verdicts, states, err := k.batch(steps)
	if err != nil {
		return o, err
	}
	for i := range steps {
		res := e.step(g, i)
		o.kernel = append(o.kernel, verdicts[i].String())
		if o.at < 0 && res.drop != (verdicts[i] == invalid) {
			o.at, o.name = i, className(verdicts[i].String(), res, &segs[i])
		}
	}
	if o.at < 0 {
		if theirs, ours := kernelState(states, g), e.state(g); theirs != ours {
			o.at, o.name = len(segs)-1, fmt.Sprintf("at the end the kernel holds %s, ours %s", theirs, ours)
		} else if name := timerDiffers(states, e, g); name != "" {
			o.at, o.name = len(segs)-1, name
		}
	}
	return o, nil
}

// shrink returns a listing of the shortest part of c's flow that still shows a difference of the same class.
func shrink(k *kernel, e *engine, ports *portSource, c *class) string {
	segs := c.f.segs[:c.at+1]
	o, err := alone(k, e, ports, c.f, segs)
	if err != nil || o.name != c.name {
		return fmt.Sprintf("    not shown by the flow alone (%q, %v)", o.name, err)
	}
	for again := true; again; {
		again = false
		for i := len(segs) - 2; i >= 0; i-- {
			fewer := slices.Delete(slices.Clone(segs), i, i+1)
			p, err := alone(k, e, ports, c.f, fewer)
			if err == nil && p.name == c.name && p.at == len(fewer)-1 {
				segs, o, again = fewer, p, true
			}
		}
	}
	for i := range segs { // simpler segments
		for _, simpler := range simplifications {
			try := slices.Clone(segs)
			simpler(&try[i])
			if p, err := alone(k, e, ports, c.f, try); err == nil && p.name == c.name && p.at == len(try)-1 {
				segs, o = try, p
			}
		}
	}
	f := *c.f
	f.ports = ports.next()
	f.segs = segs
	return f.scenario(e, o.kernel)
}

// simplifications leave out what a difference may not need.
var simplifications = []func(*seg){
	func(s *seg) { s.stamp = false },
	func(s *seg) { s.sack = nil },
	func(s *seg) { s.sackOK = false },
	func(s *seg) { s.wscale = -1 },
	func(s *seg) { s.flags &^= psh | urg },
	func(s *seg) { s.length = 0 },
	func(s *seg) { s.length = min(s.length, 1) },
}

// kernelState looks up a flow in a dump of the kernel's table.
func kernelState(states map[conntrack.Tuple]held, f *flow) remembered {
	if st, ok := states[f.tuple(0)]; ok {
		return remembered{st.state, true}
	}
	if st, ok := states[f.tuple(1)]; ok {
		return remembered{st.state, false}
	}
	return remembered{}
}

// timerDiffers names a difference between what the timers of a flow were last set to, "" for none.
func timerDiffers(states map[conntrack.Tuple]held, e *engine, f *flow) string {
	tu := f.tuple(0)
	k, ok := states[tu]
	if !ok {
		k, ok = states[tu.Reverse()]
	}
	ent := e.Find(e.now, &tu)
	if !ok || ent == nil || k.left <= ent.Timeout && k.left >= ent.Timeout-patience {
		return ""
	}
	return fmt.Sprintf("timer in %s: the kernel has %v left, ours was set to %v", ent.State, k.left.Round(10*time.Second), ent.Timeout)
}
