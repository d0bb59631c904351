//go:build netns

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// dialogue is a connection whose segments the test makes itself, so that two gateways see the same numbers.
type dialogue struct {
	client, server *sender
	from, to       netip.AddrPort
	up, down       conntrack.Seq // next numbers
}

func (c *dialogue) say(up bool, f conntrack.Flags, seq, ack conntrack.Seq, payload string) {
	if up {
		c.client.send(c.client.segment(c.from, c.to, f, seq, ack, payload))
	} else {
		c.server.send(c.server.segment(c.to, c.from, f, seq, ack, payload))
	}
	time.Sleep(time.Millisecond) // the other end's next segment must not overtake it in the gateway
}

func (c *dialogue) open() {
	c.say(true, conntrack.SYN, c.up-1, 0, "")
	c.say(false, conntrack.SYN|conntrack.ACK, c.down-1, c.up, "")
	c.say(true, conntrack.ACK, c.up, c.down, "")
}

func (c *dialogue) converse(n int) {
	const ask, answer = "a question of the client's", "what the server says to that"
	for range n {
		c.say(true, conntrack.ACK|conntrack.PSH, c.up, c.down, ask)
		c.up = c.up.Add(uint32(len(ask)))
		c.say(false, conntrack.ACK, c.down, c.up, "")
		c.say(false, conntrack.ACK|conntrack.PSH, c.down, c.up, answer)
		c.down = c.down.Add(uint32(len(answer)))
		c.say(true, conntrack.ACK, c.up, c.down, "")
	}
}

// spoilt sends the next question with another checksum than the right one. It is told what that is, and what the sum of the pseudo header is,
// as a local sender leaves it there for its card to finish.
func (c *dialogue) spoilt(sum func(right, pseudo uint16) uint16) {
	b := c.client.segment(c.from, c.to, conntrack.ACK|conntrack.PSH, c.up, c.down, "a question of the client's")
	words := func(b []byte) (n uint32) {
		for ; len(b) > 0; b = b[2:] {
			n += uint32(binary.BigEndian.Uint16(b))
		}
		return n
	}
	pseudo := words(b[12:20]) + 6 + uint32(len(b)-20)
	check := b[20+16 : 20+18]
	binary.BigEndian.PutUint16(check, sum(binary.BigEndian.Uint16(check), uint16(pseudo)+uint16(pseudo>>16)))
	c.client.send(b)
	time.Sleep(time.Millisecond)
}

// endings are what may become of a connection, and what a gateway must judge by numbers that the fast path has moved.
var endings = []struct {
	name string
	do   func(*dialogue)
}{
	{"close", func(c *dialogue) {
		c.say(true, conntrack.FIN|conntrack.ACK, c.up, c.down, "")
		c.say(false, conntrack.FIN|conntrack.ACK, c.down, c.up+1, "")
		c.say(true, conntrack.ACK, c.up+1, c.down+1, "")
	}},
	{"reset", func(c *dialogue) { c.say(false, conntrack.RST|conntrack.ACK, c.down, c.up, "") }},
	{"reset inside the window", func(c *dialogue) { c.say(true, conntrack.RST, c.up+5, 0, "") }},
	{"reset outside", func(c *dialogue) { c.say(true, conntrack.RST, c.up+1<<20, 0, "") }},
	{"dialled again", func(c *dialogue) { c.say(true, conntrack.SYN, c.up+1<<24, 0, "") }},
	{"dialled again, and proven", func(c *dialogue) {
		c.say(true, conntrack.SYN, c.up+1<<24, 0, "")
		c.say(false, conntrack.ACK, c.down, c.up, "")
		c.say(true, conntrack.RST, c.up, 0, "")
	}},
	{"above the window", func(c *dialogue) { c.say(true, conntrack.ACK, c.up+1<<20, c.down, "far off") }},
	{"below the window", func(c *dialogue) { c.say(true, conntrack.ACK, c.up-1<<20, c.down, "far off") }},
	{"acknowledges what was not sent", func(c *dialogue) { c.say(false, conntrack.ACK, c.down, c.up+100, "") }},
	{"repeated", func(c *dialogue) {
		c.say(true, conntrack.ACK|conntrack.PSH, c.up-26, c.down, "a question of the client's")
	}},
	{"repeated in vain", func(c *dialogue) {
		for range 5 {
			c.say(true, conntrack.ACK|conntrack.PSH, c.up, c.down, "a question without an answer")
		}
	}},
	{"wrong checksum", func(c *dialogue) { c.spoilt(func(right, _ uint16) uint16 { return right ^ 0x5500 }) }},
	{"a checksum like an unfinished one", func(c *dialogue) { c.spoilt(func(_, pseudo uint16) uint16 { return pseudo }) }},
	{"keepalive", func(c *dialogue) { c.say(false, conntrack.ACK, c.down-1, c.up, "") }},
	{"idle", func(c *dialogue) {}},
}

