package disagree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"halfopen/proxy/decisionlog"
)

// key tells shadows apart: a reload of either policy begins another.
type key struct{ policy, rev, live string }

// Builder makes a report of a log's records, in their order. Its zero value is not ready: see [NewBuilder].
type Builder struct {
	rep   Report
	keys  []key // of stats records, as they are met
	named []key // of decisions
	told  map[key]*told
	runs  map[string]map[key]*decisionlog.ShadowStatsEvent // the last of each run: what it counts, it counts since the run began
	order []string                                         // of runs
}

// told is what records tell of a shadow's disagreements.
type told struct {
	recorded uint64
	kinds    []*Kind
	by       map[[2]Deed]*Kind
	first    []First
}

// NewBuilder returns an empty builder.
func NewBuilder() *Builder {
	return &Builder{told: make(map[key]*told), runs: make(map[string]map[key]*decisionlog.ShadowStatsEvent)}
}

// Read reports the log at path (a directory, a file, or - for stdin); only is the name of one shadow, "" for all.
func Read(ctx context.Context, path, only string) (*Report, error) {
	b := NewBuilder()
	lines := 0
	for e, err := range decisionlog.Read(path) {
		if lines++; lines%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var bad *decisionlog.BadLine
		switch {
		case errors.As(err, &bad):
			b.rep.Bad++
		case err != nil:
			return nil, err
		default:
			b.Add(e)
		}
	}
	if lines == 0 {
		return nil, fmt.Errorf("review: no decision log in %s", path)
	}
	r := b.Report()
	if only != "" {
		var names []string
		for _, p := range r.Shadows {
			if !slices.Contains(names, p.Policy) {
				names = append(names, p.Policy)
			}
		}
		r.Shadows = slices.DeleteFunc(r.Shadows, func(p *Policy) bool { return p.Policy != only })
		if len(r.Shadows) == 0 {
			return nil, fmt.Errorf("review: no shadow %q in %s; %s", only, path, known(names))
		}
	}
	return r, nil
}

func known(names []string) string {
	if len(names) == 0 {
		return "no policy ran beside the one in force there (run --shadow NAME)"
	}
	return "its shadows are " + strings.Join(names, ", ")
}

// Add takes a record.
func (b *Builder) Add(e *decisionlog.Event) {
	switch {
	case e.Decision != nil:
		for i := range e.Shadow {
			if s := &e.Shadow[i]; s.Differs() {
				b.disagreement(e, s)
			}
		}
	case e.Stats != nil:
		b.stats(cmp.Or(e.Stats.Run, e.Run), e.Stats)
	case e.Gap != nil:
		b.rep.LostRecords += e.Gap.Records["decision"]
		if len(e.Gap.Records) == 0 {
			b.rep.Unseen += e.Gap.Count
		}
	}
}

func (b *Builder) stats(run string, s *decisionlog.StatsEvent) {
	if len(s.Shadows) == 0 {
		return
	}
	of := b.runs[run]
	if of == nil {
		of = make(map[key]*decisionlog.ShadowStatsEvent)
		b.runs[run] = of
		b.order = append(b.order, run)
	}
	for i := range s.Shadows {
		st := s.Shadows[i]
		k := key{st.Policy, st.PolicyRev, st.LiveRev}
		if !slices.Contains(b.keys, k) {
			b.keys = append(b.keys, k)
		}
		of[k] = &st
	}
}

// disagreement books a first disagreement.
func (b *Builder) disagreement(e *decisionlog.Event, s *decisionlog.ShadowEvent) {
	d := e.Decision
	k := key{s.Policy, s.PolicyRev, d.PolicyRev}
	t := b.told[k]
	if t == nil {
		b.named = append(b.named, k)
		t = &told{by: make(map[[2]Deed]*Kind)}
		b.told[k] = t
	}
	verdict := d.Verdict
	if d.Trigger == decisionlog.TriggerShadow && d.Action != nil {
		verdict = d.Action.Packet
	}
	live := deed(verdict, d.Reason, d.Rule, d.Reply, d.Peer, d.Stripped)
	would := deed(s.Verdict, s.Reason, s.Rule, s.Reply, s.Peer, s.Stripped)
	if s.Trigger != "" { // of both sides one may have done nothing
		live, would = timed(live), timed(would)
	}
	t.add(&First{Example{At: e.Timestamp, Run: e.Run, Flow: e.FlowID, Src: end(e.SrcIP, e.SrcPort), Dst: end(e.DestIP, e.DestPort), ID: d.ID,
		N: e.PcapCnt}, live, would})
}

// add books one.
func (t *told) add(f *First) {
	t.recorded++
	if len(t.first) < MaxFirst {
		t.first = append(t.first, *f)
	}
	t.kind(f.Live, f.Shadow, 1, []Example{f.Example})
}

func (t *told) kind(live, shadow Deed, flows uint64, examples []Example) {
	k := t.by[[2]Deed{live, shadow}]
	if k == nil {
		if len(t.kinds) == maxKinds {
			return
		}
		k = &Kind{Live: live, Shadow: shadow}
		t.by[[2]Deed{live, shadow}] = k
		t.kinds = append(t.kinds, k)
	}
	k.Flows += flows
	k.Examples = append(k.Examples, examples[:min(len(examples), MaxExamples-len(k.Examples))]...)
}

