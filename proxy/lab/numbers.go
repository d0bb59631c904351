package lab

import "fmt"

// numbering turns sequence numbers into small ones that a reader can compare. Connections are lettered in the order in which their
// SYNs left the client: A, B, ...; A0 is A's initial sequence number. A number in B's SYN-time that still belongs to A is thus seen
// at a glance.
type numbering struct {
	client, server []base
}

type base struct {
	isn    uint32
	letter byte
}

// reach is how far from an initial sequence number a number still counts as that connection's.
const reach = 1 << 26

func newNumbering(trace []*passage) *numbering {
	n := &numbering{}
	for _, s := range trace {
		switch {
		case s.toServer && s.syn():
			if !has(n.client, s.seq) && len(n.client) < 26 {
				n.client = append(n.client, base{s.seq, byte('A' + len(n.client))})
			}
		case !s.toServer && s.synACK():
			if !has(n.server, s.seq) {
				n.server = append(n.server, base{s.seq, letterOf(n.client, s.ack-1)})
			}
		}
	}
	return n
}

func has(bases []base, isn uint32) bool {
	for _, b := range bases {
		if b.isn == isn {
			return true
		}
	}
	return false
}

func letterOf(bases []base, isn uint32) byte {
	for _, b := range bases {
		if b.isn == isn {
			return b.letter
		}
	}
	return '?'
}

// relative returns v as letter and offset, or the plain number if it is no known connection's.
func relative(bases []base, v uint32) string {
	best := base{}
	for _, b := range bases {
		if v-b.isn < reach && (best.letter == 0 || v-b.isn < v-best.isn) {
			best = b
		}
	}
	if best.letter == 0 {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%c%d", best.letter, v-best.isn)
}

// label writes a segment as the ladder shows it: flags, seq, payload, ack.
func (n *numbering) label(p *packet) string {
	own, other := n.client, n.server
	if !p.toServer {
		own, other = n.server, n.client
	}
	kind := ""
	switch {
	case p.flags&flagRST != 0:
		kind = "RST"
	case p.flags&flagSYN != 0 && p.flags&flagACK != 0:
		kind = "SYN/ACK"
	case p.flags&flagSYN != 0:
		kind = "SYN"
	case p.flags&flagFIN != 0:
		kind = "FIN"
	case p.size > 0:
		kind = "data"
	case p.flags&flagACK != 0:
		kind = "ACK"
	default:
		kind = "no flags"
	}
	text := kind + " " + relative(own, p.seq)
	if p.size > 0 {
		text += fmt.Sprintf("+%d", p.size)
	}
	if p.flags&flagACK != 0 {
		text += " ack " + relative(other, p.ack)
	}
	return text
}
