package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/nfqueue"
)

// rewrite sends a packet through the second queue, where it arrives whole and, were it a super-packet, in pieces, and takes from it
// what the decision says. It is a barrier, as an injection is: the verdict that hands the packet over leaves with those before it, the
// kernel queues the packet within that call, and what comes after it in the batch still waits. So segments keep their order.
//
// What cannot be rewritten is dropped: the table has followed the segment as it was to arrive, and its sender will repeat it. The
// decision then says so, for the record.
func (w *Worker) rewrite(p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) {
	if w.second == nil || len(w.diverts)+len(w.held) >= maxDiverts {
		w.main.Drop(p.ID)
		w.notRewritten(out, policy.Drop, omitBusy)
		return
	}
	w.main.Reroute(p.ID, w.secondQueue)
	w.flush()
	to := divert{tuple: s.Tuple, from: s.Seq, to: s.End()}
	arrived, edited, omitted := 0, 0, ""
	for done := false; !done; {
		n, err := w.second.Recv(w.pieces[:], 0)
		if err != nil || n == 0 {
			break // the next turn reports the error
		}
		for i := range w.pieces[:n] {
			q, part := &w.pieces[i], &w.piece
			w.decoder.Decode(q.Data, int(q.CapLen), packetInfo(q), part)
			switch {
			case w.arrive(q, part): // of a hold that was on its way
			case part.Tuple != to.tuple || !part.Seq.In(to.from, to.to):
				w.second.Accept(q.ID)
			default:
				arrived++
				done = done || part.End() == to.to
				if why := w.edit(q, out); why != "" {
					omitted = why
				} else {
					edited++
				}
			}
		}
		if err := w.second.Flush(); err != nil {
			w.counts.FlushErrors++
		}
	}
	switch {
	case arrived == 0 && !w.shared.failClosed: // a queue that is full lets pass what it cannot take
		w.notRewritten(out, policy.Forward, omitBusy)
	case arrived == 0:
		w.notRewritten(out, policy.Drop, omitBusy)
	case edited == 0:
		w.notRewritten(out, policy.Drop, omitted)
	case omitted != "":
		w.notRewritten(out, policy.Rewrite, omitted)
	}
}

// edit gives one message of the second queue its verdict, with what is left of it, and says why where it had to be dropped.
func (w *Worker) edit(q *nfqueue.Packet, out *policy.Outcome) (omit string) {
	left, changed, omit := w.editor.rewrite(q.Data, int(q.CapLen), packetInfo(q), out.Strip, out.MSS)
	switch {
	case omit != "":
	case !changed: // a piece of a super-packet that has nothing of it
		w.second.Accept(q.ID)
	case w.second.AcceptAltered(q.ID, left) != nil:
		omit = omitTruncated
	}
	if omit == "" {
		w.tap.rewritten(w, left, out)
	}
	if omit != "" {
		w.second.Drop(q.ID)
	}
	return omit
}

// notRewritten makes the decision say what became of the packet instead; with Rewrite, of a part of it.
func (w *Worker) notRewritten(out *policy.Outcome, verdict policy.PacketAction, why string) {
	w.counts.NotRewritten++
	if out.Verdict, out.RewriteOmitted = verdict, why; verdict != policy.Rewrite {
		out.Strip = 0
	}
}