// Whatever ends a connection, or breaks its rules, after it was on the fast path: decisions, the numbers that they were judged by, and what
// the gateway sends itself are those of a gateway without a fast path.
func TestFastPathSame(t *testing.T) {
	for _, policy := range []string{"preset: lpd-case-2015\n", "preset: openbsd-pf\n", "preset: linux-default\n"} {
		var told [2]map[string][]string
		for i, mode := range []string{"off", "on"} {
			w := newWorld(t)
			for _, ns := range []string{"client", "server"} { // whose own stacks know nothing of all this
				in := map[string]func(...string) string{"client": func(a ...string) string { return w.exec(w.Client, "nft", a...) },
					"server": func(a ...string) string { return w.exec(w.Server, "nft", a...) }}[ns]
				in("add table inet mute; add chain inet mute in { type filter hook input priority 0; }; add rule inet mute in meta l4proto tcp drop")
			}
			file := write(t, w.dir, "policy.yaml", policy+"adopt: 0s\ntimeouts: {established: 1500ms}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}\n")
			g := w.start(file, "--fastpath", mode, "--queues", "0")
			client, server := w.sender(w.Client), w.sender(w.Server)
			for n, e := range endings {
				c := &dialogue{client: client, server: server, from: netip.AddrPortFrom(clientAddr, uint16(20000+n)), to: netip.AddrPortFrom(serverAddr, 515), up: 10001, down: 50001}
				c.open()
				c.converse(12)
				e.do(c)
				if e.name != "idle" {
					c.converse(1)
				}
			}
			time.Sleep(2500 * time.Millisecond) // all of them expire
			g.stop()
			w.verify()
			told[i] = w.judged()
			if fast := w.lastStats().FastPath.Packets; mode == "on" && fast < uint64(len(endings))*30 {
				t.Errorf("the fast path saw %d packets only", fast)
			}
		}
		for n, e := range endings {
			key := netip.AddrPortFrom(clientAddr, uint16(20000+n)).String()
			if a, b := strings.Join(told[0][key], "\n"), strings.Join(told[1][key], "\n"); a != b || a == "" {
				t.Errorf("%s%s:\nwithout a fast path:\n%s\nwith:\n%s", policy, e.name, a, b)
			}
		}
		if keys := slices.Collect(maps.Keys(told[0])); len(keys) != len(endings) {
			t.Errorf("records of %d clients", len(keys))
		}
	}
}

// judged returns what the log says of each client: its decisions with all their numbers, what was sent, and how its flows ended.
func (w *world) judged() map[string][]string {
	w.t.Helper()
	told := map[string][]string{}
	w.events(func(e *decisionlog.Event) {
		client := fmt.Sprintf("%s:%d", e.SrcIP, e.SrcPort)
		if e.SrcPort == 515 {
			client = fmt.Sprintf("%s:%d", e.DestIP, e.DestPort)
		}
		s := ""
		switch {
		case e.Decision != nil:
			d := e.Decision
			s = text(d.Verdict, d.Reason, d.StateBefore, d.StateAfter, d.Effect, d.Unmet, e.TCP, d.Expected, d.Reply, d.Peer)
		case e.Inject != nil:
			s = text(e.Inject.Kind, e.Inject.To, e.TCP)
		case e.Flow != nil && e.Flow.Event == "end":
			f := e.Flow
			s = text("end", f.Reason, f.Outcome, f.ConnState, f.History, f.PktsToServer, f.PktsToClient, f.BytesToServer, f.BytesToClient, f.EndedBy,
				f.RetransmitsToServer, f.RetransmitsToClient, f.OutOfWindowToServer, f.OutOfWindowToClient, f.Interventions, f.Resets)
		}
		if s != "" {
			told[client] = append(told[client], s)
		}
	})
	return told
}

// text is values as JSON has them, pointers followed.
func text(values ...any) string {
	b, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	return string(b)
}
