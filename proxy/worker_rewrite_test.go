package proxy

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

const stripPolicy = "preset: observe\non: {urgent: {packet: rewrite, strip: [urgent, push]}, fin: {packet: hold, hold: 1m, then: forward}}"

// A rewritten segment keeps its place between those before and after it, and its record says what it lost.
func TestRewriteIsABarrier(t *testing.T) {
	b := newBench(t, stripPolicy, false)
	b.handshake()
	urgent := conntrack.ACK | conntrack.URG
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "aa"), seg(t, clientEnd, serverEnd, urgent, 103, 501, "bb"),
		seg(t, clientEnd, serverEnd, conntrack.ACK, 105, 501, "cc"))
	b.step()
	b.expect("main accept 4", "main reroute 5", "second altered 1", "main accept 6")
	var s conntrack.Segment
	if NewDecoder().Decode(b.second.altered[0], len(b.second.altered[0]), PacketInfo{}, &s); s.Flags != conntrack.ACK || s.Seq != 103 || s.Len != 2 || s.Checksum != conntrack.ChecksumGood {
		t.Errorf("the rewritten segment is %+v", s)
	}
	r := slices.DeleteFunc(b.records("decision"), func(r string) bool { return !strings.Contains(r, `"reason":"urgent"`) })
	if len(r) != 1 || !strings.Contains(r[0], `"verdict":"rewrite"`) || !strings.Contains(r[0], `"stripped":["urgent"],`) || strings.Contains(r[0], "rewrite_omitted") {
		t.Errorf("records %q, want one that says what was stripped", r)
	}
	if b.counts.Decided[conntrack.Urgent][policy.Rewrite] != 1 || b.counts.NotRewritten != 0 {
		t.Errorf("%d rewritten and %d not, want 1 and 0", b.counts.Decided[conntrack.Urgent][policy.Rewrite], b.counts.NotRewritten)
	}
}

// What is held and what is rewritten share the second queue and are not taken for each other.
func TestRewriteAmongHolds(t *testing.T) {
	b := newBench(t, stripPolicy, false)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.FIN, 101, 501, "aa"), seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.URG, 101, 501, "aa"),
		seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.URG, 101, 501, ""))
	b.step()
	b.expect("main reroute 4", "main reroute 5", "second altered 2", "main reroute 6", "second altered 3")
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	if n := len(b.second.open) + len(b.main.open); n != 0 {
		t.Errorf("%d packets without a verdict", n)
	}
	if got := b.counts.Explained + b.counts.suppressed(); got != b.counts.Received {
		t.Errorf("%d explained of %d", got, b.counts.Received)
	}
}

// A super-packet arrives in pieces, some of which have nothing to lose.
func TestRewriteOfASuperPacket(t *testing.T) {
	b := newBench(t, "preset: observe\non: {in-window: {packet: rewrite, strip: push}}", false)
	b.handshake()
	first, last := seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "aaaa"), seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 105, 501, "bb")
	b.main.reroute = func([]byte) { b.second.push(first, last) }
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "aaaabb"))
	b.step()
	b.expect("main reroute 4", "second accept 1", "second altered 2")
}

// Where a packet cannot be rewritten it is dropped, or a full queue has let it pass, and the record says which and why.
func TestNotRewritten(t *testing.T) {
	urgent := seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.URG, 101, 501, "bb")
	for _, c := range []struct {
		name   string
		change func(b *bench)
		wire   []string
		record string
	}{
		{"no second queue", func(b *bench) { b.Worker.second = nil }, []string{"main drop 4"}, `"verdict":"drop"`},
		{"too much is held", func(b *bench) { b.diverts = make([]divert, maxDiverts) }, []string{"main drop 4"}, `"verdict":"drop"`},
		{"the queue is full", func(b *bench) { b.main.reroute = nil }, []string{"main reroute 4"}, `"verdict":"forward"`},
		{"the queue is full, and fails closed", func(b *bench) { b.main.reroute, b.shared.failClosed = nil, true }, []string{"main reroute 4"}, `"verdict":"drop"`},
		{"the packet is cut", func(b *bench) {
			b.main.reroute = func(p []byte) { b.second.push(append(bytes.Clone(p[:2]), append([]byte{0, 41}, p[4:41]...)...)) }
		}, []string{"main reroute 4", "second drop 1"}, `"verdict":"drop"`},
	} {
		b := newBench(t, stripPolicy, false)
		b.handshake()
		c.change(b)
		if c.name == "the packet is cut" { // a piece that its own header calls whole, and the queue does not
			b.second.capLen = 42
		}
		b.main.push(urgent)
		b.step()
		b.expect(c.wire...)
		r := slices.DeleteFunc(b.records("decision"), func(r string) bool { return !strings.Contains(r, `"reason":"urgent"`) })
		if len(r) != 1 || !strings.Contains(r[0], c.record) || !strings.Contains(r[0], `"rewrite_omitted":"`) || strings.Contains(r[0], "stripped") {
			t.Errorf("%s: records %q", c.name, r)
		}
		if b.counts.NotRewritten != 1 || b.counts.Explained+b.counts.suppressed()+b.engineCounted() != b.counts.Received {
			t.Errorf("%s: %d not rewritten, %d explained of %d", c.name, b.counts.NotRewritten, b.counts.Explained, b.counts.Received)
		}
	}
}

// engineCounted is how many messages no record explains yet because their flows count them.
func (b *bench) engineCounted() (n uint64) {
	b.engine.Walk(0, 1<<30, func(e *conntrack.Entry) bool { n += e.Counted; return true })
	return n
}

// The log's words for what is stripped are the policy's.
func TestStrippedWords(t *testing.T) {
	if !slices.Equal(decisionlog.StrippedWords[:], policy.StripWords()) {
		t.Errorf("%v are not %v", decisionlog.StrippedWords, policy.StripWords())
	}
}
