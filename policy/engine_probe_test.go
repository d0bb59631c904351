package policy

import (
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

const asaProbes = "timeouts: {established: 1h}\nprobes: {tries: 2, every: 15s, when: after, alive: all}\non: {dead-connection: {reply: rst-tracked, peer: rst-tracked}}"

// The last data of a connection that was acknowledged: c's next number is 1101, s's 5001.
const acknowledged = handshake + `
	+0    c P. 1001:100 5001  => counted=true
	+0    s .  5001 1101      => counted=true`

// Dead connection detection: after the timeout both ends are asked, and both must answer.
func TestProbesAfter(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, asaProbes, acknowledged+`
	+1h   -                   => probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000
	+1s   c .  1101 5001      => forward/ack-for-probe state=ESTABLISHED remaining=29s
	+1s   s .  5001 1101      => forward/ack-for-probe remaining=28s
	+0    c .  1101 5001      => forward/in-window counted=true remaining=1h0m30s
	+1h   -                   => probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000
	+1s   s .  5001 1101      => forward/ack-for-probe
	+14s  -                   => probe-ack:c:.,5000,1101,win=1000
	+15s  -                   => rst-tracked:c:R,5001 rst-tracked:s:R,1101 +end:dead
	+1s   s .  5001 1101      => forward/late-after-expiry tomb=dead`)
}

// Keepalives before the end: any answer refreshes; time alone gives all of them and then the end, however late it is told.
func TestProbesBefore(t *testing.T) {
	const keep = "timeouts: {established: 300s}\nprobes: {tries: 4, every: 5s}\non: {dead-connection: {peer: rst-tracked}}"
	both := "probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000"
	play(t, EngineConfig{NoAdopt: true}, keep, acknowledged+`
	+279s -                   =>
	+1s   -                   => `+both+`
	+6s   -                   => `+both+`
	+0    c .  1101 5001      => forward/ack-for-probe remaining=14s
	+0    s .  5001 1101      => forward/in-window remaining=5m0s
	+310s -                   => `+strings.Repeat(both+" ", 4)+`rst-tracked:s:R,1101 +end:dead`)
}

// A RST that answers a keepalive ends the connection, and goes on to the other end.
func TestProbeFindsTheEndGone(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, asaProbes, acknowledged+`
	+1h   -                   => probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000
	+1ms  s R  5001           => forward/rst-for-probe effect=delete state=NONE +end:rst
	+1ms  c .  1101 5001      => forward/late-after-expiry tomb=rst`)
}

// What is not idle, not established, or not to be asked is not asked.
func TestProbesOnlyTheIdle(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, asaProbes, acknowledged+`
	+50m  c P. 1101:10 5001   => counted=true
	+50m  -                   =>
	+0    c F. 1111 5001      => state=FIN_WAIT
	+2m   -                   => +end:idle`)
	play(t, EngineConfig{NoAdopt: true}, asaProbes+"\nrules: [{name: lpd, match: {dst_port: [515, 721]}, probes: {tries: 1, every: 1s, to: reply, alive: either}}]", acknowledged+`
	+1h   -                   => probe-ack:s:.,1100,5001,win=1000
	+1s   -                   => rst-tracked:c:R,5001 rst-tracked:s:R,1101 +end:dead`)
	play(t, EngineConfig{NoAdopt: true}, "timeouts: {syn_sent: 10s}\nprobes: {tries: 5, every: 1s}", `
	+0    c S  1000           => forward/new
	+10s  -                   => +end:idle`)
}

// A probe acknowledges no more than the other end has acknowledged: the ack of data that the gateway merely saw would be a lie.
func TestProbeTellsNoLie(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, asaProbes, acknowledged+`
	+0    c P. 1101:500 5001  => counted=true  # nobody has acknowledged this
	+0    s P. 5001:20 1101   => counted=true  # nor this
	+1h   -                   => probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000`)
}

const smartReuse = `
timeouts: {established: 1h}
on:
  syn-established: {packet: drop, peer: probe-ack, await: 3s}
  ack-for-probe: {packet: forward, state: keep}
  probe-unanswered: {state: STATE}
`

