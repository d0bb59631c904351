package proxy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

const (
	clientEnd = "10.0.0.1:721"
	serverEnd = "192.0.2.9:515"
)

// bench is a worker between memory and a log in memory, driven turn by turn.
type bench struct {
	*Worker
	t      *testing.T
	wire   *wire
	main   *memorySource
	second *memorySource
	log    *decisionlog.Writer
	lines  *bytes.Buffer
}

func newBench(t *testing.T, text string, trial bool) *bench {
	t.Helper()
	pol, problems := policy.Load("test.yaml", []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	b := &bench{t: t, wire: &wire{}, lines: &bytes.Buffer{}}
	var err error
	if b.log, err = decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: b.lines, RingSize: 1 << 9}); err != nil {
		t.Fatal(err)
	}
	log := b.log
	t.Cleanup(func() { _ = log.Close() }) // for tests that read no records
	b.Worker = newWorker(0, &shared{clock: NewClock(), log: b.log, ifaces: newInterfaces(), flowEvents: newFanout(),
		pending: NewPending(), slog: slog.New(slog.DiscardHandler)})
	b.main, b.second = newMemorySource("main", b.wire), newMemorySource("second", b.wire)
	b.main.reroute = func(p []byte) { b.second.push(p) }
	b.Worker.main, b.Worker.second, b.secondQueue = b.main, b.second, 1
	b.Worker.injector = &recorder{wire: b.wire}
	if b.translator, err = NewTranslator(TranslatorConfig{Detect: func() (NATKinds, error) { return 0, nil }}); err != nil {
		t.Fatal(err)
	}
	b.producer = b.log.Producer(0)
	b.armed(pol, trial)
	return b
}

// armed gives the worker its engine and shadows.
func (b *bench) armed(pol *policy.Policy, trial bool, shadows ...*policy.Policy) {
	if trial {
		observe, err := LoadPolicy("observe", nil)
		if err != nil {
			b.t.Fatal(err)
		}
		pol, shadows = observe, append([]*policy.Policy{pol}, shadows...)
	}
	b.equip(pol, shadows, trial, policy.EngineConfig{NoAdopt: true, FirstID: 1})
	if trial {
		pol = shadows[0]
	}
	b.setRates(pol)
}

// seg is a packet from one end to the other.
func seg(t *testing.T, from, to string, f conntrack.Flags, seq, ack conntrack.Seq, payload string) []byte {
	return mustEncode(t, &conntrack.Segment{Tuple: tuple(from, to), Flags: f, Seq: seq, Ack: ack, Window: 64240}, []byte(payload))
}

// handshake takes the connection to ESTABLISHED: the client's next number is 101, the server's 501.
func (b *bench) handshake() {
	b.t.Helper()
	b.main.push(seg(b.t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""),
		seg(b.t, serverEnd, clientEnd, conntrack.SYN|conntrack.ACK, 500, 101, ""),
		seg(b.t, clientEnd, serverEnd, conntrack.ACK, 101, 501, ""))
	b.step()
	b.wire.events = nil
}

// later sets the worker's clock forward.
func (b *bench) later(d time.Duration) { b.shared.clock = b.shared.clock.later(d) }

// step lets the worker take what is queued.
func (b *bench) step() {
	b.t.Helper()
	b.tick()
	for range 3 { // main batch, second queue, timers
		if _, err := b.turn(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// records closes the log and returns its lines of one event type.
func (b *bench) records(event string) (out []string) {
	b.t.Helper()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(b.lines.String()) {
		if strings.Contains(line, `"event_type":"`+event+`"`) {
			out = append(out, line)
		}
	}
	return out
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if !slices.Equal(b.wire.events, want) {
		b.t.Errorf("what left the worker:\n  %s\nwant:\n  %s", strings.Join(b.wire.events, "\n  "), strings.Join(want, "\n  "))
	}
}

// The ends must see, in this order: what came earlier, the RST that makes room at the server, the SYN, what came later.
func TestInjectionIsABarrier(t *testing.T) {
	b := newBench(t, "preset: lpd-case-2015\non: {syn-established: {packet: forward, peer: rst-tracked, state: replace}}", false)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "data"),
		seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""),
		seg(t, "10.0.0.7:1000", serverEnd, conntrack.SYN, 1, 0, ""))
	b.step()
	// 101 is what the server has acknowledged so far; if it has the data that just left, it takes no RST but one with 105.
	b.expect("main accept 4", "inject R 10.0.0.1:721 > 192.0.2.9:515 seq 101 ack 0", "inject R 10.0.0.1:721 > 192.0.2.9:515 seq 105 ack 0",
		"main accept 5", "main accept 6")
}

// The reply to the sender follows the verdict of the packet that it answers.
func TestReplyFollowsVerdict(t *testing.T) {
	b := newBench(t, "preset: lpd-case-2015", false)
	b.handshake()
	b.main.push(seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 101, ""), seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""),
		seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 101, ""))
	b.step()
	b.expect("main accept 4", "main drop 5", "inject . 192.0.2.9:515 > 10.0.0.1:721 seq 501 ack 101", "main accept 6")
	injects := b.records("inject")
	if len(injects) != 1 || !strings.Contains(injects[0], `"kind":"ack-tracked"`) || !strings.Contains(injects[0], `"cause":`) {
		t.Errorf("inject records %q, want one of kind ack-tracked that names its cause", injects)
	}
}

