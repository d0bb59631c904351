//go:build netns

package main

import (
	"net/netip"
	"strings"
	"testing"
)

// Where the host translates addresses, a connection's segments look otherwise where they come in than in the forward hook. They take the
// fast path all the same, in both directions; and what is punted in between (its end, at least) is decided as ever.
func TestFastPathNAT(t *testing.T) {
	inner := netip.MustParseAddrPort("198.51.100.11:7005")
	for name, chains := range map[string]string{
		"masquerade": "chain post { type nat hook postrouting priority srcnat; oifname ho-outside masquerade random; };",
		"dnat":       "chain pre { type nat hook prerouting priority dstnat; ip daddr 198.51.100.10 tcp dport 7000 dnat to 198.51.100.11:7005; };",
		"both": "chain post { type nat hook postrouting priority srcnat; oifname ho-outside masquerade random; };" +
			"chain pre { type nat hook prerouting priority dstnat; ip daddr 198.51.100.10 tcp dport 7000 dnat to 198.51.100.11:7005; };",
	} {
		for _, mode := range []string{"on", "redirect"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				w := newWorld(t)
				w.exec(w.Server, "ip", "addr", "add", "198.51.100.11/24", "dev", "ho-outside")
				w.exec(w.Gateway, "nft", "table ip translate { "+chains+" }")
				if strings.Contains(chains, "dnat") {
					w.serveAt(inner) // alone: who is not translated finds nobody
				} else {
					w.serveAt(station4)
				}
				g := w.start("linux-default", "--fastpath", mode)
				const bytes = 128 << 20
				for _, do := range []byte{doTake, doGive} {
					if err := w.transfer(clientAddr, order{Do: do, Total: bytes}, nil, nil); err != nil {
						t.Fatalf("%v\n%s", err, g.said())
					}
				}
				g.stop()
				w.verify()
				st := w.lastStats()
				if st.FastPath.Bytes < 2*bytes*8/10 || st.FastPath.State == "off" {
					t.Errorf("%+v\n%s", st.FastPath, g.said())
				}
				if st.FastPath.Redirected != 0 {
					t.Errorf("%d packets were sent out untranslated", st.FastPath.Redirected)
				}
				for id, f := range w.lastFlows() {
					if f.ConnState != "SF" || f.BytesToServer+f.BytesToClient < bytes || f.OutOfWindowToServer+f.OutOfWindowToClient > 0 {
						t.Errorf("flow %d: %+v", id, f)
					}
				}
			})
		}
	}
}
