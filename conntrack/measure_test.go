package conntrack

import (
	"math"
	"testing"
	"time"
)

// measured is what an entry says of its users' experience.
type measured struct {
	handshake, response, stall time.Duration
	syns                       uint8
	again, outside             [2]uint32
	stalled, replyClosed       bool
}

func (e *Entry) measured() measured {
	m := measured{e.Handshake.Duration(), e.Response.Duration(), e.Stall.Duration(), e.SYNRetransmits, e.Retransmits, e.OutOfWindow,
		e.Flags&EntryStalled != 0, e.Flags&EntryReplyClosed != 0}
	if (m.response != 0) != (e.Flags&EntryResponded != 0) {
		m.response = -1
	}
	return m
}

const ms = time.Millisecond

// TestMeasure: each line of a conversation is a millisecond after the one before it. The kernel's way of tracking must give the same.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		conversation
		want   measured
		strict bool // the kernel finds other words, or another end
	}{
		{conversation{name: "handshake", text: open3}, measured{handshake: 2 * ms}, false},
		{conversation{name: "SYNs again", text: `
			> S 0               => new SYN_SENT
			+1s > S 0           => syn-retransmit SYN_SENT
			+2s > S 0           => syn-retransmit SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			< S. 0 ack 1        => synack-retransmit SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED`}, measured{handshake: 3005 * ms, syns: 2, again: [2]uint32{0, 1}}, false},
		{conversation{name: "request and response", text: open3 + `
			+10ms > P. 1+100 ack 1 => in-window ESTABLISHED
			< . 1 ack 101          => in-window ESTABLISHED
			+40ms < P. 1+10 ack 101 => in-window ESTABLISHED
			+40ms < P. 11+10 ack 101 => in-window ESTABLISHED
			> P. 101+10 ack 21     => in-window ESTABLISHED`}, measured{handshake: 2 * ms, response: 42 * ms}, false},
		{conversation{name: "a greeting is no response", text: open3 + `
			< P. 1+10 ack 1        => in-window ESTABLISHED
			> P. 1+10 ack 11       => in-window ESTABLISHED
			+7ms < P. 11+10 ack 11 => in-window ESTABLISHED`}, measured{handshake: 2 * ms, response: 8 * ms}, false},
		{conversation{name: "data with the handshake's last ACK", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> P. 1+5 ack 1      => handshake ESTABLISHED
			+4ms < P. 1+5 ack 6 => in-window ESTABLISHED`}, measured{handshake: 2 * ms, response: 5 * ms}, false},
		{conversation{name: "fast open", text: `
			> S 0+5 tfo         => syn-fast-open SYN_SENT
			< S. 0 ack 6        => syn-ack SYN_RECV
			> . 6 ack 1         => handshake ESTABLISHED
			+4ms < P. 1+5 ack 6 => in-window ESTABLISHED`}, measured{handshake: 2 * ms, response: 7 * ms}, true},
		{conversation{name: "stalled, and on again", text: open3 + `
			> P. 1+100 ack 1       => in-window ESTABLISHED
			+199ms > P. 1+100 ack 1 => in-window ESTABLISHED
			+399ms > P. 1+100 ack 1 => in-window ESTABLISHED
			+9ms < . 1 ack 101     => in-window ESTABLISHED
			+1h > P. 101+100 ack 1 => in-window ESTABLISHED`, long: true}, measured{handshake: 2 * ms, stall: 610 * ms, again: [2]uint32{2, 0}}, false},
		{conversation{name: "stalled for good", text: open3 + `
			> P. 1+100 ack 1       => in-window ESTABLISHED
			+199ms > P. 1+100 ack 1 => in-window ESTABLISHED`}, measured{handshake: 2 * ms, stall: 200 * ms, again: [2]uint32{1, 0}, stalled: true}, false},
		{conversation{name: "a repetition of what was acknowledged is no stall", text: open3 + `
			> P. 1+100 ack 1       => in-window ESTABLISHED
			< . 1 ack 101          => in-window ESTABLISHED
			> P. 1+100 ack 1       => in-window ESTABLISHED
			+1m < . 1 ack 101      => in-window ESTABLISHED`, long: true}, measured{handshake: 2 * ms, again: [2]uint32{1, 0}}, false},
		{conversation{name: "a FIN again is no stall", text: open3 + `
			> F. 1 ack 1           => fin FIN_WAIT
			+1s > F. 1 ack 1       => fin-retransmit FIN_WAIT`}, measured{handshake: 2 * ms, again: [2]uint32{1, 0}}, true},
		{conversation{name: "a closed window", text: open3 + `
			> P. 1+1000 ack 1       => in-window ESTABLISHED
			< . 1 ack 1001 win 0    => in-window ESTABLISHED
			+299ms > . 1000 ack 1   => zero-window-probe ESTABLISHED
			< . 1 ack 1001 win 0    => in-window ESTABLISHED
			+599ms > . 1000 ack 1   => zero-window-probe ESTABLISHED
			< . 1 ack 1001 win 2000 => in-window ESTABLISHED
			> P. 1001+10 ack 1      => in-window ESTABLISHED`}, measured{handshake: 2 * ms, stall: 903 * ms}, false},
		{conversation{name: "a keepalive waits for nothing", text: open3 + `
			> P. 1+10 ack 1        => in-window ESTABLISHED
			< . 1 ack 11           => in-window ESTABLISHED
			+1m > . 10 ack 1       => keepalive ESTABLISHED
			< . 1 ack 11           => in-window ESTABLISHED`, long: true}, measured{handshake: 2 * ms}, false},
		{conversation{name: "out of window", text: open3 + `
			> P. 90000+10 ack 1    => seq-above ESTABLISHED
			< . 1 ack 999          => ack-above ESTABLISHED
			< R 70000              => rst-out-of-window ESTABLISHED
			> P. -9000+10 ack 1    => seq-below ESTABLISHED`}, measured{handshake: 2 * ms, outside: [2]uint32{2, 2}}, true},
		{conversation{name: "the server closes first", text: open3 + `
			< F. 1 ack 1           => fin FIN_WAIT
			> . 1 ack 2            => in-window CLOSE_WAIT
			> F. 1 ack 2           => fin LAST_ACK`}, measured{handshake: 2 * ms, replyClosed: true}, false},
		{conversation{name: "the client closes first", text: open3 + `
			> F. 1 ack 1           => fin FIN_WAIT
			< F. 1 ack 2           => fin LAST_ACK`}, measured{handshake: 2 * ms}, false},
		{conversation{name: "picked up", text: `
			> P. 5+10 ack 1        => data-no-state ESTABLISHED !create-liberal
			< P. 1+10 ack 15       => in-window ESTABLISHED
			> P. 5+10 ack 11       => in-window ESTABLISHED`}, measured{again: [2]uint32{1, 0}}, true},
		{conversation{name: "a SYN that its server proves", text: open3 + `
			> P. 1+10 ack 1         => in-window ESTABLISHED
			> S 500000              => syn-established ESTABLISHED !annotate
			+1s > S 500000          => syn-established ESTABLISHED !annotate
			< S. 700000 ack 500001  => synack-resync SYN_RECV
			> . 500001 ack 700001   => handshake ESTABLISHED`, long: true}, measured{handshake: 1003 * ms}, false},
	} {
		for _, check := range []SeqCheck{SeqStrict, SeqKernel} {
			if check == SeqKernel && c.strict {
				continue
			}
			c.rules.Check = check
			for _, en := range variations() {
				var last *Entry
				c.run(t, en, func(_ Class, ch Change) { last = ch.Entry })
				if last == nil {
					t.Fatalf("%s: no entry", c.name)
				}
				if got := last.measured(); got != c.want {
					t.Errorf("%s, check %d:\n got %+v\nwant %+v", c.name, check, got, c.want)
				}
			}
		}
	}
}

func TestMicros(t *testing.T) {
	for d, want := range map[time.Duration]Micros{0: 1, 1: 1, -5: 1, 1999: 1, 2000: 2, time.Second: 1e6, 72 * time.Minute: math.MaxUint32, math.MaxInt64: math.MaxUint32} {
		if got := micros(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
	m := Micros(math.MaxUint32 - 1)
	if m.add(time.Millisecond) != math.MaxUint32 || m.add(-time.Hour) != m || Micros(1).add(math.MaxInt64) != math.MaxUint32 {
		t.Error("a sum wraps")
	}
	if count(math.MaxUint32) != math.MaxUint32 || count(7) != 8 {
		t.Error("a count wraps")
	}
}
