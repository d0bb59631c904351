package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// BenchReport is what `halfopen lab bench` found. Figures are one a round, in the order of the rounds.
type BenchReport struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"` // of each figure
	Policy  string  `json:"policy"`
	Kernel  string  `json:"kernel"`
	CPUs    int     `json:"cpus"`
	// Congestion is the congestion control of both ends.
	Congestion string `json:"congestion_control"`
	// Cloned is why small segments are the sender's own packets and not copies of their own, "" where they are copies.
	Cloned string `json:"small_cloned,omitempty"`
	// OtherLoad is how many processors other programs kept busy just before each round.
	OtherLoad []float64             `json:"other_load_cpus"`
	Modes     map[string]*BenchMode `json:"modes"`
	// LeftOut are modes that the kernel cannot do, with the reason.
	LeftOut map[string]string `json:"left_out,omitempty"`
	// Ratios are, for each figure and mode, the median over the rounds of the mode's figure by the first mode's of the same
	// round; Spread is the least and the greatest of them.
	Ratios map[string]map[string]float64    `json:"ratios"`
	Spread map[string]map[string][2]float64 `json:"spread"`

	modes []benchMode
}

// BenchMode is what one way of forwarding came to.
type BenchMode struct {
	Bulk        []float64 `json:"bulk_gbps"`      // one stream, mean of both directions, payload, Gbit/s
	Bulk8       []float64 `json:"bulk8_gbps"`     // eight streams
	Small       []float64 `json:"small_pps"`      // data segments of 76 bytes a second, eight streams to the server
	SmallAll    []float64 `json:"small_all_pps"`  // with the acknowledgments that these draw: what the gateway forwards
	Connections []float64 `json:"conn_per_s"`     // good ones
	P50         []float64 `json:"connect_us_p50"` // until connect returns, one at a time
	P99         []float64 `json:"connect_us_p99"`
	CPU         []float64 `json:"cpu_s_per_gib"` // the machine's, over bulk and bulk8

	Failed  []int      `json:"failed_connections"`
	Failure string     `json:"failure,omitempty"` // the first
	Log     *BenchLog  `json:"log,omitempty"`
	Fast    *BenchFast `json:"fastpath,omitempty"`
	// Limits say what each load did with the processors, summed over the rounds.
	Limits map[string]*BenchLimit `json:"limits"`
}

// BenchLog is the decision log of each round.
type BenchLog struct {
	Messages []uint64 `json:"messages"` // that reached the queue, by the kernel's counter
	Lost     []uint64 `json:"lost"`     // of them, those that only a gap stands for
	Balanced []bool   `json:"balanced"` // as review verify finds it
}

// BenchLimit is where processor time went under one load, as shares of the machine's.
type BenchLimit struct {
	Busy     float64 `json:"busy"`    // of all processors
	Gateway  float64 `json:"gateway"` // the gateway's process
	Load     float64 `json:"load"`    // the load generator, and the kernel's forwarding as far as it runs in its calls
	Rest     float64 `json:"rest"`    // the kernel's own threads, and other programs
	Steal    float64 `json:"steal"`   // kept by the host of a virtual machine
	SoftIRQ  float64 `json:"softirq"` // of gateway, load and rest: in the kernel's packet path, in whosever calls that ran
	OneQueue float64 `json:"thread"`  // the gateway's busiest thread, as a share of one processor
	OneEnd   float64 `json:"end"`     // the load generator's busiest thread, likewise
	Verdict  string  `json:"what"`    // in words
	sum      usage
}

func newBenchReport(o *BenchOptions) *BenchReport {
	r := &BenchReport{Rounds: o.Rounds, Seconds: o.Seconds, Policy: o.Policy, Kernel: kernel(), CPUs: cpus(), Congestion: congestion(), Modes: map[string]*BenchMode{}, modes: o.modes}
	for _, m := range o.modes {
		r.Modes[m.name] = &BenchMode{Limits: map[string]*BenchLimit{}}
	}
	return r
}

// spent adds what a load took.
func (f *BenchMode) spent(load string, u usage) {
	l := f.Limits[load]
	if l == nil {
		l = &BenchLimit{}
		f.Limits[load] = l
	}
	l.sum.wall += u.wall
	l.sum.busy += u.busy
	l.sum.steal += u.steal
	l.sum.own += u.own
	l.sum.gateway += u.gateway
	l.sum.busiest += u.busiest
	l.sum.softirq += u.softirq
	l.sum.ownBusiest += u.ownBusiest
}

