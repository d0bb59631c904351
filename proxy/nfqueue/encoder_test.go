package nfqueue

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// decodeVerdicts writes a buffer of verdicts as words, and fails on anything that the kernel would not read.
func decodeVerdicts(t *testing.T, b []byte, queue uint16) []string {
	t.Helper()
	var out []string
	for len(b) > 0 {
		order, be := binary.NativeEndian, binary.BigEndian
		n := int(order.Uint32(b))
		if n < verdictLength || n > len(b) || n%4 != 0 {
			t.Fatalf("message of %d bytes, %d are left", n, len(b))
		}
		typ, flags, seq := order.Uint16(b[4:]), order.Uint16(b[6:]), order.Uint32(b[8:])
		id := be.Uint32(b[28:])
		if flags != 1 || seq != id || be.Uint16(b[18:]) != queue || order.Uint16(b[20:]) != 12 || order.Uint16(b[22:]) != attrVerdictHdr {
			t.Fatalf("header % x", b[:32])
		}
		word := map[uint32]string{verdictAccept: "accept", verdictDrop: "drop"}[be.Uint32(b[24:])]
		if word == "" {
			word = fmt.Sprintf("%08x", be.Uint32(b[24:]))
		}
		if typ == typeVerdictBatch {
			word = "batch-" + word
		}
		for rest := b[32:n]; len(rest) >= 4; {
			l := int(order.Uint16(rest))
			switch order.Uint16(rest[2:]) {
			case attrMark:
				word += fmt.Sprintf("+mark%x", be.Uint32(rest[4:]))
			case attrPayload:
				word += fmt.Sprintf("+%q", rest[4:l])
			}
			rest = rest[min((l+3)&^3, len(rest)):]
		}
		out = append(out, fmt.Sprintf("%s:%d", word, id))
		b = b[n:]
	}
	return out
}

// fakeQueue is a queue without a kernel: ids arrive by hand, verdicts stay in the buffer.
func fakeQueue(ids ...uint32) *Queue {
	q := &Queue{cfg: Config{Number: 7}, enc: newEncoder(7), open: newOutstanding(0)}
	for _, id := range ids {
		q.arrived(id)
	}
	return q
}

func TestVerdicts(t *testing.T) {
	altered := func(q *Queue) { _ = q.AcceptAltered(2, []byte("hello")) }
	for _, c := range []struct {
		name string
		ids  []uint32
		give func(q *Queue)
		want string
	}{
		{"run", []uint32{1, 2, 3}, func(q *Queue) { q.Accept(1); q.Accept(2); q.Accept(3) }, "batch-accept:3"},
		{"one", []uint32{1}, func(q *Queue) { q.Accept(1) }, "accept:1"},
		{"drop between", []uint32{1, 2, 3, 4, 5}, func(q *Queue) { q.Accept(1); q.Accept(2); q.Drop(3); q.Accept(4); q.Accept(5) },
			"batch-accept:2 drop:3 batch-accept:5"},
		{"held below", []uint32{1, 2, 3}, func(q *Queue) { q.Accept(2); q.Accept(3); q.Accept(1) }, "accept:2 accept:3 accept:1"},
		{"after the held one", []uint32{1, 2, 3, 4, 5}, func(q *Queue) { q.Accept(2); q.Accept(1); q.Accept(3); q.Accept(4) }, "accept:2 batch-accept:4"},
		{"run before an open one", []uint32{1, 2, 3, 4}, func(q *Queue) { q.Accept(1); q.Accept(2); q.Accept(4) }, "batch-accept:2 accept:4"},
		{"lost ids", []uint32{5, 9}, func(q *Queue) { q.Accept(5); q.Accept(9) }, "batch-accept:9"},
		{"wrap", []uint32{0xfffffffe, 0xffffffff, 0, 1}, func(q *Queue) { q.Accept(0xfffffffe); q.Accept(0xffffffff); q.Accept(0); q.Drop(1) }, "batch-accept:0 drop:1"},
		{"reroute", []uint32{1, 2, 3}, func(q *Queue) { q.Accept(1); q.Reroute(2, 5); q.Accept(3) }, "accept:1 00058003:2 accept:3"},
		{"mark", []uint32{1, 2, 3, 4}, func(q *Queue) { q.Accept(1); q.AcceptMark(2, 8); q.AcceptMark(3, 8); q.AcceptMark(4, 9) },
			"accept:1 batch-accept+mark8:3 accept+mark9:4"},
		{"altered", []uint32{1, 2, 3}, func(q *Queue) { q.Accept(1); altered(q); q.Accept(3) }, `accept:1 accept+"hello":2 accept:3`},
		{"twice", []uint32{1, 2}, func(q *Queue) { q.Accept(2); q.Drop(2); q.Accept(1); q.Accept(1); q.Drop(77) }, "accept:2 accept:1"},
	} {
		q := fakeQueue(c.ids...)
		c.give(q)
		q.enc.endRun()
		if got := strings.Join(decodeVerdicts(t, q.enc.buf, 7), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	q := fakeQueue(1)
	q.Accept(1)
	q.Accept(1)
	if q.Stats().Unasked != 1 || q.Outstanding() != 0 {
		t.Errorf("%+v, %d outstanding", q.Stats(), q.Outstanding())
	}
	if err := fakeQueue(1).AcceptAltered(1, make([]byte, WholePacket+1)); err == nil {
		t.Error("a payload beyond a netlink attribute was taken")
	}
}

// TestVerdictsAgainstModel answers random ids in random order and plays the messages to a model of the kernel's queue:
// each packet must get exactly the verdict that was meant for it.
func TestVerdictsAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		next := rng.Uint32()
		q := fakeQueue()
		q.last = next
		var kernel, held []uint32
		meant, got := map[uint32]string{}, map[uint32]string{}
		for range 200 {
			next += 1 + uint32(rng.IntN(3)/2) // now and then an id is lost
			q.arrived(next)
			kernel, held = append(kernel, next), append(held, next)
			for len(held) > 0 && rng.IntN(3) > 0 {
				i := 0
				if rng.IntN(4) == 0 {
					i = rng.IntN(len(held))
				}
				id := held[i]
				held = slices.Delete(held, i, i+1)
				if meant[id] = "accept"; rng.IntN(5) == 0 {
					meant[id] = "drop"
					q.Drop(id)
				} else {
					q.Accept(id)
				}
			}
			if rng.IntN(4) == 0 {
				q.enc.endRun()
				kernel = playVerdicts(t, decodeVerdicts(t, q.enc.buf, 7), kernel, got)
				q.enc.buf = q.enc.buf[:0]
			}
		}
		q.enc.endRun()
		kernel = playVerdicts(t, decodeVerdicts(t, q.enc.buf, 7), kernel, got)
		if len(kernel) != len(held) || q.Outstanding() != len(held) || len(got) != len(meant) {
			t.Fatalf("round %d: the kernel still holds %d, outstanding %d, unanswered %d", round, len(kernel), q.Outstanding(), len(held))
		}
		for id, v := range meant {
			if got[id] != v {
				t.Fatalf("round %d: id %d got %q, want %q", round, id, got[id], v)
			}
		}
	}
}

