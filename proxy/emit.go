package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// injection is why and for whom a packet is made.
type injection struct {
	cause   decisionlog.ID      // the decision, zero where time alone caused it
	trigger string              // then: expiry, for example
	flow    uint64              // id, 0 for none
	view    conntrack.Tuple     // of the flow as the gateway sees it, original direction; the segment's own without a flow
	dir     conntrack.Direction // of the packet that is made
	quote   []byte              // the packet that an ICMP error quotes
}

// inject makes and sends one packet and writes its record, whether it could be sent or not. The addresses on the wire are what
// the receiving end knows: where the host translates, so is this.
func (w *Worker) inject(e *policy.Emit, why injection) {
	wire, packet, err := w.make(e, &why)
	if err == nil {
		err = w.injector.Send(packet)
	}
	if err == nil {
		w.counts.Injected++
		if !why.cause.IsZero() && !w.logged { // the decision's record is suppressed, so is this one
			return
		}
	}
	r := w.record(decisionlog.EventInject)
	r.FlowID = why.flow
	w.fillSegment(r, &e.Segment)
	r.Dir = logDirection(why.dir, why.flow != 0)
	in := &r.Inject
	in.ID, in.Cause, in.Trigger, in.Kind = w.producer.NextID(), why.cause, why.trigger, e.Kind
	in.To = "server"
	if why.dir == conntrack.Reply {
		in.To = "client"
	}
	if wire != e.Segment.Tuple {
		in.WireSrc, in.WireDst = wire.From(), wire.To()
	}
	if err != nil {
		w.counts.InjectErrors++
		in.Error = err.Error()
	}
}

// make encodes the packet with its addresses on the wire.
func (w *Worker) make(e *policy.Emit, why *injection) (wire conntrack.Tuple, packet []byte, err error) {
	wire = e.Segment.Tuple
	if wire, err = w.translator.Wire(e.Segment.Tuple, why.dir); err != nil {
		return wire, nil, err
	}
	switch e.ICMP {
	case policy.ReplyICMPPort:
		packet, err = w.encoder.Unreachable(&wire, UnreachablePort, why.quote)
	case policy.ReplyICMPAdmin:
		packet, err = w.encoder.Unreachable(&wire, UnreachableAdmin, why.quote)
	default:
		s := e.Segment
		s.Tuple = wire
		packet, err = w.encoder.Segment(&s, nil)
	}
	return wire, packet, err
}
