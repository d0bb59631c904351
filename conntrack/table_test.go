package conntrack

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func syn(i int) *Segment {
	return &Segment{Tuple: tupleN(i), Flags: SYN, Seq: Seq(i), Window: 100, Bytes: 40}
}

// TestFlood fills the embryonic bound a thousand times over: established entries stay, and find room.
func TestFlood(t *testing.T) {
	for _, evict := range []bool{false, true} {
		rg := newRig(t, Config{Max: 100, MaxEmbryonic: 30, Tombstones: 20})
		fill(t, rg, 0, 50, time.Hour)
		rg.table.Lookup(rg.now, &syn(0).Tuple, &View{})
		refused := 0
		for i := range 30000 {
			rg.now++
			f, ok := rg.table.Room(rg.now)
			if !ok && f != EmbryonicLimit {
				t.Fatalf("room: %v", f)
			}
			if !ok && (!evict || !rg.table.Evict(rg.now, true)) {
				refused++
				continue
			}
			if _, c, _ := rg.step(syn(1000+i), &Rules{}, NumEffects); c.Entry == nil {
				t.Fatal("no entry in spite of room")
			}
		}
		if evict != (refused == 0) || rg.table.Embryonic() != 30 || rg.table.Count(Established) != 50 {
			t.Fatalf("refused %d, embryonic %d, established %d", refused, rg.table.Embryonic(), rg.table.Count(Established))
		}
		for i := range 50 {
			if rg.look(tupleN(i)).Entry == nil {
				t.Fatalf("flow %d was evicted", i)
			}
		}
		fill(t, rg, 50, 20, time.Hour) // established ones keep room in the midst of it
		if rg.table.Len() != 100 {
			t.Fatal(rg.table.Len())
		}
		if rg.table.tombs.Len() != 0 {
			t.Errorf("the flood left %d tombstones", rg.table.tombs.Len())
		}
		checkTable(t, rg.table)
	}
}

// TestEvictOrder: the oldest embryonic entry first, closing ones only when asked, established ones never.
func TestEvictOrder(t *testing.T) {
	rg := newRig(t, Config{Max: 10, MaxEmbryonic: 10})
	for i := range 3 {
		rg.step(syn(i), &Rules{}, NumEffects)
		rg.now++
	}
	fill(t, rg, 3, 2, time.Hour)
	rg.step(&Segment{Tuple: tupleN(4), Flags: FIN | ACK, Seq: 1, Ack: 1}, &Rules{}, NumEffects)
	for i := range 3 {
		if !rg.table.Evict(rg.now, true) || rg.look(tupleN(i)).Entry != nil {
			t.Fatalf("eviction %d", i)
		}
	}
	if rg.table.Evict(rg.now, false) {
		t.Fatal("evicted one that was not embryonic")
	}
	if !rg.table.Evict(rg.now, true) || rg.look(tupleN(4)).Entry != nil {
		t.Fatal("the closing entry stays")
	}
	if rg.table.Evict(rg.now, true) || rg.look(tupleN(3)).Entry == nil {
		t.Fatal("evicted an established entry")
	}
	want := []string{"evicted SYN_SENT", "evicted SYN_SENT", "evicted SYN_SENT", "evicted FIN_WAIT"}
	if !slices.Equal(rg.ended, want) {
		t.Error(rg.ended)
	}
}

