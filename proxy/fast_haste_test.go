package proxy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

const (
	turnTakes = 100 * time.Microsecond // a turn of the worker in these worlds
	hastePort = 721
)

// haste is a transfer on a machine with processors enough: while the worker decides a batch, its ends take what left with the batches before,
// and what they send in answer is numbered before the worker has come to the batch's end. A batch never finds the connection's last segment.
type haste struct {
	t             *testing.T
	b             *fastBench
	c             *talk
	twin          *policy.Engine // sees each segment, in the order in which they are decided or pass
	window, burst int            // segments that the sender has under way, and that it sends in a turn, at most
	far           int            // turns that a segment takes from the gateway to the sender, and back
	lose          float64        // for one segment that was numbered, so many times others were too, and did not fit the queue
	lost          int            // that many in a row on average
	both          bool           // the receiver sends data, too
	still         bool           // neither sends anything
	random        *rand.Rand

	sent, got, acked   int // segments of data
	unacknowledged     int
	answers            int // segments of data that the receiver has sent
	turns              int
	toSender, toServer []arrival
	overtaken          int    // segments of data
	shown              uint32 // id of the last packet that the twin saw
	backward           int    // the receiver's segments that came by the queue behind a later one
	lastBack           conntrack.Seq
	byQueue, byFast    int // packets in the last turn
}

// arrival is a segment on its way, and the turn in which it comes.
type arrival struct{ n, turn int }

func newHaste(t *testing.T, text string) *haste {
	t.Helper()
	h := &haste{t: t, b: newFastBench(t, text, 16), window: 600, burst: 40, random: rand.New(rand.NewPCG(1, 2))}
	pol, problems := policy.Load("test.yaml", []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	h.twin = policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, FirstID: 1})
	h.b.main.received = h.queued
	h.c = h.b.open(hastePort)
	h.c.say(2)
	h.b.main.received = func() { h.queued(); h.ends() }
	h.b.main.flushed = h.left
	return h
}

// queued shows the twin what the worker is about to decide.
func (h *haste) queued() {
	for ; h.shown != h.b.main.nextID; h.shown++ {
		h.see(h.b.main.packets[h.shown+1])
	}
}

func (h *haste) see(packet []byte) {
	var s conntrack.Segment
	NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
	h.twin.Step(h.b.shared.clock.Now(), &s)
}

// turn lets the worker make one.
func (h *haste) turn() {
	h.t.Helper()
	time.Sleep(turnTakes)
	h.turns++
	h.byFast, h.byQueue = 0, 0
	if _, err := h.b.turn(); err != nil {
		h.t.Fatal(err)
	}
}

// back reports after how many turns the connection takes the fast path and no other, and -1 where it takes more than most.
func (h *haste) back(most int) int {
	h.t.Helper()
	for n := range most {
		if h.turn(); h.byFast > 0 && h.byQueue == 0 {
			return n
		}
	}
	return -1
}

// ends is what both ends do while the worker decides.
func (h *haste) ends() {
	if h.still {
		return
	}
	for ; len(h.toServer) > 0 && h.toServer[0].turn <= h.turns; h.toServer = h.toServer[1:] {
		h.data(h.toServer[0].n)
	}
	for ; len(h.toSender) > 0 && h.toSender[0].turn <= h.turns; h.toSender = h.toSender[1:] {
		h.acked = max(h.acked, h.toSender[0].n)
	}
	for i := 0; i < h.burst && h.sent-h.acked < h.window; i++ {
		n := h.sent
		h.sent++
		h.in(true, n, h.segment(true, conntrack.ACK, n, "0123456789"))
	}
}

// segment is number n of the sender, or the receiver's acknowledgment of n.
func (h *haste) segment(up bool, f conntrack.Flags, n int, text string) []byte {
	c := h.c
	if up {
		return seg(h.t, c.end(), serverEnd, f, c.client.Add(uint32(10*n)), c.server.Add(uint32(10*h.answers)), text)
	}
	return seg(h.t, serverEnd, c.end(), f, c.server.Add(uint32(10*h.answers)), c.client.Add(uint32(10*n)), text)
}

func (h *haste) in(up bool, n int, p []byte) {
	if h.b.in(p) == "fast" {
		h.byFast++
		h.see(p)
		h.arrive(up, n)
		return
	}
	h.byQueue++
	f := h.b.kernel.flows[1]
	if f != nil && h.random.Float64() < h.lose {
		f.punt += h.random.Uint64N(uint64(2 * h.lost))
	}
}

func (h *haste) arrive(up bool, n int) {
	if up {
		h.toServer = append(h.toServer, arrival{n, h.turns + 1})
	} else {
		h.toSender = append(h.toSender, arrival{n, h.turns + 1 + h.far})
	}
}

// data is a segment at the receiver, which acknowledges every second one.
func (h *haste) data(n int) {
	if n < h.got {
		h.overtaken++
	}
	h.got = max(h.got, n+1)
	if h.unacknowledged++; h.unacknowledged < 2 {
		return
	}
	h.unacknowledged = 0
	if !h.both {
		h.in(false, h.got, h.segment(false, conntrack.ACK, h.got, ""))
		return
	}
	h.in(false, h.got, h.segment(false, conntrack.ACK, h.got, "0123456789"))
	h.answers++
}

// left is called for each verdict as it leaves.
func (h *haste) left(packet []byte) {
	var s conntrack.Segment
	NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
	if s.Tuple.SrcPort != 515 {
		h.arrive(true, int(s.Seq.Diff(h.c.client))/10)
		return
	}
	if s.Ack.Less(h.lastBack) {
		h.backward++
	}
	h.lastBack = s.Ack
	h.arrive(false, int(s.Ack.Diff(h.c.client))/10)
}

// sound holds what must be at any time between two turns while nothing waits.
func (h *haste) sound() {
	h.t.Helper()
	if h.overtaken > 0 || h.backward > 0 {
		h.t.Errorf("%d segments of data were overtaken, %d of the receiver's by others of the queue", h.overtaken, h.backward)
	}
	if a, b := remembered(h.b.engine), remembered(h.twin); a != b {
		h.t.Errorf("the connection is\n%s\nbut for who saw each segment in its order\n%s", a, b)
	}
	if h.b.gate.down.Load() {
		h.t.Error(h.b.words)
	}
}

// remembered is what an engine remembers of its one connection, but for what tells whether it had a fast path.
func remembered(engine *policy.Engine) (text string) {
	engine.Walk(0, 1000, func(e *conntrack.Entry) bool {
		c := *e
		c.Flags &^= conntrack.EntryFastUntold
		v := reflect.ValueOf(&c).Elem()
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; name {
			case "Counted", "FastPackets", "FastBytes", "FastSlot", "FastLook", "FastEvery", "FastUntold", "list", "history", "index", "queued":
			default:
				text += fmt.Sprintf("%s %+v ", name, v.Field(i))
			}
		}
		return true
	})
	return text
}

// settled ends the worker, and holds that nothing is left behind.
func (h *haste) settled() {
	h.t.Helper()
	h.b.main.received = nil
	h.b.step() // what waits
	if err := h.b.settle(); err != nil {
		h.t.Fatal(err)
	}
	if len(h.b.main.open) > 0 || len(h.b.main.waiting) > 0 {
		h.t.Errorf("%d packets have no verdict, %d verdicts have not left", len(h.b.main.open), len(h.b.main.waiting))
	}
	if h.b.counts.Explained+h.b.counts.suppressed() != h.b.counts.Received {
		h.t.Errorf("%d explained of %d", h.b.counts.Explained, h.b.counts.Received)
	}
}
