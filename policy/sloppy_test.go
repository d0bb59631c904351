package policy

import "testing"

// What pf calls a sloppy state: no window is judged, and a connection of which only one direction passes comes to be established.
func TestSloppy(t *testing.T) {
	const sloppy = `
timeouts: {established: 1h}
window: {check: "off"}
on:
  handshake-one-sided: {packet: forward, state: track, timer: refresh}
  synack-no-state: {packet: forward, state: create-liberal}
`
	play(t, EngineConfig{NoAdopt: true}, sloppy, `
	+0    c S  1000           => forward/new
	+1    c .  1001 5001      => forward/handshake-one-sided state=ESTABLISHED
	+1    c P. 1001:100 5001  => forward/in-window remaining=59m59s
	+1    c P. 900000:9 77    => forward/in-window`)
	play(t, EngineConfig{NoAdopt: true}, sloppy, `
	+0    s S. 5000 1001      => forward/synack-no-state effect=create-liberal
	+1    s P. 5001:100 1001  => forward/handshake state=ESTABLISHED
	+1    s P. 800000:9 1001  => forward/in-window`)
}
