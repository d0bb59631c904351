package conntrack

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// TestRecordSize keeps a flow from growing unnoticed: 1.6 GB hold ten million of them, with what the index and the wheel take.
func TestRecordSize(t *testing.T) {
	if r, l := unsafe.Sizeof(record{}), unsafe.Sizeof(link{}); r != 128 || l != 16 {
		t.Errorf("a record takes %d bytes, a link %d", r, l)
	}
	if b, w := unsafe.Sizeof(bucket{}), unsafe.Sizeof(timers{}); b != 64 || w != 64 {
		t.Errorf("a bucket takes %d bytes, a block of timers %d", b, w)
	}
	if x := unsafe.Sizeof(extras{}); x > 192 {
		t.Errorf("extras take %d bytes", x)
	}
}

// again files e, reads it back, and returns what came of it and how it was filed. What an entry knows of itself only while it lies open is
// left out.
func again(tb *Table, e *Entry) (Entry, form) {
	i := e.index
	for tb.record(i).desk() != 0 {
		tb.place()
	}
	f, due := tb.record(i).form(), tb.dueOf(i)
	e = tb.take(i)
	if e.due() != due {
		e.Wake = ^due // for the comparison to show
	}
	return bare(*e), f
}

func bare(e Entry) Entry {
	e.list, e.history, e.queued = 0, 0, 0
	return e
}

// put puts a copy of e into the table.
func put(tb *Table, e *Entry) *Entry {
	n := tb.alloc(&e.Tuple)
	index := n.index
	*n = *e
	n.index, n.list, n.queued, n.history = index, none, Never, 0
	tb.insert(n)
	return n
}

// ordinary returns an entry whose record holds all of it.
func ordinary(r *rand.Rand, n int) Entry {
	now := Instant(r.Int64N(1 << 60))
	e := Entry{Tuple: tupleN(n), ID: 1 + r.Uint64N(1<<idBits-1), Created: now - Instant(r.Int64N(1<<47)), LastSeen: now, Refreshed: now,
		Timeout: time.Duration(r.Int64N(1 << 50)), State: Established, Wake: Never, Flags: EntryAssured | EntryReplied | EntryResponded, Response: 77,
		Handshake: Micros(r.Uint32N(maxHandshake)), Counted: r.Uint64N(maxCounted), Rule: r.Int32N(5) - 1, MSS: [2]uint16{1460, 1400},
		LastDir: Direction(r.UintN(2)), LastKind: KindACK, Marks: uint8(r.Uint32()), SYNRetransmits: uint8(r.UintN(16)), Arm: uint8(r.UintN(3))}
	e.HistoryN = uint8(copy(e.History[:], "ShADadF"[:r.IntN(8)]))
	e.Deadline = e.Refreshed.Add(e.Timeout)
	for i := range e.Side {
		s := &e.Side[i]
		s.ISN, s.End, s.MaxAck = Seq(r.Uint32()), Seq(r.Uint32()), Seq(r.Uint32())
		s.Scale, s.Win = 7, r.Uint32N(1<<16)<<7
		s.MaxWin, s.MaxEnd = s.Win, s.End.Add(r.Uint32N(1<<16))
		s.Flags, s.Retrans, s.TSRecent = SideFlags(r.Uint32()), uint8(r.UintN(16)), r.Uint32()
		s.Packets, s.Bytes = r.Uint64N(maxPackets), r.Uint64N(maxBytes)
	}
	return e
}

