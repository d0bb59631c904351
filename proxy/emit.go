package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// injection is why and for whom a packet is made.
type injection struct {
	cause   decisionlog.ID // the decision, zero where time alone caused it
	trigger string         // then: expiry, for example
	reason  string         // the decision's finding and rule, for the capture
	rule    string
	flow    uint64              // id, 0 for none
	arm     uint8               // whose policy decided
	view    conntrack.Tuple     // of the flow as the gateway sees it, original direction; the segment's own without a flow
	dir     conntrack.Direction // of the packet that is made
	quote   []byte              // the packet that an ICMP error quotes
}

// causedBy says why a decision makes a packet of direction dir, which may quote the one that it is about.
func causedBy(out *policy.Outcome, cause decisionlog.ID, dir conntrack.Direction, quote []byte) injection {
	return injection{cause: cause, reason: out.Finding.String(), rule: out.Rule, flow: out.Flow, arm: out.Arm, dir: dir, quote: quote}
}

// inject makes and sends what an emit asks for, one packet or two, and writes their records, whether it could be sent or not. The addresses on the wire are what
// the receiving end knows: where the host translates, so is this.
func (w *Worker) inject(e *policy.Emit, why injection) {
	w.injectOne(e, why)
	if second, ok := e.Second(); ok {
		w.injectOne(&second, why)
	}
}

func (w *Worker) injectOne(e *policy.Emit, why injection) {
	wire, packet, err := w.make(e, &why)
	if err == nil {
		err = w.injector.Send(packet)
	}
	id := w.injected(e, &why, wire, err)
	w.tap.emitted(w, packet, e, &why, id, err)
}

// make encodes the packet with its addresses on the wire.
func (w *Worker) make(e *policy.Emit, why *injection) (wire conntrack.Tuple, packet []byte, err error) {
	wire = e.Segment.Tuple
	if wire, err = w.translator.Wire(e.Segment.Tuple, why.dir); err != nil {
		return wire, nil, err
	}
	packet, err = encodeEmit(w.encoder, e, wire, why.quote)
	return wire, packet, err
}

// encodeEmit makes the bytes of what an emit asks for, with the addresses of wire; quote is the packet that an ICMP error quotes.
func encodeEmit(enc *Encoder, e *policy.Emit, wire conntrack.Tuple, quote []byte) ([]byte, error) {
	switch e.ICMP {
	case policy.ReplyICMPPort:
		return enc.Unreachable(&wire, UnreachablePort, quote)
	case policy.ReplyICMPAdmin:
		return enc.Unreachable(&wire, UnreachableAdmin, quote)
	}
	s := e.Segment
	s.Tuple = wire
	return enc.Segment(&s, nil)
}