// playVerdicts does what nfqnl_recv_verdict and nfqnl_recv_verdict_batch do.
func playVerdicts(t *testing.T, msgs []string, queue []uint32, got map[uint32]string) []uint32 {
	t.Helper()
	for _, m := range msgs {
		word, num, _ := strings.Cut(m, ":")
		var id uint32
		fmt.Sscan(num, &id)
		word, batch := strings.CutPrefix(word, "batch-")
		before := len(queue)
		queue = slices.DeleteFunc(queue, func(e uint32) bool {
			if e == id || batch && int32(e-id) <= 0 {
				got[e] = word
				return true
			}
			return false
		})
		if len(queue) == before {
			t.Fatalf("%s answers nothing", m)
		}
	}
	return queue
}

func TestLostIDs(t *testing.T) {
	q := fakeQueue(2, 3, 10)
	if st := q.Stats(); st.Received != 3 || st.LostIDs != 7 || st.Gaps != 2 {
		t.Errorf("%+v", st)
	}
}

// hotPath parses a batch of messages and encodes their verdicts.
func hotPath(q *Queue, msgs [][]byte, batch []Packet) {
	for i, m := range msgs {
		binary.BigEndian.PutUint32(m[nlmsgHeaderLen+genmsgLen+attrHeaderLen:], q.last+1)
		if kind, err := parseMessage(m, &batch[i], &q.lastErr); err != nil || kind != messagePacket {
			panic("unreadable")
		}
		q.arrived(batch[i].ID)
	}
	for i := range msgs {
		switch i % 16 {
		case 7:
			q.Drop(batch[i].ID)
		case 9:
			q.AcceptMark(batch[i].ID, 1)
		case 11:
			_ = q.AcceptAltered(batch[i].ID, batch[i].Data)
		default:
			q.Accept(batch[i].ID)
		}
	}
	q.enc.endRun()
	q.enc.buf = q.enc.buf[:0]
}

func hotPathInput() (*Queue, [][]byte, []Packet) {
	msgs := make([][]byte, DefaultBatch)
	for i := range msgs {
		msgs[i] = packetMessage(0, make([]byte, 256), u32attr(attrInDev, 5), u32attr(attrOutDev, 6), u32attr(attrCapLen, 65000), u32attr(attrSkbInfo, 3))
	}
	return fakeQueue(), msgs, make([]Packet, len(msgs))
}

func TestNoAllocation(t *testing.T) {
	q, msgs, batch := hotPathInput()
	if n := testing.AllocsPerRun(1000, func() { hotPath(q, msgs, batch) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func BenchmarkParseAndVerdict(b *testing.B) {
	q, msgs, batch := hotPathInput()
	b.ReportAllocs()
	for b.Loop() {
		hotPath(q, msgs, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(msgs)), "ns/packet")
}
