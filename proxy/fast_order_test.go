package proxy

import (
	"fmt"
	"strings"
	"testing"

	"halfopen/conntrack"
)

// freezeEvery is after how many segments of a loop the connection is frozen again.
const freezeEvery = 2500

// loop is a transfer whose sender always has a window of segments under way, on a machine where everything that a verdict sets off happens
// within the system call that sends it: a segment that leaves draws its acknowledgment at once, and that the next segments.
type loop struct {
	b               *fastBench
	c               *talk
	total, window   int // segments
	sent, got       int
	acked           int
	unacknowledged  int
	overtaken       int
	byQueue, byFast int // packets
}

func (l *loop) pump() {
	for l.sent < l.total && l.sent-l.acked < l.window {
		n := l.sent
		l.sent++
		l.segment(true, n)
	}
}

func (l *loop) segment(up bool, n int) {
	c := l.c
	var p []byte
	if up {
		if n%freezeEvery == freezeEvery-1 {
			l.b.kernel.flows[1].punt++ // as if one had been punted, and lost
		}
		p = seg(l.b.t, c.end(), serverEnd, conntrack.ACK, c.client.Add(uint32(10*n)), c.server, "0123456789")
	} else {
		p = seg(l.b.t, serverEnd, c.end(), conntrack.ACK, c.server, c.client.Add(uint32(10*n)), "")
	}
	if l.b.in(p) == "fast" {
		l.byFast++
		l.arrive(up, n)
	} else {
		l.byQueue++
	}
}

// arrive is a segment at the other end.
func (l *loop) arrive(up bool, n int) {
	if !up {
		l.acked = max(l.acked, n)
		l.pump()
		return
	}
	if n != l.got {
		l.overtaken++
	}
	l.got = max(l.got, n+1)
	if l.unacknowledged++; l.unacknowledged >= min(2, l.window) || l.got == l.total {
		l.unacknowledged = 0
		l.segment(false, l.got)
	}
}

// left is called for each verdict as it leaves.
func (l *loop) left(packet []byte) {
	var s conntrack.Segment
	NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
	if s.Len > 0 {
		l.arrive(true, int(s.Seq.Diff(l.c.client))/10)
	} else {
		l.arrive(false, int(s.Ack.Diff(l.c.client))/10)
	}
}

// A sender that is never at rest comes back to the fast path after each time that it was frozen, without a segment of data being overtaken.
func TestFastSenderNeverAtRest(t *testing.T) {
	for _, window := range []int{1, 2, 10, 100, 256} { // what one batch takes
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			b := newFastBench(t, plainPolicy+"\nwindow: {check: liberal}", 16)
			c := b.open(721)
			c.say(10)
			c.send(false, conntrack.ACK, c.server, c.client, "")
			l := &loop{b: b, c: c, window: window, total: 10000}
			b.main.flushed = l.left
			l.pump()
			for turns := 0; l.got < l.total && turns < 5000; turns++ {
				b.tick()
				if _, err := b.turn(); err != nil {
					t.Fatal(err)
				}
			}
			if most := l.total / freezeEvery * (20 + 8*max(window, 64)); l.got < l.total || l.byQueue > most {
				t.Errorf("%d segments arrived, %d packets by the queue, want %d at most, %d by the fast path", l.got, l.byQueue, most, l.byFast)
			}
			if l.overtaken > 0 {
				t.Errorf("%d segments were overtaken", l.overtaken)
			}
			if len(b.main.open) != 0 {
				t.Errorf("%d packets have no verdict", len(b.main.open))
			}
			if strings.Contains(b.words.String(), "given up") {
				t.Error(b.words)
			}
		})
	}
}
