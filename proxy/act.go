package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/nfqueue"
)

// act gives the packet its verdict and sends what the decision makes, in the order that the ends must see: verdicts of
// earlier packets, the segment for the peer, this packet, the reply to its sender. The order is by system calls, so a batch is
// cut only where something is injected.
func (w *Worker) act(p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) {
	if out.HasPeer || out.HasReply {
		w.flush()
	}
	if out.HasPeer {
		w.inject(&out.Peer, causedBy(out, w.cause, out.Dir, p.Data))
	}
	switch out.Verdict {
	case policy.Drop:
		w.main.Drop(p.ID)
	case policy.Hold:
		w.divert(p, s, out)
	case policy.Rewrite:
		w.rewrite(p, s, out)
	default:
		if !w.fast.keeps(p.ID) {
			w.main.Accept(p.ID)
		}
	}
	w.counts.verdict(out.Finding, out.Verdict)
	if out.HasReply {
		w.flush()
		w.inject(&out.Reply, causedBy(out, w.cause, out.Dir.Other(), p.Data))
	}
}
