package conntrack

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// What was foreseen is a guess: whatever becomes of the table, and of the order, between Ahead and a look-up, that finds what is there.
func TestForeseen(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	rg := newRig(t, Config{Max: 400})
	const kinds = 4 // of tuples that look much alike: IPv4, two of IPv6 that end as that, and another host's on the same ports
	tuples := make([]Tuple, 75*kinds)
	for i := range tuples {
		switch tuples[i] = tupleN(i / kinds); i % kinds {
		case 1, 2:
			tuples[i] = alike6(&tuples[i], byte(i))
		case 3:
			tuples[i].Src[13]++
		}
	}
	tuples[0] = Tuple{} // as an empty record's
	guessed, there := 0, 0
	for round := range 400 {
		segs := make([]Segment, 1+rng.IntN(maxForeseen+40))
		numbers := make([]int, len(segs))
		for i := range segs {
			numbers[i] = rng.IntN(len(tuples))
			segs[i] = Segment{Tuple: tuples[numbers[i]], Flags: ACK, Seq: 1, Ack: 1, Window: 100}
			if rng.IntN(2) == 0 {
				segs[i].Tuple = segs[i].Tuple.Reverse()
			}
		}
		rg.table.Ahead(segs)
		for i := range segs {
			s := &segs[i]
			if rng.IntN(60) == 0 { // another one comes first, or this one not at all
				s = &Segment{Tuple: tuples[numbers[i]/kinds*kinds+rng.IntN(kinds)], Flags: ACK, Seq: 1, Ack: 1, Window: 100}
			}
			was := rg.table.foreseen.next
			var g Glimpse
			rg.table.Glimpse(s, &g)
			guessed += rg.table.foreseen.next - was
			var n name
			rg.table.index.naming(&s.Tuple, &n)
			if want := rg.table.find(&s.Tuple, &n); g.place != want {
				t.Fatalf("round %d, segment %d, %s: found at %d, is at %d", round, i, s.Tuple, g.place, want)
			}
			switch v := rg.look(s.Tuple); {
			case v.Entry != nil && (v.Entry.Tuple == s.Tuple) != (g.dir == Original):
				t.Fatalf("round %d, segment %d, %s: direction %v", round, i, s.Tuple, g.dir)
			case v.Entry != nil:
				if there++; rng.IntN(3) == 0 {
					rg.table.Kill(rg.now, &v, EndKilled)
				}
			case rng.IntN(2) == 0:
				rg.step(s, &Rules{}, CreateLiberal)
			}
			rg.now = rg.now.Add(time.Millisecond)
		}
		checkTable(t, rg.table)
	}
	if guessed < 20000 || there < 10000 {
		t.Errorf("%d look-ups were foreseen, %d found something", guessed, there)
	}
}

// A history that was another's is found anew, and one that goes on from where it was known.
func TestHistoriesGoOn(t *testing.T) {
	var h histories
	h.init()
	var e Entry
	seen := map[string]uint16{}
	for _, text := range []string{"", "S", "Sh", "ShA", "ShAD", "Sh", "r", "rS", "ShADa", "ShR", ""} {
		e.History = [16]byte{}
		e.HistoryN = uint8(copy(e.History[:], text))
		if !h.find(&e) || h.list[e.history].text != e.History || h.list[e.history].n != e.HistoryN {
			t.Fatalf("%q is number %d, %q", text, e.history, h.list[e.history].text)
		}
		if n, ok := seen[text]; ok && n != e.history {
			t.Errorf("%q is number %d, was %d", text, e.history, n)
		}
		seen[text] = e.history
	}
	if e.History, e.HistoryN = [16]byte{'x'}, 1; h.find(&e) {
		t.Error("a letter that is none was found")
	}
}

// alike6 returns the IPv6 tuple whose addresses end as those of an IPv4 one.
func alike6(tu *Tuple, n byte) Tuple {
	out := *tu
	for _, a := range [...]*[16]byte{&out.Src, &out.Dst} {
		copy(a[:12], netip.MustParseAddr("2001:db8::").AsSlice())
		a[11] = n
	}
	return out
}
