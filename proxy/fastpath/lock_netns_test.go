//go:build netns

package fastpath_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// TestLock has both directions of one flow run on several threads while this side freezes it, looks, and arms it again: nothing passes
// while it is frozen, and in the end each packet has been counted once, as passed or as punted.
func TestLock(t *testing.T) {
	d := newDesk(t, 1)
	b, flows := newBench(t, 1, false, false)
	d.b, d.flows = b, flows
	flows.Beat(conntrack.Never / 2)
	d.slot = d.install(1)
	d.state.Deadline = conntrack.Never
	d.rules.Check = conntrack.SeqKernel // the longest way through the program

	var ran [2]atomic.Uint64
	var work sync.WaitGroup
	var stop atomic.Bool
	fail := make(chan error, 4)
	for n := range 4 {
		dir := n % 2
		f := d.f
		if dir == 1 {
			f.tuple = f.tuple.Reverse()
		}
		run := fastpath.Run{Frame: append([]byte(nil), f.build()...), Ifindex: 1}
		work.Go(func() {
			for !stop.Load() {
				for range 50 {
					if err := b.Run(&run); err != nil {
						fail <- err
						return
					}
					ran[dir].Add(1)
				}
				time.Sleep(50 * time.Microsecond) // for a flow that no punt keeps frozen
			}
		})
	}
	var passed [2]uint64
	armed, moved := 0, 0
	for begin := time.Now(); moved < 500 && time.Since(begin) < time.Minute; {
		s := d.read()
		st := s.Fast
		if s.Packets != passed {
			moved++
		}
		for dir := range passed {
			if s.Packets[dir] < passed[dir] || s.Bytes[dir] != 40*s.Packets[dir] {
				t.Fatalf("packets %v after %v, bytes %v", s.Packets, passed, s.Bytes)
			}
		}
		passed = s.Packets
		if !s.Armed {
			if armed == 0 {
				st = d.state
			}
			d.flows.Arm(d.slot, s.Punt, &st, &d.rules)
			armed++
		}
		time.Sleep(20 * time.Microsecond)
		frozen, err := d.flows.Freeze(d.slot)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Microsecond)
		if again := d.read(); again.Packets != frozen.Packets || again.Fast != frozen.Fast || again.Armed {
			t.Fatalf("frozen at %+v, then %+v", frozen, again)
		}
	}
	stop.Store(true)
	work.Wait()
	select {
	case err := <-fail:
		t.Fatal(err)
	default:
	}
	s := d.read()
	total := ran[0].Load() + ran[1].Load()
	if s.Packets[0]+s.Packets[1]+s.Punt != total {
		t.Errorf("%v passed and %d punted of %d", s.Packets, s.Punt, total)
	}
	stats, err := b.Stats()
	if err != nil {
		t.Fatal(err)
	}
	var punts uint64
	for _, n := range stats.Punts {
		punts += n
	}
	if stats.Packets != s.Packets[0]+s.Packets[1] || punts != s.Punt || stats.Bytes != s.Bytes[0]+s.Bytes[1] {
		t.Errorf("by the counters %d passed (%d bytes) and %d punted; by the flow %v (%v) and %d", stats.Packets, stats.Bytes, punts, s.Packets, s.Bytes, s.Punt)
	}
	t.Logf("%d segments, %v passed, armed %d times, %d of them to some use", total, s.Packets, armed, moved)
	if moved < 500 || s.Packets[0] == 0 || s.Packets[1] == 0 {
		t.Errorf("armed %d times, %d of them to some use: the test does not reach what it is for", armed, moved)
	}
}
