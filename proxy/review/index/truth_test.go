package index

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

var ctx = context.Background()

// generate writes a log of some thousand records in many small files.
func generate(t testing.TB, c loggen.Config) (string, loggen.Written) {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.MaxFileBytes == 0 {
		c.MaxFileBytes = 1 << 20
	}
	w, err := loggen.Generate(c)
	if err != nil {
		t.Fatal(err)
	}
	return c.Dir, w
}

func open(t testing.TB, dir string) *Index {
	t.Helper()
	x, err := Open(ctx, dir, Options{CacheDir: t.TempDir(), Warn: func(s string) { t.Error(s) }, blockMax: 700})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// fact is a record of the log as encoding/json reads it, with its place.
type fact struct {
	at      Cursor
	e       decisionlog.Event
	outcome string
}

// facts reads the whole log without the index.
func facts(t testing.TB, dir string) []fact {
	t.Helper()
	outcomes := map[string]string{}
	key := func(e *decisionlog.Event) string { return fmt.Sprint(e.Run, e.FlowID) }
	var out []fact
	for e, err := range decisionlog.Read(dir) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Header != nil || e.Trailer != nil {
			continue
		}
		if e.Decision == nil && e.Flow != nil && e.Flow.Event == "end" {
			outcomes[key(e)] = e.Flow.Outcome
		}
		c := *e
		c.Raw = nil
		out = append(out, fact{at: Cursor{decisionlog.Stem(e.File), e.Offset}, e: c})
	}
	for i := range out {
		if out[i].e.FlowID != 0 {
			out[i].outcome = outcomes[key(&out[i].e)]
		}
	}
	return out
}

func (f *fact) fits(flt *Filter) bool { return flt.Match(&f.e) && oneOf(flt.Outcome, f.outcome) }

// randomFilter makes a filter that fits some of the records.
func randomFilter(rng *rand.Rand, all []fact) Filter {
	var f Filter
	some := func() *fact { return &all[rng.IntN(len(all))] }
	pick := func(n int) bool { return rng.IntN(n) == 0 }
	word := func(list *[]string, get func(e *decisionlog.Event) string) {
		for range 1 + rng.IntN(2) {
			if w := get(&some().e); w != "" {
				*list = append(*list, w)
			}
		}
	}
	if pick(4) {
		f.Since = some().e.Timestamp.Time
	}
	if pick(4) {
		f.Until = some().e.Timestamp.Time
	}
	if pick(5) {
		word(&f.Event, func(e *decisionlog.Event) string { return e.EventType })
	}
	if pick(5) {
		word(&f.Verdict, func(e *decisionlog.Event) string { v, _, _, _, _ := eventWords(e); return v })
	}
	if pick(4) {
		word(&f.Reason, func(e *decisionlog.Event) string { _, v, _, _, _ := eventWords(e); return v })
	}
	if pick(6) {
		word(&f.Rule, func(e *decisionlog.Event) string { _, _, v, _, _ := eventWords(e); return v })
	}
	if pick(6) {
		word(&f.Arm, func(e *decisionlog.Event) string { _, _, _, v, _ := eventWords(e); return v })
	}
	if pick(6) {
		word(&f.Rev, func(e *decisionlog.Event) string {
			_, _, _, _, v := eventWords(e)
			return strings.TrimPrefix(v, "sha256:")[:min(len(strings.TrimPrefix(v, "sha256:")), 2+rng.IntN(8))]
		})
	}
	if pick(6) {
		if o := some().outcome; o != "" {
			f.Outcome = []string{o}
		}
	}
	prefix := func(list *[]netip.Prefix) {
		for range 1 + rng.IntN(2) {
			e := &some().e
			for _, s := range []string{e.SrcIP, e.DestIP} {
				a, err := netip.ParseAddr(s)
				if err == nil && pick(2) {
					p, _ := a.Prefix(a.BitLen() - rng.IntN(12))
					*list = append(*list, p)
				}
			}
		}
	}
	for _, list := range []*[]netip.Prefix{&f.Addr, &f.Src, &f.Dst} {
		if pick(6) {
			prefix(list)
		}
	}
	for _, list := range []*[]uint16{&f.Port, &f.SrcPort, &f.DstPort} {
		if pick(9) {
			e := &some().e
			*list = append(*list, e.SrcPort, e.DestPort)
		}
	}
	if pick(9) {
		f.Flow = append(f.Flow, max(some().e.FlowID, 1), max(some().e.FlowID, 1))
	}
	if pick(12) {
		if id := some().e.CommunityID; id != "" {
			f.CommunityID = append(f.CommunityID, id)
		}
	}
	return f
}

