package proxy

import (
	"testing"
	"time"

	"halfopen/conntrack"
)

func TestClockIsTheKernelsMonotonicClock(t *testing.T) {
	c := NewClock()
	before := monotonic()
	now := c.Now()
	after := monotonic()
	const slack = 100 * time.Microsecond // what the anchor may be off by
	if now < before.Add(-slack) || now > after.Add(slack) {
		t.Errorf("clock says %d, clock_gettime %d to %d", now, before, after)
	}
}

func TestClockWall(t *testing.T) {
	c := NewClock()
	before := time.Now()
	got := time.Unix(0, c.Wall(c.Now()))
	after := time.Now()
	const slack = time.Millisecond
	if got.Before(before.Add(-slack)) || got.After(after.Add(slack)) {
		t.Errorf("wall time %v, want between %v and %v", got, before, after)
	}
	i := c.Now()
	if d := time.Duration(c.Wall(i.Add(-time.Hour)) - c.Wall(i)); d > -time.Hour+slack || d < -time.Hour-slack {
		t.Errorf("an hour earlier is %v away", d)
	}
	if c.Wall(conntrack.Never) != 0 {
		t.Error("never has a wall time")
	}
}

// The offset stays what it was while the wall clock keeps within the slack, and follows it where it does not.
func TestClockFollow(t *testing.T) {
	c := NewClock()
	now := c.Follow(0)
	if d := time.Duration(now - c.Offset()); d.Abs() > time.Millisecond {
		t.Errorf("an offset of long ago becomes one that is %v off", d)
	}
	for range 10000 {
		if again := c.Follow(now); again != now && time.Duration(again-now).Abs() <= wallSlack {
			t.Fatalf("the offset moved by %v", time.Duration(again-now))
		}
	}
}
