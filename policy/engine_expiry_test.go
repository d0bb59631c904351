package policy

import (
	"testing"

	"halfopen/conntrack"
)

// halfClosed is a connection whose originator has closed.
const halfClosed = handshake + `
	+1    c F. 1001 5001      => forward/fin state=FIN_WAIT
	+1ms  s .  5001 1002      => forward/in-window state=CLOSE_WAIT
`

// What is sent when a timer runs out may depend on the state that it ran out in: kinds of idle-expired are decided as it is
// where nothing is said of them.
func TestExpiryByState(t *testing.T) {
	const both = "timeouts: {established: 1h, close_wait: 10m}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}"
	for _, c := range []struct{ name, policy, script string }{
		{"all", both + "}", `+0 c S 1000 =>
	+1h   -                   => rst-tracked:c:R.,0,1001 rst-tracked:s:R,1001 +end:idle`},
		{"half closed", both + "}", halfClosed + `
	+1h   -                   => rst-tracked:c:R,5001 rst-tracked:s:R,1002 +end:idle`},
		{"not half closed", both + ", idle-half-closed: forward}", halfClosed + `
	+1h   -                   => +end:idle`},
		{"not half closed, but established", both + ", idle-half-closed: forward}", handshake + `
	+1h   -                   => rst-tracked:c:R,5001 rst-tracked:s:R,1001 +end:idle`},
		{"not embryonic", both + ", idle-embryonic: forward}", `+0 c S 1000 =>
	+1h   -                   => +end:idle`},
		{"only embryonic", "on: {idle-embryonic: {reply: rst-tracked}}", `
	+0    c S  1000           =>
	+10ms s S. 5000 1001      => state=SYN_RECV
	+1h   -                   => rst-tracked:c:R.,5001,1001 +end:idle`},
		{"closed on both sides", both + "}", halfClosed + `
	+1ms  s F. 5001 1002      => state=LAST_ACK
	+1h   -                   => +end:fin`},
		{"after a RST", both + "}", handshake + `
	+1    c R  1001           => state=CLOSE
	+1h   -                   => +end:rst`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range worlds[:3] {
				newScript(policyOf(t, c.policy), EngineConfig{NoAdopt: true}, w).run(t, c.script)
			}
		})
	}
}

// A RST with the handshake's numbers, as of a table that tracks nothing after it (vector V10: ends that have received data ignore
// it), and toward an end that has only sent its SYN the one that it takes (V11).
func TestRSTInitial(t *testing.T) {
	const stale = "timeouts: {established: 1h}\non: {idle-expired: {reply: rst-initial, peer: rst-initial}, syn-established: {packet: drop, reply: rst-initial, peer: rst-initial}"
	for _, c := range []struct{ name, policy, script string }{
		{"after data", stale + "}", handshake + `
	+1s   c P. 1001:100 5001  =>
	+1ms  s P. 5001:50 1101   =>
	+1ms  c .  1101 5051      =>
	+2h   -                   => rst-initial:c:R,5001 rst-initial:s:R,1001 +end:idle`},
		{"without", stale + "}", handshake + `
	+2h   -                   => rst-initial:c:R,5001 rst-initial:s:R,1001 +end:idle`},
		{"a SYN and nothing else", stale + "}", `+0 c S 1000 =>
	+2h   -                   => rst-initial:c:R.,0,1001 rst-initial:s:R,1001 +end:idle`},
		{"to a segment", stale + "}", handshake + `
	+1s   c P. 1001:100 5001  =>
	+1ms  c S  9000           => drop/syn-established reply=rst-initial:c:R,5001 peer=rst-initial:s:R,1001`},
		{"taken up in its middle", stale + ", data-no-state: {packet: forward, state: create-liberal}}", `
	+0    c P. 1001:100 5001  => forward/data-no-state state=ESTABLISHED
	+2h   -                   => +end:idle`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range worlds[:3] {
				newScript(policyOf(t, c.policy), EngineConfig{NoAdopt: true}, w).run(t, c.script)
			}
		})
	}
	for _, text := range []string{"on: {rst: {packet: drop, reply: rst-initial}}", "on: {ack-no-state: {packet: drop, reply: rst-initial}}",
		"on: {new: {peer: rst-initial}}", "on: {syn-established: {packet: drop, reply: rst-initial, window: tracked}}"} {
		if p, problems := Load("x.yaml", []byte(text), nil); p != nil || len(problems) != 1 {
			t.Errorf("%s: %v", text, problems)
		}
	}
	p := policyOf(t, "on: {late-after-expiry: {packet: drop, reply: rst}}")
	if a := p.Action(-1, conntrack.Original, conntrack.LateRst); a.Reply != ReplyNone {
		t.Errorf("a RST answers a late RST: %+v", *a)
	}
}
