//go:build netns

package proxy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
	"halfopen/proxy/nfqueue"
	"halfopen/proxy/review"
)

// patienceLimit is generous: the machine may be slow and shared.
const patienceLimit = 30 * time.Second

// site is a gateway of this process between a client and a server of the kernel's.
type site struct {
	*Gateway
	t     *testing.T
	top   *lab.Topology
	dir   string
	words *syncBuffer // what the gateway says
	stop  func() error
	live  *lab.End // a connection that began before any trouble
	at    netip.AddrPort
}

// syncBuffer takes words from several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newSite starts a gateway whose supervisor looks ten times a second, and a connection through it.
func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	top, err := lab.Build(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, top: top, dir: filepath.Join(t.TempDir(), "log"), words: &syncBuffer{}, at: netip.MustParseAddrPort("198.51.100.10:7001")}
	cfg := Config{Policy: "linux-default", FastPath: FastPathOff, InstallRules: true, Hooks: nfqueue.Forward, LogDir: s.dir, Fresh: true, Logger: slog.New(slog.NewTextHandler(s.words, nil))}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	opened, ended := make(chan error, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // everything that a gateway opens after its start, too, belongs into its namespace
		ended <- top.Gateway.Do(func() error {
			var err error
			s.Gateway, err = open(cfg)
			if err == nil {
				s.Gateway.lookEvery = 100 * time.Millisecond
			}
			opened <- err
			if err != nil {
				return err
			}
			return s.serve(ctx)
		})
	}()
	if err := <-opened; err != nil {
		cancel()
		t.Fatal(err)
	}
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = s.stop() })
	srv, err := top.Server.Serve(s.at, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	s.live = s.connect()
	return s
}

// connect makes a connection that carries data.
func (s *site) connect() *lab.End {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceLimit)
	defer cancel()
	e, err := s.top.Client.Dial(ctx, netip.MustParseAddrPort("192.0.2.10:0"), s.at)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.words)
	}
	s.t.Cleanup(func() { e.Close() })
	s.say(e)
	return e
}

func (s *site) say(e *lab.End) {
	s.t.Helper()
	if err := e.Say("still there?\n", patienceLimit); err != nil {
		s.t.Fatalf("%v\n%s", err, s.words)
	}
}

// until waits for a condition.
func (s *site) until(what string, met func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patienceLimit); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after %v still not: %s\n%s", patienceLimit, what, s.words)
		}
	}
}

// replaced waits until the worker of the only queue is another one.
func (s *site) replaced(old *Worker) {
	s.t.Helper()
	s.until("the worker is replaced", func() bool { list := s.workerList(); return len(list) == 1 && list[0] != old })
}

// goesOn proves that traffic passes and is decided, that the log says what happened, and that it adds up after the stop.
func (s *site) goesOn(said string) map[string]uint64 {
	s.t.Helper()
	s.say(s.live)
	s.connect()
	before := s.workerList()[0].received.Load()
	s.say(s.live)
	if s.workerList()[0].received.Load() == before {
		s.t.Error("the new worker sees no packets")
	}
	if err := s.stop(); err != nil {
		s.t.Errorf("the gateway ended with %v", err)
	}
	if !strings.Contains(s.words.String(), said) {
		s.t.Errorf("nothing says %q in\n%s", said, s.words)
	}
	return s.balanced()
}

