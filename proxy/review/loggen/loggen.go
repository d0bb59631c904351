package loggen

import (
	"container/heap"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"halfopen/proxy/decisionlog"
)

// Config says what to write. Zero values mean the defaults named.
type Config struct {
	Dir          string
	Seed         uint64
	Decisions    int           // decision records; 10000
	Flows        int           // connections; a twentieth of Decisions
	Runs         int           // lives of the gateway; 3. The last but one dies
	Start        time.Time     // 2026-11-23 07:00 UTC
	Length       time.Duration // of all; 24h
	MaxFileBytes int64         // of a file; the Writer's default
	Compress     bool          // all files but the newest
}

func (c *Config) defaults() {
	if c.Decisions <= 0 {
		c.Decisions = 10000
	}
	if c.Flows <= 0 {
		c.Flows = max(c.Decisions/20, 1)
	}
	if c.Runs <= 0 {
		c.Runs = 3
	}
	if c.Start.IsZero() {
		c.Start = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	}
	if c.Length <= 0 {
		c.Length = 24 * time.Hour
	}
}

// Written is what a log holds.
type Written struct {
	Decisions int
	Records   int // without headers and trailers
	Flows     int
	Injected  int
	Bytes     int64 // of text
	Reasons   map[string]int
	Verdicts  map[string]int
	Outcomes  map[string]int
	Incidents []uint64 // flow ids of connections that were redialled from the same port
}

// Generate writes a log.
func Generate(c Config) (Written, error) {
	c.defaults()
	g := &generator{c: c, rng: rand.New(rand.NewPCG(c.Seed, 0x10c)), now: c.Start.UnixNano(), flowID: 1<<40 | c.Seed&0xffff<<20,
		counter: 1000, w: Written{Reasons: map[string]int{}, Verdicts: map[string]int{}, Outcomes: map[string]int{}}}
	g.step = float64(c.Length) / float64(c.Flows)
	for run := range c.Runs {
		if err := g.run(run); err != nil {
			return g.w, fmt.Errorf("loggen: %w", err)
		}
	}
	if c.Compress {
		return g.w, compress(c.Dir)
	}
	return g.w, nil
}

// generator is the state that outlives a run.
type generator struct {
	c       Config
	rng     *rand.Rand
	w       Written
	now     int64
	step    float64 // nanoseconds from one new connection to the next, in the mean
	flowID  uint64
	counter uint64 // the kernel's
	flows   int    // begun

	// Of a run.
	out       *decisionlog.Writer
	p         *decisionlog.Producer
	explained uint64
	held      [2][]decisionlog.Record // by worker: what was decided and is not written yet
	puts      int
	queue     queue
	rev       int
	last      map[ends]uint64 // flow id of the last connection on a tuple
}

// queue is the connections by the time of their next step.
type queue []*flow

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].id < q[j].id
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(f any)   { *q = append(*q, f.(*flow)) }
func (q *queue) Pop() any {
	old := *q
	f := old[len(old)-1]
	*q = old[:len(old)-1]
	return f
}

const ringSize = 1 << 10

