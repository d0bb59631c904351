//go:build netns

package main

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// load is traffic that goes on until it is told to end.
type load struct {
	w       *world
	stop    chan struct{}
	running sync.WaitGroup
	lines   []*line
}

// line is one long-lived connection of a load.
type line struct {
	name  string
	moved atomic.Int64
	err   error // read it only when the load has ended
}

// startLoad keeps n connections of each kind alive from every address: a chat, a transfer there, a transfer back.
func (w *world) startLoad(pool []netip.Addr) *load {
	l := &load{w: w, stop: make(chan struct{})}
	for i, from := range pool {
		switch i % 4 {
		case 0:
			l.run("take", from, func(s <-chan struct{}, m *atomic.Int64) error {
				return w.transfer(from, order{Do: doTake, Pace: 40 * time.Millisecond}, s, m)
			})
		case 1:
			l.run("give", from, func(s <-chan struct{}, m *atomic.Int64) error {
				return w.transfer(from, order{Do: doGive, Pace: 40 * time.Millisecond}, s, m)
			})
		default:
			l.run("chat", from, func(s <-chan struct{}, m *atomic.Int64) error {
				return w.chat(from, 20*time.Millisecond, s, m)
			})
		}
	}
	l.progress("every connection carries data")
	return l
}

func (l *load) run(kind string, from netip.Addr, do func(<-chan struct{}, *atomic.Int64) error) {
	one := &line{name: fmt.Sprintf("%s from %s", kind, from)}
	l.lines = append(l.lines, one)
	l.running.Go(func() { one.err = do(l.stop, &one.moved) })
}

// progress waits until every connection has carried more data than now.
func (l *load) progress(what string) {
	l.w.t.Helper()
	before := make([]int64, len(l.lines))
	for i, one := range l.lines {
		before[i] = one.moved.Load()
	}
	for end := time.Now().Add(trafficLimit); ; time.Sleep(20 * time.Millisecond) {
		var stuck []string
		for i, one := range l.lines {
			// More than one frame: what was on its way before does not count.
			if one.moved.Load()-before[i] < 2*frameSize && (one.name[0] != 'c' || one.moved.Load()-before[i] < 4000) {
				stuck = append(stuck, one.name)
			}
		}
		if len(stuck) == 0 {
			return
		}
		if time.Now().After(end) {
			l.w.t.Fatalf("%s: after %v these carry none: %q\n%s", what, trafficLimit, stuck, l.w.said())
		}
	}
}

// end stops the load; every connection must have lived to its end, with no byte changed.
func (l *load) end() {
	l.w.t.Helper()
	close(l.stop)
	l.running.Wait()
	for _, one := range l.lines {
		if one.err != nil {
			l.w.t.Errorf("%s failed: %v", one.name, one.err)
		}
	}
}