// balanced proves the log and returns what gap records admit, by the place of the loss.
func (s *site) balanced() map[string]uint64 {
	s.t.Helper()
	rep, err := review.Verify(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if !rep.OK || len(rep.Runs) != 1 || rep.Runs[0].Status != review.Balanced {
		var text bytes.Buffer
		_ = rep.WriteText(&text)
		s.t.Errorf("the log does not add up:\n%s\n%s", text.String(), s.words)
	}
	gaps := map[string]uint64{}
	for e, err := range decisionlog.Read(s.dir) {
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Gap != nil {
			gaps[e.Gap.Where] += e.Gap.Count
		}
	}
	return gaps
}

// block makes a worker hang in an administrative call until the returned function is called.
func (s *site) block(w *Worker) (release func()) {
	hangs, free := make(chan struct{}), make(chan struct{})
	go w.Do(context.Background(), func(conntrack.Instant, *Worker) { close(hangs); <-free })
	<-hangs
	release = sync.OnceFunc(func() { close(free) })
	s.t.Cleanup(release)
	return release
}

// A worker that hangs is noticed by its waiting packets; its queue is bound anew by another. Whether the old thread ever wakes makes
// no difference to the books.
func TestWedgedWorkerIsReplaced(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		t.Run(fmt.Sprintf("wakes=%v", wakes), func(t *testing.T) {
			s := newSite(t, nil)
			old := s.workerList()[0]
			release := s.block(old)
			s.say(s.live) // waits in the queue until somebody serves it again
			s.replaced(old)
			if wakes {
				release()
				s.until("the old thread ends", func() bool {
					select {
					case <-old.done:
						return true
					default:
						return false
					}
				})
			}
			s.goesOn("packets wait")
		})
	}
}

// A worker that hangs while nothing waits harms nobody, and nobody touches it.
func TestIdleWorkerIsLeftAlone(t *testing.T) {
	s := newSite(t, nil)
	old := s.workerList()[0]
	release := s.block(old)
	time.Sleep(2 * wedgedLooks * 100 * time.Millisecond)
	release()
	s.say(s.live)
	if s.workerList()[0] != old {
		t.Errorf("an idle worker was replaced:\n%s", s.words)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if gaps := s.balanced(); len(gaps) != 0 {
		t.Errorf("gap records admit %v, and nothing was lost", gaps)
	}
}

func TestPanickingWorkerIsReplaced(t *testing.T) {
	s := newSite(t, nil)
	old := s.workerList()[0]
	go old.Do(context.Background(), func(conntrack.Instant, *Worker) { panic("out of order") })
	s.replaced(old)
	s.goesOn("out of order")
}

// eventDescriptors counts the descriptors by which something in this process is woken.
func eventDescriptors(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && to == "anon_inode:[eventfd]" {
			n++
		}
	}
	return n
}

// Workers that were replaced leave nothing open, whether their threads ended at once or later.
func TestReplacedWorkersLeaveNothingOpen(t *testing.T) {
	s := newSite(t, nil)
	before := eventDescriptors(t)
	for range 4 {
		old := s.workerList()[0]
		go old.Do(context.Background(), func(conntrack.Instant, *Worker) { panic("once more") })
		s.replaced(old)
	}
	old := s.workerList()[0]
	release := s.block(old)
	s.say(s.live)
	s.replaced(old)
	release() // a thread that hung and ends after all
	s.until("as many descriptors as before", func() bool { return eventDescriptors(t) == before })
	s.goesOn("once more")
}

// A queue that another program has taken when it is to be bound again does not end the gateway: it goes on, says so, and serves the
// queue once it can. What the other let pass meanwhile is admitted.
func TestTakenQueueIsAwaited(t *testing.T) {
	s := newSite(t, nil)
	var thief *nfqueue.Queue
	s.until("the queue is taken", func() bool {
		if list := s.workerList(); len(list) == 1 {
			_ = list[0].kernel.Abandon()
		}
		err := s.top.Gateway.Do(func() (err error) {
			thief, err = nfqueue.Open(nfqueue.Config{Number: 0, FailOpen: true})
			return err
		})
		return err == nil
	})
	s.until("the gateway has noticed", func() bool {
		return len(s.workerList()) == 0 && strings.Contains(s.words.String(), "a queue is not served, and cannot be bound")
	})
	if !strings.Contains(s.words.String(), nfqueue.ErrInUse.Error()) {
		t.Errorf("the words do not say that the queue is in use:\n%s", s.words)
	}
	waits := make(chan error, 1)
	go func() { waits <- s.live.Say("is anybody there?\n", patienceLimit) }() // lies in the thief's queue
	s.until("a packet waits", func() bool { st, ok, err := thief.Kernel(); return err == nil && ok && st.Waiting > 0 })
	if c, all := s.counts(t.Context()); c.Received == 0 || !all {
		t.Errorf("%d packets received so far, all %v", c.Received, all)
	}
	if q := s.Counters().Queues; len(q) != 1 || q[0].Received == 0 {
		t.Errorf("counters of %d queues", len(q))
	}
	if err := thief.Close(); err != nil {
		t.Error(err)
	}
	s.until("the queue is served again", func() bool { return len(s.workerList()) == 1 })
	if err := <-waits; err != nil {
		t.Errorf("the connection: %v", err)
	}
	if gaps := s.goesOn("cannot be bound"); gaps[decisionlog.GapFailOpen] == 0 {
		t.Errorf("gap records admit %v; what the other program let pass is missing", gaps)
	}
}

