package loggen

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// ExperimentConfig says what log of an experiment to write. Zero values mean the defaults named.
type ExperimentConfig struct {
	Dir     string
	Seed    uint64
	Spec    *experiment.Spec // needed
	Clients int              // 400
	Dials   int              // of a client; 4
	Start   time.Time        // the Spec's start
	Length  time.Duration    // 7 days
	Fail    float64          // share of connections that fail whatever the arm; 0.02
	// Harm is what an arm adds to that, and Slow what it multiplies times by, by the arm's name.
	Harm, Slow map[string]float64
	// Policies are kept beside the log, by the arm's name, and their revisions are the records'.
	Policies map[string]*policy.Policy
	Client   func(i int) netip.Addr // 10.0.0.0/8 and, every eighth, 2001:db8::/32
	Crossed  string                 // an arm that a guardrail stops in the middle
}

// dial is a connection to be.
type dial struct {
	at     time.Time
	client netip.Addr
	habits uint64
}

// Experiment writes a log of a gateway that runs an experiment with effects that are known.
func Experiment(c ExperimentConfig) error {
	c.Clients, c.Dials = cmp.Or(c.Clients, 400), cmp.Or(c.Dials, 4)
	c.Length, c.Fail = cmp.Or(c.Length, 7*24*time.Hour), cmp.Or(c.Fail, 0.02)
	if c.Start.IsZero() {
		c.Start = c.Spec.Start
	}
	if c.Client == nil {
		c.Client = someClient
	}
	for name, p := range c.Policies {
		if err := decisionlog.KeepPolicy(c.Dir, p.Rev(), p.YAML()); err != nil {
			return fmt.Errorf("loggen: arm %s: %w", name, err)
		}
	}
	g := &experimentLog{c: c, rng: rand.New(rand.NewPCG(c.Seed, 0xe)), now: c.Start}
	out, err := decisionlog.Open(decisionlog.Options{Dir: c.Dir, MaxTotalBytes: -1, RingSize: ringSize, Version: "loggen", BootID: "boot",
		Now: func() time.Time { return g.now }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return fmt.Errorf("loggen: %w", err)
	}
	g.out, g.p = out, out.Producer(0)
	out.Recover(1000, true)
	g.stats(false)
	if err := g.begin(); err != nil {
		return err
	}
	for _, d := range g.dials() {
		g.connect(d)
	}
	g.write()
	g.now = c.Start.Add(c.Length)
	g.stats(true)
	if err := out.Close(); err != nil {
		return fmt.Errorf("loggen: %w", err)
	}
	return nil
}

func someClient(i int) netip.Addr {
	if i%8 == 7 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 7, byte(i >> 8), byte(i), 15: 1})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
}

type experimentLog struct {
	c         ExperimentConfig
	rng       *rand.Rand
	out       *decisionlog.Writer
	p         *decisionlog.Producer
	now       time.Time
	flow      uint64
	explained uint64
	puts      int
	records   []decisionlog.Record // not written yet
	crossed   bool
}

// begin writes what the experiment is.
func (g *experimentLog) begin() error {
	spec := *g.c.Spec
	spec.Arms = slices.Clone(spec.Arms)
	for i := range spec.Arms {
		if p := g.c.Policies[spec.Arms[i].Name]; p != nil {
			spec.Arms[i].Rev = p.Rev()
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("loggen: %w", err)
	}
	g.put(&decisionlog.Record{Event: decisionlog.EventExperiment, Experiment: &decisionlog.Experiment{Name: spec.Name, Kind: "start", Spec: text}})
	return nil
}

// dials are all connections, by time.
func (g *experimentLog) dials() (out []dial) {
	for i := range g.c.Clients {
		client, habits := g.c.Client(i), g.rng.Uint64()
		for range 1 + g.rng.IntN(2*g.c.Dials-1) {
			out = append(out, dial{g.c.Start.Add(time.Duration(g.rng.Float64() * float64(g.c.Length-2*time.Hour))), client, habits})
		}
	}
	slices.SortFunc(out, func(a, b dial) int { return a.at.Compare(b.at) })
	return out
}

// connect is a connection's life, written at once.
func (g *experimentLog) connect(d dial) {
	g.now = d.at
	g.flow++
	server := netip.AddrFrom4([4]byte{192, 0, 2, byte(g.rng.IntN(4))})
	if d.client.Is6() {
		server = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 9, 15: byte(g.rng.IntN(4))})
	}
	src := netip.AddrPortFrom(d.client, uint16(1024+g.rng.IntN(60000)))
	dst := netip.AddrPortFrom(server, servers[g.rng.IntN(3)])
	r := decisionlog.Record{Event: decisionlog.EventFlow, FlowID: 1<<40 | g.flow, Src: src, Dst: dst}
	f := &r.Flow
	tu := conntrack.MakeTuple(src, dst)
	if arm := g.c.Spec.ArmOf(d.at, &tu); arm >= 0 {
		f.Arm = g.c.Spec.Arms[arm].Name
	}
	g.guard()
	if f.Arm == g.c.Crossed && g.crossed {
		f.Arm = "" // the control's policy, and neither arm's figures
	}
	f.Preset, f.PolicyRev = "linux-default", "sha256:0000"
	if p := g.c.Policies[f.Arm]; p != nil {
		f.PolicyRev = p.Rev()
	}
	own := -math.Log(1-float64(d.habits>>11)/(1<<53)) * g.c.Fail
	f.Kind, f.Start = decisionlog.FlowEnd, d.at.UnixNano()
	if g.rng.Float64() < own+g.c.Harm[f.Arm] {
		g.fails(&r)
	} else {
		slow, ok := g.c.Slow[f.Arm]
		if !ok {
			slow = 1
		}
		g.stands(&r, math.Exp(0.5*(float64(d.habits&1023)/512-1))*slow)
	}
}

