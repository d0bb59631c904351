package experiment

import (
	"testing"
	"time"

	"halfopen/conntrack"
)

func at(d time.Duration) conntrack.Instant { return conntrack.Instant(d) }

// A refused dial has failed when nothing came of it, once however often it was repeated; one that gets through has not.
func TestAttempts(t *testing.T) {
	a := NewAttempts(3)
	due := func(now time.Duration) (syns []int) {
		a.Due(at(now), func(x *Attempt) { syns = append(syns, x.SYNs) })
		return syns
	}
	one, two := tuple("10.0.0.1:721", "10.0.1.9:515"), tuple("10.0.0.2:721", "10.0.1.9:515")
	for _, s := range []time.Duration{0, 1, 3, 7, 15} {
		if _, ok := a.Refused(at(s*time.Second), 1, &one, 900); ok {
			t.Error("a repetition is another attempt")
		}
	}
	a.Refused(at(20*time.Second), 2, &two, 77)
	if got := due(44 * time.Second); got != nil {
		t.Errorf("over after 29 s: %v", got)
	}
	if got := due(45 * time.Second); len(got) != 1 || got[0] != 5 {
		t.Errorf("over after 30 s: %v, want one attempt of 5 SYNs", got)
	}
	if before, over, ok := a.Through(&two, 77); !ok || over || before.Arm != 2 || before.First != at(20*time.Second) {
		t.Errorf("the same dial gets through: %+v over %v %v", before, over, ok)
	}
	if got := due(time.Hour); got != nil || a.Len() != 0 {
		t.Errorf("one that got through has failed: %v", got)
	}
	a.Refused(at(time.Hour), 1, &one, 1)
	if before, ok := a.Refused(at(time.Hour), 1, &one, 2); !ok || before.ISN != 1 {
		t.Error("another dial from the same port does not end the first")
	}
	if before, over, ok := a.Through(&one, 3); !ok || !over || before.ISN != 2 {
		t.Error("a connection by another dial does not end the one before it")
	}
	if _, _, ok := a.Through(&one, 3); ok {
		t.Error("it was told twice")
	}
}

// Many attempts take bounded memory; those beyond are counted.
func TestAttemptsBound(t *testing.T) {
	a := NewAttempts(100)
	for host := range 300 {
		tu := tuple("10.0.0.1:1", "10.0.1.9:515")
		tu.SrcPort = uint16(host)
		a.Refused(at(time.Duration(host)), 1, &tu, 1)
	}
	if a.Len() != 100 || a.Lost != 200 {
		t.Errorf("%d followed, %d lost", a.Len(), a.Lost)
	}
	n := 0
	a.Due(at(time.Hour), func(*Attempt) { n++ })
	if n != 100 || a.Len() != 0 || len(a.order) != 0 {
		t.Errorf("%d told, %d and %d left", n, a.Len(), len(a.order))
	}
}
