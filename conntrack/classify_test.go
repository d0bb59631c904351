package conntrack

import "testing"

func TestConversations(t *testing.T) {
	for _, c := range append(conversations(), probeConversations()...) {
		t.Run(c.name, func(t *testing.T) {
			for _, en := range variations() {
				r := c.run(t, en, nil)
				checkTable(t, r.table)
				if t.Failed() {
					t.Fatalf("with ends %+v", en)
				}
			}
		})
	}
}

// TestEveryFinding fails when a finding about packets is reached by no conversation. Adopted is the engine's word, which
// knows how old the gateway is, and SourceLimit; the two about room are the table's.
func TestEveryFinding(t *testing.T) {
	reached := map[Finding]bool{Adopted: true, SourceLimit: true} // the engine's words; SourceRoom is tested apart
	for _, c := range append(conversations(), probeConversations()...) {
		c.run(t, variations()[0], func(cl Class, _ Change) { reached[cl.Finding] = true })
	}
	r := newRig(t, Config{Max: 2, MaxEmbryonic: 1})
	en := variations()[0]
	for i := range 3 {
		f, ok := r.table.Room(r.now)
		if !ok {
			reached[f] = true
			en.a = "10.9.9.9:1"
			s := parseSegment(t, []string{">", ".", "0"}, en)
			r.step(s, &Rules{}, CreateLiberal)
			continue
		}
		en.a = []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"}[i]
		r.step(parseSegment(t, []string{">", "S", "0"}, en), &Rules{}, NumEffects)
	}
	r = newRig(t, Config{Max: 2})
	for _, e := range []Effect{Deny, Keep} {
		cl, _, _ := r.step(parseSegment(t, []string{">", "S", "0"}, en), &Rules{}, e)
		reached[cl.Finding] = true
	}
	for f := Finding(0); f < NumFindings; f++ {
		if f.Info().Packet && !reached[f] {
			t.Errorf("%v is produced by no test", f)
		}
	}
}