// TestEndReasons: each end is told once, with its reason; an expiry carries the deadline, not the sweep's instant.
func TestEndReasons(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{open3 + "+2h\nsweep", "idle ESTABLISHED"},
		{"> S 0 => new SYN_SENT\n+2h\nsweep", "idle SYN_SENT"},
		{open3 + "> R 1 => rst CLOSE\n+2h\nsweep", "rst CLOSE"},
		{open3 + "> F. 1 ack 1 => fin FIN_WAIT\n< F. 1 ack 2 => fin LAST_ACK\n+2h\nsweep", "fin LAST_ACK"},
		{open3 + "> S 7000 => syn-established SYN_SENT !replace", "replaced ESTABLISHED"},
		{open3 + "> S 700000 => syn-established ESTABLISHED !annotate\n< R. 0 ack 700001 => rst-for-syn -", "rst ESTABLISHED"},
		{open3 + "> . 1 ack 1 => in-window - !delete", "deleted ESTABLISHED"},
		{open3 + "+2h > S 0 => new SYN_SENT", "idle ESTABLISHED"},
		{open3 + "> S 700000 => syn-established ESTABLISHED !annotate\n< S. 1 ack 700001 => synack-resync SYN_RECV", "replaced ESTABLISHED"},
	} {
		conv := conversation{text: c.text}
		if r := conv.run(t, variations()[0], nil); !slices.Equal(r.ended, []string{c.want}) {
			t.Errorf("%s: %v", c.text, r.ended)
		}
	}
	var at Instant
	tb := NewTable(Config{Max: 3, Ended: func(e *Entry, why EndReason, i Instant) { at = i }})
	var v View
	s := syn(1)
	tb.Lookup(5, &s.Tuple, &v)
	tb.Commit(5, &v, s, New, Create, Timer{}, &Params{Timeouts: testTimeouts()})
	tb.Advance(Instant(time.Hour), 5)
	if at != Instant(5).Add(120*time.Second) {
		t.Errorf("ended at %d", at)
	}
}

// TestTombstones: what they say, lineage, the bound, and that a failed handshake does not displace an established one's.
func TestTombstones(t *testing.T) {
	c := conversation{text: open3 + `
		> P. 1+500 ack 1  => in-window ESTABLISHED
		< . 1 ack 501     => in-window ESTABLISHED
		+8h sweep
		> S 9000          => new SYN_SENT
		< . 1 ack 501     => ack-for-syn SYN_SENT`}
	en := variations()[1]
	r := c.run(t, en, nil)
	seg := parseSegment(t, []string{">", "S", "0"}, en)
	check := func(when string) {
		v := r.look(seg.Tuple)
		tomb := v.Tombstone
		if !v.HasTomb || tomb.Reason != EndIdle || tomb.State != Established || tomb.Timeout != time.Hour || !tomb.Established ||
			tomb.Next != [2]Seq{en.baseA + 501, en.baseB + 1} || tomb.LastAck != [2]Seq{en.baseB + 1, en.baseA + 501} ||
			tomb.From != seg.Tuple || tomb.Forgotten != tomb.LastSeen.Add(time.Hour) {
			t.Errorf("%s: %+v", when, v)
		}
		if v.Entry != nil && v.Entry.Previous != tomb.ID {
			t.Errorf("%s: previous is %d, the tombstone %d", when, v.Entry.Previous, tomb.ID)
		}
	}
	check("in the handshake")
	r.now = r.now.Add(2 * time.Minute)
	check("handshake expired, not swept")
	for r.table.Next() <= r.now {
		r.table.Advance(r.now, 5)
	}
	check("handshake swept")
	for i := range 30 {
		fill(t, r, 100+i, 1, time.Second)
	}
	r.now = r.now.Add(time.Second)
	for r.table.Next() <= r.now {
		r.table.Advance(r.now, 5)
	}
	if r.table.tombs.Len() != 10 {
		t.Errorf("%d tombstones, bound 10", r.table.tombs.Len())
	}
	if v := r.look(seg.Tuple); v.HasTomb {
		t.Error("the oldest tombstone outlived the bound")
	}
	checkTable(t, r.table)
}

