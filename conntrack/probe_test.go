package conntrack

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// probeConversations are about answers to probes.
func probeConversations() []conversation {
	return []conversation{
		{name: "a RST that quotes a probe", text: open3 + `
			< ask 4711 5s       =>
			< R 4710            => rst-out-of-window ESTABLISHED
			< R 4711            => rst-for-probe -`},
		{name: "with the connection's own numbers", text: open3 + `
			< ask 1 5s          =>
			< R 1               => rst-for-probe -`},
		{name: "an ACK that answers a probe, and only the first", text: open3 + `
			< ask 4711 5s       =>
			> . 1 ack 1         => in-window ESTABLISHED
			< . 1 ack 1         => ack-for-probe ESTABLISHED
			< . 1 ack 1         => in-window ESTABLISHED
			< R 4711            => rst-out-of-window ESTABLISHED`},
		{name: "data is no answer, nor is a FIN", text: open3 + `
			< ask 1 5s          =>
			< P. 1+10 ack 1     => in-window ESTABLISHED
			< F. 11 ack 1       => fin FIN_WAIT
			< . 12 ack 1        => ack-for-probe FIN_WAIT`},
		{name: "each end answers for itself", text: open3 + `
			< ask 1 5s          =>
			> ask 900 5s        =>
			> R 4711            => rst-out-of-window ESTABLISHED
			> R 900             => rst-for-probe -`},
		{name: "an answer out of window is none", text: open3 + `
			< ask 1 5s          =>
			< . 1 ack 9999      => ack-above ESTABLISHED
			< . 1 ack 1         => ack-for-probe ESTABLISHED`},
	}
}

// woken is a table's owner that asks every entry three times, a second apart.
func woken(r *rig, log *[]string) func(e *Entry, at Instant) (Instant, EndReason) {
	return func(e *Entry, at Instant) (Instant, EndReason) {
		*log = append(*log, fmt.Sprintf("%v %d", at.Sub(r.now), e.Probe.Tries))
		if e.Probe.Until != 0 {
			return Never, EndNone
		}
		if e.Probe.Tries++; e.Probe.Tries < 3 {
			return at.Add(time.Second), EndNone
		}
		return Never, EndNone
	}
}

func (r *rig) drain(until Instant) {
	for r.table.Next() <= until {
		r.table.Advance(until, 4)
	}
}

const dialled = open3 + `> P. 1+10 ack 1 => in-window ESTABLISHED`

// An entry wakes before its end however rarely the table is advanced, in order and at its own instants.
func TestWakesBeforeItsEnd(t *testing.T) {
	for _, stride := range []time.Duration{time.Hour, time.Second, 7 * time.Millisecond * 101} {
		c := conversation{text: dialled}
		r := c.run(t, variations()[0], nil)
		var log []string
		r.table.cfg.Woken = woken(r, &log)
		r.p.Lead, r.p.Grace = 3*time.Second, 2*time.Second
		r.now += Instant(time.Minute)
		r.step(parseSegment(t, []string{"<", ".", "1", "ack", "11"}, variations()[0]), &Rules{}, NumEffects)
		r.ended = nil
		for at := r.now; at < r.now.Add(time.Hour+3*time.Second); at = at.Add(stride) {
			if stride < time.Minute && at < r.now.Add(time.Hour-10*time.Second) {
				continue
			}
			r.drain(at)
		}
		r.drain(r.now.Add(time.Hour + time.Second)) // the grace is 2 s
		if want := []string{"59m59s 0", "1h0m0s 1", "1h0m1s 2"}; stride < time.Minute && !reflect.DeepEqual(log, want) {
			t.Errorf("stride %v: %v", stride, log)
		}
		r.drain(r.now.Add(2 * time.Hour))
		if len(log) != 3 || len(r.ended) != 1 || r.ended[0] != "idle ESTABLISHED" {
			t.Errorf("stride %v: woke %v, ended %v", stride, log, r.ended)
		}
	}
}

// A refresh puts the asking off; a shortened timer asks nobody; a probe of a segment is given up in time.
func TestWakeFollowsTheTimer(t *testing.T) {
	c := conversation{text: dialled}
	r := c.run(t, variations()[0], nil)
	var log []string
	r.table.cfg.Woken = woken(r, &log)
	r.p.Lead = 3 * time.Second
	en := variations()[0]
	ack := parseSegment(t, []string{"<", ".", "1", "ack", "11"}, en)
	r.step(ack, &Rules{}, NumEffects)
	r.drain(r.now.Add(time.Hour - 2500*time.Millisecond))
	r.now = r.now.Add(time.Hour - 2500*time.Millisecond)
	r.step(ack, &Rules{}, NumEffects)
	e := r.look(ack.Tuple).Entry
	if len(log) != 1 || e.Probe != (Probe{}) || e.Wake != e.Deadline.Add(-3*time.Second) {
		t.Fatalf("woke %v, then %+v", log, e)
	}
	r.table.Await(e, Reply, 5, r.now.Add(5*time.Second))
	log = nil
	r.drain(r.now.Add(time.Minute))
	if len(log) != 1 || log[0] != "5s 1" || e.Probe != (Probe{}) || e.Wake != e.Deadline.Add(-3*time.Second) {
		t.Errorf("gave up at %v, then %+v", log, e)
	}
	var v View
	r.table.Lookup(r.now, &ack.Tuple, &v)
	r.table.Commit(r.now, &v, ack, InWindow, Track, Timer{TimerShorten, 10 * time.Second}, &r.p)
	log = nil
	r.drain(r.now.Add(time.Hour))
	if len(log) != 0 {
		t.Errorf("a shortened timer asked at %v", log)
	}
}

// The owner may end an entry when it wakes.
func TestWokenEnds(t *testing.T) {
	c := conversation{text: dialled}
	r := c.run(t, variations()[0], nil)
	r.table.cfg.Woken = func(*Entry, Instant) (Instant, EndReason) { return Never, EndDeleted }
	v := r.look(parseSegment(t, []string{"<", ".", "1"}, variations()[0]).Tuple)
	r.table.Await(v.Entry, v.Dir, 0, r.now.Add(time.Second))
	r.drain(r.now.Add(time.Minute))
	if r.table.Len() != 0 || len(r.ended) != 1 || r.ended[0] != "deleted ESTABLISHED" {
		t.Errorf("%d entries, ended %v", r.table.Len(), r.ended)
	}
	checkTable(t, r.table)
}
