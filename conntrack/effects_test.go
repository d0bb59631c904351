package conntrack

import (
	"testing"
	"time"
)

// TestResyncTimer: a connection that a Resync begins has a timer also where the policy leaves timers alone.
func TestResyncTimer(t *testing.T) {
	c := conversation{text: open3 + "> S 700000 => syn-established ESTABLISHED !annotate"}
	en := variations()[0]
	r := c.run(t, en, nil)
	s := parseSegment(t, []string{"<", "S.", "0", "ack", "700001"}, en)
	v := r.look(s.Tuple)
	old := v.Entry.ID
	ch := r.table.Commit(r.now, &v, s, SynAckResync, Resync, Timer{}, &r.p)
	if ch.Entry.Deadline != r.now.Add(time.Minute) || ch.Entry.Previous != old || ch.Entry.ID == old || ch.After != SynRecv {
		t.Errorf("%+v", ch.Entry)
	}
	if h := string(ch.Entry.History[:ch.Entry.HistoryN]); h != "Sh" {
		t.Errorf("history %s", h)
	}
	checkTable(t, r.table)
}

// TestLateNumbers: what a late segment is held against is the buried connection's, from whichever end it comes.
func TestLateNumbers(t *testing.T) {
	c := conversation{text: open3 + "> P. 1+500 ack 1 => in-window ESTABLISHED\n+2h"}
	for _, en := range variations() {
		r := c.run(t, en, nil)
		for words, want := range map[string][2]Seq{">": {en.baseA + 501, en.baseB + 1}, "<": {en.baseB + 1, en.baseA + 501}} {
			cl, _, _ := r.step(parseSegment(t, []string{words, ".", "0", "ack", "0"}, en), &Rules{}, NumEffects)
			if cl.Finding != LateAfterExpiry || cl.Expect.Seq != want[0] || cl.Expect.Ack != want[1] {
				t.Errorf("%s %+v", words, cl)
			}
		}
	}
}

// TestDefectiveIsNoAnswer: a packet that cannot be trusted does not make a connection one that was answered.
func TestDefectiveIsNoAnswer(t *testing.T) {
	c := conversation{text: `
		> S 0            => new SYN_SENT
		< S. 0 ack 1 bad => checksum-bad SYN_SENT
		< SF 0           => flags-illegal SYN_SENT`}
	en := variations()[0]
	r := c.run(t, en, nil)
	if e := r.look(parseSegment(t, []string{">", "S", "0"}, en).Tuple).Entry; e.Flags&EntryReplied != 0 {
		t.Errorf("%b", e.Flags)
	}
}

// TestRoomSweeps: what is due makes room, whether or not anybody advanced.
func TestRoomSweeps(t *testing.T) {
	rg := newRig(t, Config{Max: 200, MaxEmbryonic: 10})
	fill(t, rg, 0, 190, time.Minute)
	for i := range 10 {
		rg.step(syn(1000+i), &Rules{}, NumEffects)
	}
	if f, ok := rg.table.Room(rg.now); ok || f != TableFull {
		t.Fatal(f, ok)
	}
	rg.now = rg.now.Add(time.Minute)
	if f, ok := rg.table.Room(rg.now); ok || f != EmbryonicLimit {
		t.Fatal(f, ok) // the sweep goes on past the established ones, and finds no embryonic one due
	}
	rg.now = rg.now.Add(time.Minute)
	if f, ok := rg.table.Room(rg.now); !ok {
		t.Fatal(f)
	}
	checkTable(t, rg.table)
}

// TestEvictExpired: an expired entry that is evicted ended by its timer.
func TestEvictExpired(t *testing.T) {
	rg := newRig(t, Config{Max: 3})
	rg.step(syn(1), &Rules{}, NumEffects)
	rg.now = rg.now.Add(time.Hour)
	if !rg.table.Evict(rg.now, false) || rg.ended[0] != "idle SYN_SENT" {
		t.Error(rg.ended)
	}
}

// TestCascadeIsBounded: thousands of entries that come down a level together do so over several calls.
func TestCascadeIsBounded(t *testing.T) {
	rg := newRig(t, Config{Max: 5000})
	fill(t, rg, 0, 3000, 2*time.Hour)
	rg.now = rg.table.Next()
	if n := rg.table.Advance(rg.now, 1); n != 0 || rg.table.Next() > rg.now {
		t.Fatalf("%d buried; next %d, now %d", n, rg.table.Next(), rg.now)
	}
	for range 20 {
		rg.table.Advance(rg.now, 1)
	}
	if rg.table.Next() <= rg.now || rg.table.Len() != 3000 {
		t.Fatal("the cascade does not end")
	}
	checkTable(t, rg.table)
}

// TestMachine holds the table against what netfilter's says of the cells that matter most, and each row's last word.
func TestMachine(t *testing.T) {
	for dir := range machine {
		for k := KindSYN; k < NumKinds; k++ {
			for s := SynSent; s < Denied; s++ { // which no segment leads to or from
				next := machine[dir][k][s]
				switch {
				case k == KindNone && next != stay:
					t.Errorf("%v: a segment without flags moves %v", Direction(dir), s)
				case k == KindRST && next != Close:
					t.Errorf("%v: a RST leads from %v to %v", Direction(dir), s, next)
				case next == Established && (k != KindACK || s.Embryonic() && (Direction(dir) == Reply || s != SynRecv)):
					t.Errorf("%v: %v is established by kind %d", Direction(dir), s, k)
				case s.Closing() && next != stay && next.Embryonic():
					t.Errorf("%v: %v goes back to %v without a Replace", Direction(dir), s, next)
				}
			}
		}
	}
}

// TestWords: flags and kinds as tcpdump and netfilter name them.
func TestWords(t *testing.T) {
	for f, want := range map[Flags]string{SYN | ACK: "S.", FIN | PSH | ACK: "FP.", RST: "R", 0: "none", SYN | ECE | CWR | AE: "SEWe"} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
	for f, want := range map[Flags]Kind{SYN: KindSYN, SYN | ACK: KindSYNACK, RST | SYN | ACK: KindRST, FIN | ACK: KindFIN, ACK | PSH: KindACK, PSH: KindNone} {
		if s := (&Segment{Flags: f}); s.Kind() != want {
			t.Errorf("%v: kind %d, want %d", f, s.Kind(), want)
		}
	}
	seen := map[string]bool{}
	for f := Finding(0); f < NumFindings; f++ {
		back, ok := FindingByWord(f.String())
		if seen[f.String()] || !ok || back != f || f.Info().Meaning == "" {
			t.Errorf("finding %d: %q", f, f)
		}
		seen[f.String()] = true
	}
	if _, ok := FindingByWord("nonsense"); ok {
		t.Error("nonsense is a finding")
	}
}
