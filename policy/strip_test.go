package policy

import (
	"testing"

	"halfopen/conntrack"
)

// fullOf is a segment that has everything.
func fullOf(flags conntrack.Flags) conntrack.Segment {
	s := conntrack.Segment{Flags: flags | conntrack.URG | conntrack.PSH | conntrack.ECE | conntrack.CWR | conntrack.AE, Urgent: 5, Reserved: 7, Len: 10, Bytes: 90}
	s.Options = conntrack.Options{Has: 1<<10 - 1, WScale: 7, NSACK: 1, MSS: 1460, TSVal: 1, TSEcr: 2}
	s.Options.SACK[0].Right = 9
	return s
}

// Each part takes what it says and nothing else, and a second time finds nothing; of a SYN/ACK what was agreed stays.
func TestStrip(t *testing.T) {
	const all Strip = 1<<numStrips - 1
	for _, c := range []struct {
		kind conntrack.Flags
		want Strip
	}{
		{conntrack.SYN, all},
		{conntrack.SYN | conntrack.ACK, all &^ (StripWScale | StripTimestamps | StripECN)},
		{conntrack.ACK, all &^ (StripData | StripMSS)}, // what is no SYN has no window scale to begin with: the decoder says so
	} {
		s := fullOf(c.kind)
		if got := all.Of(&s, 1360); got != c.want {
			t.Errorf("%s: of %v %v", c.kind, s.Options.Has, got.Words())
		}
		for i := range numStrips {
			part, s := Strip(1<<i), fullOf(c.kind)
			before := s
			part.Of(&s, 1360).From(&s, 1360)
			if changed := s != before; changed != (part&c.want != 0) {
				t.Errorf("%s: %v changed it: %v", c.kind, part.Words(), changed)
			}
			if part&c.want != 0 && part.Of(&s, 1360) != 0 {
				t.Errorf("%s: %v is still there", c.kind, part.Words())
			}
			if other := (all &^ part).Of(&s, 1360); other != c.want&^part {
				t.Errorf("%s: %v took more: %v are left", c.kind, part.Words(), other.Words())
			}
			if s.Bytes != before.Bytes || s.Seq != before.Seq {
				t.Errorf("%s: %v changed more than the receiver sees", c.kind, part.Words())
			}
		}
	}
	for _, s := range []conntrack.Segment{{Defect: conntrack.DefectOptions, Urgent: 1}, {Checksum: conntrack.ChecksumBad, Urgent: 1}} {
		if all.Of(&s, 0) != 0 {
			t.Errorf("something is to be taken from %+v", s)
		}
	}
}

// What the table remembers is what arrives: each end's view of what was agreed.
func TestRewrittenSYNIsTracked(t *testing.T) {
	for _, check := range []string{"strict", "kernel"} {
		p := policyOf(t, "window: {check: "+check+"}\non: {new: {packet: rewrite, strip: [wscale, timestamps, data]}}")
		x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
		x.run(t, `
	+0    c S  1000:20 win=60000 ws=7 ts=5  => rewrite/syn-data state=SYN_SENT effect=create +new
	+1    c S  1000:20 win=60000 ws=7 ts=6  => rewrite/syn-retransmit
	+10ms s S. 5000 1001 win=60000 ws=7     => forward/syn-ack state=SYN_RECV
	+10ms c .  1001 5001 win=60000          => forward/handshake state=ESTABLISHED
	+0    s .  5001 1001 win=60000          => forward/in-window
	+0    c .  1001:100 5001 win=60000      => forward/in-window`) // no timestamp is missing
		var e conntrack.Entry
		x.e.Walk(0, 1<<30, func(ent *conntrack.Entry) bool { e = *ent; return true })
		if e.Side[0].Flags&(conntrack.SideScale|conntrack.SideTimestamp) != 0 || e.Side[0].MaxWin > 61000 || e.Side[1].MaxWin > 61000 {
			t.Errorf("check: %s: the client's side %+v, the server's %+v", check, e.Side[0], e.Side[1])
		}
		if e.Side[0].Bytes != 40+20+40+20+40+140 {
			t.Errorf("check: %s: %d bytes came from the client", check, e.Side[0].Bytes)
		}
	}
}

// A SYN of the other end, too, loses what the first has lost, or one end would believe in what the other does not know. A SYN that
// opens a connection where another is remembered loses what every first SYN does.
func TestRewrittenSYNs(t *testing.T) {
	p := policyOf(t, "preset: observe\nrules: [{name: out, match: {dst_port: 515}, on: {new: {packet: rewrite, strip: wscale}, syn-time-wait: {packet: forward, state: replace}}}]")
	newScript(p, EngineConfig{NoAdopt: true}, plainWorld).run(t, `
	+0    c S  1000 ws=7       => rewrite/new
	+10ms s S  5000 ws=7       => rewrite/simultaneous-open
	+10ms c S. 1000 5001 ws=7  => forward/syn-ack`)
	newScript(p, EngineConfig{NoAdopt: true}, plainWorld).run(t, `
	+0    c S  1000 ws=7       => rewrite/new
	+10ms s S. 5000 1001       => forward/syn-ack
	+10ms c .  1001 5001       => forward/handshake
	+10ms c F. 1001 5001       => forward/fin
	+10ms s F. 5001 1002       => forward/fin
	+10ms c .  1002 5002       => forward/in-window state=TIME_WAIT
	+1    c S  90000 ws=7      => rewrite/syn-time-wait effect=replace
	+1    c S  90000 ws=7      => rewrite/syn-retransmit`)
	for _, c := range []struct{ action, want string }{
		{"{packet: forward, state: replace}", "rewrite/syn-time-wait effect=replace"},
		{"{packet: forward, state: annotate}", "rewrite/syn-time-wait effect=annotate"},
		{"{packet: forward, state: keep}", "forward/syn-time-wait"}, // it opens nothing
	} {
		p := policyOf(t, "preset: observe\nwindow: {check: strict}\non: {new: {packet: rewrite, strip: wscale}, syn-data: {packet: rewrite, strip: data}, syn-time-wait: "+c.action+"}")
		x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
		x.run(t, `
	+0    c S  1000            => forward/new
	+10ms s S. 5000 1001       => forward/syn-ack
	+10ms c .  1001 5001       => forward/handshake
	+10ms c F. 1001 5001       => forward/fin
	+10ms s F. 5001 1002       => forward/fin
	+10ms c .  1002 5002       => forward/in-window state=TIME_WAIT
	+1    c S  90000:10 ws=7  => `+c.want)
		if c.want != "forward/syn-time-wait" && x.e.out.Strip != StripData {
			t.Errorf("%s: it lost %v, and not what a SYN with data loses", c.action, x.e.out.Strip.Words())
		}
	}
}
