package policy

import (
	"net/netip"
	"testing"

	"halfopen/conntrack"
)

// On expiry each end that the policy names gets a RST that it accepts: the number that it last acknowledged, not one of a
// constant or of the tuple's other half.
func TestExpiryResets(t *testing.T) {
	const both = "timeouts: {established: 1h}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}"
	data := handshake + `
	+0    c P. 1001:100 5001  =>
	+0    s P. 5001:50 1101   =>
	+0    c .  1101 5051      =>
	`
	play(t, EngineConfig{NoAdopt: true}, both, data+`
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`)
	// The same where a segment meets the expired entry before it is swept.
	play(t, EngineConfig{NoAdopt: true}, both, data+`
	+1h   c S  900000         => forward/new +end:idle +new tomb=idle
	+0    -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101`)
	// A client in SYN_SENT takes only RST+ACK of ISN+1; a server that never spoke gets what it would expect next.
	play(t, EngineConfig{NoAdopt: true}, both, `
	+0    c S  1000:41        => forward/syn-data
	+2m   -                   => rst-tracked:c:R.,0,1001 rst-tracked:s:R,1042 +end:idle`)
	play(t, EngineConfig{NoAdopt: true}, both, `
	+0    c S  1000           =>
	+0    s S. 5000 1001      =>
	+1m   -                   => rst-tracked:c:R.,5001,1001 rst-tracked:s:R,1001 +end:idle`)
	// A connection that was closed or reset is nobody's to reset.
	play(t, EngineConfig{NoAdopt: true}, both, data+`
	+0    c R  1101           => forward/rst
	+1h   -                   => +end:rst`)
}

func TestStatelessReset(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, "on: {mid-stream: {packet: drop, reply: rst}, new: {packet: drop, reply: rst}, rst-no-state: drop}", `
	+0    c S  1000           => drop/new reply=rst:c:R.,0,1001 state=NONE
	+0    c S  1000:40        => reply=rst:c:R.,0,1041
	+0    s .  5001 1001      => drop/ack-no-state reply=rst:s:R,1001
	+0    s F. 5001 1001      => drop/fin-no-state reply=rst:s:R,1001
	+0    s R  5001           => drop/rst-no-state reply=none`)
}

// What must never be answered is not, whatever the policy says; the outcome tells why.
func TestOmittedReplies(t *testing.T) {
	p := &Policy{}
	*p = *policyOf(t, "adopt: 0s")
	for i := range p.actions {
		p.actions[i] = Action{Packet: Drop, Reply: ReplyRST, Peer: PeerRSTTracked}
	}
	for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
		p.actions[index(-1, dir, conntrack.New)] = NaturalAction(conntrack.New, Forward)
		p.actions[index(-1, dir, conntrack.InWindow)] = Action{Packet: Drop, Reply: ReplyRSTTracked}
		p.actions[index(-1, dir, conntrack.DataBeforeHandshake)] = Action{Packet: Drop, Reply: ReplyACKTracked}
	}
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, `
	+0    c R  1000           => drop/rst-no-state reply=none peer=none omitted=rstno-state
	+0    c .  1000 1 bad=1   => drop/malformed reply=none peer=none omitted=malformedmalformed
	+0    c .  1000 1 sum=1   => drop/checksum-bad reply=none omitted=checksumchecksum
	+0    c S  1000           => forward/new
	+0    c P. 1001:5 1       => drop/data-before-handshake reply=none omitted=no-numbers
	+0    s R. 0 999          => drop/rst-out-of-window reply=none omitted=rst`)
	x.ends[1] = netip.MustParseAddrPort("224.0.0.5:80")
	x.run(t, `+0  c .  1 1        => drop/ack-no-state reply=none omitted=not-unicastnot-unicast`)
}

func TestTrackedWindowAndScale(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, "on: {syn-established: {packet: drop, reply: ack-tracked, window: tracked}}", `
	+0    c S  1000 ws=7      =>
	+0    s S. 5000 1001 ws=3 =>
	+0    c .  1001 5001      =>
	+0    s .  5001 1001 win=321 => forward/in-window
	+0    c S  9              => drop/syn-established-in-window reply=ack-tracked:c:.,5001,1001,win=321`)
}

// RSTs with tracked numbers, as each end accepts them.
func TestTrackedResets(t *testing.T) {
	const policy = `
on:
  syn-established: {packet: drop, reply: rst-tracked}
  syn-established-reverse: {packet: drop, reply: rst-tracked, peer: rst-tracked}
  seq-above: {packet: drop, reply: rst-tracked, peer: rst-tracked}
  syn-in-handshake: {packet: drop, peer: rst-tracked, reply: rst-tracked}
  synack-bad-ack: {packet: drop, peer: rst-tracked, reply: rst-tracked}
  ack-for-syn: {packet: drop, peer: rst-tracked}
`
	play(t, EngineConfig{NoAdopt: true}, policy, handshake+`
	+0    c P. 1001:100 5001  =>
	+0    s .  5001 1101      =>
	+0    s P. 5001:50 1101   => # the client does not acknowledge this
	+0    c P. 90000:9 5001   => drop/seq-above reply=rst-tracked:c:R,5001+5051 peer=rst-tracked:s:R,1101
	+0    c S  7000:12        => drop/syn-established reply=rst-tracked:c:R.,5051,7001
	+0    s S  8000           => drop/syn-established-reverse reply=rst-tracked:s:R.,1101,8001 peer=rst-tracked:c:R,5001+5051`)
	// Ends in the handshake: a client that acknowledged nothing needs ISN+1 acknowledged, a server has acknowledged it.
	play(t, EngineConfig{NoAdopt: true}, policy, `
	+0    c S  1000           =>
	+0    s S. 5000 77        => drop/synack-bad-ack-low reply=rst-tracked:s:R,1001 peer=rst-tracked:c:R.,0,1001
	+0    s S. 5000 1001      => forward/syn-ack
	+0    c S  2000           => drop/syn-in-handshake reply=rst-tracked:c:R.,5001,2001 peer=rst-tracked:s:R,1001`)
	// A client that dialled anew on a live entry is in SYN_SENT with the new number.
	play(t, EngineConfig{NoAdopt: true}, "on: {syn-established: {packet: forward, state: annotate}, ack-for-syn: {packet: drop, peer: rst-tracked}}", handshake+`
	+0    c S  900000         => forward/syn-established
	+0    s .  5001 70000     => drop/ack-for-syn peer=rst-tracked:c:R.,5001,900001`)
}