// Where a share of processor time counts as all of it: counters tick at 10 ms.
const saturated = 0.92

func (l *BenchLimit) judge(cpus int) {
	all := l.sum.wall * float64(cpus)
	if all <= 0 {
		return
	}
	share := func(v float64) float64 { return rounded(min(1, max(0, v/all))) }
	l.Busy, l.Gateway, l.Load, l.Steal = share(l.sum.busy), share(l.sum.gateway), share(l.sum.own), share(l.sum.steal)
	l.Rest = share(l.sum.busy - l.sum.gateway - l.sum.own)
	l.SoftIRQ = share(l.sum.softirq)
	l.OneQueue, l.OneEnd = rounded(min(1, l.sum.busiest/l.sum.wall)), rounded(min(1, l.sum.ownBusiest/l.sum.wall))
	switch {
	case l.OneQueue >= saturated:
		l.Verdict = "one thread of the gateway takes a whole processor"
	case l.Busy+l.Steal >= saturated && l.Gateway >= l.Busy/2:
		l.Verdict = "the processors are full, most of it the gateway's process"
	case l.Busy+l.Steal >= saturated:
		l.Verdict = "the processors are full, most of it the ends and the kernel's forwarding"
	case l.OneEnd >= saturated:
		l.Verdict = "one thread of an end, forwarding in its calls, takes a whole processor"
	default:
		l.Verdict = "no processor is full: waiting (wake-ups from one party to the next)"
	}
}

// benchFigures are the figures in the order of the report. For the last ones less is better.
var benchFigures = []struct {
	ratio, title string
	of           func(*BenchMode) []float64
}{
	{"bulk", "bulk, 1 stream, Gbit/s", func(m *BenchMode) []float64 { return m.Bulk }},
	{"bulk8", "bulk, 8 streams, Gbit/s", func(m *BenchMode) []float64 { return m.Bulk8 }},
	{"small_pps", "small segments /s", func(m *BenchMode) []float64 { return m.Small }},
	{"small_all_pps", "with their ACKs, packets /s", func(m *BenchMode) []float64 { return m.SmallAll }},
	{"conn_per_s", "connections /s", func(m *BenchMode) []float64 { return m.Connections }},
	{"connect_us_p50", "connect, median, us", func(m *BenchMode) []float64 { return m.P50 }},
	{"connect_us_p99", "connect, p99, us", func(m *BenchMode) []float64 { return m.P99 }},
	{"cpu_s_per_gib", "CPU s per GiB", func(m *BenchMode) []float64 { return m.CPU }},
}

// finish computes what follows from the figures.
func (r *BenchReport) finish() {
	r.Ratios, r.Spread = map[string]map[string]float64{}, map[string]map[string][2]float64{}
	base := r.Modes[r.modes[0].name]
	for _, fig := range benchFigures {
		r.Ratios[fig.ratio], r.Spread[fig.ratio] = map[string]float64{}, map[string][2]float64{}
		for _, m := range r.modes[1:] {
			if by := ratios(fig.of(r.Modes[m.name]), fig.of(base)); len(by) > 0 {
				r.Ratios[fig.ratio][m.name] = rounded(quantile(by, 0.5))
				r.Spread[fig.ratio][m.name] = [2]float64{rounded(by[0]), rounded(by[len(by)-1])}
			}
		}
	}
	for _, m := range r.Modes {
		for _, l := range m.Limits {
			l.judge(r.CPUs)
		}
	}
}

// ratios divides round by round and sorts; a round without a base has none.
func ratios(of, base []float64) (by []float64) {
	for i := range min(len(of), len(base)) {
		if base[i] > 0 {
			by = append(by, of[i]/base[i])
		}
	}
	slices.Sort(by)
	return by
}

// quantile reads sorted values: the mean of the two nearest for a median between them, else the value at or above the rank.
func quantile(sorted []float64, q float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case q == 0.5 && n%2 == 0:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[min(n-1, int(q*float64(n)))]
}

// Bad reports a failed connection or a log that does not balance.
func (r *BenchReport) Bad() bool {
	for _, m := range r.Modes {
		if slices.ContainsFunc(m.Failed, func(n int) bool { return n > 0 }) || m.Log != nil && slices.Contains(m.Log.Balanced, false) {
			return true
		}
	}
	return false
}

