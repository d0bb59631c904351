package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

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
				a := p.Action(int32(i-1), dir, f)
				fmt.Fprintf(&b, "\n%s %s %s %s %s %s %s %d %t %d %s %d %s %d %s %s %d %d", dir, f, a.Packet, a.Reply, a.Peer, a.State, a.Timer.Op,
					a.Timer.D, a.TrackedWindow, a.HoldFor, a.HoldThen, a.Await,
					a.OnlyIf, a.Within, a.Else, a.ElseReply, a.Strip, a.MSS)
			}
		}
	}
	sum := sha256.Sum256(b.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:])
}
