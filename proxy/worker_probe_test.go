package proxy

import (
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// contains reports the strings that a line lacks.
func lacks(line string, words ...string) (out []string) {
	for _, w := range words {
		if !strings.Contains(line, w) {
			out = append(out, w)
		}
	}
	return out
}

// Both ends are asked before the connection is forgotten; their silence resets both, and the log tells it all.
func TestProbesAreSentAndLogged(t *testing.T) {
	b := newBench(t, "timeouts: {established: 200ms}\nprobes: {tries: 1, every: 200ms, when: after, alive: all}\non: {dead-connection: {reply: rst-tracked, peer: rst-tracked}}", false)
	b.handshake()
	b.main.push(seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 101, ""))
	b.step()
	b.wire.events = nil
	b.later(250 * time.Millisecond)
	b.step()
	asked := []string{"inject . 192.0.2.9:515 > 10.0.0.1:721 seq 500 ack 101", "inject . 10.0.0.1:721 > 192.0.2.9:515 seq 100 ack 501"}
	b.expect(asked...)
	b.later(250 * time.Millisecond)
	b.step()
	b.expect(append(asked, "inject R 192.0.2.9:515 > 10.0.0.1:721 seq 501 ack 0", "inject R 10.0.0.1:721 > 192.0.2.9:515 seq 101 ack 0")...)
	lines := b.records("")
	var injected, ended int
	for line := range strings.Lines(b.lines.String()) {
		switch {
		case strings.Contains(line, `"event_type":"inject"`):
			injected++
			want := `"trigger":"probe","kind":"probe-ack"`
			if injected > 2 {
				want = `"trigger":"dead-connection","kind":"rst-tracked"`
			}
			if l := lacks(line, want); l != nil {
				t.Errorf("%s lacks %q", line, l)
			}
		case strings.Contains(line, `"event":"end"`):
			ended++
			if l := lacks(line, `"reason":"dead"`, `"probes":1`); l != nil {
				t.Errorf("%s lacks %q", line, l)
			}
		}
	}
	if injected != 4 || ended != 1 {
		t.Errorf("%d inject records and %d ends, want 4 and 1 (%d lines)", injected, ended, len(lines))
	}
}

// A probe that a segment caused: it leaves before the verdict, its outcome is a record, and the sum of messages still holds.
func TestUnansweredProbeIsToldOnce(t *testing.T) {
	b := newBench(t, "on: {syn-established: {packet: drop, peer: probe-ack, await: 200ms}, probe-unanswered: {state: delete, peer: rst-tracked}}", false)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 9000, 0, ""))
	b.step()
	b.expect("inject . 10.0.0.1:721 > 192.0.2.9:515 seq 100 ack 501", "main drop 4")
	b.later(250 * time.Millisecond)
	b.step()
	told := 0
	for _, r := range b.records("decision") {
		if strings.Contains(r, `"trigger":"probe-unanswered"`) {
			told++
			if l := lacks(r, `"reason":"probe-unanswered"`, `"state_before":"ESTABLISHED"`, `"state_after":"NONE"`, `"peer":{"kind":"rst-tracked"`); l != nil {
				t.Errorf("%s lacks %q", r, l)
			}
			if strings.Contains(r, "verdict") {
				t.Errorf("a verdict without a packet: %s", r)
			}
		}
	}
	if told != 1 || b.counts.Explained != b.counts.Received {
		t.Errorf("told %d times; %d messages of %d explained", told, b.counts.Explained, b.counts.Received)
	}
}

// What was asked for and not sent is in the record, with the reason.
func TestOmittedRepliesAreTold(t *testing.T) {
	b := newBench(t, "on: {rst: {packet: forward, reply: ack-tracked}, data-before-handshake: {packet: drop, reply: ack-tracked, peer: rst-tracked}}", false)
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""), seg(t, serverEnd, clientEnd, conntrack.ACK, 700, 800, "early"))
	b.step()
	for _, r := range b.records("decision") {
		if strings.Contains(r, "data-before-handshake") {
			if l := lacks(r, `"reply_omitted":"no-numbers"`); l != nil {
				t.Errorf("%s lacks %q", r, l)
			}
			return
		}
	}
	t.Error("no record of the data")
}
