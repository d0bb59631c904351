//go:build netns

package proxy

import (
	"bytes"
	"context"
	"testing"

	"halfopen/conntrack"
	"halfopen/proxy/review"
)

// fastSite is a site whose connection is on the fast path.
func fastSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, func(c *Config) { c.FastPath = FastPathOn })
	s.busy(20)
	return s
}

// busy uses the connection until more than n packets in all have passed by the fast path.
func (s *site) busy(n uint64) {
	s.t.Helper()
	s.until("the fast path lets the connection pass", func() bool { s.say(s.live); return s.fast.kernel().Packets > n })
}

// fastProof proves the log, and returns what it says of the fast path.
func (s *site) fastProof() review.FastProof {
	s.t.Helper()
	rep, err := review.Verify(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var text bytes.Buffer
	_ = rep.WriteText(&text)
	if !rep.OK || len(rep.Runs) != 1 || rep.Runs[0].FastPath == nil || rep.Runs[0].FastPath.Status != review.Balanced {
		s.t.Fatalf("the log does not add up:\n%s\n%s", text.String(), s.words)
	}
	s.t.Log(text.String())
	return *rep.Runs[0].FastPath
}

// What passed by the fast path of a worker that dies is in no flow record: a gap record says how much, and the log adds up to the byte.
func TestFastPathOfADeadWorker(t *testing.T) {
	s := fastSite(t)
	old := s.workerList()[0]
	had := s.fast.kernel().Packets
	go old.Do(context.Background(), func(conntrack.Instant, *Worker) { panic("out of order") })
	s.replaced(old)
	s.busy(had + 20) // by the new worker
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if p := s.fastProof(); p.Lost < 20 || p.Told < 20 || p.LostBytes <= p.Lost*52 {
		t.Errorf("%+v", p)
	}
}

// The same of one that hangs, whether its thread ends before the gateway or not.
func TestFastPathOfAHangingWorker(t *testing.T) {
	for name, wakes := range map[string]bool{"wakes": true, "hangs": false} {
		t.Run(name, func(t *testing.T) {
			s := fastSite(t)
			old := s.workerList()[0]
			release := s.block(old)
			s.until("the connection is frozen for want of a beat", func() bool { s.say(s.live); return s.workerList()[0] != old })
			s.replaced(old)
			if wakes {
				release()
				s.until("the old thread ends", old.ended)
			}
			for range 20 { // on the queue, and with its thread gone by the fast path
				s.say(s.live)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if p := s.fastProof(); p.Lost < 20 {
				t.Errorf("%+v", p)
			}
			release() // a gateway whose thread hangs leaves its maps and its lock to the end of the process
			s.until("the old thread has ended", old.ended)
			if err := s.fast.path.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
