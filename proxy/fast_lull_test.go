package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

const hastyPolicy = plainPolicy + "\nwindow: {check: liberal}"

// A sender that never lets the worker catch up comes back to the fast path all the same, each time that it was frozen, without a segment
// of data being overtaken and without a segment that is missing from what the next are held against; however far it is, and however many
// numbers are lost.
func TestFastSenderFasterThanTheWorker(t *testing.T) {
	for i, c := range []struct {
		window, burst, far int
		lose               float64
		lost               int
		turns              int // in which it is back
	}{
		{window: 600, burst: 40, turns: 100},
		{window: 600, burst: 200, turns: 100}, // more in a turn than a mark can tell apart
		{window: 20, burst: 10, turns: 60},
		{window: 100, burst: 20, turns: 60},
		{window: 1500, burst: 80, far: 10, turns: 200},
		{window: 1500, burst: 20, far: 60, turns: 1000},
		{window: 1500, burst: 4, far: 300, turns: 4000},
		{window: 600, burst: 40, lose: 0.02, lost: 1, turns: 200},
		{window: 600, burst: 40, lose: 0.3, lost: 3, turns: 4000},
		{window: 600, burst: 40, lose: 0.05, lost: 200, turns: 4000},
	} {
		if i > 1 && breadth > 1 {
			break
		}
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHaste(t, hastyPolicy)
				h.window, h.burst, h.far, h.lose, h.lost = c.window, c.burst, c.far, c.lose, c.lost
				for again := range 3 {
					if again > 0 {
						h.b.kernel.flows[1].punt++ // as if one had been punted, and lost
					}
					n := h.back(c.turns)
					if n < 0 {
						t.Fatalf("the connection is not back after %d turns, and %d lulls", c.turns, h.b.Worker.fast.counts.Lulls)
					}
					t.Logf("back after %d turns, %d lulls", n, h.b.Worker.fast.counts.Lulls)
					h.sound()
					for range 10 {
						if h.turn(); h.byQueue > 0 {
							t.Errorf("%d packets by the queue again", h.byQueue)
						}
					}
					h.sound()
				}
				h.settled()
			})
		})
	}
}

// lulled is a transfer in a lull, in which some acknowledgments wait, while neither end sends any more. It does not come
// back: there is always another segment that was numbered, and lost.
func lulled(t *testing.T) *haste {
	t.Helper()
	h := newHaste(t, hastyPolicy)
	for range 100 {
		h.turn()
		if l := h.b.Worker.fast.lulls; len(l) == 1 && len(l[0].ids) > 10 {
			h.still = true
			h.b.kernel.busy = true
			for len(h.b.main.queued) > 0 {
				h.turn()
			}
			return h
		}
	}
	t.Fatal("no lull")
	return nil
}

// waiting is how many acknowledgments wait in lulls.
func (h *haste) waiting() (n int) {
	for _, l := range h.b.Worker.fast.lulls {
		n += len(l.ids)
	}
	if n != len(h.b.main.open) {
		h.t.Errorf("%d acknowledgments wait, %d packets have no verdict", n, len(h.b.main.open))
	}
	return n
}

// A lull that does not bring the connection back ends by its time, and the next is longer and not at once.
func TestFastLullEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lulled(t)
		if d := h.b.untilDue(); d > fastLull {
			t.Errorf("the worker would sleep for %v", d)
		}
		began := h.b.Worker.fast.lulls[0].since
		for h.waiting() > 0 {
			h.turn()
		}
		now := h.b.shared.clock.Now()
		if took := now.Sub(began); took < fastLull || took > fastLull+2*turnTakes {
			t.Errorf("the lull took %v", took)
		}
		sl := h.c.slot()
		if sl.lulled || sl.lullTwice != 1 || sl.rest < now.Add(fastLullRest*fastLull) {
			t.Errorf("%+v", sl)
		}
		h.sound()
		h.still, h.window, h.burst = false, 20, 10
		var lengths []time.Duration
		for range 1800 {
			h.turn()
			if n := h.b.Worker.fast.counts.Lulls; n > uint64(len(lengths))+1 {
				l := &h.b.Worker.fast.lulls[0]
				lengths = append(lengths, l.until.Sub(l.since))
			}
		}
		if want := []time.Duration{2 * fastLull, 4 * fastLull}; !slices.Equal(lengths, want) {
			t.Errorf("the lulls after the first were of %v, want %v", lengths, want)
		}
		h.settled()
	})
}

// A lull at whose end segments were lost brings the connection back all the same.
func TestFastLullLosesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lulled(t)
		h.b.kernel.busy = false
		h.b.kernel.flows[1].punt += 3
		for range fastQuiet + 1 {
			h.turn()
		}
		if s, _ := h.b.kernel.Read(1); !s.Armed || h.waiting() > 0 || h.b.Worker.fast.counts.Lulls != 1 {
			t.Errorf("armed %v, %d wait", s.Armed, h.waiting())
		}
		h.sound()
		h.settled()
	})
}