// guard writes that a guardrail was crossed, in the middle.
func (g *experimentLog) guard() {
	if g.c.Crossed == "" || g.crossed || g.now.Before(g.c.Start.Add(g.c.Length/2)) {
		return
	}
	g.crossed = true
	g.put(&decisionlog.Record{Event: decisionlog.EventExperiment, Experiment: &decisionlog.Experiment{Name: g.c.Spec.Name, Kind: "guardrail", Arm: g.c.Crossed,
		Detail: "connect-failure: above the control by more than 2 points"}})
}

// syn writes the decision about a SYN.
func (g *experimentLog) syn(r *decisionlog.Record, reason, before string) {
	d := decisionlog.Record{Event: decisionlog.EventDecision, FlowID: r.FlowID, Src: r.Src, Dst: r.Dst, Dir: decisionlog.ToServer, InIface: "eth1", OutIface: "eth2",
		TCP: decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN, Seq: uint32(r.FlowID) * 2654435761, Win: 64240}}
	d.Decision = decisionlog.Decision{Verdict: "forward", Reason: reason, Preset: r.Flow.Preset, PolicyRev: r.Flow.PolicyRev, Arm: r.Flow.Arm,
		Known: before != "NONE", StateBefore: before, StateAfter: "SYN_SENT",
		Action: decisionlog.Action{Packet: "forward", Reply: "none", Peer: "none", State: "track", Timer: "refresh"}}
	g.put(&d)
	if before == "NONE" {
		begun := *r
		begun.Flow = decisionlog.Flow{Kind: decisionlog.FlowNew, State: "SYN_SENT", ConnState: "S0", Start: r.Flow.Start, Last: r.Flow.Start, Pkts: [2]uint64{1, 0},
			Bytes: [2]uint64{60, 0}, Preset: r.Flow.Preset, PolicyRev: r.Flow.PolicyRev, Arm: r.Flow.Arm}
		g.put(&begun)
	}
}

// fails is a connection whose SYNs nobody answers.
func (g *experimentLog) fails(r *decisionlog.Record) {
	f := &r.Flow
	g.syn(r, "new", "NONE")
	for i := range 3 {
		g.now = g.now.Add(time.Second << i)
		g.syn(r, "syn-retransmit", "SYN_SENT")
	}
	f.Pkts[0], f.Bytes[0], f.SYNRetransmits = 4, 240, 3
	f.Last, f.State, f.ConnState, f.EndReason, f.Outcome, f.EndedBy = g.now.UnixNano(), "SYN_SENT", "S0", "idle", "unanswered", "idle"
	copy(f.History[:], "SSSS")
	g.now = g.now.Add(time.Minute)
	g.put(r)
}

// stands is a connection that does its work and is closed.
func (g *experimentLog) stands(r *decisionlog.Record, slow float64) {
	f := &r.Flow
	g.syn(r, "new", "NONE")
	f.Handshake = int64(slow * (0.5 + g.rng.ExpFloat64()) * 20e6)
	f.Response = int64(slow * (0.5 + g.rng.ExpFloat64()) * 80e6)
	f.Pkts = [2]uint64{uint64(6 + g.rng.IntN(20)), uint64(6 + g.rng.IntN(40))}
	f.Bytes = [2]uint64{f.Pkts[0] * 120, f.Pkts[1] * 900}
	f.Counted = f.Pkts[0] + f.Pkts[1] - 1
	if g.rng.IntN(50) == 0 {
		f.Retransmits[1], f.Stall = 1+g.rng.Uint32N(3), int64(g.rng.ExpFloat64()*1e9)
	}
	g.now = g.now.Add(time.Duration(f.Handshake+f.Response) + time.Duration(g.rng.ExpFloat64()*2e9))
	f.Last, f.State, f.ConnState, f.EndReason, f.Outcome, f.EndedBy = g.now.UnixNano(), "TIME_WAIT", "SF", "fin", "closed", "client-fin"
	copy(f.History[:], "ShADadFf")
	g.put(r)
}

func (g *experimentLog) stats(final bool) {
	g.put(&decisionlog.Record{Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Run: g.out.Run(), Final: final,
		Kernel: decisionlog.Kernel{Set: true, Base: 1000, Now: 1000 + g.explained}}})
	g.write()
}

// put keeps a record until all that come before it are there.
func (g *experimentLog) put(r *decisionlog.Record) {
	r.Time = g.now.UnixNano()
	g.records = append(g.records, *r)
}

// write puts the records into the log, in the order of their times.
func (g *experimentLog) write() {
	slices.SortStableFunc(g.records, func(a, b decisionlog.Record) int { return cmp.Compare(a.Time, b.Time) })
	for i := range g.records {
		r := &g.records[i]
		if r.Event == decisionlog.EventDecision {
			r.Decision.ID = g.p.NextID()
		}
		if g.puts++; g.puts%(ringSize/2) == 0 {
			g.out.Flush()
		}
		g.now = time.Unix(0, r.Time)
		g.explained += r.Explains()
		g.p.Put(r)
	}
	g.records = g.records[:0]
	g.out.Flush()
}
