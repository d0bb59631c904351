package policy

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
)

// play runs conversations past both engines until so many have been and gone.
func (x *fastTwins) play(t *testing.T, talks int, policies []*Policy) {
	w := x.w
	var dial func()
	dial = func() {
		if talks--; talks < 0 {
			return
		}
		w.dial(uint16(w.r.IntN(64)), 60+w.r.IntN(300))
		w.after(w.upTo(5e9), dial)
	}
	dial()
	for i := 0; w.events.Len() > 0 && (talks > 0 || w.live > 0); i++ {
		ev := heap.Pop(&w.events).(event)
		w.now = max(w.now, ev.at)
		ev.do()
		if len(policies) > 0 && w.r.IntN(2000) == 0 {
			x.mischief(policies)
		}
		if i > 3e6 {
			t.Fatal("no end")
		}
	}
	x.time()
	x.compareEntries()
}

// slowPresets are the presets whose connections cannot take a fast path by their own rule, and why not. All others can.
var slowPresets = map[string]string{
	"ipfw-keepalive":     "refresh: both-progress, probes",
	"netdefendos":        "refresh: both-progress",
	"transparent-resync": "probes",
}

// refusal returns why a policy's own rule lets no connection take a fast path, "" where it does.
func refusal(p *Policy) string {
	var why []string
	for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
		switch text := p.Action(-1, dir, conntrack.InWindow).Text(); text {
		case "{packet: forward, state: track, timer: refresh}", "{packet: rewrite, state: track, timer: refresh, strip: [urgent]}":
		default:
			why = append(why, fmt.Sprintf("in-window %s: %s", dir, text))
		}
	}
	u := p.Upkeep(-1)
	if u.Refresh != RefreshEither {
		why = append(why, "refresh: "+refreshWords[u.Refresh])
	}
	if u.Probes.Tries > 0 {
		why = append(why, "probes")
	}
	return strings.Join(why, ", ")
}

// TestFastPresets: which presets can take the fast path, and why the others cannot.
func TestFastPresets(t *testing.T) {
	for _, name := range Presets() {
		p := policyOf(t, "preset: "+name)
		if why := refusal(p); why != slowPresets[name] || (why == "") != p.settles[0] {
			t.Errorf("%s: %q, settles: %v", name, why, p.settles[0])
		}
		if p.settles[0] {
			settled(t, p)
		}
	}
	manual, err := os.ReadFile("../docs/fastpath.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	list, _, _ := strings.Cut(string(regexp.MustCompile(`(?s)Of the presets these are .*`).Find(manual)), ", as far")
	for _, name := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(list, -1) {
		said = append(said, name[1])
	}
	if want := slices.Sorted(maps.Keys(slowPresets)); !slices.Equal(said, want) {
		t.Errorf("the manual says %v, want %v", said, want)
	}
}

// settled plays a plain connection, and looks whether it could be armed in its end.
func settled(t *testing.T, p *Policy) {
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake+`
	+1ms c P. 1001:100 5001 => forward/in-window
	+1ms s .  5001 1101     => forward/in-window
	+1ms s P. 5001:100 1101 => forward/in-window
	+1ms c .  1101 5101     => forward/in-window`)
	s := x.segment(t, strings.Fields("c P. 1101:100 5101"))
	if out := x.e.Step(x.now, &s); !out.Settled || out.Packets != 8 || out.Slot != 0 {
		t.Errorf("%s: %+v", p.Name(), out)
	}
	if _, _, _, why := x.e.ArmFast(x.now, &s.Tuple); why != conntrack.FastReady {
		t.Errorf("%s: %s", p.Name(), why)
	}
}