// TestLineage: ids are unique within 51 bits, begin where they are told to, and name their predecessor.
func TestLineage(t *testing.T) {
	rg := newRig(t, Config{Max: 10, FirstID: idMask, Tombstones: 5})
	var ids []uint64
	for i := range 3 {
		_, c, _ := rg.step(syn(i), &Rules{}, NumEffects)
		ids = append(ids, c.Entry.ID)
	}
	if !slices.Equal(ids, []uint64{idMask, 1, 2}) {
		t.Errorf("ids %v", ids)
	}
	s := syn(1)
	s.Seq += 900
	_, c, _ := rg.step(s, &Rules{}, Replace)
	if c.Entry.ID != 3 || c.Entry.Previous != 1 || c.Before != SynSent || c.Effect != Replace {
		t.Errorf("%+v, id %d, previous %d", c, c.Entry.ID, c.Entry.Previous)
	}
}

// TestHistoryAndCounters follows a connection with Zeek's letters, each once a direction.
func TestHistoryAndCounters(t *testing.T) {
	c := conversation{text: open3 + `
		> P. 1+10 ack 1   => in-window ESTABLISHED
		< P. 1+20 ack 11  => in-window ESTABLISHED
		< P. 21+20 ack 11 => in-window ESTABLISHED
		> S 9999          => syn-established ESTABLISHED
		< F. 41 ack 11    => fin FIN_WAIT
		> R 11            => rst CLOSE`}
	r := c.run(t, variations()[0], nil)
	e := r.look(parseSegment(t, []string{">", "S", "0"}, variations()[0]).Tuple).Entry
	if h := string(e.History[:e.HistoryN]); h != "ShADdfR" {
		t.Errorf("history %s", h)
	}
	if e.Side[0].Packets != 5 || e.Side[0].Bytes != 210 || e.Side[1].Packets != 4 || e.Side[1].Bytes != 200 {
		t.Errorf("%+v", e.Side)
	}
	if e.LastSeen != r.now || e.Flags&(EntryAssured|EntryReplied) != EntryAssured|EntryReplied || e.Created >= e.LastSeen {
		t.Errorf("%+v", e)
	}
}

// TestCreateRefused: bounds hold whatever the caller asks.
func TestCreateRefused(t *testing.T) {
	rg := newRig(t, Config{Max: 3, MaxEmbryonic: 2})
	for i := range 5 {
		_, c, _ := rg.step(syn(i), &Rules{}, NumEffects)
		if (c.Entry != nil) != (i < 2) {
			t.Errorf("entry %d: %+v", i, c)
		}
	}
	fill(t, rg, 9, 1, time.Hour)
	if _, c, _ := rg.step(&Segment{Tuple: tupleN(10), Flags: ACK}, &Rules{}, CreateLiberal); c.Entry != nil {
		t.Error("a fourth entry of three")
	}
	rg.table.SetLimits(10, 9, 0, 0)
	if f, ok := rg.table.Room(rg.now); !ok {
		t.Error(f)
	}
	rg.table.SetLimits(1, 1, 4, 0)
	if f, ok := rg.table.Room(rg.now); ok || f != TableFull || rg.table.Len() != 3 {
		t.Error(f, ok)
	}
}

// TestWalkInChunks: a walk meets every entry that lives throughout once, whatever comes and goes; KillAt ends what matches.
func TestWalkInChunks(t *testing.T) {
	rg := newRig(t, Config{Max: 4000, MaxEmbryonic: 4000})
	fill(t, rg, 0, 3000, time.Hour)
	met := map[uint64]int{}
	cursor := 0
	for n := 0; cursor >= 0; n++ {
		cursor = rg.table.Walk(cursor, 100, func(e *Entry) bool { met[e.ID]++; return true })
		v := rg.look(tupleN(2999 - n))
		rg.table.Kill(rg.now, &v, EndKilled)
		rg.step(syn(5000+n), &Rules{}, NumEffects)
	}
	for i := range 2900 {
		if e := rg.look(tupleN(i)).Entry; met[e.ID] != 1 {
			t.Fatalf("flow %d met %d times", e.ID, met[e.ID])
		}
	}
	if next := rg.table.Walk(0, 100, func(e *Entry) bool { return false }); next != 1 {
		t.Errorf("a stopped walk goes on at %d", next)
	}
	killed := 0
	for cursor = 0; cursor >= 0; {
		var k int
		k, cursor = rg.table.KillAt(rg.now, cursor, 64, EndKilled, func(e *Entry) bool { return e.State == Established })
		killed += k
	}
	if killed < 2900 || rg.table.Count(Established) != 0 || rg.table.Len() != rg.table.Embryonic() {
		t.Errorf("%d killed, %d left", killed, rg.table.Len())
	}
	checkTable(t, rg.table)
}