// TestRecordKeepsOrdinaryEntries: what most flows are like is filed in the record alone, and comes back as it was.
func TestRecordKeepsOrdinaryEntries(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	change := map[string]func(e *Entry){
		"as it is":       func(e *Entry) {},
		"unanswered":     func(e *Entry) { e.Flags, e.Response, e.Watch = 0, 0, e.Created },
		"asked":          func(e *Entry) { e.Flags, e.Response, e.Watch = EntryAsked, 0, e.Created+5e9 },
		"never timed":    func(e *Entry) { e.Flags, e.Response = EntryPickedUp, 0 },
		"a late refresh": func(e *Entry) { e.Refreshed -= 1<<32 - 1; e.Deadline = e.Refreshed.Add(e.Timeout) },
		"closed":         func(e *Entry) { e.State, e.Side[0].FINEnd, e.Side[1].FINEnd = TimeWait, e.Side[0].End, e.Side[1].End },
		"never expires":  func(e *Entry) { e.Timeout, e.Deadline = time.Duration(Never), Never },
		"probed later": func(e *Entry) {
			e.Lead = time.Second
			e.Timeout = time.Hour
			e.Deadline = e.Refreshed.Add(time.Hour)
			e.Wake = e.Deadline - 1e9
		},
		"before the epoch":    func(e *Entry) { e.Created, e.LastSeen, e.Refreshed, e.Deadline = -5, -3, -3, Instant(e.Timeout)-3 },
		"windows of the SYNs": func(e *Entry) { e.Side[0].Win, e.Side[1].Win = 65535, 1 },
		"edge by the ack":     func(e *Entry) { e.Side[0].MaxEnd = e.Side[1].MaxAck.Add(max(e.Side[1].Win, 1) + 3) },
		"kernel, of the last": func(e *Entry) {
			s := &e.Side[1]
			e.last = kernelLast{seq: s.End - 1460, ack: s.MaxAck, end: s.End, win: uint16(s.Win >> 7), dir: Reply, kind: 4, retrans: 2}
		},
		"kernel, of the FIN before": func(e *Entry) {
			s := &e.Side[0]
			e.last = kernelLast{seq: s.End - 1, ack: s.MaxAck, end: s.End - 1, win: uint16(s.Win >> 7), dir: Reply, kind: 3}
		},
		"kernel, of a SYN": func(e *Entry) { e.last = kernelLast{kind: 1} },
		"IPv6": func(e *Entry) {
			e.Tuple.Src[0], e.Tuple.Dst[3] = 0x20, 9
		},
	}
	for name, fn := range change {
		tb := NewTable(Config{Max: 1000})
		for n := range 300 {
			e := ordinary(r, n)
			fn(&e)
			p := put(tb, &e)
			want := bare(*p)
			if got, f := again(tb, p); got != want || f != formPlain {
				t.Fatalf("%s: form %d\n got %+v\nwant %+v", name, f, got, want)
			}
		}
		checkStores(t, tb)
	}
}

// last returns the kernel's memory of an ACK of this end, of so many bytes, that ended so far below what it has sent.
func (s *Side) last(length, lag uint32) kernelLast {
	end := s.End.Add(-lag)
	return kernelLast{seq: end.Add(-length), ack: s.MaxAck, end: end, win: uint16(s.Win >> s.Scale), kind: uint8(KindACK) + 1}
}

