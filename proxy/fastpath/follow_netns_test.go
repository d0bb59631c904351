//go:build netns

package fastpath

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestFollowsInterfaces: those that are there, appear, vanish, are enslaved and freed, move away and come back.
func TestFollowsInterfaces(t *testing.T) {
	eachHook(t, func(t *testing.T, h hook) {
		w := newWorld(t)
		early := w.cable(t, "early")
		p := open(t, Options{hook: h})
		if p.Hook() != h.String() {
			t.Errorf("attached by %s", p.Hook())
		}
		if got := w.arrives(t, "early"); got != "l2" || !p.Attached(early) {
			t.Errorf("an interface from before: met %s, attached %v", got, p.Attached(early))
		}
		late := w.cable(t, "late")
		until(t, "the late one has it", func() bool { return p.Attached(late) })
		if got := w.arrives(t, "late"); got != "l2" {
			t.Errorf("an interface that appeared: met %s", got)
		}
		if got := p.Interfaces(); !slices.Equal(got, []string{"early", "late"}) {
			t.Errorf("interfaces %v", got)
		}

		ip(t, "link add bridge type bridge")
		ip(t, "link set bridge up")
		bridge := indexOf(t, "bridge")
		until(t, "the bridge has it", func() bool { return p.Attached(bridge) })
		ip(t, "link set late master bridge")
		until(t, "the port has none", func() bool { return !p.Attached(late) })
		if len(hanging(t, "late")) != 0 {
			t.Error("a bridge's port still has the program")
		}
		ip(t, "link set late nomaster")
		until(t, "the freed one has it", func() bool { return p.Attached(late) })
		if got := w.arrives(t, "late"); got != "l2" {
			t.Errorf("an interface that was freed: met %s", got)
		}

		ip(t, "link set late name wanderer") // there is another of its old name among the others
		link, err := netlink.LinkByName("wanderer")
		check(t, err)
		check(t, netlink.LinkSetNsFd(link, int(w.others)))
		until(t, "the one that moved away is forgotten", func() bool { return !p.Attached(late) })
		w.in(t, w.others, func() {
			if n := len(hanging(t, "wanderer")); n != 0 {
				t.Errorf("an interface that moved away has %d programs", n)
			}
			ip(t, "link set wanderer up")
			link, err := netlink.LinkByName("wanderer")
			check(t, err)
			check(t, netlink.LinkSetNsFd(link, int(w.gateway)))
		})
		ip(t, "link set wanderer name late")
		ip(t, "link set late up")
		until(t, "the one that came back has it", func() bool { return p.Attached(indexOf(t, "late")) })
		if got := w.arrives(t, "late"); got != "l2" {
			t.Errorf("an interface that came back: met %s", got)
		}

		ip(t, "link del early")
		until(t, "the vanished one is forgotten", func() bool { return !p.Attached(early) })
		again := w.cable(t, "early")
		until(t, "one of the same name has it", func() bool { return p.Attached(again) })
		check(t, p.Close())
		check(t, p.Close())
		for _, name := range []string{"early", "late", "bridge"} {
			if n, q := len(hanging(t, name)), tc(t, "qdisc show dev "+name); n != 0 || strings.Contains(q, "clsact") || p.Attached(indexOf(t, name)) {
				t.Errorf("%s after Close: %d programs, %s", name, n, q)
			}
		}
		if got := w.arrives(t, "early"); got != "none" {
			t.Errorf("after Close: met %s", got)
		}
	})
}

// TestFollowsNames: a match names interfaces; what matters is which ones have these names now.
func TestFollowsNames(t *testing.T) {
	w := newWorld(t)
	in, other := w.cable(t, "inside"), w.cable(t, "other")
	p := open(t, Options{Interfaces: []string{"inside", "outside"}})
	if !p.Attached(in) || p.Attached(other) || p.Attached(indexOf(t, "lo")) {
		t.Errorf("attached to %v", p.Interfaces())
	}
	if got := w.arrives(t, "other"); got != "none" {
		t.Errorf("an interface that no match names: met %s", got)
	}
	ip(t, "link set inside name elsewhere")
	until(t, "the renamed one has none", func() bool { return !p.Attached(in) })
	ip(t, "link set other name outside")
	until(t, "who got the name has it", func() bool { return p.Attached(other) })
	if got := p.Interfaces(); !slices.Equal(got, []string{"outside"}) || len(hanging(t, "elsewhere")) != 0 {
		t.Errorf("attached to %v", got)
	}
}

