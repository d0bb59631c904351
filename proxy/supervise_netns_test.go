//go:build netns

package proxy

import (
	"context"
	"fmt"
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
	"halfopen/proxy/nfqueue"
)

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
