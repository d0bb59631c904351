package lab

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

// BenchFast is what went the kernel's fast path, as the decision log tells it.
type BenchFast struct {
	Packets    []uint64 `json:"packets"`    // that the program let past the queue, in each round; a GSO super-packet is one
	Redirected []uint64 `json:"redirected"` // of them, those that it sent out itself
	// Share is, by load, the part of its packets that went the fast path, in each round. What neither a flow's last record nor a gap
	// tells is not in it.
	Share map[string][]float64 `json:"share"`
	// Punts are the segments of its connections that the program left to the queue, by reason, and Fallbacks those that it let pass but
	// did not send out itself (mode redirect), in all rounds.
	Punts     map[string]uint64 `json:"punts"`
	Fallbacks map[string]uint64 `json:"fallbacks,omitempty"`
}

// fastLoads are the loads in the order of the report.
var fastLoads = []string{"bulk", "bulk8", "small", "connections", "connect"}

// needsFastPath returns nil where the kernel of the calling thread's namespace takes the programs of the fast path.
func needsFastPath(redirect bool) func() error {
	return func() error {
		p, err := fastpath.Open(fastpath.Options{Redirect: redirect, Flows: 1, Workers: 1, MarkMask: nfqueue.DefaultMarkMask, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		return p.Close()
	}
}

// leaveOut takes out the modes that the kernel cannot do, and says why. Anything else that goes wrong is an error. ask calls a mode's
// needs where the gateway will run.
func leaveOut(modes []benchMode, ask func(needs func() error) error) (kept []benchMode, out map[string]string, err error) {
	for _, m := range modes {
		if m.needs != nil {
			switch err := ask(m.needs); {
			case errors.Is(err, fastpath.ErrUnsupported):
				if out == nil {
					out = map[string]string{}
				}
				out[m.name] = err.Error()
				continue
			case err != nil:
				return nil, nil, fmt.Errorf("lab: mode %s: %w", m.name, err)
			}
		}
		kept = append(kept, m)
	}
	return kept, out, nil
}

// judgeFast adds what one round's log says of the fast path; loads are those of the listeners' ports.
func (f *BenchMode) judgeFast(dir string, loads map[uint16]string) error {
	type seen struct{ all, fast uint64 }
	last := map[uint64]seen{} // of flows that have not ended
	byLoad := map[string]*seen{}
	add := func(port uint16, s seen) {
		load := loads[port]
		if byLoad[load] == nil {
			byLoad[load] = &seen{}
		}
		byLoad[load].all += s.all
		byLoad[load].fast += s.fast
	}
	ports := map[uint64]uint16{}
	var stats *decisionlog.FastPathStatsEvent
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		if e.Stats != nil && e.Stats.FastPath != nil {
			stats = e.Stats.FastPath
		}
		if e.Flow == nil || e.Decision != nil {
			continue
		}
		s := seen{all: e.Flow.PktsToServer + e.Flow.PktsToClient, fast: e.Flow.FastToServer + e.Flow.FastToClient}
		if e.Flow.Event == "end" {
			delete(last, e.FlowID)
			add(e.DestPort, s)
			continue
		}
		last[e.FlowID], ports[e.FlowID] = s, e.DestPort
	}
	for id, s := range last {
		add(ports[id], s)
	}
	if stats == nil {
		return errors.New("lab: the log's stats records say nothing of a fast path")
	}
	if f.Fast == nil {
		f.Fast = &BenchFast{Share: map[string][]float64{}, Punts: map[string]uint64{}, Fallbacks: map[string]uint64{}}
	}
	f.Fast.Packets = append(f.Fast.Packets, stats.Packets)
	f.Fast.Redirected = append(f.Fast.Redirected, stats.Redirected)
	for _, load := range fastLoads {
		share := 0.0
		if s := byLoad[load]; s != nil && s.all > 0 {
			share = rounded(float64(s.fast) / float64(s.all))
		}
		f.Fast.Share[load] = append(f.Fast.Share[load], share)
	}
	for reason, n := range stats.Punts {
		f.Fast.Punts[reason] += n
	}
	for reason, n := range stats.Fallbacks {
		f.Fast.Fallbacks[reason] += n
	}
	return nil
}

// most names the largest of counts, at most three, with their numbers.
func most(counts map[string]uint64) string {
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		switch {
		case counts[a] > counts[b]:
			return -1
		case counts[a] < counts[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, w := range words[:min(3, len(words))] {
		out = append(out, fmt.Sprintf("%s %d", w, counts[w]))
	}
	return strings.Join(out, ", ")
}

func sumOf(list []uint64) (sum uint64) {
	for _, n := range list {
		sum += n
	}
	return sum
}

// writeFast says how much of each load went the fast path.
func (r *BenchReport) writeFast(out io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(out, "\n%s was left out: %s.\n", name, r.LeftOut[name])
	}
	for _, m := range r.modes {
		f := r.Modes[m.name].Fast
		if f == nil {
			continue
		}
		fmt.Fprintf(out, "\n%s: %d packets went the fast path", m.name, sumOf(f.Packets))
		if n := sumOf(f.Redirected); n > 0 {
			fmt.Fprintf(out, ", %d of them straight out", n)
		}
		fmt.Fprint(out, ". Share of each load's packets, median (least to greatest):")
		for i, load := range fastLoads {
			s := slices.Sorted(slices.Values(f.Share[load]))
			if i > 0 {
				fmt.Fprint(out, ",")
			}
			fmt.Fprintf(out, " %s %.2f%% (%.2f to %.2f)", load, 100*quantile(s, 0.5), 100*s[0], 100*s[len(s)-1])
		}
		fmt.Fprint(out, ".")
		if why := most(f.Punts); why != "" {
			fmt.Fprintf(out, " Left to the queue: %s.", why)
		}
		if why := most(f.Fallbacks); why != "" {
			fmt.Fprintf(out, " Let pass and not sent straight out: %s.", why)
		}
		fmt.Fprintln(out)
	}
}
