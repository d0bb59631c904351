package experiment

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"halfopen/policy/experiment/stats"
)

// world makes outcomes of clients with habits of their own: a client's chance to fail, its times and how often it dials are its own, so
// that its connections are alike. What an arm does comes on top.
type world struct {
	seed    uint64
	clients int
	dials   float64 // of a client, on average
	begin   time.Time
	span    time.Duration
	fail    float64
	// By arm name: what is added to the chance to fail, and by what times are multiplied.
	harm map[string]float64
	slow map[string]float64
}

func newWorld(seed uint64, clients int) *world {
	return &world{seed: seed, clients: clients, dials: 4, begin: time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC), span: 7 * 24 * time.Hour, fail: 0.02}
}

// testSpec is an experiment with two arms, or with an A/A arm.
func testSpec(aa bool) *Spec {
	s := &Spec{Name: "idle-5m", Salt: "idle-5m", Share: 10000, Start: time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC),
		Arms: []Arm{{Name: "control", Weight: 5000, Policy: GatewayPolicy}, {Name: "short", Weight: 5000, Policy: "short.yaml"}}}
	if aa {
		s.Arms = append(s.Arms, Arm{Name: "again", Weight: 2000, AA: true})
		s.Arms[0].Weight, s.Arms[1].Weight = 4000, 4000
	}
	return s
}

// outcomes are those of an experiment, in order of their beginning by client.
func (w *world) outcomes(spec *Spec) func(yield func(*Outcome) bool) {
	return func(yield func(*Outcome) bool) {
		r := stats.NewRNG(w.seed)
		flow := uint64(0)
		salt := r.Uint64()
		for c := range w.clients {
			client := netip.AddrFrom4([4]byte{10, byte(salt), byte(c >> 8), byte(c)})
			if c >= 1<<16 {
				client = netip.AddrFrom4([4]byte{11 + byte(c>>24), byte(c >> 16), byte(c >> 8), byte(c)})
			}
			own := r.Exp() * w.fail // its own chance to fail
			speed := math.Exp(0.5 * r.Norm())
			n := 1 + int(r.Exp()*(w.dials-1))
			for range n {
				flow++
				start := w.begin.Add(time.Duration(r.Float64() * float64(w.span)))
				o := Outcome{Flow: flow, Start: start, Client: netip.AddrPortFrom(client, uint16(1024+r.Intn(60000))),
					Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 9}), []uint16{515, 443, 443, 80}[r.Intn(4)]), Finished: true}
				arm := spec.ArmOf(start, tupleOf(&o))
				if arm >= 0 {
					o.Arm = spec.Arms[arm].Name
				}
				w.live(&o, r, own, speed)
				if !yield(&o) {
					return
				}
			}
		}
	}
}

// live is a connection's life.
func (w *world) live(o *Outcome, r *stats.RNG, own, speed float64) {
	slow := 1.0
	if f, ok := w.slow[o.Arm]; ok {
		slow = f
	}
	o.ConnectS, o.ResponseS, o.RecoveryS, o.ChallengeS = math.NaN(), math.NaN(), math.NaN(), math.NaN()
	o.Connected = !r.Bernoulli(own + w.harm[o.Arm])
	o.Rev = "sha256:" + o.Arm
	o.PktsToServer, o.PktsToClient = uint64(5+r.Intn(20)), uint64(5+r.Intn(20))
	o.BytesToServer, o.BytesToClient = o.PktsToServer*100, o.PktsToClient*900
	o.End = o.Start.Add(time.Duration(r.Exp() * float64(time.Minute)))
	if !o.Connected {
		o.SYNRetransmits = 3
		o.GaveUp = r.Bernoulli(0.5)
		o.Retries = r.Intn(2)
		o.Interventions, o.Dropped = 4, 4
		o.Recovered = !o.GaveUp
		return
	}
	o.ConnectS = 0.02 * speed * slow * (0.5 + r.Exp())
	o.ResponseS = 0.1 * speed * slow * (0.5 + r.Exp())
	if r.Bernoulli(0.01) {
		o.SYNRetransmits = 1
		o.ConnectS++
	}
	if r.Bernoulli(0.02) {
		o.RetransmitsToServer = 1 + r.Intn(3)
		o.StallS = r.Exp()
	}
	if r.Bernoulli(0.01) {
		o.Resets, o.Interventions = 1, 1
	}
	o.StillThere = r.Bernoulli(0.005)
}

func (w *world) String() string { return fmt.Sprintf("seed %d, %d clients", w.seed, w.clients) }
