package policy

import (
	"net/netip"
	"testing"
	"time"

	"halfopen/conntrack"
)

func TestCompileSpec(t *testing.T) {
	s := &Spec{Name: "hand", Block: Block{
		Timeouts: map[conntrack.State]time.Duration{conntrack.Established: time.Hour},
		On:       map[conntrack.Finding]Action{conntrack.SynEstablished: {Packet: Drop, Reply: ReplyACKTracked}},
	}, Rules: []Rule{{Name: "print", Match: Match{DstPort: []PortRange{{515, 515}}, Src: []netip.Prefix{mapped(netip.MustParsePrefix("10.2.0.0/16"))}},
		Block: Block{On: map[conntrack.Finding]Action{conntrack.SynEstablished: {Packet: Forward, State: conntrack.Replace}}}}}}
	p, problems := Compile(s, nil)
	if p == nil {
		t.Fatal(problems)
	}
	in := conntrack.MakeTuple(netip.MustParseAddrPort("10.2.3.4:721"), netip.MustParseAddrPort("192.0.2.1:515"))
	out := conntrack.MakeTuple(netip.MustParseAddrPort("10.3.3.4:721"), netip.MustParseAddrPort("192.0.2.1:515"))
	if r := p.Match(&in, true); r != 0 || p.RuleName(r) != "print" {
		t.Errorf("rule %d", r)
	}
	if r := p.Match(&out, true); r != -1 || p.RuleName(r) != "" {
		t.Errorf("rule %d", r)
	}
	rev := in.Reverse()
	if r := p.Match(&rev, true); r != -1 {
		t.Errorf("reverse with state: rule %d", r)
	}
	if r, dir := p.MatchSegment(&rev); r != 0 || dir != conntrack.Reply {
		t.Errorf("reverse without state: rule %d %s", r, dir)
	}
	if a := p.Action(0, conntrack.Reply, conntrack.SynEstablished); a.Packet != Forward || a.State != conntrack.Replace {
		t.Errorf("rule's action %+v", a)
	}
	if a := p.Action(-1, conntrack.Original, conntrack.SynEstablished); a.Packet != Drop || a.Reply != ReplyACKTracked {
		t.Errorf("policy's action %+v", a)
	}
	if a := p.Action(-1, conntrack.Original, conntrack.InWindow); a.State != conntrack.Track || a.Timer.Op != conntrack.TimerRefresh {
		t.Errorf("in-window %+v", a)
	}
	if d := p.Timeouts(0)[conntrack.Established]; d != time.Hour {
		t.Errorf("timeout %v", d)
	}
	if n := testing.AllocsPerRun(100, func() { p.Action(p.Match(&rev, false), 0, conntrack.New) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
