package proxy

import (
	"fmt"
	"strings"
	"testing"

	"halfopen/conntrack"
)

// A wrong checksum is for the engine, whatever the policy does about it: no engine would let the connection follow such a segment, nor leave it
// without a record.
func TestFastChecksum(t *testing.T) {
	for _, text := range []string{plainPolicy, plainPolicy + "\non: {checksum-bad: forward}", plainPolicy + "\non: {checksum-bad: {packet: forward, timer: refresh}}"} {
		var said, kept [2]string
		for i, places := range []int{0, 16} {
			b := newFastBench(t, text, places)
			c := b.open(721)
			c.say(10)
			bad := seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "0123456789")
			bad[20+16]++
			if got := b.in(bad); got != "queue" {
				t.Errorf("%s: went by the %s path", text, got)
			}
			b.step()
			tu := tuple(c.end(), serverEnd)
			e := b.engine.Find(b.shared.clock.Now(), &tu)
			kept[i] = fmt.Sprint(e.Side[0].End, e.Side[0].MaxEnd, e.Side[0].Packets, e.Side[0].Bytes, e.Side[1].MaxEnd, e.State)
			c.say(3)
			if err := b.settle(); err != nil {
				t.Fatal(err)
			}
			for _, r := range b.records("decision") {
				said[i] += timeless(r)
			}
		}
		if said[0] != said[1] || kept[0] != kept[1] || !strings.Contains(said[0], "checksum-bad") {
			t.Errorf("%s: by the queue\n%s%s\nwith a fast path\n%s%s", text, said[0], kept[0], said[1], kept[1])
		}
	}
}
