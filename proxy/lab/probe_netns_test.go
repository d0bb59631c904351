//go:build netns

package lab

import "testing"

// TestProbesKeepAConnection: two real ends that only rest answer the gateway's keepalives, so the connection outlives its idle timer;
// without the probes the gateway forgets it. Each end sees the keepalive that was made in the other's name.
func TestProbesKeepAConnection(t *testing.T) {
	binary := halfopen(t)
	r := play(t, Options{Scenario: "idle-expiry", Phase: "client-sends", Policy: "transparent-resync", Binary: binary})
	p := r.phase(t, "client-sends")
	if p.Facts["gateway_forgot"] != false || p.Facts["data_arrived"] != true {
		t.Errorf("facts %v", p.Facts)
	}
	for name, file := range map[string]string{"inside": r.Captures.Inside, "outside": r.Captures.Outside} {
		// the keepalive and its answer: both without data, the former one number back
		if n := tshark(t, file, "tcp.analysis.keep_alive"); n < 1 {
			t.Errorf("%s: %d keepalives", name, n)
		}
	}
}
