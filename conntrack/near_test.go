package conntrack

import "testing"

// TestNearIsForgotten: what lay a little above the window, or in a datagram's later fragments, is forgotten once its sender has come so
// far. Two gigabytes later it would lie above again, and the other end could acknowledge what was never sent.
func TestNearIsForgotten(t *testing.T) {
	for _, check := range []SeqCheck{SeqStrict, SeqKernel} {
		r := (&conversation{text: open3, rules: Rules{Check: check}}).run(t, variations()[0], nil)
		en := variations()[0]
		step := func(fragment bool, words ...string) Finding {
			s := parseSegment(t, words, en)
			s.Fragment = fragment
			c, _, _ := r.step(s, &Rules{Check: check}, NumEffects)
			return c.Finding
		}
		tu := parseSegment(t, []string{">", "S", "0"}, en).Tuple
		side := func() *Side { return &r.look(tu).Entry.Side[0] }
		if f := step(true, ">", "P.", "1+100", "ack", "1"); f != InWindow || side().Flags&sideNear == 0 {
			t.Fatal(f, side())
		}
		if f := step(false, ">", "P.", "101+100", "ack", "1"); f != InWindow || side().Flags&sideNear == 0 {
			t.Fatal("forgotten while it is above", f)
		}
		step(false, "<", ".", "1", "ack", "40001") // a fragment's bytes
		e := r.look(tu).Entry
		e.Side[0].MaxEnd = e.Side[0].End.Add(1 << 20)
		end := side().near.Diff(en.baseA)
		s := parseSegment(t, []string{">", "P.", "1+1", "ack", "1"}, en)
		s.Seq, s.Len = side().End, uint32(end)-uint32(side().End.Diff(en.baseA))
		if c, _, _ := r.step(s, &Rules{Check: check}, NumEffects); c.Finding != InWindow || side().Flags&sideNear != 0 || side().near != 0 {
			t.Fatal("not forgotten", c.Finding, side())
		}
	}
}
