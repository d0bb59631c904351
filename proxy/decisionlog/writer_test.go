package decisionlog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, opt Options) *Writer {
	t.Helper()
	if opt.Logger == nil {
		opt.Logger = quiet()
	}
	w, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// decision is a small record; n is its time.
func decision(p *Producer, reason string, n int64) *Record {
	return &Record{Time: n, Event: EventDecision, Decision: Decision{ID: p.NextID(), Verdict: VerdictDrop, Reason: reason}}
}

// readAll reads a log; bad lines are returned apart.
func readAll(t *testing.T, path string) (events []Event, bad []*BadLine) {
	t.Helper()
	for e, err := range Read(path) {
		var b *BadLine
		if errors.As(err, &b) {
			bad = append(bad, b)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, *e)
	}
	return events, bad
}

func sum(events []Event) (t Tally) {
	for i := range events {
		t.Add(events[i].Tally())
	}
	return t
}

func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w := open(t, Options{Dir: dir, Version: "1.2", BootID: "boot"})
	p := w.Producer(3)
	for _, r := range fullRecords() {
		if r.header == nil && !p.Put(&r) {
			t.Fatal("put refused")
		}
	}
	w.Flush()
	events, bad := readAll(t, dir) // a live file reads well
	if len(bad) != 0 || len(events) != 8 {
		t.Fatalf("%d events, bad %v", len(events), bad)
	}
	h := events[0].Header
	if h == nil || h.Run != w.Run() || h.SchemaVersion != SchemaVersion || h.Version != "1.2" || h.FileSeq != 1 || h.BootID != "boot" {
		t.Errorf("header %+v", h)
	}
	d := events[1]
	if d.Run != w.Run() || d.Decision.Reason != "syn-established" || *d.Decision.RemainingS != -0.5 || d.Decision.Reply.Ack != 101 ||
		*d.Decision.Expected.SeqHi != 65000 || d.Decision.Tombstone.FlowID != 9 || d.TCP.History != "ShAD" ||
		d.Timestamp.UnixNano() != fullDecision().Time {
		t.Errorf("decision came back as %+v", d)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// The ticker alone must write what was put.
func TestFlushesByItself(t *testing.T) {
	dir := t.TempDir()
	w := open(t, Options{Dir: dir})
	w.Put(decision(w.control, "x", 1))
	for end := time.Now().Add(20 * time.Second); w.Counters().Records == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not written")
		}
	}
}

