package conntrack

import (
	"strings"
	"testing"
)

// catalogue are the ids of every anomaly that was found in a product, an engine or an RFC.
const catalogue = `
	syn.est.fwd syn.est.rev syn.halfclosed syn.closing syn.timewait syn.afterrst syn.synsent.newisn syn.synrecv syn.simopen
	syn.data synack.data tfo.data.ignored ack.insteadof.synack rst.after.challenge synack.badack synack.unsolicited synack.est
	synack.wrongdir ack.3whs.bad data.before.3whs syn.unsolicited.inbound
	mid.ack mid.data mid.fin mid.rst mid.synack seq.above seq.below seq.below.old ack.above ack.below
	rst.oow rst.inexact rst.exact rst.ack0 rst.data rst.storm fin.oow fin.dup data.after.fin data.after.rst fin.after.rst
	keepalive zerowin.persist window.shrink paws.fail ts.missing overlap.diff mss.exceeded urg
	flags.illegal cksum.bad hdr.short opt.bad asym idle.expire half.dead table.full src.limit halfopen.limit
	policy.reload manual.kill late.packet`

// notFindings are those that no finding stands for, and why.
func notFindings() map[string]string {
	return map[string]string{
		"overlap.diff":  "what a segment carries is not kept, so that what overlaps cannot be compared",
		"policy.reload": "an end reason: " + EndReload.String(),
		"manual.kill":   "an end reason: " + EndKilled.String(),
	}
}

// TestCatalogue: every id of the catalogue has a finding, or a reason for none, and no finding claims another.
func TestCatalogue(t *testing.T) {
	open := map[string]bool{}
	for _, id := range strings.Fields(catalogue) {
		open[id] = notFindings()[id] == ""
	}
	for f := range NumFindings {
		for _, id := range strings.Fields(f.Info().Dotted) {
			if _, ok := open[id]; !ok {
				t.Errorf("%s: no such id: %s", f, id)
			}
			open[id] = false
		}
	}
	for id, is := range open {
		if is {
			t.Errorf("%s has no finding", id)
		}
	}
}

// TestKinds: a kind does to the table what its base does, and is said of the same, so that the finer word costs nothing.
func TestKinds(t *testing.T) {
	for f := range NumFindings {
		b := f.Base()
		if b.Base() != b {
			t.Errorf("%s is a kind of %s, which is one of %s", f, b, b.Base())
		}
		x, y := f.Info(), b.Info()
		if x.Effect != y.Effect || x.Timer != y.Timer || x.Packet != y.Packet {
			t.Errorf("%s: %v %v, %s: %v %v", f, x.Effect, x.Timer, b, y.Effect, y.Timer)
		}
		if f.Counted() && b != InWindow {
			t.Errorf("%s is counted", f)
		}
	}
}