// merge adds what another tells, later.
func (t *told) merge(o *told) {
	if o == nil {
		return
	}
	t.recorded += o.recorded
	for _, k := range o.kinds {
		t.kind(k.Live, k.Shadow, k.Flows, k.Examples)
	}
	t.first = append(t.first, o.first[:min(len(o.first), MaxFirst-len(t.first))]...)
}

func deed(verdict, reason, rule string, reply, peer *decisionlog.MadeEvent, stripped []string) Deed {
	d := Deed{Verdict: verdict, Reason: reason, Rule: rule, Stripped: strings.Join(stripped, ",")}
	if reply != nil {
		d.Reply = reply.Kind
	}
	if peer != nil {
		d.Peer = peer.Kind
	}
	return d
}

// timed names who did nothing.
func timed(d Deed) Deed {
	if d.Verdict == "" && d.Reply == "" && d.Peer == "" {
		return Deed{Reason: Nothing}
	}
	return d
}

func end(ip string, port uint16) string { return net.JoinHostPort(ip, strconv.Itoa(int(port))) }

// Report returns the report of what was added so far.
func (b *Builder) Report() *Report {
	r := b.rep
	r.Shadows = []*Policy{}
	homes := make(map[key]int) // places in r.Shadows
	var all []*told
	for _, k := range b.keys {
		if p := b.counted(k); p != nil {
			homes[k] = len(r.Shadows)
			r.Shadows = append(r.Shadows, p)
			all = append(all, &told{by: make(map[[2]Deed]*Kind)})
		}
	}
	for _, k := range b.named {
		t := b.told[k]
		home, ok := homes[k]
		if !ok { // the connection's policy was an experiment's: the numbers are the shadow's beside all of them
			home = slices.IndexFunc(r.Shadows, func(p *Policy) bool { return p.Policy == k.policy && p.PolicyRev == k.rev })
		}
		if home < 0 { // no stats record has told of it
			home = len(r.Shadows)
			r.Shadows = append(r.Shadows, newPolicy(k))
			all = append(all, &told{by: make(map[[2]Deed]*Kind)})
		}
		all[home].merge(t)
	}
	for i, p := range r.Shadows {
		p.Recorded, p.Kinds, p.First = all[i].recorded, append(p.Kinds, all[i].kinds...), append(p.First, all[i].first...)
		p.sort()
	}
	return &r
}

func newPolicy(k key) *Policy {
	return &Policy{Policy: k.policy, PolicyRev: k.rev, LiveRev: k.live, Matrix: []Cell{}, Kinds: []*Kind{}, First: []First{},
		Verdicts: map[string]uint64{}, Findings: map[string]uint64{}, Ended: map[string]uint64{}}
}

// counted returns the numbers of a shadow over all runs, nil where no stats record has some.
func (b *Builder) counted(k key) (p *Policy) {
	cells := make(map[[2]string]*Cell)
	for _, run := range b.order {
		if st := b.runs[run][k]; st != nil {
			if p == nil {
				p = newPolicy(k)
			}
			p.add(st, cells)
		}
	}
	for _, c := range cells {
		p.Matrix = append(p.Matrix, *c)
	}
	return p
}

// add adds a run's numbers.
func (p *Policy) add(s *decisionlog.ShadowStatsEvent, cells map[[2]string]*Cell) {
	p.Runs++
	p.Preset, p.Trial = s.Preset, s.Trial
	for _, n := range [...]struct {
		to *uint64
		n  uint64
	}{{&p.Segments, s.Segments}, {&p.Agreed, s.Agreed}, {&p.Disagreed, s.Disagreed}, {&p.Timed, s.Timed}, {&p.Diverged, s.Diverged},
		{&p.Relaxed, s.Relaxed}, {&p.TimedRelaxed, s.TimedRelaxed}, {&p.Shed, s.Shed}, {&p.Sheds, s.Sheds}, {&p.Forgotten, s.Forgotten},
		{&p.Tracked, s.Tracked}, {&p.Injected, s.Injected}} {
		*n.to += n.n
	}
	if s.Shed > 0 {
		p.ShedSpans = append(p.ShedSpans, Span{s.ShedFrom, s.ShedTo})
	}
	for _, m := range [...]struct{ to, from map[string]uint64 }{{p.Verdicts, s.Verdicts}, {p.Findings, s.Reasons}, {p.Ended, s.Ended}} {
		for w, n := range m.from {
			m.to[w] += n
		}
	}
	cell := func(words string) *Cell {
		live, shadow, _ := strings.Cut(words, " ")
		c := cells[[2]string{live, shadow}]
		if c == nil {
			c = &Cell{Live: live, Shadow: shadow}
			cells[[2]string{live, shadow}] = c
		}
		return c
	}
	for w, n := range s.Agreements {
		cell(w).Agreed += n
	}
	for w, n := range s.Disagreements {
		cell(w).Disagreed += n
	}
}

func (p *Policy) sort() {
	slices.SortFunc(p.Matrix, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(b.Disagreed, a.Disagreed), cmp.Compare(b.Agreed, a.Agreed), cmp.Compare(a.Live, b.Live), cmp.Compare(a.Shadow, b.Shadow))
	})
	slices.SortStableFunc(p.Kinds, func(a, b *Kind) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Live.String(), b.Live.String()), cmp.Compare(a.Shadow.String(), b.Shadow.String()))
	})
}

// byCount returns the words by falling count.
func byCount(m map[string]uint64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}