func TestFailedInjectionIsRecorded(t *testing.T) {
	b := newBench(t, "preset: lpd-case-2015", false)
	b.handshake()
	b.Worker.injector = &recorder{wire: b.wire, err: errors.New("no route")}
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""))
	b.step()
	if r := b.records("inject"); len(r) != 1 || !strings.Contains(r[0], "no route") {
		t.Errorf("inject records %q, want one with the error", r)
	}
	if b.counts.InjectErrors != 1 || b.counts.Injected != 0 {
		t.Errorf("%d errors and %d injected, want 1 and 0", b.counts.InjectErrors, b.counts.Injected)
	}
}

// With --dry-run everything goes on before anything is decided, nothing is injected, and the record says what would have been.
func TestDryRunForwardsAndInjectsNothing(t *testing.T) {
	b := newBench(t, "preset: lpd-case-2015", true)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""), seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "x"))
	b.step()
	b.expect("main accept 4", "main accept 5")
	var found bool
	for _, r := range b.records("decision") {
		if strings.Contains(r, `"would":{"verdict":"drop","reason":"syn-established"`) && strings.Contains(r, `"verdict":"forward"`) {
			found = true
		}
	}
	if !found {
		t.Errorf("no decision says that the SYN would have been dropped:\n%s", b.lines)
	}
	if b.counts.Injected != 0 {
		t.Errorf("%d packets injected", b.counts.Injected)
	}
}

// A held packet goes through the second queue and waits there, while the main queue goes on; then its time decides.
func TestHoldWaitsInSecondQueue(t *testing.T) {
	b := newBench(t, "preset: observe\non: {new: {packet: hold, hold: 200ms, then: drop, reply: icmp-port}}", false)
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""), seg(t, "10.0.0.2:9", serverEnd, conntrack.ACK, 1, 1, ""))
	b.step()
	b.expect("main reroute 1", "main accept 2")
	if len(b.second.open) != 1 {
		t.Fatalf("%d packets wait in the second queue, want 1", len(b.second.open))
	}
	b.later(250 * time.Millisecond)
	b.step()
	b.expect("main reroute 1", "main accept 2", "second drop 1", "inject icmp 192.0.2.9 > 10.0.0.1")
	var settled int
	for _, r := range b.records("decision") {
		if strings.Contains(r, `"settles":`) {
			settled++
		}
	}
	if settled != 1 {
		t.Errorf("%d records settle the hold, want 1", settled)
	}
}

// A stop lets everything go that is held.
func TestStopSettlesHolds(t *testing.T) {
	b := newBench(t, "preset: observe\non: {new: {packet: hold, hold: 1m, then: drop}}", false)
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""))
	b.step()
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	b.expect("main reroute 1", "second accept 1")
	if len(b.second.open)+len(b.main.open) != 0 {
		t.Error("packets are left without a verdict")
	}
}

// Each message is explained once: by a record of its own, its flow's count, or as suppressed.
func TestEveryMessageIsExplained(t *testing.T) {
	b := newBench(t, "preset: observe\nlog: {rate: {new: 2}}", false)
	b.handshake()
	for i := range 10 {
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101+conntrack.Seq(i), 501, "x"),
			seg(t, "10.0.0.2:"+string(rune('1'+i%9))+"000", serverEnd, conntrack.SYN, 1, 0, ""), []byte{0x45})
	}
	b.step()
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	if got := b.counts.Explained + b.counts.suppressed(); got != b.counts.Received || got != 33 {
		t.Errorf("%d explained and %d suppressed of %d received, want 33 in all", b.counts.Explained, b.counts.suppressed(), b.counts.Received)
	}
	if b.counts.Suppressed[conntrack.New] == 0 {
		t.Error("the rate of two SYNs a second suppressed nothing")
	}
	if b.counts.Decided[conntrack.Malformed][policy.Forward] != 10 {
		t.Errorf("%d malformed packets forwarded, want 10", b.counts.Decided[conntrack.Malformed][policy.Forward])
	}
}

// A panic ends the worker with an error that tells where, and frees whoever waits for it.
func TestWorkerPanicIsAnError(t *testing.T) {
	b := newBench(t, "preset: observe", false)
	b.engine = nil
	var err error
	if b.waiter, err = nfqueue.NewWaiter(); err != nil {
		t.Fatal(err)
	}
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""))
	go b.run()
	<-b.done
	if b.err == nil || !strings.Contains(b.err.Error(), "panic") {
		t.Fatalf("error %v, want one about a panic", b.err)
	}
	if err := b.Do(context.Background(), func(conntrack.Instant, *Worker) {}); err == nil {
		t.Error("Do on a dead worker returned no error")
	}
}
