//go:build netns

package lab

import "testing"

// TestPrintJob prints with Debian's rlpr to Debian's lpd; it needs both packages.
func TestPrintJob(t *testing.T) {
	r := play(t, Options{Scenario: "lpd", Policy: PlainForwarding})
	for _, p := range r.Phases {
		if p.Facts["identical_on_arrival"] != true || p.Facts["rlpr_error"] != "" || !p.Client.Connected {
			t.Errorf("%s: client %+v, facts %v", p.Name, p.Client, p.Facts)
		}
		if p.Gateway.Dropped != 0 || p.Gateway.Injected != 0 {
			t.Errorf("%s: gateway %+v under plain forwarding", p.Name, p.Gateway)
		}
	}
	if n := tshark(t, r.Captures.Inside, "tcp.srcport==721 && tcp.dstport==515 && tcp.flags.syn==1"); n < 3 {
		t.Errorf("%d SYNs from port 721", n)
	}
	if p := r.phase(t, "remembered"); p.Client.BareACKsReceived == 0 || p.Client.RSTSent == 0 {
		t.Errorf("remembered: no challenge ACK of the old connection: client %+v", p.Client)
	}
}
