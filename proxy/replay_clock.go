package proxy

import (
	"fmt"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// captureClock is the virtual clock of a replay: Unix nanoseconds as the frames tell them, never going back.
type captureClock struct {
	now        conntrack.Instant
	started    bool
	first      conntrack.Instant
	outOfOrder int           // frames older than one before them
	back       time.Duration // how far the furthest of them was
	untimed    int           // frames without a time of their own
	suspect    conntrack.Instant
}

// absurdJump is a step of time that no capture makes unless its timestamps are damaged or it was put together from several.
const absurdJump = 366 * 24 * time.Hour

// tick moves the clock to the frame's time and returns what is wrong with that, "" as a rule. A frame without a time that makes
// sense is taken as of the one before it. A leap is believed once a second frame confirms it: one damaged timestamp must
// not make everything after it late.
func (c *captureClock) tick(f *capture.Frame) string {
	if f.Time.IsZero() { // a simple packet block has none
		c.untimed++
		return ""
	}
	if f.TimeDefect != "" {
		c.untimed++
		if !c.started {
			c.begin(conntrack.Instant(f.Time.UnixNano()))
		}
		return "timestamp makes no sense (" + f.TimeDefect + "); the clock stays"
	}
	t := conntrack.Instant(f.Time.UnixNano())
	switch {
	case !c.started:
		c.begin(t)
	case t < c.now:
		c.outOfOrder++
		c.back = max(c.back, c.now.Sub(t))
		if c.now.Sub(t) > absurdJump {
			return fmt.Sprintf("timestamp %s is %s before an earlier frame's; the clock stays", f.Time.Format(time.DateTime), years(c.now.Sub(t)))
		}
	case t.Sub(c.now) > absurdJump && (c.suspect == 0 || t.Sub(c.suspect).Abs() > absurdJump):
		c.suspect = t
		c.untimed++
		return fmt.Sprintf("timestamp %s is %s after the frame before; the clock stays", f.Time.Format(time.DateTime), years(t.Sub(c.now)))
	default:
		c.now = t
	}
	return ""
}

// begin starts the clock.
func (c *captureClock) begin(t conntrack.Instant) { c.started, c.now, c.first = true, t, t }

func years(d time.Duration) string { return fmt.Sprintf("%.1f years", d.Hours()/(365.25*24)) }
