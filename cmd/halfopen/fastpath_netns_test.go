//go:build netns

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// lastFlows returns the last flow record of each connection, by flow id.
func (w *world) lastFlows() map[uint64]decisionlog.FlowEvent {
	w.t.Helper()
	last := map[uint64]decisionlog.FlowEvent{}
	w.events(func(e *decisionlog.Event) {
		if e.Flow != nil {
			last[e.FlowID] = *e.Flow
		}
	})
	return last
}

// lastStats returns the last stats record.
func (w *world) lastStats() decisionlog.StatsEvent {
	w.t.Helper()
	var last decisionlog.StatsEvent
	w.events(func(e *decisionlog.Event) {
		if e.Stats != nil {
			last = *e.Stats
		}
	})
	if last.FastPath == nil {
		w.t.Fatal("no stats record tells of the fast path")
	}
	return last
}

// most is the flow that moved most bytes.
func most(flows map[uint64]decisionlog.FlowEvent) (m decisionlog.FlowEvent) {
	for _, f := range flows {
		if f.BytesToServer+f.BytesToClient > m.BytesToServer+m.BytesToClient {
			m = f
		}
	}
	return m
}

// bulkBytes is what a transfer moves that is to be on the fast path for most of its life.
const bulkBytes = 512 << 20

// A transfer takes the fast path: the queue sees few of its segments, whichever end sends, over both families. What flow records count is
// what the ends have sent, and the log balances.
func TestFastPathBulk(t *testing.T) {
	for _, mode := range []string{"on", "redirect"} {
		for _, from := range []netip.Addr{clientAddr, clientAddr6} {
			for _, do := range []byte{doTake, doGive} {
				t.Run(fmt.Sprintf("%s/%s/%c", mode, from, do), func(t *testing.T) {
					w := newWorld(t)
					w.serve()
					g := w.start("linux-default", "--fastpath", mode)
					began := time.Now()
					if err := w.transfer(from, order{Do: do, Total: bulkBytes}, nil, nil); err != nil {
						t.Fatalf("%v\n%s", err, g.said())
					}
					took := time.Since(began)
					g.stop()
					w.verify()
					f, st := most(w.lastFlows()), w.lastStats()
					t.Logf("%v; %+v; %+v", took, f, *st.FastPath)
					bytes, fast := f.BytesToServer, f.FastBytesToServer
					if do == doGive {
						bytes, fast = f.BytesToClient, f.FastBytesToClient
					}
					if bytes < bulkBytes || fast < bulkBytes*9/10 || fast > bytes {
						t.Errorf("%d bytes, %d of them by the fast path; %d were sent", bytes, fast, bulkBytes)
					}
					if st.FastPath.Packets != f.FastToServer+f.FastToClient || st.FastPath.Bytes != f.FastBytesToServer+f.FastBytesToClient {
						t.Errorf("the program counted %d packets and %d bytes, the flow's record %d and %d", st.FastPath.Packets, st.FastPath.Bytes,
							f.FastToServer+f.FastToClient, f.FastBytesToServer+f.FastBytesToClient)
					}
					if all := f.PktsToServer + f.PktsToClient; st.Received > all/4 {
						t.Errorf("%d of %d packets took the queue", st.Received, all)
					}
					if n := st.FastPath.Punts["checksum"]; n > 0 { // both ends leave their checksums to cards, which there are none of
						t.Errorf("%d segments were punted for checksums that are not finished", n)
					}
					if f.ConnState != "SF" {
						t.Errorf("the transfer ended as %s", f.ConnState)
					}
					if strings.Contains(g.said(), "given up") {
						t.Error(g.said())
					}
				})
			}
		}
	}
}