// TestRecordKeepsEveryEntry: what is rare comes back too, however strange, and costs as much as it must.
func TestRecordKeepsEveryEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rare := map[string]struct {
		form form
		fn   func(e *Entry)
	}{
		"a predecessor":          {formExtras, func(e *Entry) { e.Previous = 9 }},
		"a stall":                {formExtras, func(e *Entry) { e.Stall = 1 }},
		"retransmits":            {formExtras, func(e *Entry) { e.Retransmits[1] = 1 }},
		"out of window":          {formExtras, func(e *Entry) { e.OutOfWindow[0] = 1 }},
		"answered":               {formExtras, func(e *Entry) { e.Answered = 5 }},
		"a fast path's":          {formExtras, func(e *Entry) { e.FastSlot = 3 }},
		"once a fast path's":     {formExtras, func(e *Entry) { e.FastPackets[1] = 1 }},
		"bytes of a fast path":   {formExtras, func(e *Entry) { e.FastBytes[0] = 1 }},
		"asked in time":          {formExtras, func(e *Entry) { e.FastSlot, e.FastLook, e.FastEvery = 3, e.LastSeen+1, 1 }},
		"a challenge":            {formExtras, func(e *Entry) { e.Flags |= EntryChallenge; e.Challenge = 7 }},
		"a slow handshake":       {formExtras, func(e *Entry) { e.Handshake = maxHandshake }},
		"an old connection":      {formExtras, func(e *Entry) { e.Created = e.LastSeen - maxBorn }},
		"born after":             {formExtras, func(e *Entry) { e.Created = e.LastSeen + 1 }},
		"refreshed long ago":     {formExtras, func(e *Entry) { e.Refreshed -= 1 << 32; e.Deadline = e.Refreshed.Add(e.Timeout) }},
		"refreshed after":        {formExtras, func(e *Entry) { e.Refreshed++; e.Deadline = e.Refreshed.Add(e.Timeout) }},
		"timed from before":      {formExtras, func(e *Entry) { e.Flags, e.Response, e.Watch = 0, 0, e.Created-1 }},
		"timed for long":         {formExtras, func(e *Entry) { e.Flags, e.Response, e.Watch = 0, 0, e.Created+maxWatch }},
		"timed still":            {formExtras, func(e *Entry) { e.Watch = 5 }},
		"a response that is 0":   {formExtras, func(e *Entry) { e.Flags = 0 }},
		"a fragment":             {formExtras, func(e *Entry) { e.Side[1].near = 5 }},
		"data after the FIN":     {formExtras, func(e *Entry) { e.Side[1].FINEnd = e.Side[1].End - 1 }},
		"many repetitions":       {formExtras, func(e *Entry) { e.Side[0].Retrans = 16 }},
		"many SYNs":              {formExtras, func(e *Entry) { e.SYNRetransmits = 255 }},
		"kernel, another":        {formExtras, func(e *Entry) { e.last = kernelLast{kind: 2, seq: 1, end: 1 << 31, ack: 3} }},
		"kernel, far":            {formExtras, func(e *Entry) { e.last = kernelLast{kind: 4, retrans: maxLastAgain} }},
		"kernel, a long one":     {formExtras, func(e *Entry) { e.last = e.Side[0].last(maxLastLen, 0) }},
		"kernel, long ago":       {formExtras, func(e *Entry) { e.last = e.Side[0].last(1, maxLastLag) }},
		"kernel, all its own":    {formPlain, func(e *Entry) { e.last = e.Side[0].last(maxLastLen-1, maxLastLag-1) }},
		"kernel, a candidate":    {formExtras, func(e *Entry) { e.last = kernelLast{kind: 1, flags: SideScale, scale: 3} }},
		"kernel, no kind":        {formExtras, func(e *Entry) { e.last = kernelLast{dir: Reply} }},
		"a candidate":            {formWhole, func(e *Entry) { e.Flags |= EntryCandidate; e.Candidate.ISN = 7 }},
		"an empty candidate":     {formWhole, func(e *Entry) { e.Flags |= EntryCandidate }},
		"a stale candidate":      {formWhole, func(e *Entry) { e.Candidate.ISN = 7 }},
		"a probe":                {formWhole, func(e *Entry) { e.Probe.Tries = 1 }},
		"a deadline of its own":  {formWhole, func(e *Entry) { e.Deadline++ }},
		"woken":                  {formWhole, func(e *Entry) { e.Wake = 5 }},
		"a large id":             {formWhole, func(e *Entry) { e.ID = 1 << idBits }},
		"many forwards":          {formWhole, func(e *Entry) { e.Counted = maxCounted }},
		"many packets":           {formWhole, func(e *Entry) { e.Side[0].Packets = maxPackets }},
		"many bytes":             {formWhole, func(e *Entry) { e.Side[1].Bytes = maxBytes }},
		"a large window":         {formWhole, func(e *Entry) { e.Side[0].MaxWin = maxWindow }},
		"an odd window":          {formWhole, func(e *Entry) { e.Side[0].Win = 1<<16 | 1 }},
		"a far edge":             {formWhole, func(e *Entry) { e.Side[0].MaxEnd, e.Side[1].MaxAck = e.Side[0].End-1, e.Side[0].End }},
		"another history":        {formWhole, func(e *Entry) { e.HistoryN = uint8(copy(e.History[:], "x")) }},
		"history behind its end": {formWhole, func(e *Entry) { e.History[15] = 'S' }},
		"a long history":         {formWhole, func(e *Entry) { e.HistoryN = 255 }},
		"another kind":           {formWhole, func(e *Entry) { e.LastKind = 200 }},
		"another direction":      {formWhole, func(e *Entry) { e.LastDir = 2 }},
	}
	tb := NewTable(Config{Max: 100000, Tombstones: 10})
	var all []*Entry
	for name, c := range rare {
		for range 20 {
			e := ordinary(r, len(all))
			c.fn(&e)
			p := put(tb, &e)
			want := bare(*p)
			got, f := again(tb, p)
			if got != want || f != c.form {
				t.Fatalf("%s: form %d, want %d\n got %+v\nwant %+v", name, f, c.form, got, want)
			}
			all = append(all, &want)
		}
	}
	// From each form to each other, at the same place.
	for range 5000 {
		was, is := all[r.IntN(len(all))], all[r.IntN(len(all))]
		e := tb.take(was.index)
		keep := e.index
		tu := e.Tuple
		*e = *is
		e.index, e.Tuple = keep, tu
		tb.opened(e)
		want := bare(*e)
		*was = want
		if got, _ := again(tb, e); got != want {
			t.Fatalf(" got %+v\nwant %+v", got, want)
		}
	}
	checkStores(t, tb)
}