// tight is a policy under which everything ends for every reason, and much is done about what is no plain segment.
const tight = `
limits: {flows: 14, embryonic: 6, tombstones: 6}
on_full: evict-any
evict_above: 80
adaptive: {start: 40, end: 150}
window: {ack: pf, near: 100}
caps: {retransmitted: 20s, unacknowledged: 30s, zero_window: 10s, one_way: 5s}
timeouts: {syn_sent: 3s, syn_recv: 3s, established: 40m, fin_wait: 5s, close_wait: 5s, last_ack: 2s, time_wait: 4s, close: 1s}
on:
  idle-expired: {reply: rst-tracked, peer: rst-tracked}
  syn-established: {packet: forward, state: replace, peer: rst-tracked}
  syn-half-closed: {packet: forward, state: annotate}
  seq-above: {packet: drop, reply: ack-tracked}
  ack-above: {packet: forward, timer: 1s, state: keep}
  seq-below: {packet: hold, hold: 2s, then: drop, reply: rst-tracked}
  rst-inexact: {packet: drop, reply: ack-tracked}
  keepalive: {packet: drop, reply: ack-tracked}
  window-shrunk: {packet: hold, hold: 1s, then: forward}
  data-no-state: {packet: forward, state: create-liberal}
rules:
  - name: odd
    match: {src_port: 1000-1015}
    on: {in-window: {packet: forward, state: track, peer: rst-tracked}}
  - name: asked
    match: {src_port: 1016-1025}
    probes: {tries: 2, every: 1s}
  - name: short
    match: {src_port: 1026-1035}
    window: {check: kernel}
    timeouts: {established: 20s}
  - name: stripped
    match: {src_port: 1036-1040}
    on: {in-window: {packet: rewrite, strip: [urgent]}, paws: drop}
`

// TestFastTwins: an engine beside a fast path and one that sees everything decide alike, tell alike and remember alike.
func TestFastTwins(t *testing.T) {
	texts := []string{tight, "window: {check: kernel}\ntimeouts: {established: 10m}\nadopt: 10h", "window: {ack: rfc5961}", "window: {check: strict}\nadopt: 10h"}
	for _, name := range Presets() {
		texts = append(texts, "preset: "+name)
	}
	var policies []*Policy
	for _, text := range texts {
		policies = append(policies, policyOf(t, text))
	}
	var all simPath
	var whys [conntrack.NumFastWhys]int
	for seed := range uint64(fastSeeds) {
		for i, p := range policies {
			if name := strings.TrimPrefix(texts[i], "preset: "); slowPresets[name] != "" {
				continue
			}
			w := &network{r: rand.New(rand.NewPCG(seed, uint64(i))), now: 1e12}
			x := newFastTwins(t, w, EngineConfig{Policy: p, Start: w.now})
			x.all.plain.refused = seed%2 == 0
			x.name = fmt.Sprintf("%s, seed %d", texts[i], seed)
			var meanwhile []*Policy
			if seed%3 != 1 {
				meanwhile = []*Policy{p, p, policies[w.r.IntN(len(policies))]}
			}
			x.play(t, 8, meanwhile)
			all.add(x.path)
			for why, n := range x.whys {
				whys[why] += n
			}
		}
	}
	for punt := conntrack.FastFragment + 1; punt < conntrack.NumFastPunts; punt++ {
		if all.punts[punt] == 0 && fastSeeds > 1 {
			t.Errorf("no segment is punted for %s", punt)
		}
	}
	for why, n := range whys {
		if n == 0 && fastSeeds > 1 {
			t.Errorf("no connection is %s", conntrack.FastWhy(why))
		}
	}
	if all.passed < 1000 || all.frozen < 1000 || all.peeks < 100 || all.freezes < 100 || all.ended < 10 {
		t.Errorf("%d passed, %d frozen, %d peeks, %d freezes, %d ended", all.passed, all.frozen, all.peeks, all.freezes, all.ended)
	}
	t.Log(all.passed, all.frozen, all.punts, all.peeks, all.freezes, all.ended, whys)
}

func (p *simPath) add(q *simPath) {
	p.passed += q.passed
	p.frozen += q.frozen
	p.peeks += q.peeks
	p.freezes += q.freezes
	p.ended += q.ended
	for i, n := range q.punts {
		p.punts[i] += n
	}
}
