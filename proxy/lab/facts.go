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

// explain says in a sentence why it went as it did. It names only what was seen.
func (p *Phase) explain() {
	c, s := p.Client, p.Server
	gatewayAnswers, clientResets, resetsArrived := 0, 0, 0
	for _, t := range p.trace[p.mark:] {
		if t.bareACK() && !t.toServer && t.injectedBy() >= 0 {
			gatewayAnswers++
		}
		if t.toServer && t.flags&flagRST != 0 && t.injectedBy() < 0 {
			clientResets++
			if t.droppedBy() < 0 {
				resetsArrived++
			}
		}
	}
	var why string
	switch {
	case c.SYNSent == 0 && c.Connected:
		why = "the old connection still carries data: the gateway let it through."
	case c.SYNSent == 0:
		why = fmt.Sprintf("nothing came back on the old connection: the gateway dropped %d segments.", p.Gateway.Dropped)
	case c.Connected && c.SYNSent == 1:
		why = "the first SYN was forwarded and answered with a SYN/ACK."
	case c.Connected && clientResets > 0:
		why = fmt.Sprintf("the client was answered with an ACK of the old connection (%s); its RST %s, and SYN number %d got through.",
			byWhom(gatewayAnswers), reached(resetsArrived), c.SYNSent)
	case c.Connected:
		why = fmt.Sprintf("only SYN number %d was answered with a SYN/ACK.", c.SYNSent)
	case gatewayAnswers > 0 && s.SYNReceived == 0:
		why = fmt.Sprintf("the gateway answered each SYN itself (%d times) and forwarded none; ", gatewayAnswers) + lost(c, clientResets, resetsArrived)
	case s.SYNReceived > 0 && s.BareACKsSent > 0:
		why = "the server still held the old connection and answered the SYN with a bare ACK; " + lost(c, clientResets, resetsArrived)
	case s.SYNReceived == 0:
		why = fmt.Sprintf("none of the client's %d SYNs reached the server, and nobody answered them.", c.SYNSent)
	default:
		why = fmt.Sprintf("%d SYNs reached the server, but no usable answer reached the client.", s.SYNReceived)
	}
	p.Facts["why"] = why
}

func byWhom(gatewayAnswers int) string {
	if gatewayAnswers > 0 {
		return "made by the gateway"
	}
	return "the server's own"
}

func reached(resets int) string {
	if resets > 0 {
		return "reached the server"
	}
	return "did not reach the server"
}

// lost says how the client's way out was barred.
func lost(c ClientView, sent, arrived int) string {
	switch {
	case c.BareACKsReceived == 0:
		return "that ACK never reached the client, so no RST could clear the old connection, and the client gave up."
	case sent == 0:
		return "the client did not reset, and gave up."
	case arrived == 0:
		return "the client's RST, which would have cleared it, was dropped on the way, and the client gave up."
	}
	return "the client's RST reached the server, and still the client gave up."
}