// WriteJSON prints the report as one object.
func (r *BenchReport) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText prints the report for a reader: medians, ratios with their spread, and what limits each.
func (r *BenchReport) WriteText(w io.Writer) error {
	out := &errWriter{w: w}
	fmt.Fprintf(out, "%d rounds of %v s a figure, policy %s; %d processors, %s; the ends use %s\n", r.Rounds, r.Seconds, r.Policy, r.CPUs, r.Kernel, r.Congestion)
	if r.Cloned != "" {
		fmt.Fprintf(out, "Small segments are the sender's own packets, which costs the ends more where they are redirected: %s\n", r.Cloned)
	}
	others := slices.Sorted(slices.Values(r.OtherLoad))
	fmt.Fprintf(out, "Before the rounds other programs kept %.2g of %d processors busy (median; at most %.2g).\n\n", quantile(others, 0.5), r.CPUs, quantile(others, 1))
	for _, m := range r.modes {
		fmt.Fprintf(out, "%s: %s\n", m.name, m.means)
	}
	fmt.Fprintf(out, "\nMedians, and the ratio to %s round by round: median (least to greatest)\n\n", r.modes[0].name)
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(tab, "figure")
	for i, m := range r.modes {
		fmt.Fprintf(tab, "\t%s", m.name)
		if i > 0 {
			fmt.Fprint(tab, "\tratio")
		}
	}
	fmt.Fprintln(tab)
	for _, fig := range benchFigures {
		fmt.Fprint(tab, fig.title)
		for i, m := range r.modes {
			fmt.Fprintf(tab, "\t%v", rounded(quantile(slices.Sorted(slices.Values(fig.of(r.Modes[m.name]))), 0.5)))
			if s, ok := r.Spread[fig.ratio][m.name]; i > 0 && ok {
				fmt.Fprintf(tab, "\t%.2f (%.2f to %.2f)", r.Ratios[fig.ratio][m.name], s[0], s[1])
			} else if i > 0 {
				fmt.Fprint(tab, "\t-")
			}
		}
		fmt.Fprintln(tab)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	r.writeLimits(out)
	r.writeFast(out)
	r.writeLosses(out)
	return out.err
}

func (r *BenchReport) writeLimits(out io.Writer) {
	fmt.Fprintf(out, "\nWhat limits each: shares of %d processors (softirq: of the others, in the kernel's packet path), and the busiest thread of the gateway and of the\nload generator as shares of one\n\n", r.CPUs)
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "load\tmode\tbusy\tgateway\tload generator\trest\tsoftirq\tstolen\tthread\tend\tlimit")
	for _, load := range []string{"bulk", "bulk8", "small", "connections"} {
		for _, m := range r.modes {
			if l := r.Modes[m.name].Limits[load]; l != nil {
				fmt.Fprintf(tab, "%s\t%s\t%.0f%%\t%.0f%%\t%.0f%%\t%.0f%%\t%.0f%%\t%.0f%%\t%.0f%%\t%.0f%%\t%s\n", load, m.name, 100*l.Busy, 100*l.Gateway, 100*l.Load,
					100*l.Rest, 100*l.SoftIRQ, 100*l.Steal, 100*l.OneQueue, 100*l.OneEnd, l.Verdict)
			}
		}
	}
	_ = tab.Flush() // out keeps the error
}

func (r *BenchReport) writeLosses(out io.Writer) {
	fmt.Fprintln(out)
	for _, m := range r.modes {
		f, failed := r.Modes[m.name], 0
		for _, n := range f.Failed {
			failed += n
		}
		fmt.Fprintf(out, "%s: %d failed connections", m.name, failed)
		if f.Failure != "" {
			fmt.Fprintf(out, " (the first: %s)", f.Failure)
		}
		if f.Log != nil {
			var messages, lost uint64
			bad := 0
			for i := range f.Log.Messages {
				messages, lost = messages+f.Log.Messages[i], lost+f.Log.Lost[i]
				if !f.Log.Balanced[i] {
					bad++
				}
			}
			fmt.Fprintf(out, "; %d queue messages, the log lost %d of them", messages, lost)
			if bad == 0 {
				fmt.Fprint(out, " and balances")
			} else {
				fmt.Fprintf(out, "; in %d rounds it does not balance", bad)
			}
		}
		fmt.Fprintln(out, ".")
	}
}
