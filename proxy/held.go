package proxy

import (
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// maxDiverts bounds the packets that are on their way to the second queue or held in it. Beyond it a packet goes on
// unheld: a hold must never cut a gateway off.
const maxDiverts = 4096

// divert is a packet that was handed to the second queue and has not arrived there yet. The kernel cuts a super-packet on the way, so
// several messages may answer to one divert.
type divert struct {
	tuple    conntrack.Tuple
	from, to conntrack.Seq // its sequence space; an empty segment has from == to
	token    uint64        // the engine's name for the hold
	since    conntrack.Instant
}

// heldPacket is what the second queue holds for one hold of the engine.
type heldPacket struct {
	ids     []uint32
	cause   decisionlog.ID // the decision to hold
	seg     conntrack.Segment
	flow    uint64
	dir     conntrack.Direction
	finding conntrack.Finding
	rule    string
	by      *policy.Policy // who decided to hold it
	arm     uint8
	quote   []byte // the packet's first bytes, for an ICMP error and the capture
	length  uint32 // bytes of the whole packet
}

// reply says why its sender is answered when it is let go by the decision with id cause.
func (h *heldPacket) reply(cause decisionlog.ID) injection {
	return injection{cause: cause, reason: h.finding.String(), rule: h.rule, flow: h.flow, arm: h.arm, dir: h.dir.Other(), quote: h.quote}
}

// divert sends a packet to the second queue.
func (w *Worker) divert(p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) {
	if w.second == nil || len(w.diverts)+len(w.held) >= maxDiverts {
		w.counts.HoldsRefused++
		w.main.Accept(p.ID)
		return
	}
	w.diverts = append(w.diverts, divert{tuple: s.Tuple, from: s.Seq, to: s.End(), token: out.Hold, since: w.now})
	w.held[out.Hold] = heldPacket{cause: w.cause, seg: *s, flow: out.Flow, dir: out.Dir, finding: out.Finding, rule: out.Rule, by: out.By, arm: out.Arm,
		quote: append([]byte(nil), p.Data...), length: p.CapLen}
	w.main.Reroute(p.ID, w.secondQueue)
}

// secondBatch takes what has arrived in the second queue and keeps it until the engine lets it go. While nothing is expected there a
// busy worker does not ask.
func (w *Worker) secondBatch(idle bool) (int, error) {
	if w.second == nil || len(w.diverts) == 0 && !idle {
		return 0, nil
	}
	n, err := w.second.Recv(w.batch[:], 0)
	if err != nil {
		return n, err
	}
	for i := range w.batch[:n] {
		p := &w.batch[i]
		w.decoder.Decode(p.Data, int(p.CapLen), packetInfo(p), &w.segs[0])
		if !w.arrive(p, &w.segs[0]) {
			w.second.Accept(p.ID)
		}
	}
	return n, w.second.Flush()
}

// arrive puts one message of the second queue with its hold, and reports false for one that belongs to none.
func (w *Worker) arrive(p *nfqueue.Packet, s *conntrack.Segment) bool {
	for i := range w.diverts {
		d := &w.diverts[i]
		if d.tuple != s.Tuple || !s.Seq.In(d.from, d.to) {
			continue
		}
		h, ok := w.held[d.token]
		if !ok { // let go before it arrived
			break
		}
		h.ids = append(h.ids, p.ID)
		w.held[d.token] = h
		if d.to == s.End() {
			w.diverts = append(w.diverts[:i], w.diverts[i+1:]...)
		}
		return true
	}
	return false
}

// release gives a held packet its verdict.
func (w *Worker) release(token uint64, verdict policy.PacketAction) {
	h, ok := w.held[token]
	if !ok {
		return
	}
	delete(w.held, token)
	for _, id := range h.ids {
		if verdict == policy.Drop {
			w.second.Drop(id)
		} else {
			w.second.Accept(id)
		}
	}
	if err := w.second.Flush(); err != nil {
		w.counts.FlushErrors++
	}
}

// divertLimit is how long a packet may be on its way to the second queue. The kernel hands it over within the verdict; one that takes
// longer went past the queue (it was full, or bypassed) and nobody will see it again.
const divertLimit = time.Second

// forgetDiverts drops what never arrived.
func (w *Worker) forgetDiverts() {
	for len(w.diverts) > 0 && w.now.Sub(w.diverts[0].since) > divertLimit {
		w.diverts = w.diverts[1:]
	}
}