// TestRestore: what is saved comes back, liberal, unless its tuple is taken, it is due, or there is no room.
func TestRestore(t *testing.T) {
	c := conversation{text: open3 + "> P. 1+10 ack 1 => in-window ESTABLISHED"}
	en := variations()[3]
	r := c.run(t, en, nil)
	tu := parseSegment(t, []string{">", "S", "0"}, en).Tuple
	saved := *r.look(tu).Entry
	q := newRig(t, Config{Max: 2, MaxEmbryonic: 1})
	q.now = r.now
	if !q.table.Restore(q.now, &saved, nil) || q.table.Restore(q.now, &saved, nil) {
		t.Fatal("restore once")
	}
	q.live[saved.ID] = true
	checkTable(t, q.table)
	e := q.look(tu).Entry
	if e.ID != saved.ID || e.Deadline != saved.Deadline || e.Side[0].End != saved.Side[0].End || e.Side[0].Flags&SideLiberal == 0 {
		t.Errorf("%+v", e)
	}
	s := parseSegment(t, []string{">", "P.", "70000+10", "ack", "1"}, en)
	if cl, _, _ := q.step(s, &Rules{}, NumEffects); cl.Finding != InWindow {
		t.Errorf("after a restore: %v", cl.Finding)
	}
	due, none, emb := saved, saved, saved
	due.Tuple, none.Tuple, emb.Tuple = tupleN(1), tupleN(2), tupleN(3)
	due.Deadline, none.State, emb.State = q.now, StateNone, SynSent
	if q.table.Restore(q.now, &due, nil) || q.table.Restore(q.now, &none, nil) || !q.table.Restore(q.now, &emb, &q.p) {
		t.Error("due, none, embryonic")
	}
	q.live[emb.ID] = true
	if emb.Tuple = tupleN(4); q.table.Restore(q.now, &emb, nil) {
		t.Error("over the bound")
	}
	checkTable(t, q.table)
}

// TestNoAllocation: a known flow costs no allocation.
func TestNoAllocation(t *testing.T) {
	c := conversation{text: open3}
	en := variations()[0]
	r := c.run(t, en, nil)
	both := [2]*Segment{parseSegment(t, []string{">", "P.", "1+10", "ack", "1"}, en), parseSegment(t, []string{"<", ".", "1", "ack", "1"}, en)}
	rules := &Rules{}
	var v View
	n := testing.AllocsPerRun(1000, func() {
		r.now++
		s := both[r.now&1]
		r.table.Lookup(r.now, &s.Tuple, &v)
		cl := Classify(r.now, &v, s, rules)
		r.table.Commit(r.now, &v, s, cl.Finding, Track, Timer{Op: TimerRefresh}, &r.p)
		r.table.Advance(r.now, 10)
		if cl.Finding != InWindow {
			t.Fatal(cl.Finding)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFamilies: the same numbers over IPv4 and IPv6, and a mapped address is the IPv4 one.
func TestFamilies(t *testing.T) {
	a, b := netip.MustParseAddrPort("[::ffff:10.0.0.1]:7"), netip.MustParseAddrPort("10.0.0.2:8")
	if tu := MakeTuple(a, b); !tu.Is4() || tu.String() != "10.0.0.1:7 > 10.0.0.2:8" {
		t.Error(tu)
	}
	c, rev := MakeTuple(b, a).Canonical()
	d, rev2 := MakeTuple(a, b).Canonical()
	if c != d || rev == rev2 {
		t.Error(c, d)
	}
}
