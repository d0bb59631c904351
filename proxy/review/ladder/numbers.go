package ladder

import (
	"fmt"
	"strings"
)

// Numbers turns sequence numbers into small ones that a reader can compare. Those of an end count from its first SYN. Where more than
// one connection occurs they are lettered in the order of their clients' SYNs: A0 is A's initial number, so that a number in B's time
// that still belongs to A is seen at a glance.
type Numbers struct {
	client, server []base
}

type base struct {
	isn    uint32
	letter byte
}

// reach is how far above a connection's initial number another still counts as its own, where there are several connections.
const reach = 1 << 26

// below is how far below it one does.
const below = 1 << 12

// SYN notes a client's SYN.
func (n *Numbers) SYN(isn uint32) {
	if !has(n.client, isn) && len(n.client) < 26 {
		n.client = append(n.client, base{isn, byte('A' + len(n.client))})
	}
}

// SYNACK notes a server's answer to the client's SYN below ack.
func (n *Numbers) SYNACK(isn, ack uint32) {
	if has(n.server, isn) {
		return
	}
	letter := byte('?')
	for _, b := range n.client {
		if b.isn == ack-1 {
			letter = b.letter
		}
	}
	n.server = append(n.server, base{isn, letter})
}

// Anchor gives an end whose SYN is not known the number that it counts from.
func (n *Numbers) Anchor(client bool, v uint32) {
	of := &n.server
	if client {
		of = &n.client
	}
	if len(*of) == 0 {
		*of = append(*of, base{v, 'A'})
	}
}

func has(bases []base, isn uint32) bool {
	for _, b := range bases {
		if b.isn == isn {
			return true
		}
	}
	return false
}

// Client and Server write a number of that end's, as on the wire where it belongs to no connection that is known.
func (n *Numbers) Client(v uint32) string { return n.text(n.client, v) }

// Server is Client for the other end.
func (n *Numbers) Server(v uint32) string { return n.text(n.server, v) }

// Knows reports whether an end's number is one that a known connection is likely to have come to.
func (n *Numbers) Knows(client bool, v uint32) bool {
	of := n.server
	if client {
		of = n.client
	}
	_, ok := nearest(of, v, true)
	return ok
}

// lettered reports whether numbers need letters.
func (n *Numbers) lettered() bool { return len(n.client) > 1 || len(n.server) > 1 }

// nearest returns the connection that a number belongs to.
func nearest(bases []base, v uint32, several bool) (best base, ok bool) {
	up, down := uint32(1<<31), uint32(1<<31)
	if several {
		up, down = reach, below
	}
	far := uint32(1 << 31)
	for _, b := range bases {
		d := v - b.isn
		switch {
		case d < up && d < far:
			best, ok, far = b, true, d
		case -d <= down && -d < far:
			best, ok, far = b, true, -d
		}
	}
	return best, ok
}

func (n *Numbers) text(bases []base, v uint32) string {
	b, ok := nearest(bases, v, n.lettered())
	if !ok {
		return fmt.Sprint(v)
	}
	if !n.lettered() {
		return fmt.Sprint(int32(v - b.isn))
	}
	return fmt.Sprintf("%c%d", b.letter, int32(v-b.isn))
}

// Segment is what a label says of a segment.
type Segment struct {
	ToServer bool
	Flags    string // tcpdump's letters
	Seq, Ack uint32
	Len      int // payload bytes
}

// Label writes a segment: what it is, its number and length, its acknowledgment.
func (n *Numbers) Label(s *Segment) string {
	own, other := n.client, n.server
	if !s.ToServer {
		own, other = other, own
	}
	ack := strings.Contains(s.Flags, ".")
	text := Name(s.Flags, s.Len) + " " + n.text(own, s.Seq)
	if s.Len > 0 {
		text += fmt.Sprintf("+%d", s.Len)
	}
	if ack {
		text += " ack " + n.text(other, s.Ack)
	}
	return text
}

// Name says what a segment is, by its flags and payload.
func Name(flags string, size int) string {
	has := func(letter string) bool { return strings.Contains(flags, letter) }
	switch {
	case has("R"):
		return "RST"
	case has("S") && has("."):
		return "SYN/ACK"
	case has("S"):
		return "SYN"
	case has("F"):
		return "FIN"
	case size > 0:
		return "data"
	case has("."):
		return "ACK"
	}
	return "no flags"
}
