package proxy

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// traffic is a seeded course of conversations in packets: new ones, data, re-dials, resets, strays, silences (as an empty turn).
func traffic(t *testing.T, rng *rand.Rand, n int) (turns [][][]byte) {
	type conv struct {
		client     string
		seq, ack   conntrack.Seq
		open, ends bool
	}
	convs := make([]conv, 5)
	for i := range convs {
		convs[i].client = fmt.Sprintf("10.0.0.%d:721", i+1)
	}
	var turn [][]byte
	put := func(from, to string, f conntrack.Flags, seq, ack conntrack.Seq, payload string) {
		turn = append(turn, seg(t, from, to, f, seq, ack, payload))
	}
	for range n {
		c := &convs[rng.IntN(len(convs))]
		switch k := rng.IntN(12); {
		case !c.open || k == 0: // dials, perhaps over an older connection
			c.seq, c.ack, c.open = conntrack.Seq(rng.Uint32()), conntrack.Seq(rng.Uint32()), true
			put(c.client, serverEnd, conntrack.SYN, c.seq, 0, "")
			if rng.IntN(8) > 0 {
				c.seq, c.ack = c.seq.Add(1), c.ack.Add(1)
				put(serverEnd, c.client, conntrack.SYN|conntrack.ACK, c.ack.Add(^uint32(0)), c.seq, "")
				put(c.client, serverEnd, conntrack.ACK, c.seq, c.ack, "")
			}
		case k < 5:
			put(c.client, serverEnd, conntrack.ACK|conntrack.PSH, c.seq, c.ack, "data")
			c.seq = c.seq.Add(4)
			put(serverEnd, c.client, conntrack.ACK, c.ack, c.seq, "")
		case k == 5:
			put(c.client, serverEnd, conntrack.ACK|conntrack.FIN, c.seq, c.ack, "")
			c.open = rng.IntN(2) == 0
		case k == 6:
			put(c.client, serverEnd, conntrack.RST, c.seq.Add(rng.Uint32N(3)), 0, "")
			c.open = rng.IntN(2) == 0
		case k == 7:
			put(c.client, serverEnd, conntrack.ACK, c.seq.Add(1<<20), c.ack, "far")
		case k == 8:
			put(serverEnd, c.client, conntrack.ACK, c.ack.Add(^uint32(0)), c.seq, "")
		case k == 9:
			turn = append(turn, []byte{0x45, 0})
		case k == 10:
			put(serverEnd, c.client, conntrack.SYN|conntrack.ACK, c.ack, c.seq, "")
		default:
			turns = append(turns, turn, nil)
			turn = nil
		}
	}
	return append(turns, turn)
}

// shadowing is what of a log's lines may differ for the sake of shadows, and what differs between any two runs.
var shadowing = regexp.MustCompile(`,"shadow":\[.*\]|"timestamp":"[^"]*",|,"latency_ns":\d+|"(id|cause|settles)":"[0-9A-Z]{13}|,"(idle_s|remaining_s|age_s|handshake_s|response_s|stall_s|timeout_s)":-?[0-9.]+|,"(start|end|forgotten)":"[^"]*"|"(start|end|forgotten)":"[^"]*",`)

// lived plays the traffic and returns what left the worker, and the records of the policy in force.
func lived(t *testing.T, live string, dry bool, turns [][][]byte, shadows ...string) (wire, records []string) {
	b := shaded(t, live, dry, shadows...)
	for _, turn := range turns {
		b.main.push(turn...)
		b.tick()
		if _, err := b.turn(); err != nil {
			t.Fatal(err)
		}
		if turn == nil { // a silence
			b.later(40 * time.Second)
		}
	}
	b.report()
	b.verified()
	for line := range strings.Lines(b.lines.String()) {
		if strings.Contains(line, `"event_type":"header"`) || strings.Contains(line, `"event_type":"trailer"`) || strings.Contains(line, `"event_type":"stats"`) || strings.Contains(line, `"trigger":"shadow"`) {
			continue
		}
		records = append(records, shadowing.ReplaceAllString(line, ""))
	}
	return b.wire.events, records
}

// What the policy in force does, sends and writes down is the same to the byte with shadows as without, whatever the policies are.
func TestShadowsChangeNothing(t *testing.T) {
	names := policy.Presets()
	for i := range len(names) {
		if i%(3*breadth) != 0 && breadth > 1 {
			continue
		}
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		live := names[rng.IntN(len(names))]
		if breadth == 1 {
			live = names[i]
		}
		shadows := []string{names[rng.IntN(len(names))], names[rng.IntN(len(names))], "preset: observe\ntimeouts: {established: 30s}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}",
			"preset: observe\non: {new: {packet: hold, hold: 10s, then: drop}}", "preset: observe\non: {in-window: {packet: rewrite, strip: [push]}}"}
		turns := traffic(t, rng, 50)
		wire, records := lived(t, live, false, turns)
		got, recorded := lived(t, live, false, turns, shadows...)
		if !slices.Equal(wire, got) {
			t.Errorf("%s beside %q: what left the worker differs:\n%s\nwithout:\n%s", live, shadows, strings.Join(got, "\n"), strings.Join(wire, "\n"))
		}
		if !slices.Equal(records, recorded) {
			at := 0
			for at < min(len(records), len(recorded)) && records[at] == recorded[at] {
				at++
			}
			t.Errorf("%s beside %q: record %d of %d and %d differs:\n%s\nwithout:\n%s", live, shadows, at, len(recorded), len(records), tail(recorded, at), tail(records, at))
		}
	}
}

func tail(list []string, at int) string {
	if at < len(list) {
		return list[at]
	}
	return "(nothing)"
}
