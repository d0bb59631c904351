package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"halfopen/conntrack"
)

// revision hashes what a compiled policy means, in a text that no detail of its files reaches.
func revision(p *Policy) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "halfopen policy 1\nlimits %d %d %d %d %s\nadopt %d\nreload %s\nlog %s", p.limits.Flows, p.limits.Embryonic,
		p.limits.Tombstones, p.limits.PerSource, p.onFull, p.adopt, p.reload, p.log.Detail)
	fmt.Fprintf(&b, " %v", p.fileFacts())
	for f, n := range p.log.Rate {
		fmt.Fprintf(&b, " %s %d", conntrack.Finding(f), n)
	}
	for i := range p.timeouts {
		if i > 0 {
			m := &p.matches[i-1]
			fmt.Fprintf(&b, "\nrule %q src %v dst %v ports %v %v direction %s", p.names[i-1], m.Src, m.Dst, m.SrcPort, m.DstPort, m.Direction)
		}
		w := &p.windows[i]
		fmt.Fprintf(&b, "\nupkeep%s", &p.upkeeps[i])
		fmt.Fprintf(&b, "\nwindow %d %d %d %d %d %d %d %d\ntimeouts", w.Check, w.RST, w.Near, w.SynBand, w.ACK, w.Old, w.Retransmits, w.TombLate)
		for s := conntrack.StateNone + 1; s < conntrack.NumStates; s++ {
			fmt.Fprintf(&b, " %s %d", s, p.timeouts[i][s])
		}
		for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
			for f := range conntrack.NumFindings {
				b.Write(appendAction(b.AvailableBuffer(), dir, f, p.Action(int32(i-1), dir, f)))
			}
		}
	}
	sum := sha256.Sum256(b.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// appendAction appends the line of an action. There are many of them in a policy, and each load hashes all: no formats here.
func appendAction(b []byte, dir conntrack.Direction, f conntrack.Finding, a *Action) []byte {
	b = append(append(b, '\n'), dir.String()...)
	for _, w := range [...]fmt.Stringer{f, a.Packet, a.Reply, a.Peer, a.State, a.Timer.Op} {
		b = append(append(b, ' '), w.String()...)
	}
	b = strconv.AppendInt(append(b, ' '), int64(a.Timer.D), 10)
	b = strconv.AppendBool(append(b, ' '), a.TrackedWindow)
	b = strconv.AppendInt(append(b, ' '), int64(a.HoldFor), 10)
	b = append(append(b, ' '), a.HoldThen.String()...)
	b = strconv.AppendInt(append(b, ' '), int64(a.Await), 10)
	b = append(append(b, ' '), a.OnlyIf.String()...)
	b = strconv.AppendInt(append(b, ' '), int64(a.Within), 10)
	b = append(append(b, ' '), a.Else.String()...)
	b = append(append(b, ' '), a.ElseReply.String()...)
	b = strconv.AppendUint(append(b, ' '), uint64(a.Strip), 10)
	return strconv.AppendUint(append(b, ' '), uint64(a.MSS), 10)
}
