package proxy

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// strict knows a connection from its first segment or not at all.
const strict = "preset: lpd-case-2015\nadopt: 0s\non: {ack-no-state: {packet: drop}, data-no-state: {packet: drop}, late-after-expiry: {packet: drop}}"

// A table that is saved by one worker and loaded by a gateway with two: the worker that meets a flow claims it, whichever that is,
// and judges it as the same connection.
func TestRestoredFlowGoesToTheWorkerThatMeetsIt(t *testing.T) {
	before := newBench(t, strict, false)
	before.handshake()
	var file bytes.Buffer
	meta := NewStateMeta(before.shared.clock, "test", before.engine.Policy().Rev())
	err := SaveState(&file, meta, func(yield func(*policy.Saved) bool) { before.engine.Save(before.now, 0, 1<<20, yield) })
	if err != nil {
		t.Fatal(err)
	}
	st, err := LoadState(&file)
	if err != nil || len(st.Flows) != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
	pending := NewPending()
	workers := [2]*bench{newBench(t, strict, false), newBench(t, strict, false)}
	clock := workers[0].shared.clock
	pending.Load(st.Flows, st.SavedAt(clock)-conntrack.Instant(30*time.Second), clock.Now()) // half a minute went by
	for _, w := range workers {
		w.shared.pending = pending
	}
	other := workers[0]
	other.main.push(seg(t, "10.0.0.9:721", serverEnd, conntrack.ACK, 101, 501, ""))
	other.step()
	if other.engine.Len() != 0 || pending.Len() != 1 {
		t.Errorf("another tuple claimed it: %d flows, %d pending", other.engine.Len(), pending.Len())
	}
	w := workers[1]
	w.main.push(seg(t, serverEnd, clientEnd, conntrack.ACK|conntrack.PSH, 501, 101, "data"), seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 505, ""),
		seg(t, clientEnd, serverEnd, conntrack.SYN, 9000, 0, ""))
	w.step()
	w.expect("main accept 1", "main accept 2", "main drop 3", "inject . 192.0.2.9:515 > 10.0.0.1:721 seq 505 ack 101")
	tu := tuple(clientEnd, serverEnd)
	e := w.engine.Find(w.now, &tu)
	if e == nil || e.State != conntrack.Established || e.Side[0].Packets != 4 || e.Side[1].Packets != 2 || pending.Any() {
		t.Fatalf("%+v, %d pending", e, pending.Len())
	}
	if age := w.now.Sub(e.Created); age < 30*time.Second {
		t.Errorf("age %v: the time in between does not count", age)
	}
}

// A flow whose time ran out while the gateway was down is unknown afterwards, not alive.
func TestRestoredFlowCanHaveExpired(t *testing.T) {
	b := newBench(t, strict, false)
	b.handshake()
	var saved []policy.Saved
	b.engine.Save(b.now, 0, 1<<20, func(s *policy.Saved) bool { saved = append(saved, *s); return true })
	timeout := b.engine.Policy().Timeouts(-1)[conntrack.Established]
	after := newBench(t, strict, false)
	now := after.shared.clock.Now()
	after.shared.pending.Load(saved, now-conntrack.Instant(timeout)+conntrack.Instant(time.Minute), now) // a minute is left
	if n := after.shared.pending.Len(); n != 1 {
		t.Fatalf("%d pending", n)
	}
	if n := after.shared.pending.Expire(now.Add(2 * time.Minute)); n != 1 {
		t.Errorf("%d expired", n)
	}
	after.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, ""))
	after.step()
	if after.engine.Len() != 0 {
		t.Error("the flow lives")
	}
	after.expect("main drop 1")
}

// conntrack -E prints a line for each change of state.
func TestFlowEventsTellStates(t *testing.T) {
	for _, trial := range []bool{false, true} {
		b := newBench(t, "preset: observe", trial)
		events, cancel := b.shared.flowEvents.subscribe(100)
		b.handshake()
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "data"), // changes no state
			seg(t, clientEnd, serverEnd, conntrack.FIN|conntrack.ACK, 105, 501, ""))
		b.step()
		cancel()
		var got []string
		for l := range events {
			f := newFlowEvent(&l, 0)
			got = append(got, strings.Join(strings.Fields(string(f.AppendConntrack(nil)))[:5], " "))
		}
		want := []string{"[NEW] tcp 6 120 SYN_SENT", "[UPDATE] tcp 6 60 SYN_RECV", "[UPDATE] tcp 6 432000 ESTABLISHED", "[UPDATE] tcp 6 120 FIN_WAIT"}
		if !slices.Equal(got, want) {
			t.Errorf("trial %v: got %q, want %q", trial, got, want)
		}
	}
}
