package lab

import "fmt"

// numbers adds the old connection's last valid numbers to the facts, and the answers that the client got to its SYNs, so that one can
// be held against the other.
func (p *Phase) numbers() {
	var clientNext, serverNext uint32
	var known bool
	for _, s := range p.trace[:p.mark] {
		if s.flags&flagRST != 0 || s.injectedBy() >= 0 || s.syn() {
			continue
		}
		end := s.seq + uint32(s.size)
		if s.flags&(flagSYN|flagFIN) != 0 {
			end++
		}
		if s.toServer {
			clientNext = end
		} else {
			serverNext, known = end, true
		}
	}
	if known {
		p.Facts["old_connection"] = map[string]uint32{"client_next": clientNext, "server_next": serverNext}
	}
	answers, matching := []map[string]any{}, 0
	for _, s := range p.trace[p.mark:] {
		if s.toServer || !s.bareACK() {
			if !s.toServer && s.synACK() && s.droppedBy() < 0 {
				break
			}
			continue
		}
		from := "server"
		if s.injectedBy() >= 0 {
			from = "gateway"
		}
		answers = append(answers, map[string]any{"from": from, "seq": s.seq, "ack": s.ack, "arrived": s.droppedBy() < 0})
		if s.seq == serverNext && s.ack == clientNext {
			matching++
		}
	}
	if len(answers) > 0 {
		p.Facts["bare_acks"] = answers
		p.Facts["bare_acks_with_old_numbers"] = matching
	}
}

// tally is what explain needs beyond the parties' views.
type tally struct {
	answers   int // bare ACKs that a gateway made for the client
	ackLost   int // gateway that dropped a bare ACK on its way to the client, or -1
	resets    int // RSTs that the client sent
	arrived   int // of these, how many reached the server
	resetLost int // gateway that dropped one, or -1
	cleared   int // RSTs that a gateway made and that reached the server
}

func (p *Phase) tally() tally {
	n := tally{ackLost: -1, resetLost: -1}
	for _, s := range p.trace[p.mark:] {
		switch {
		case !s.toServer && s.bareACK():
			count(&n.answers, s.injectedBy() >= 0)
			n.ackLost = max(n.ackLost, s.droppedBy())
		case s.toServer && s.flags&flagRST != 0 && s.injectedBy() < 0:
			n.resets++
			count(&n.arrived, s.droppedBy() < 0)
			n.resetLost = max(n.resetLost, s.droppedBy())
		case s.toServer && s.flags&flagRST != 0:
			count(&n.cleared, s.droppedBy() < 0)
		}
	}
	return n
}

// explain says in a sentence why it went as it did. It names only what was seen.
func (p *Phase) explain() {
	c, s, n := p.Client, p.Server, p.tally()
	var why string
	switch {
	case c.SYNSent == 0 && c.Connected:
		why = "the old connection still carries data: the gateway let it through."
	case c.SYNSent == 0:
		why = fmt.Sprintf("nothing came back on the old connection: the gateway dropped %s.", plural(p.Gateway.Dropped, "segment"))
	case c.Connected && c.SYNSent == 1:
		why = "the first SYN was forwarded and answered with a SYN/ACK."
	case c.Connected && n.resets > 0 && c.BareACKsReceived > 0:
		why = fmt.Sprintf("the client was answered with an ACK of the old connection (%s); its RST %s, and SYN number %d got through.",
			p.byWhom(n), p.reached(n), c.SYNSent)
	case c.Connected && n.cleared > 0:
		why = fmt.Sprintf("%s reset the server's old connection in the client's name, and SYN number %d got through.",
			p.gatewayName(p.resetter()), c.SYNSent)
	case c.Connected:
		why = fmt.Sprintf("only SYN number %d was answered with a SYN/ACK that reached the client.", c.SYNSent)
	case n.answers > 0 && s.SYNReceived == 0:
		why = fmt.Sprintf("the gateway answered the client's SYNs itself (%s) and forwarded none; ", plural(n.answers, "ACK")) + p.lost(n)
	case s.SYNReceived > 0 && s.BareACKsSent > 0:
		why = "the server still held the old connection and answered the SYN with a bare ACK; " + p.lost(n)
	case s.SYNReceived == 0:
		why = fmt.Sprintf("none of the client's %s reached the server, and nobody answered: the client gave up.", plural(c.SYNSent, "SYN"))
	default:
		why = fmt.Sprintf("%s reached the server, but no usable answer reached the client.", plural(s.SYNReceived, "SYN"))
	}
	p.Facts["why"] = why
}

// resetter returns the gateway that first reset the server's connection.
func (p *Phase) resetter() int {
	for _, s := range p.trace[p.mark:] {
		if s.toServer && s.flags&flagRST != 0 && s.injectedBy() >= 0 {
			return s.injectedBy()
		}
	}
	return -1
}

// gatewayName names gateway g of the trace.
func (p *Phase) gatewayName(g int) string {
	if p.FarGateway != nil && g == 0 {
		return "the far gateway"
	}
	return "the gateway"
}

func (p *Phase) byWhom(n tally) string {
	if n.answers > 0 {
		return "made by a gateway"
	}
	return "the server's own"
}

func (p *Phase) reached(n tally) string {
	if n.arrived > 0 {
		return "reached the server"
	}
	return "ended at " + p.gatewayName(n.resetLost)
}

// lost says how the client's way out was barred.
func (p *Phase) lost(n tally) string {
	switch {
	case p.Client.BareACKsReceived == 0 && n.ackLost >= 0:
		return fmt.Sprintf("%s dropped that ACK, so that no RST of the client's could clear the old connection, and the client gave up.",
			p.gatewayName(n.ackLost))
	case n.resets == 0:
		return "the client did not reset, and gave up."
	case n.arrived == 0:
		return fmt.Sprintf("%s dropped the client's RST, which would have cleared it, and the client gave up.", p.gatewayName(n.resetLost))
	}
	return "the client's RST reached the server, and still the client gave up."
}