// run is one life of the gateway.
func (g *generator) run(number int) error {
	out, err := decisionlog.Open(decisionlog.Options{Dir: g.c.Dir, MaxFileBytes: g.c.MaxFileBytes, MaxTotalBytes: -1, RingSize: ringSize,
		Version: "loggen", BootID: "boot", Now: func() time.Time { return time.Unix(0, g.now) },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	g.out, g.p = out, out.Producer(1)
	g.explained, g.queue, g.last = 0, nil, make(map[ends]uint64)
	out.Recover(g.counter, true)
	base := g.counter
	g.stats(base, false)
	total, flows := g.c.Decisions*(number+1)/g.c.Runs, g.c.Flows*(number+1)/g.c.Runs
	dies := number == g.c.Runs-2
	begun := g.flows
	for next := g.now; g.w.Decisions < total; {
		if g.flows < flows && (len(g.queue) == 0 || next <= g.queue[0].at) {
			g.now = max(next, g.now+1)
			heap.Push(&g.queue, g.open())
			next = g.now + int64(g.rng.ExpFloat64()*g.step)
			g.events(g.flows - begun)
			continue
		}
		if len(g.queue) == 0 {
			g.stray(nil)
			continue
		}
		f := g.queue[0]
		g.now = max(f.at, g.now+1)
		wanted := (total - g.w.Decisions) / max(flows-g.flows+len(g.queue), 1)
		if g.act(f, wanted) {
			heap.Fix(&g.queue, 0)
		} else {
			heap.Pop(&g.queue)
		}
	}
	if !dies {
		for len(g.queue) > 0 {
			g.end(heap.Pop(&g.queue).(*flow), "shutdown")
		}
	}
	g.release()
	if dies {
		g.counter = base + g.explained + 40
	} else {
		g.counter = base + g.explained
		g.stats(base, true)
	}
	g.now += int64(time.Second)
	w := out.Counters()
	if err := out.Close(); err != nil {
		return err
	}
	g.w.Bytes += int64(w.Bytes)
	return nil
}

// events are what happens to a gateway now and then; n is how many connections its run has seen.
func (g *generator) events(n int) {
	per := max(g.c.Flows/g.c.Runs, 1)
	every := func(parts int) bool { return n%max(per/parts, 1) == max(per/parts, 1)/2 }
	switch {
	case every(3):
		g.reload()
	case every(7):
		g.put(&decisionlog.Record{Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapQueue, Count: 3,
			Bound: decisionlog.BoundExact, From: g.now - 1e9, To: g.now, Detail: "the queue was full, or nobody served it"}})
	case every(11):
		g.put(&decisionlog.Record{Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Run: g.out.Run(),
			Suppressed: []decisionlog.Count{{Word: "ack-no-state", N: 17}}, Flows: uint64(len(g.queue))}})
	case every(13):
		g.put(&decisionlog.Record{Event: decisionlog.EventExperiment, Experiment: &decisionlog.Experiment{Name: "redial", Kind: "assign",
			Arm: arms[g.rng.IntN(2)], Unit: g.client().String()}})
	}
}

func (g *generator) reload() {
	old := revisions[g.rev]
	ok := g.rng.IntN(4) > 0
	r := &decisionlog.Reload{OK: ok, Preset: presets[g.rev], PolicyRev: old, PreviousRev: old, Flows: "keep"}
	if ok {
		g.rev = (g.rev + 1) % len(revisions)
		r.PolicyRev, r.Preset, r.FlowsTouched = revisions[g.rev], presets[g.rev], uint64(len(g.queue))
	} else {
		r.Error = "site.yaml:3:5: unknown field \"timeout\" <b>"
	}
	g.put(&decisionlog.Record{Event: decisionlog.EventReload, Reload: r})
}

func (g *generator) stats(base uint64, final bool) {
	g.release()
	g.write(&decisionlog.Record{Time: g.now, Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Run: g.out.Run(), Final: final,
		Kernel: decisionlog.Kernel{Set: true, Base: base, Now: base + g.explained}}})
	g.out.Flush()
}

// put hands a record to a worker; two workers' records reach the log in turns, as on a gateway with two queues.
func (g *generator) put(r *decisionlog.Record) {
	if r.Time == 0 {
		r.Time = g.now
	}
	w := int(r.FlowID & 1)
	g.held[w] = append(g.held[w], *r)
	if len(g.held[0])+len(g.held[1]) >= 96 {
		g.release()
	}
}

func (g *generator) release() {
	for w := range g.held {
		for i := range g.held[w] {
			g.write(&g.held[w][i])
		}
		g.held[w] = g.held[w][:0]
	}
}

// write puts a record into the log and never loses one.
func (g *generator) write(r *decisionlog.Record) {
	if g.puts++; g.puts%(ringSize/2) == 0 {
		g.out.Flush()
	}
	g.explained += r.Explains()
	g.w.Records++
	g.p.Put(r)
}

func compress(dir string) error {
	files, err := decisionlog.Files(dir)
	if err != nil {
		return err
	}
	for _, name := range files[:len(files)-1] {
		if err := compressFile(name); err != nil {
			return err
		}
	}
	return nil
}

func compressFile(name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name + ".zst")
	if err != nil {
		return err
	}
	if err := decisionlog.Compress(out, in); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Remove(name)
}
