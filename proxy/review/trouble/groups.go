package trouble

import (
	"cmp"
	"net/netip"
	"slices"

	"halfopen/proxy/decisionlog"
)

// Bounds of what a Report holds of a group.
const (
	maxReasons  = 5
	maxServers  = 3
	maxExamples = 3
	maxCounted  = 1 << 14 // distinct reasons, and servers, that are counted; further ones are not told
)

// Report is the trouble of a log.
type Report struct {
	Path        string           `json:"path"`
	From        decisionlog.Time `json:"from"` // first and latest record of the log
	To          decisionlog.Time `json:"to"`
	Connections uint64           `json:"connections"` // begun in it
	Troubled    uint64           `json:"troubled"`    // cases
	Groups      []*Group         `json:"groups"`      // the most telling first
}

// Group is the trouble of one kind.
type Group struct {
	Kind     Kind             `json:"kind"`
	Title    string           `json:"title"`
	Sentence string           `json:"sentence"`
	Cases    uint64           `json:"cases"`
	First    decisionlog.Time `json:"first"`
	Last     decisionlog.Time `json:"last"`
	Variants []Variant        `json:"variants"` // the most frequent first
	Reasons  []Reason         `json:"reasons"`  // the most frequent, at most 5
	Servers  []Server         `json:"servers"`  // the most frequent, at most 3
	Examples []Case           `json:"examples"` // the latest, at most 3

	reasons map[Blame]uint64
	servers map[netip.AddrPort]uint64
}

// Variant is how the trouble of a kind came about.
type Variant struct {
	Variant  string `json:"variant"`
	Sentence string `json:"sentence"`
	Cases    uint64 `json:"cases"`
}

// Reason is what the gateway decided in cases of trouble.
type Reason struct {
	Blame
	Cases uint64 `json:"cases"`
}

// Server is who was to be reached.
type Server struct {
	Server netip.AddrPort `json:"server"`
	Cases  uint64         `json:"cases"`
}

// Groups gathers cases. The zero value is ready.
type Groups struct {
	of    map[Kind]*Group
	cases uint64
}

// Add counts a case.
func (g *Groups) Add(c *Case) {
	if g.of == nil {
		g.of = make(map[Kind]*Group)
	}
	group := g.of[c.Kind]
	if group == nil {
		w := words[c.Kind]
		group = &Group{Kind: c.Kind, Title: w.title, Sentence: w.sentence, First: c.At, Last: c.Until, Variants: []Variant{}, Reasons: []Reason{},
			Servers: []Server{}, reasons: map[Blame]uint64{}, servers: map[netip.AddrPort]uint64{}}
		g.of[c.Kind] = group
	}
	g.cases++
	group.add(c)
}

func (g *Group) add(c *Case) {
	g.Cases++
	if c.At.Before(g.First.Time) {
		g.First = c.At
	}
	if c.Until.After(g.Last.Time) {
		g.Last = c.Until
	}
	i := slices.IndexFunc(g.Variants, func(v Variant) bool { return v.Variant == c.Variant })
	if i < 0 {
		i = len(g.Variants)
		g.Variants = append(g.Variants, Variant{Variant: c.Variant, Sentence: words[c.Kind].variants[c.Variant]})
	}
	g.Variants[i].Cases++
	if b := (Blame{c.Verdict, c.Reason, c.Rule}); b.Reason != "" {
		tally(g.reasons, b)
	}
	if c.Server.IsValid() {
		tally(g.servers, c.Server)
	}
	g.Examples = append(g.Examples, *c)
	slices.SortFunc(g.Examples, func(a, b Case) int {
		return cmp.Or(b.At.Compare(a.At.Time), cmp.Compare(b.FlowID, a.FlowID), b.Client.Compare(a.Client))
	})
	g.Examples = g.Examples[:min(len(g.Examples), maxExamples)]
}

// tally counts a key, as far as there is room for another.
func tally[K comparable](m map[K]uint64, k K) {
	if _, there := m[k]; there || len(m) < maxCounted {
		m[k]++
	}
}

// most returns the most frequent keys with their counts; less breaks ties.
func most[K comparable](m map[K]uint64, n int, compare func(a, b K) int) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Or(cmp.Compare(m[b], m[a]), compare(a, b)) })
	return keys[:min(len(keys), n)]
}

// Report returns the groups so far, the most telling first.
func (g *Groups) Report() *Report {
	r := &Report{Troubled: g.cases, Groups: []*Group{}}
	for _, kind := range kinds {
		group := g.of[kind]
		if group == nil {
			continue
		}
		slices.SortStableFunc(group.Variants, func(a, b Variant) int {
			return cmp.Or(cmp.Compare(b.Cases, a.Cases), cmp.Compare(a.Variant, b.Variant))
		})
		group.Reasons, group.Servers = group.Reasons[:0], group.Servers[:0]
		for _, b := range most(group.reasons, maxReasons, Blame.compare) {
			group.Reasons = append(group.Reasons, Reason{b, group.reasons[b]})
		}
		for _, s := range most(group.servers, maxServers, netip.AddrPort.Compare) {
			group.Servers = append(group.Servers, Server{s, group.servers[s]})
		}
		r.Groups = append(r.Groups, group)
	}
	return r
}

func (b Blame) compare(o Blame) int {
	return cmp.Or(cmp.Compare(b.Reason, o.Reason), cmp.Compare(b.Verdict, o.Verdict), cmp.Compare(b.Rule, o.Rule))
}
