package conntrack

import (
	"slices"
	"testing"
	"time"
)

// TestDeny: a denied tuple is denied in both directions, whatever comes, until its time is up; a connection ends by it, and the
// tombstone that is left is the connection's.
func TestDeny(t *testing.T) {
	for _, check := range []SeqCheck{SeqStrict, SeqKernel} {
		r := newRig(t, Config{Max: 9, Tombstones: 9})
		rules := &Rules{Check: check}
		en := variations()[0]
		put := func(e Effect, words ...string) (Finding, Change) {
			cl, ch, _ := r.step(parseSegment(t, words, en), rules, e)
			checkTable(t, r.table)
			return cl.Finding, ch
		}
		if f, ch := put(Deny, ">", "S", "0"); f != New || ch.Effect != Deny || ch.After != Denied || ch.Entry.Deadline != r.now.Add(90*time.Second) {
			t.Fatalf("%v %+v", f, ch)
		}
		for _, e := range []Effect{Keep, Track, Create, Replace, Resync, Annotate, Deny} {
			for _, words := range [][]string{{">", "S", "0"}, {"<", "S.", "0", "ack", "1"}, {"<", "R", "0"}, {">", ".", "9", "ack", "9"}, {">", "SF", "0"}} {
				if f, ch := put(e, words...); f != DeniedTuple || ch.After != Denied || ch.Effect != Keep || ch.Entry.Timeout != 90*time.Second {
					t.Fatalf("%v %v: %v %+v", e, words, f, ch)
				}
			}
		}
		r.now = r.now.Add(90 * time.Second)
		if v := r.look(parseSegment(t, []string{">", "S", "0"}, en).Tuple); v.Entry != nil || v.HasTomb {
			t.Errorf("it is still denied, or left a tombstone: %+v", v)
		}
		for _, words := range [][]string{{">", "S", "0"}, {"<", "S.", "0", "ack", "1"}, {">", ".", "1", "ack", "1"}, {">", "P.", "1+5", "ack", "1"}, {"<", ".", "1", "ack", "6"}} {
			if f, _ := put(NumEffects, words...); f == DeniedTuple {
				t.Fatalf("%v is denied", words)
			}
		}
		f, ch := put(Deny, "<", "P.", "1+5", "ack", "6")
		if f != InWindow || ch.Before != Established || ch.After != Denied || ch.Entry.Tuple != parseSegment(t, []string{">", "S", "0"}, en).Tuple || ch.Entry.Side[Reply].Packets != 1 {
			t.Errorf("%v %+v", f, ch)
		}
		if _, ch = put(Delete, ">", ".", "6", "ack", "6"); ch.Entry != nil || ch.Effect != Delete {
			t.Errorf("%+v", ch)
		}
		v := r.look(parseSegment(t, []string{">", "S", "0"}, en).Tuple)
		if !v.HasTomb || v.Tombstone.State != Established || v.Tombstone.Reason != EndDeleted {
			t.Errorf("%+v", v)
		}
		put(Delete, ">", "S", "9")
		en.a = "10.0.0.77:7"
		put(Deny, ">", "P.", "1+5", "ack", "1") // of the middle of a connection
		r.now = r.now.Add(90 * time.Second)
		if v := r.look(parseSegment(t, []string{">", "S", "0"}, en).Tuple); v.Entry != nil || v.HasTomb {
			t.Errorf("it is still denied, or left a tombstone: %+v", v)
		}
		r.table.Advance(r.now, 9)
		if v := r.look(parseSegment(t, []string{">", "S", "0"}, en).Tuple); v.HasTomb {
			t.Errorf("swept, it left a tombstone: %+v", v)
		}
		if want := []string{"denied DENIED", "deleted ESTABLISHED", "deleted DENIED", "denied DENIED"}; !slices.Equal(r.ended, want) {
			t.Errorf("ended %v, want %v", r.ended, want)
		}
	}
}

// TestDenyBounds: denials are bounded as embryonic entries are, take no established connection's place, and count for no source.
func TestDenyBounds(t *testing.T) {
	r := newRig(t, Config{Max: 4, MaxEmbryonic: 2, Tombstones: 1, MaxPerSource: 1})
	live := &Segment{Tuple: from(9, 1).Tuple, Flags: ACK, Seq: 1, Ack: 1, Window: 100}
	r.step(live, &Rules{}, CreateLiberal)
	for port := range uint16(50) {
		_, ch, _ := r.step(from(1, port), &Rules{}, Deny)
		if want := port < 2; (ch.Effect == Deny) != want || (ch.Entry != nil) != want {
			t.Fatalf("denial %d: %+v", port, ch)
		}
		checkTable(t, r.table)
	}
	if r.table.Count(Denied) != 2 || r.table.Embryonic() != 2 || r.look(live.Tuple).Entry == nil {
		t.Errorf("%d denied, %d embryonic", r.table.Count(Denied), r.table.Embryonic())
	}
	if !r.table.SourceRoom(r.now, &from(1, 9).Tuple) || r.table.SourceRoom(r.now, &from(9, 9).Tuple) {
		t.Error("a denial counts for its source, or a connection does not")
	}
	// Where a denial finds no room, the connection stays as it is.
	if _, ch, _ := r.step(live, &Rules{}, Deny); ch.Effect != Keep || ch.After != Established {
		t.Errorf("%+v", ch)
	}
	if r.table.EvictOne(r.now, VictimEmbryonic); r.table.Count(Denied) != 1 {
		t.Error("a denial makes no room for a SYN")
	}
	if _, ch, _ := r.step(live, &Rules{}, Deny); ch.Effect != Deny || ch.Before != Established || r.table.SourceRoom(r.now, &from(9, 9).Tuple) != true {
		t.Errorf("%+v", ch)
	}
	r.table.SetLimits(4, 2, 1, 0)
	r.table.SetLimits(4, 2, 1, 2)
	if len(r.table.sources) != 0 {
		t.Errorf("sources %v", r.table.sources)
	}
	checkTable(t, r.table)
	drain(t, r)
}
