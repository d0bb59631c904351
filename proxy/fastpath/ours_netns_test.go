//go:build netns

package fastpath

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// takeAway takes the program off an interface as somebody else may.
func takeAway(t *testing.T, p *Path, h hook, name string) {
	t.Helper()
	if h == hookClsact {
		tc(t, "qdisc del dev "+name+" clsact")
		return
	}
	p.mu.Lock()
	at := p.attached[int(indexOf(t, name))]
	p.mu.Unlock()
	check(t, at.link.Detach())
}

// TestTakenOff: somebody takes the program off an interface. The path notices, by a message or when it is asked, says so and puts it back;
// until a second later nobody is to make anything of packets without marks.
func TestTakenOff(t *testing.T) {
	eachHook(t, func(t *testing.T, h hook) {
		w := newWorld(t)
		in, other := w.cable(t, "inside"), w.cable(t, "other")
		var log lines
		p := open(t, Options{hook: h, Logger: log.logger()})
		if !p.Whole(in) || !p.Whole(other) || p.Whole(other+100) {
			t.Fatalf("whole: %v %v, and where there is nothing %v", p.Whole(in), p.Whole(other), p.Whole(other+100))
		}
		late := w.cable(t, "late")
		until(t, "a later one has it", func() bool { return p.Attached(late) })
		if p.Whole(late) { // what waits in a queue came in before
			t.Error("whole right after it came")
		}
		until(t, "that moment is over", func() bool { return p.Whole(late) })
		changes := p.Changes()
		takeAway(t, p, h, "inside")
		if p.Whole(in) { // it was missing a moment ago, if not now
			t.Error("whole right after it was taken off")
		}
		if !log.contain("somebody has taken") || !log.contain("interface=inside") {
			t.Error(log.text.String())
		}
		if h == hookClsact && p.Attached(in) {
			t.Error("put back before somebody else can have made a qdisc")
		}
		until(t, "it is back", func() bool { return p.Attached(in) })
		if n := len(hanging(t, "inside")); n != 1 || p.Changes() == changes || p.Whole(in) {
			t.Errorf("%d programs, whole %v", n, p.Whole(in))
		}
		if got := w.arrives(t, "inside"); got != "l2" {
			t.Errorf("met %s", got)
		}
		if !p.Whole(other) {
			t.Error("the other interface's, too, was missing")
		}
		until(t, "the moment is over", func() bool { return p.Whole(in) })
	})
}

// TestTakenOffIsTold: with clsact the kernel tells of it, before anybody asks.
func TestTakenOffIsTold(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	var log lines
	p := open(t, Options{hook: hookClsact, Logger: log.logger()})
	for _, how := range []string{"qdisc del dev inside clsact", "filter del dev inside ingress"} {
		log.mu.Lock()
		log.text.Reset()
		log.mu.Unlock()
		tc(t, how)
		until(t, "it is said after "+how, func() bool { return log.contain("somebody has taken") })
		until(t, "it is back", func() bool { return len(hanging(t, "inside")) == 1 })
	}
	if got := w.arrives(t, "inside"); got != "l2" {
		t.Errorf("met %s", got)
	}
	log.mu.Lock()
	log.text.Reset()
	log.mu.Unlock()
	l, err := netlink.LinkByName("inside") // an interface that goes is nobody's doing
	check(t, err)
	index := uint32(l.Attrs().Index)
	check(t, netlink.LinkDel(l))
	until(t, "it is forgotten", func() bool { return !p.Attached(index) })
	if log.contain("somebody has taken") {
		t.Error(log.text.String())
	}
}