// A connection that is punted over and over, but was back in between, has no lull, and costs no look more than each of these times.
func TestFastNoLullForOdd(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(hastePort)
	c.say(10)
	reads := b.kernel.reads
	const times = 5 * fastVain
	for range times {
		c.send(true, conntrack.ACK, c.client-1, c.server, "9")
		c.say(1)
	}
	if n := b.kernel.reads - reads; n > times || b.Worker.fast.counts.Lulls > 0 {
		t.Errorf("%d lulls, %d looks at %d freezes", b.Worker.fast.counts.Lulls, n, times)
	}
}

// What cannot be part of a lull ends it, and what waits leaves before it.
func TestFastLullEndsByASegment(t *testing.T) {
	for name, packet := range map[string]func(h *haste) []byte{
		"data of the receiver's": func(h *haste) []byte { return h.segment(false, conntrack.ACK, h.got, "x") },
		"FIN of the receiver's":  func(h *haste) []byte { return h.segment(false, conntrack.FIN|conntrack.ACK, h.got, "") },
		"FIN of the sender's":    func(h *haste) []byte { return h.segment(true, conntrack.FIN|conntrack.ACK, h.sent, "") },
		"RST of the receiver's":  func(h *haste) []byte { return h.segment(false, conntrack.RST|conntrack.ACK, h.got, "") },
		"RST of the sender's":    func(h *haste) []byte { return h.segment(true, conntrack.RST|conntrack.ACK, h.sent, "") },
		"SYN": func(h *haste) []byte {
			return seg(h.t, h.c.end(), serverEnd, conntrack.SYN, 1<<30, 0, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := lulled(t)
				was := h.waiting()
				h.b.main.flushed = nil
				before := len(h.b.wire.events)
				h.b.in(packet(h))
				h.turn()
				events := h.b.wire.events[before:]
				if len(events) < was+1 {
					t.Fatalf("%d waited, and %d verdicts have left", was, len(events))
				}
				own := fmt.Sprintf(" %d", h.b.main.nextID)
				for i, event := range events {
					if at := i == was; strings.HasSuffix(event, own) != at {
						t.Fatalf("%d waited; verdict %d is %q, the segment's own ends in %q", was, i, event, own)
					}
				}
				if h.waiting() > 0 || len(h.b.Worker.fast.lulls) > 0 {
					t.Error("the lull goes on")
				}
				h.settled()
			})
		})
	}
}

// Whatever takes the connection off the fast path, or ends it, lets go what waits, at once.
func TestFastLullEndsWithItsPlace(t *testing.T) {
	for name, end := range map[string]func(h *haste){
		"killed": func(h *haste) {
			h.b.engine.Kill(h.b.shared.clock.Now(), 0, 1000, func(*conntrack.Entry) bool { return true }, func(*policy.TimeEvent) {})
		},
		"given up": func(h *haste) { h.b.gate.standDown(fastOffBroken, "a test"); h.turn() },
		"released": func(h *haste) { h.b.Worker.fast.release(1) },
		"the end":  func(h *haste) { h.b.tick(); h.settled() },
		"its time": func(h *haste) { h.b.Worker.fast.lulls[0].until = 0; h.turn() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := lulled(t)
				h.b.main.flushed = nil
				if h.waiting() == 0 {
					t.Fatal("nothing waits")
				}
				end(h)
				if len(h.b.main.open) > 0 || len(h.b.main.waiting) > 0 {
					t.Errorf("%d packets have no verdict, %d verdicts have not left", len(h.b.main.open), len(h.b.main.waiting))
				}
			})
		})
	}
}

// A connection with data both ways has no lull: its segments keep their order.
func TestFastNoLullForBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHaste(t, hastyPolicy)
		h.both = true
		for range 200 {
			h.turn()
		}
		if h.b.Worker.fast.counts.Lulls > 0 || h.overtaken+h.backward > 0 {
			t.Errorf("%d lulls, %d overtaken, %d backward", h.b.Worker.fast.counts.Lulls, h.overtaken, h.backward)
		}
		h.both = false // from now on it is the sender's alone
		if h.back(200) < 0 {
			t.Error("not back on the fast path")
		}
		h.sound()
		h.settled()
	})
}

// A lull keeps a part of what the queue can hold, and no more.
func TestFastLullKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lulled(t)
		keeps := int(h.b.gate.queueLen / fastLullShare)
		for i := h.waiting(); i < keeps; i++ {
			h.b.in(h.segment(false, conntrack.ACK, h.got, ""))
		}
		for len(h.b.main.queued) > 0 {
			h.turn()
		}
		if h.waiting() != keeps {
			t.Fatalf("%d wait", h.waiting())
		}
		h.b.in(h.segment(false, conntrack.ACK, h.got, ""))
		h.turn()
		if h.waiting() > 0 {
			t.Errorf("%d wait", h.waiting())
		}
		h.settled()
	})
}