// TestNameAlone: a rename that changes nothing else is no reason to take the program off.
func TestNameAlone(t *testing.T) {
	w := newWorld(t)
	index := w.cable(t, "before")
	var log lines
	p := open(t, Options{Logger: log.logger()})
	id := hanging(t, "before")
	ip(t, "link set before name after")
	until(t, "the name is known", func() bool { return slices.Equal(p.Interfaces(), []string{"after"}) })
	if now := hanging(t, "after"); !p.Attached(index) || !slices.Equal(now, id) || log.contain("no fast path any more") {
		t.Errorf("programs %v, before %v", now, id)
	}
}

// TestTun has an interface whose packets begin with the IP header.
func TestTun(t *testing.T) {
	eachHook(t, func(t *testing.T, h hook) {
		newWorld(t)
		p := open(t, Options{hook: h})
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Mode: netlink.TUNTAP_MODE_TUN, Queues: 1,
			Flags: netlink.TUNTAP_NO_PI}
		check(t, netlink.LinkAdd(tun))
		ip(t, "link set tunnel up")
		until(t, "the tunnel has it", func() bool { return p.Attached(indexOf(t, "tunnel")) })
		before := counters(t)
		_, err := tun.Fds[0].Write(datagram())
		check(t, err)
		if got := metCounter(t, before); got != "l3" {
			t.Errorf("from a tunnel: met %s", got)
		}
	})
}

// TestMacvlan: what is above an interface has a program of its own, and neither is enslaved.
func TestMacvlan(t *testing.T) {
	w := newWorld(t)
	below := w.cable(t, "below")
	p := open(t, Options{})
	ip(t, "link add above link below address 02:00:00:00:00:77 type macvlan mode bridge")
	ip(t, "link set above up")
	until(t, "the one above has it", func() bool { return p.Attached(indexOf(t, "above")) })
	if !p.Attached(below) {
		t.Error("the one below has lost it")
	}
	before := counters(t)
	mac, err := net.ParseMAC("02:00:00:00:00:77")
	check(t, err)
	w.send(t, "below", mac, datagram())
	if got := metCounter(t, before); got != "l2" {
		t.Errorf("met %s", got)
	}
}

// TestManyAtOnce has more happen than the socket can hold while nobody reads it.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var log lines
	p := open(t, Options{Logger: log.logger()})
	p.mu.Lock()
	check(t, p.feeds[0].conn.SetReadBuffer(4096))
	first := w.cable(t, "first")
	var all []uint32
	for i := range 20 {
		name := fmt.Sprintf("m%d", i)
		ip(t, "link add "+name+" type ifb")
		ip(t, "link set "+name+" up")
		all = append(all, indexOf(t, name))
	}
	ip(t, "link del m7")
	p.mu.Unlock()
	for i, index := range append(all, first) {
		if i != 7 {
			until(t, "all have it", func() bool { return p.Attached(index) })
		}
	}
	if p.Attached(all[7]) {
		t.Error("one that is gone is believed to have it")
	}
	if !log.contain("messages were lost") {
		t.Error("the socket lost nothing: the test shows nothing")
	}
	// And one that vanishes unheard.
	p.mu.Lock()
	check(t, p.feeds[0].conn.SetReadBuffer(4096))
	for i := range 20 {
		if i != 7 {
			ip(t, fmt.Sprintf("link set m%d down", i))
		}
	}
	ip(t, "link del m9")
	p.mu.Unlock()
	until(t, "the one that vanished is forgotten", func() bool { return !p.Attached(all[9]) })
}
