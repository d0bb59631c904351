package lab

import "halfopen/proxy/review/ladder"

// newNumbers notes where the connections of a trace begin.
func newNumbers(trace []*passage) *ladder.Numbers {
	n := &ladder.Numbers{}
	for _, s := range trace {
		switch {
		case s.toServer && s.syn():
			n.SYN(s.seq)
		case !s.toServer && s.synACK():
			n.SYNACK(s.seq, s.ack)
		}
	}
	return n
}

// label writes a segment as the ladder shows it: flags, seq, payload, ack.
func label(n *ladder.Numbers, p *packet) string {
	return n.Label(&ladder.Segment{ToServer: p.toServer, Flags: letters(p.flags), Seq: p.seq, Ack: p.ack, Len: p.size})
}

// letters writes header bits as tcpdump does.
func letters(bits uint8) string {
	text := ""
	for _, m := range [...]struct {
		bit    uint8
		letter string
	}{{flagFIN, "F"}, {flagSYN, "S"}, {flagRST, "R"}, {flagPSH, "P"}, {flagACK, "."}} {
		if bits&m.bit != 0 {
			text += m.letter
		}
	}
	return text
}
