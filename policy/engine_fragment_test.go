package policy

import (
	"testing"
	"time"

	"halfopen/conntrack"
)

// Of a segment that comes in fragments only the first is queued. The other end acknowledges all of it, and both go on from there: no
// preset may stand in their way.
func TestFragmentedSegments(t *testing.T) {
	for _, name := range Presets() {
		for _, middle := range []bool{false, true} { // taken up in its middle, too, where the preset does that
			e, now := NewEngine(EngineConfig{Policy: policyOf(t, "preset: "+name+"\nadopt: 1h\n")}), conntrack.Instant(1)
			up := tupleOf("10.0.0.1:1001", "192.0.2.1:515")
			down := up.Reverse()
			const ack = conntrack.ACK
			segments := []conntrack.Segment{
				{Tuple: up, Flags: conntrack.SYN, Seq: 1000},
				{Tuple: down, Flags: conntrack.SYN | ack, Seq: 5000, Ack: 1001},
				{Tuple: up, Flags: ack, Seq: 1001, Ack: 5001},
				{Tuple: up, Flags: ack, Seq: 1001, Ack: 5001, Len: 512, Fragment: true}, // of 1400
				{Tuple: down, Flags: ack, Seq: 5001, Ack: 2401},
				{Tuple: up, Flags: ack, Seq: 2401, Ack: 5001, Len: 100},
				{Tuple: down, Flags: ack | conntrack.PSH, Seq: 5001, Ack: 2501, Len: 40},
				{Tuple: down, Flags: ack, Seq: 5041, Ack: 2501, Len: 512, Fragment: true},
				{Tuple: up, Flags: ack, Seq: 2501, Ack: 5041 + 60000},
				{Tuple: up, Flags: ack | conntrack.FIN, Seq: 2501, Ack: 5041 + 60000},
			}
			if middle {
				segments = segments[3:]
			}
			for i := range segments {
				s := &segments[i]
				s.Window, s.Bytes = 64000, 40+s.Len
				now = now.Add(time.Millisecond)
				out := e.Step(now, s)
				if out.Verdict != Forward || out.HasReply || out.HasPeer || out.Finding == conntrack.AckAbove {
					t.Errorf("%s, from its middle %v, segment %d: %v/%v, expected %+v", name, middle, i, out.Verdict, out.Finding, out.Expect)
				}
			}
			// What no datagram can have carried is still above.
			out := e.Step(now.Add(time.Millisecond), &conntrack.Segment{Tuple: up, Flags: ack, Seq: 2502, Ack: 5041 + 60000 + 140000, Window: 64000, Bytes: 40})
			if check := e.Policy().Window(-1).Check; check != conntrack.SeqStrict && check != conntrack.SeqKernel {
				continue // numbers are not judged
			}
			if !middle && out.Finding != conntrack.AckAbove && out.Finding != conntrack.DataAfterFin {
				t.Errorf("%s: an ACK of what was never sent is %v", name, out.Finding)
			}
		}
	}
}
