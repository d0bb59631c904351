package policy

import (
	"testing"

	"halfopen/conntrack"
)

func TestHold(t *testing.T) {
	const rfc5382 = "on: {new: {packet: hold, hold: 6s, then: drop, reply: icmp-port}}\nrules:\n  - name: out\n    match: {src_port: 515}\n    on: {new: forward}"
	p := policyOf(t, rfc5382)
	newScript(p, EngineConfig{NoAdopt: true}, plainWorld).run(t, `
	+0    c S  1000           => hold/new hold=1 state=NONE effect=keep reply=none
	+1    -                   =>
	+5    -                   => 1:drop icmp-port:c
	+1    c S  1000           => hold/new hold=2
	+1    s S  7000           => forward/new rule=out
	+0    -                   => 2:drop`)
	x := newScript(p, EngineConfig{NoAdopt: true, MaxHolds: 1}, plainWorld)
	x.run(t, `
	+0    c S  1000           => hold/new hold=1
	+0    c S  1000           => drop/new reply=icmp-port:c`)
	var got []string
	x.e.ReleaseHolds(x.now, Forward, func(ev *TimeEvent) { got = append(got, ev.Verdict.String()) })
	if len(got) != 1 || got[0] != "forward" || x.e.Next() != conntrack.Never {
		t.Errorf("released %v, next %d", got, x.e.Next())
	}
}