// rowTells holds a row against its record.
func rowTells(r *Row, f *fact) string {
	e := &f.e
	verdict, reason, rule, arm, rev := eventWords(e)
	ends := func(a netip.AddrPort) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	src, dst := "", ""
	if e.SrcIP != "" {
		src = netip.AddrPortFrom(netip.MustParseAddr(e.SrcIP), e.SrcPort).String()
		dst = netip.AddrPortFrom(netip.MustParseAddr(e.DestIP), e.DestPort).String()
	}
	flags := ""
	if e.TCP != nil {
		flags = e.TCP.Flags
	}
	got := fmt.Sprint(r.Cursor, r.Time.UnixNano(), r.Event, r.FlowID, ends(r.Src), ends(r.Dst), r.Direction, r.Flags, r.Verdict, r.Reason, r.Rule, r.Arm, r.PolicyRev)
	want := fmt.Sprint(f.at, e.Timestamp.Nanos(), e.EventType, e.FlowID, src, dst, e.Direction, flags, verdict, reason, rule, arm, rev)
	if got != want {
		return "got  " + got + "\nwant " + want
	}
	return ""
}

// The index answers every question as reading the whole log does: pages in both orders, counts, roll-ups and flows.
func TestAnswersAreTheLogs(t *testing.T) {
	for _, c := range []loggen.Config{{Seed: 1, Decisions: 8000, Flows: 600, MaxFileBytes: 4 << 20}, {Seed: 2, Decisions: 4000, Flows: 500, Compress: true, MaxFileBytes: 2 << 20},
		{Seed: 3, Decisions: 3000, Flows: 200, MaxFileBytes: 20 << 10, Runs: 2}} {
		part := min(breadth, 2)
		c.Decisions, c.Flows, c.MaxFileBytes = c.Decisions/part, c.Flows/part, c.MaxFileBytes/int64(part)
		dir, _ := generate(t, c)
		x := open(t, dir)
		all := facts(t, dir)
		rng := rand.New(rand.NewPCG(c.Seed, 9))
		picked := 0
		for i := range 60 / breadth {
			f := randomFilter(rng, all)
			if i == 0 {
				f = Filter{}
			}
			var want []*fact
			for j := range all {
				if all[j].fits(&f) {
					want = append(want, &all[j])
				}
			}
			picked += len(want)
			name := fmt.Sprintf("seed %d, filter %q", c.Seed, f.String())
			checkPages(t, x, name, f, want, rng)
			checkCounts(t, x, name, f, want, rng)
			if t.Failed() {
				return
			}
		}
		if picked < 20*len(all)/10/breadth {
			t.Errorf("seed %d: the filters picked %d records of %d: the test shows little", c.Seed, picked, len(all))
		}
	}
}

func checkPages(t *testing.T, x *Index, name string, f Filter, want []*fact, rng *rand.Rand) {
	t.Helper()
	for _, order := range []Order{OldestFirst, NewestFirst} {
		size := 1 + rng.IntN(400)
		at := 0
		var after Cursor
		for pages := 0; ; pages++ {
			p, err := x.Page(ctx, f, after, size, order)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range p.Rows {
				n := at + i
				if n >= len(want) {
					t.Fatalf("%s: more rows than %d", name, len(want))
				}
				if order == NewestFirst {
					n = len(want) - 1 - n
				}
				if diff := rowTells(&p.Rows[i], want[n]); diff != "" {
					t.Fatalf("%s, row %d:\n%s", name, at+i, diff)
				}
			}
			at += len(p.Rows)
			if p.More != (at < len(want)) || p.More && len(p.Rows) != size {
				t.Fatalf("%s: page of %d rows at %d of %d says more %v", name, len(p.Rows), at, len(want), p.More)
			}
			if pages == 3 && at < len(want) { // the rest is like it: go on near the end
				skip := len(want) - 1 - rng.IntN(min(len(want)-at, 500))
				at = skip + 1
				if order == NewestFirst {
					skip = len(want) - 1 - skip
				}
				after = want[skip].at
				continue
			}
			if !p.More {
				break
			}
			after = p.Rows[len(p.Rows)-1].Cursor
		}
	}
}