// A queue that the kernel took away is bound again. Everything that was decided stays explained, record by record.
func TestUnboundQueueIsReopened(t *testing.T) {
	s := newSite(t, nil)
	old := s.workerList()[0]
	if err := old.kernel.Abandon(); err != nil {
		t.Fatal(err)
	}
	s.replaced(old)
	if gaps := s.goesOn("nobody serves the queue"); gaps[decisionlog.GapQueue] != 0 {
		t.Errorf("gap records admit %v", gaps)
	}
}

// Messages that the socket's buffer cannot take are holes in the kernel's numbering: the gateway lives, and the log admits them one
// by one. FailClosed tells them from what passed.
func TestBufferOverflowIsSurvived(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(map[bool]string{false: "fail-open", true: "fail-closed"}[closed], func(t *testing.T) {
			s := newSite(t, func(c *Config) { c.QueueBuffer, c.FailClosed = 1, closed }) // the kernel makes that its minimum of 2304 bytes
			w := s.workerList()[0]
			release := s.block(w)
			enc := NewEncoder(EncoderConfig{})
			err := s.top.Client.Do(func() error {
				raw, err := OpenRawInjector(0)
				if err != nil {
					return err
				}
				defer raw.Close()
				for port := range uint16(200) {
					p, err := enc.Segment(&conntrack.Segment{Tuple: conntrack.MakeTuple(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), 20000+port), s.at),
						Flags: conntrack.ACK, Seq: 1, Ack: 1, Window: 1000}, nil)
					if err != nil {
						return err
					}
					for err = raw.Send(p); err == unix.EAGAIN; err = raw.Send(p) {
						time.Sleep(time.Millisecond)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			release()
			if err != nil {
				t.Fatal(err)
			}
			s.say(s.live)
			s.until("the loss is noticed", func() bool { c, _ := s.counts(t.Context()); return c.LostIDs > 0 && s.ledger.gaps.Load() > 0 })
			gaps := s.goesOn("ids that the kernel skipped")
			where := map[bool]string{false: decisionlog.GapFailOpen, true: decisionlog.GapQueue}[closed]
			if gaps[where] < 100 || len(gaps) != 1 {
				t.Errorf("gap records admit %v, want most of 200 in %s", gaps, where)
			}
		})
	}
}

// A worker that hangs for ever does not keep the gateway from ending, and what it leaves is admitted.
func TestStopWithHangingWorkers(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Queues = [2]uint16{0, 1} })
	s.Gateway.stopLimit = 500 * time.Millisecond
	for _, w := range s.workerList() {
		s.block(w)
	}
	err := s.stop()
	if err == nil || strings.Count(err.Error(), "did not settle") != 2 {
		t.Errorf("error %v, want one for each worker", err)
	}
	s.balanced()
}

// Calls are answered at once though the worker waits in the kernel, each of many that come together too, while it is alert and while it sleeps.
func TestWaitingWorkerIsCalled(t *testing.T) {
	s := newSite(t, nil)
	w := s.workerList()[0]
	for _, quiet := range []time.Duration{0, alertFor + 2*idleWait} {
		time.Sleep(quiet)
		begin := time.Now()
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				if err := w.Do(context.Background(), func(conntrack.Instant, *Worker) {}); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if took := time.Since(begin); took > 50*idleWait/4 {
			t.Errorf("50 calls took %v after a silence of %v", took, quiet)
		}
	}
	s.say(s.live)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