// A SYN on a live connection: the other end is asked. Its RST releases the entry, its ACK keeps it, its silence is told.
func TestSmartConnectionReuse(t *testing.T) {
	keep := strings.Replace(smartReuse, "STATE", "keep", 1)
	syn := acknowledged + `
	+25s  c S  900000         => drop/syn-established effect=keep state=ESTABLISHED peer=probe-ack:s:.,1100,5001,win=1000 reply=none`
	play(t, EngineConfig{NoAdopt: true}, keep, syn+`
	+1ms  s R  5001           => forward/rst-for-probe effect=delete +end:rst
	+1s   c S  900000         => forward/new +new`)
	play(t, EngineConfig{NoAdopt: true}, keep, syn+`
	+1ms  s .  5001 1101      => forward/ack-for-probe effect=keep state=ESTABLISHED counted=false
	+1ms  c R  1101           => forward/rst state=CLOSE  # the client, in SYN_SENT, answers that ACK so
	+1s   c S  900000         => forward/syn-after-rst effect=replace +new`)
	play(t, EngineConfig{NoAdopt: true}, keep, syn+`
	+2s   -                   =>
	+1s   -                   => probe-unanswered
	+0    c .  1101 5001      => forward/in-window remaining=59m32s`)
	play(t, EngineConfig{NoAdopt: true}, strings.Replace(smartReuse, "STATE", "delete, peer: rst-tracked", 1), syn+`
	+3s   -                   => probe-unanswered rst-tracked:s:R,1101 +end:deleted`)
}

// Check Point's form of it quotes another number each time, far from any that the end may have sent.
func TestProbeFromSYN(t *testing.T) {
	x := newScript(policyOf(t, strings.Replace(strings.Replace(smartReuse, "STATE", "keep", 1), "probe-ack, await", "probe-from-syn, await", 1)), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, acknowledged)
	seen := map[conntrack.Seq]bool{}
	for range 3 {
		s := x.segment(t, strings.Fields("c S 900000 win=500"))
		out := x.e.Step(x.now, &s)
		p := out.Peer.Segment
		if !out.HasPeer || out.Peer.Kind != "probe-from-syn" || p.Seq != 900000 || p.Flags != conntrack.ACK || p.Window != 500 || p.Options.Has != 0 {
			t.Fatalf("%+v", out.Peer)
		}
		if d := p.Ack.Diff(5001); d < 1<<30 || seen[p.Ack] {
			t.Errorf("acknowledges %d, %d beyond the end", p.Ack, d)
		}
		seen[p.Ack] = true
		x.now = x.now.Add(time.Second)
	}
	s := x.segment(t, strings.Fields("s R 0"))
	s.Seq = x.e.out.Peer.Segment.Ack
	if out := x.e.Step(x.now, &s); out.Finding != conntrack.RstForProbe || out.After != conntrack.StateNone {
		t.Errorf("%v %v", out.Finding, out.After)
	}
}

// Which segments may refresh.
func TestRefreshRules(t *testing.T) {
	const policy = "timeouts: {established: 100s}\nrefresh: "
	play(t, EngineConfig{NoAdopt: true}, policy+"original", handshake+`
	+10s  s .  5001 1001      => remaining=1m30s
	+10s  c .  1001 5001      => remaining=1m20s
	+10s  s .  5001 1001      => remaining=1m30s`)
	play(t, EngineConfig{NoAdopt: true}, policy+"reply", handshake+`
	+10s  c .  1001 5001      => remaining=1m30s
	+10s  s .  5001 1001      => remaining=1m20s
	+10s  c .  1001 5001      => remaining=1m30s
	+0    c F. 1001 5001      => state=FIN_WAIT  # a close sets its own timer
	+0    s .  5001 1002      => remaining=2m0s`)
	play(t, EngineConfig{NoAdopt: true}, policy+"both-progress", handshake+`
	+10s  c .  1001 5001      => remaining=1m30s
	+10s  c .  1001 5001      => remaining=1m20s
	+10s  s .  5001 1001      => remaining=1m10s
	+10s  s .  5001 1001      => remaining=1m30s
	+10s  c .  1001 5001      => remaining=1m20s
	+10s  s .  5001 1001      => remaining=1m30s  # the server's from before counted
	+80s  s .  5001 1001      => remaining=10s
	+10s  -                   => +end:idle`)
}

// Probing follows a reload: what a policy does not ask for any more is not asked.
func TestProbesAndReload(t *testing.T) {
	x := newScript(policyOf(t, asaProbes), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, acknowledged)
	x.e.Swap(x.now, policyOf(t, "timeouts: {established: 1h}"), ReloadRematch)
	x.run(t, `
	+1h   -                   => +end:idle`)
	x = newScript(policyOf(t, "timeouts: {established: 1h}"), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, acknowledged)
	x.e.Swap(x.now, policyOf(t, asaProbes), ReloadRematch)
	x.run(t, `
	+0    -                   =>
	+1h   -                   => probe-ack:c:.,5000,1101,win=1000 probe-ack:s:.,1100,5001,win=1000`)
}