func TestProducerAllocatesNothing(t *testing.T) {
	p := newProducer(1<<12, 1, 0, make(chan struct{}, 1), nil)
	r := fullDecision()
	if n := testing.AllocsPerRun(1000, func() { r.Decision.ID = p.NextID(); p.Put(&r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a full ring loses appears as one exact gap with its reasons.
func TestRingOverflow(t *testing.T) {
	var out bytes.Buffer
	gate := make(chan struct{})
	w := open(t, Options{Dir: "-", RingSize: 8, Stdout: writerFunc(func(b []byte) (int, error) { <-gate; return out.Write(b) })})
	p := w.Producer(1)
	reasons := []string{"syn-established", "ack-for-syn"}
	for i := range 100 {
		p.Put(decision(p, reasons[i%2], int64(i+1)))
	}
	lost := &Record{Time: 200, Event: EventFlow, Flow: Flow{Counted: 40}}
	if p.Put(lost) {
		t.Fatal("the ring takes more than it holds")
	}
	close(gate)
	w.Flush() // drains, and may have looked at the losses too early
	w.Flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var events []Event
	readLines("out", &out, func(e *Event, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, *e)
		return true
	})
	got := sum(events)
	if got.Sum() != 140 || got.Decisions+got.Gaps != 140 || got.Gaps == 0 {
		t.Errorf("tally %+v, want 140 in all", got)
	}
	var lostDecisions, lostFlows uint64
	for _, e := range events {
		if e.Gap != nil {
			lostDecisions += e.Gap.Reasons["syn-established"] + e.Gap.Reasons["ack-for-syn"]
			lostFlows += e.Gap.Records["flow"]
			if e.Gap.Bound != BoundExact || e.Gap.Where != GapRing {
				t.Errorf("gap %+v", e.Gap)
			}
		}
	}
	if lostDecisions != 100-got.Decisions || lostFlows != 1 {
		t.Errorf("gap names %d decisions and %d flows, lost were %d and 1", lostDecisions, lostFlows, 100-got.Decisions)
	}
	if c := w.Counters(); c.RingDropped != lostDecisions+1 || c.DiskDropped != 0 {
		t.Errorf("counters %+v", c)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Several workers at once lose nothing that no gap admits.
func TestManyProducers(t *testing.T) {
	dir := t.TempDir()
	w := open(t, Options{Dir: dir, RingSize: 64, MaxFileBytes: 64 << 10})
	const workers, each = 4, 5000
	var wg sync.WaitGroup
	for i := range workers {
		p := w.Producer(uint16(i))
		wg.Go(func() {
			for n := range each {
				p.Put(decision(p, "r", int64(n+1)))
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	events, bad := readAll(t, dir)
	if s := sum(events); s.Sum() != workers*each || len(bad) > 0 {
		t.Errorf("tally %+v, bad %v", s, bad)
	}
	ids := map[string]bool{}
	for _, e := range events {
		if e.Decision != nil {
			if ids[e.Decision.ID] {
				t.Fatalf("id %s twice", e.Decision.ID)
			}
			ids[e.Decision.ID] = true
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), "decision log: ") {
		t.Errorf("a file as directory: %v", err)
	}
	dir := t.TempDir()
	open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second writer: %v", err)
	}
}

// Records come from several workers while the disk takes none at all: a write that does not return is what a worker must not wait
// for. Then the disk goes on, slowly, while the workers do. What was refused is in the gaps, to the record.
func TestOverload(t *testing.T) {
	dir := t.TempDir()
	w := open(t, Options{Dir: dir, RingSize: 64, MaxFileBytes: 64 << 10})
	gate, stuck := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.sink.(*dirSink).Write = func(f *os.File, b []byte) (int, error) {
		once.Do(func() { close(stuck) })
		<-gate
		time.Sleep(50 * time.Microsecond)
		return f.Write(b)
	}
	const workers, each = 3, 4000
	var producers [workers]*Producer
	for i := range producers {
		producers[i] = w.Producer(uint16(i))
	}
	var refused [workers]uint64
	put := func(n int) {
		var wg sync.WaitGroup
		for i, p := range producers {
			wg.Go(func() {
				for range n {
					if !p.Put(decision(p, "r", 1)) {
						refused[i]++
					}
				}
			})
		}
		wg.Wait() // for ever, if a worker waited for the disk
	}
	put(1)
	<-stuck
	put(each - 1)
	if lost := refused[0] + refused[1] + refused[2]; lost < workers*(each-2*64) {
		t.Errorf("%d records are lost while the disk takes none, and the rings hold %d", lost, workers*64)
	}
	close(gate)
	put(each)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	events, bad := readAll(t, dir)
	lost := refused[0] + refused[1] + refused[2]
	if s := sum(events); s.Sum() != 2*workers*each || s.Gaps != lost || s.Decisions != 2*workers*each-lost || s.Upper != 0 || len(bad) > 0 {
		t.Errorf("tally %+v, %d refused of %d, bad %v", s, lost, 2*workers*each, bad)
	}
	if c := w.Counters(); c.RingDropped != lost || c.DiskDropped != 0 {
		t.Errorf("counters %+v, %d refused", c, lost)
	}
}

// A ring that fills up while the Writer is at work tells it nothing: it looks by itself, and does not sleep till the next flush.
func TestGoesOn(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	p := w.producerFor(t, 16)
	goesOn := func() bool {
		select {
		case <-w.wake:
		default:
		}
		w.goOn()
		return len(w.wake) == 1
	}
	for n := range 16 {
		if want := n > 3; goesOn() != want {
			t.Fatalf("%d of 16 wait: goes on %v", n, !want)
		}
		p.Put(decision(p, "r", 1))
	}
	w.failing = true
	if goesOn() {
		t.Error("goes on while the disk refuses")
	}
}

func (w *Writer) producerFor(t *testing.T, size int) *Producer {
	t.Helper()
	p := newProducer(size, 1, 1, w.wake, &w.isFailing)
	w.producers = append(w.producers, p)
	return p
}
