package proxy

import (
	"cmp"
	"slices"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// nothing stands for the finding of who did nothing while time made the other side act.
const nothing = "nothing"

// pairs is how many pairs of findings there are.
const pairs = int(conntrack.NumFindings) * int(conntrack.NumFindings)

// shadowTally is what has been counted of a shadow beside one revision of the policy in force. The counts that decisionlog.ShadowStats
// has a field for are there; its times are Instants until [shadowTally.stats]. A copy shares the cells: see clone.
type shadowTally struct {
	decisionlog.ShadowStats
	Decided [conntrack.NumFindings][verdicts]uint64
	ended   [conntrack.NumEndReasons]uint64
	cells   []shadowCell
	place   *[pairs]uint16 // of a pair of findings among the cells, from 1
	timed   []timedCell
}

// shadowCell counts a pair of findings.
type shadowCell struct {
	live, shadow      conntrack.Finding
	agreed, disagreed uint64
}

// timedCell counts a pair of words of which time alone was the cause.
type timedCell struct {
	live, shadow string
	n            uint64
}

// begin makes the tally an empty one.
func (t *shadowTally) begin(sh *shadow) {
	*t = shadowTally{place: new([pairs]uint16)}
	t.Policy, t.Preset, t.PolicyRev, t.Trial = sh.name, sh.pol.Preset(), sh.pol.Rev(), sh.trial
}

// endTally puts the tally aside, before a policy takes another's place.
func (sh *shadow) endTally() {
	if sh.tally.Segments+sh.tally.Shed+sh.tally.Timed == 0 {
		return
	}
	if len(sh.past) == maxPast { // the stats records before have told of it
		sh.past = slices.Delete(sh.past, 0, 1)
	}
	sh.past = append(sh.past, sh.tally)
}

// maxPast bounds the revisions that a worker still has numbers of.
const maxPast = 16

// step counts what the shadow decided.
func (t *shadowTally) step(out *policy.Outcome) {
	t.Segments++
	t.Decided[out.Finding][out.Verdict]++
	if out.HasReply {
		t.Injected++
	}
	if out.HasPeer {
		t.Injected++
	}
	for i := range out.Flows {
		switch ev := &out.Flows[i]; ev.Kind {
		case policy.FlowNew:
			t.Tracked++
		case policy.FlowEnd:
			t.ended[ev.Why]++
		}
	}
}

func (t *shadowTally) agreed(live, shadow conntrack.Finding) {
	t.Agreed++
	t.cell(live, shadow).agreed++
}

func (t *shadowTally) disagreed(live, shadow conntrack.Finding) {
	t.Disagreed++
	t.cell(live, shadow).disagreed++
}

// cell returns the counts of a pair. It allocates for a pair that is met for the first time.
func (t *shadowTally) cell(live, shadow conntrack.Finding) *shadowCell {
	at := &t.place[int(live)*int(conntrack.NumFindings)+int(shadow)]
	if *at == 0 {
		t.cells = append(t.cells, shadowCell{live: live, shadow: shadow})
		*at = uint16(len(t.cells))
	}
	return &t.cells[*at-1]
}

// byTime counts a first disagreement that time alone has caused.
func (t *shadowTally) byTime(live, shadow string) {
	t.Timed++
	for i := range t.timed {
		if c := &t.timed[i]; c.live == live && c.shadow == shadow {
			c.n++
			return
		}
	}
	t.timed = append(t.timed, timedCell{live, shadow, 1})
}

// clone returns a copy that shares nothing that changes.
func (t *shadowTally) clone() shadowTally {
	c := *t
	c.cells, c.timed, c.place = slices.Clone(t.cells), slices.Clone(t.timed), nil
	return c
}

// sameAs reports whether two tallies are of the same policies.
func (t *shadowTally) sameAs(o *shadowTally) bool {
	return t.Policy == o.Policy && t.PolicyRev == o.PolicyRev && t.LiveRev == o.LiveRev
}

// add adds another worker's numbers.
func (t *shadowTally) add(o *shadowTally) {
	s := &t.ShadowStats
	for _, n := range [...]struct {
		to *uint64
		n  uint64
	}{{&s.Segments, o.Segments}, {&s.Agreed, o.Agreed}, {&s.Disagreed, o.Disagreed}, {&s.Timed, o.Timed}, {&s.Diverged, o.Diverged},
		{&s.Relaxed, o.Relaxed}, {&s.TimedRelaxed, o.TimedRelaxed}, {&s.Shed, o.Shed}, {&s.Sheds, o.Sheds}, {&s.Unrecorded, o.Unrecorded},
		{&s.Forgotten, o.Forgotten}, {&s.Tracked, o.Tracked}, {&s.Injected, o.Injected}} {
		*n.to += n.n
	}
	if s.ShedFrom == 0 || o.ShedFrom != 0 && o.ShedFrom < s.ShedFrom {
		s.ShedFrom = o.ShedFrom
	}
	s.ShedTo = max(s.ShedTo, o.ShedTo)
	for why := range t.ended {
		t.ended[why] += o.ended[why]
	}
	for f := range t.Decided {
		for v := range t.Decided[f] {
			t.Decided[f][v] += o.Decided[f][v]
		}
	}
	for i := range o.cells {
		c := &o.cells[i]
		at := slices.IndexFunc(t.cells, func(have shadowCell) bool { return have.live == c.live && have.shadow == c.shadow })
		if at < 0 {
			t.cells = append(t.cells, *c)
			continue
		}
		t.cells[at].agreed += c.agreed
		t.cells[at].disagreed += c.disagreed
	}
	for i := range o.timed {
		c := &o.timed[i]
		at := slices.IndexFunc(t.timed, func(have timedCell) bool { return have.live == c.live && have.shadow == c.shadow })
		if at < 0 {
			t.timed = append(t.timed, *c)
			continue
		}
		t.timed[at].n += c.n
	}
}

// addTallies adds tallies to a list of them, by what they are of. The list shares nothing with what is added.
func addTallies(list []shadowTally, more []shadowTally) []shadowTally {
	for i := range more {
		o := &more[i]
		if at := slices.IndexFunc(list, func(t shadowTally) bool { return t.sameAs(o) }); at >= 0 {
			list[at].add(o)
			continue
		}
		list = append(list, o.clone())
	}
	return list
}

// snapshot copies the numbers of all shadows, those of earlier revisions first.
func (ss *shadows) snapshot() (list []shadowTally) {
	if ss == nil {
		return nil
	}
	for _, sh := range ss.list {
		sh.tally.LiveRev = ss.liveRev
		list = addTallies(addTallies(list, sh.past), []shadowTally{sh.tally})
	}
	return list
}

// stats returns the numbers for the log; wall converts Instants to Unix nanoseconds.
func (t *shadowTally) stats(wall func(conntrack.Instant) int64) decisionlog.ShadowStats {
	s := t.ShadowStats
	if s.ShedFrom != 0 {
		s.ShedFrom, s.ShedTo = wall(conntrack.Instant(s.ShedFrom)), wall(conntrack.Instant(s.ShedTo))
	}
	c := Counts{Decided: t.Decided}
	s.Verdicts, s.Reasons = c.byVerdict(), c.byReason()
	for why, n := range t.ended {
		if n > 0 {
			s.Ended = append(s.Ended, decisionlog.Count{Word: conntrack.EndReason(why).String(), N: n})
		}
	}
	cells := slices.Clone(t.cells)
	slices.SortFunc(cells, func(a, b shadowCell) int { return cmp.Or(cmp.Compare(a.live, b.live), cmp.Compare(a.shadow, b.shadow)) })
	for _, c := range cells {
		word := c.live.String() + " " + c.shadow.String()
		if c.agreed > 0 {
			s.Agreements = append(s.Agreements, decisionlog.Count{Word: word, N: c.agreed})
		}
		if c.disagreed > 0 {
			s.Disagreements = append(s.Disagreements, decisionlog.Count{Word: word, N: c.disagreed})
		}
	}
	timed := slices.Clone(t.timed)
	slices.SortFunc(timed, func(a, b timedCell) int { return cmp.Or(cmp.Compare(a.live, b.live), cmp.Compare(a.shadow, b.shadow)) })
	for _, c := range timed {
		s.Disagreements = append(s.Disagreements, decisionlog.Count{Word: c.live + " " + c.shadow, N: c.n})
	}
	return s
}

// shadowCounters sums up tallies by the shadows' names, for the metrics.
func shadowCounters(list []shadowTally) (out []ShadowCounters) {
	for i := range list {
		t := &list[i]
		at := slices.IndexFunc(out, func(c ShadowCounters) bool { return c.Policy == t.Policy })
		if at < 0 {
			at = len(out)
			out = append(out, ShadowCounters{Policy: t.Policy})
		}
		c := &out[at]
		c.Segments += t.Segments
		c.Agreed += t.Agreed
		c.Disagreed += t.Disagreed
		c.Timed += t.Timed
		c.Diverged += t.Diverged
		c.Shed += t.Shed
		for _, cell := range t.cells {
			c.pair(cell.live.String(), cell.shadow.String(), cell.disagreed)
		}
		for _, cell := range t.timed {
			c.pair(cell.live, cell.shadow, cell.n)
		}
	}
	return out
}

func (c *ShadowCounters) pair(live, shadow string, n uint64) {
	if n == 0 {
		return
	}
	for i := range c.Pairs {
		if p := &c.Pairs[i]; p.Live == live && p.Shadow == shadow {
			p.N += n
			return
		}
	}
	c.Pairs = append(c.Pairs, ShadowPair{live, shadow, n})
}

// shadowStatus says how the shadows do that run now. The gateway's mutex is held.
func (g *Gateway) shadowStatus(list []shadowTally) (out []ShadowStatus) {
	pols, live := g.shadows, g.pol.Rev()
	if g.cfg.DryRun {
		pols = append([]*policy.Policy{g.pol}, pols...)
		if observe, err := LoadPolicy("observe", nil); err == nil {
			live = observe.Rev()
		}
	}
	names := shadowNames(pols)
	for i, p := range pols {
		st := ShadowStatus{Policy: names[i], Preset: p.Preset(), Rev: p.Rev(), Trial: g.cfg.DryRun && i == 0}
		for j := range list {
			if t := &list[j]; t.Policy == st.Policy && t.PolicyRev == st.Rev && t.LiveRev == live {
				st.Segments, st.Agreed, st.Disagreed, st.Diverged, st.Shed = t.Segments, t.Agreed, t.Disagreed+t.Timed, t.Diverged, t.Shed
			}
		}
		out = append(out, st)
	}
	return out
}

// shadowStats are the numbers of a list of tallies for the log.
func shadowStats(list []shadowTally, wall func(conntrack.Instant) int64) (out []decisionlog.ShadowStats) {
	for i := range list {
		out = append(out, list[i].stats(wall))
	}
	return out
}