func checkCounts(t *testing.T, x *Index, name string, f Filter, want []*fact, rng *rand.Rand) {
	t.Helper()
	n, err := x.Count(ctx, f)
	if err != nil || n != uint64(len(want)) {
		t.Fatalf("%s: counted %d, want %d (%v)", name, n, len(want), err)
	}
	by := Dimensions()[rng.IntN(len(Dimensions()))]
	bucket := []time.Duration{time.Second, 7 * time.Second, time.Minute, 5 * time.Minute, time.Hour}[rng.IntN(5)]
	r, err := x.Rollup(ctx, f, bucket, by)
	if err != nil || r.Total != uint64(len(want)) {
		t.Fatalf("%s: rolled up %d, want %d (%v)", name, r.Total, len(want), err)
	}
	counts := map[string]uint64{}
	for _, w := range want {
		verdict, reason, rule, arm, rev := eventWords(&w.e)
		word := map[Dimension]string{ByVerdict: verdict, ByReason: reason, ByRule: rule, ByArm: arm, ByRev: rev, ByEvent: w.e.EventType}[by]
		counts[fmt.Sprint(floorDiv(w.e.Timestamp.UnixNano(), int64(r.Bucket)), word)]++
	}
	for i, row := range r.Counts {
		for j, n := range row {
			at := r.From.Add(time.Duration(i) * r.Bucket)
			if k := fmt.Sprint(floorDiv(at.UnixNano(), int64(r.Bucket)), r.Words[j]); counts[k] != n {
				t.Fatalf("%s by %s, %s: %q %d, want %d", name, by, at, r.Words[j], n, counts[k])
			}
		}
	}
	ids := map[string]bool{}
	for _, w := range want {
		if w.e.FlowID != 0 {
			ids[fmt.Sprint(w.e.Run, w.e.FlowID)] = true
		}
	}
	sort := FlowSorts()[rng.IntN(len(FlowSorts()))]
	fs, err := x.Flows(ctx, f, sort, 0, 50)
	if err != nil || fs.Total != len(ids) {
		t.Fatalf("%s: %d flows, want %d (%v)", name, fs.Total, len(ids), err)
	}
	for i := range fs.Flows {
		if fl := &fs.Flows[i]; !ids[fmt.Sprint(fl.Run, fl.FlowID)] {
			t.Fatalf("%s: flow %d has no such record", name, fl.FlowID)
		}
	}
	if len(fs.Flows) != min(50, len(ids)) {
		t.Fatalf("%s: page of %d flows of %d", name, len(fs.Flows), len(ids))
	}
	value := func(f *Flow) float64 {
		return map[FlowSort]float64{SortStart: float64(f.ID), SortDropped: float64(f.Dropped), SortRetransmissions: float64(f.RetransmitsToClient + f.RetransmitsToServer),
			SortStall: float64(f.Stall), SortInjections: float64(f.Injections), SortHandshake: float64(f.HandshakeTime), SortSyns: float64(f.Syns),
			SortBytes: float64(f.BytesToClient + f.BytesToServer)}[sort]
	}
	for i := 1; i < len(fs.Flows); i++ {
		if float32(value(&fs.Flows[i])) > float32(value(&fs.Flows[i-1])) {
			t.Fatalf("%s by %s: %v after %v", name, sort, value(&fs.Flows[i]), value(&fs.Flows[i-1]))
		}
	}
	if n := len(fs.Flows) / 2; n > 0 {
		rest, err := x.Flows(ctx, f, sort, n, 3)
		if err != nil || rest.Flows[0].ID != fs.Flows[n].ID || rest.Total != fs.Total {
			t.Fatalf("%s by %s: page from %d begins with %d, want %d (%v)", name, sort, n, rest.Flows[0].ID, fs.Flows[n].ID, err)
		}
	}
}