// TestRecordKeepsRandomEntries: entries of which nothing is likely.
func TestRecordKeepsRandomEntries(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	tb := NewTable(Config{Max: 100000})
	for n := range 5000 {
		e := ordinary(r, n)
		v := reflect.ValueOf(&e).Elem()
		for range 1 + r.IntN(3) {
			randomise(r, v)
		}
		e.Tuple, e.State = tupleN(n), 1+State(r.UintN(uint(NumStates-1)))
		p := put(tb, &e)
		want := bare(*p)
		if got, f := again(tb, p); got != want {
			t.Fatalf("form %d\n got %+v\nwant %+v", f, got, want)
		}
	}
	checkStores(t, tb)
}

// randomise changes one exported number somewhere in v, to anything or to a bit more.
func randomise(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for {
			if i := r.IntN(v.NumField()); v.Type().Field(i).IsExported() {
				randomise(r, v.Field(i))
				return
			}
		}
	case reflect.Array:
		randomise(r, v.Index(r.IntN(v.Len())))
	default:
		bits := r.Uint64() >> r.UintN(64)
		if v.CanInt() {
			v.SetInt(int64(bits))
		} else {
			v.SetUint(bits)
		}
	}
}

// TestConversationsAreFiled plays every conversation with each entry filed between two segments, and looks how those of a healthy
// connection were.
func TestConversationsAreFiled(t *testing.T) {
	for _, check := range []SeqCheck{SeqStrict, SeqKernel} {
		forms := map[form]int{}
		for i, en := range variations() {
			rg := newRig(t, Config{Max: 10})
			text := []string{"> S 0 win 64240 mss 1460 ws 7 sackok ts 100 0", "< S. 0 ack 1 win 65160 mss 1400 ws 8 sackok ts 900 100", "> . 1 ack 1 win 502 ts 101 900",
				"> P. 1+500 ack 1 win 502 ts 102 900", "< . 1 ack 501 win 251 ts 901 102", "< . 1+1400 ack 501 win 251 ts 902 102", "< . 1401+1400 ack 501 win 251 ts 902 102",
				"> . 501 ack 2801 win 480 ts 110 902", "> F. 501 ack 2801 win 480 ts 120 902", "< F. 2801 ack 502 win 251 ts 903 120", "> . 502 ack 2802 win 480 ts 121 903"}
			for _, line := range text {
				rg.now = rg.now.Add(11 * time.Millisecond)
				s := parseSegment(t, strings.Fields(line), en)
				_, ch, _ := rg.step(s, &Rules{Check: check}, NumEffects)
				if ch.Entry == nil {
					t.Fatalf("%s: no entry", line)
				}
				want := bare(*ch.Entry)
				got, f := again(rg.table, ch.Entry)
				if got != want {
					t.Fatalf("%d: %s\n got %+v\nwant %+v", i, line, got, want)
				}
				forms[f]++
				if f != formPlain {
					t.Errorf("check %d, %d: %s: form %d: %+v", check, i, line, f, want)
				}
			}
		}
		if forms[formPlain] == 0 {
			t.Error(fmt.Sprint(forms))
		}
	}
}
