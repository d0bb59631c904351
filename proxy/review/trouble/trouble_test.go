package trouble

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"
)

// stands is a connection's handshake, flow 1.
const stands = `
	+0s 1 new
	+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
	+1ms 1 < S. 500 101 0 forward/syn-ack SYN_SENT>SYN_RECV
	+1ms 1 > . 101 501 0 forward/handshake SYN_RECV>ESTABLISHED
`

var cases = []struct {
	name, log string
	want      []string
}{
	{"healthy", stands + "+1h 1 end closed client-fin handshake=0.002", nil},
	{"healthy, and forgotten", stands + "+1h 1 end forgotten idle why=idle handshake=0.002", nil},
	{"healthy, and lives", stands, nil},
	{"healthy, older than the log", "+0s 1 > . 5 5 0 forward/window-shrunk ESTABLISHED>ESTABLISHED\n+1h 1 end forgotten idle why=idle", nil},
	{"healthy, adopted", "+0s 1 new\n+0s 1 > . 5 5 9 forward/adopted NONE>ESTABLISHED\n+1h 1 end picked-up idle why=idle adopted", nil},
	{"a SYN just sent", "+0s 1 new\n+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT", nil},

	{"unanswered", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1s 1 > S 100 0 0 forward/syn-retransmit SYN_SENT>SYN_SENT
		+2m 1 end unanswered idle why=idle`, []string{"never-connected/unanswered 1 syns=2"}},
	{"unanswered so far", "+0s 1 new\n+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT\n+4s 2 new\n+0s run R", []string{"never-connected/unanswered 1 syns=1"}},
	{"unanswered, its records held back", "+0s 1 new\n+2m 1 end unanswered idle why=idle again=4", []string{"never-connected/unanswered 1 syns=5"}},
	{"unanswered, some of its records held back", "+0s 1 new\n+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT\n+2m 1 end unanswered idle why=idle again=4",
		[]string{"never-connected/unanswered 1 syns=5"}},
	{"refused twice on the same ports", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 < R. 0 101 0 forward/rst SYN_SENT>CLOSE
		+1s 1 end refused server-rst why=replaced
		+0s 2 new pred=1
		+0s 2 > S 700 0 0 forward/syn-after-rst CLOSE>SYN_SENT
		+1ms 2 < R. 0 701 0 forward/rst SYN_SENT>CLOSE
		+10s 2 end refused server-rst why=rst`, []string{"never-connected/refused 1 syns=1 rst", "never-connected/refused 2 syns=1 rst"}},
	{"refused", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 end refused server-rst why=rst
		+0s 1 < R. 0 101 0 forward/rst SYN_SENT>NONE`, []string{"never-connected/refused 1 syns=1 rst"}},
	{"never completed", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 < S. 500 101 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1m 1 end never-established idle why=idle`, []string{"never-connected/unfinished 1 syns=1"}},
	{"SYNs dropped, no connection", `
		+0s 0 > S 100 0 0 drop/new NONE>NONE rule=closed
		+1s 0 > S 100 0 0 drop/new NONE>NONE rule=closed`, []string{"never-connected/dropped 0 syns=2 new"}},
	{"SYNs refused by the gateway", "+0s 0 > S 100 0 0 drop/new NONE>NONE reply=rst", []string{"never-connected/gateway-refused 0 syns=1 new"}},
	{"a held SYN that is let go", `
		+0s 0 > S 100 0 0 hold/new NONE>NONE
		+6s 0 > S 100 0 0 drop/new NONE>NONE settles=1 reply=icmp-port`, []string{"never-connected/gateway-refused 0 syns=1 new"}},
	{"the answer dropped", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 < S. 500 90 0 drop/synack-bad-ack SYN_SENT>SYN_SENT
		+2m 1 end unanswered idle why=idle`, []string{"never-connected/handshake-dropped 1 syns=1 synack-bad-ack"}},
	{"the answer to a SYN that went another way", "+0s 0 < S. 500 90 0 drop/synack-no-state NONE>NONE", []string{"never-connected/handshake-dropped 0 syns=1 synack-no-state"}},

	{"the incident by day: the gateway answers", stands + `
		+30m 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED reply=ack-tracked idle=1800
		+1s 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED reply=ack-tracked idle=1
		+2s 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED reply=ack-tracked idle=2
		+1h 1 end forgotten idle why=idle`, []string{"old-connection/gateway 1 syns=3 syn-established"}},
	{"the incident by night: the server answers", stands + `
		+1h 1 end forgotten idle why=idle
		+8h 2 new pred=1
		+0s 2 > S 9000 0 0 forward/new NONE>SYN_SENT tomb=1,8h,idle
		+1ms 2 < . 501 101 0 forward/ack-for-syn SYN_SENT>SYN_SENT tomb=1,8h,idle
		+1s 2 > S 9000 0 0 forward/syn-retransmit SYN_SENT>SYN_SENT tomb=1,8h,idle
		+1ms 2 < . 501 101 0 forward/ack-for-syn SYN_SENT>SYN_SENT tomb=1,8h,idle
		+30s 2 end unanswered idle why=idle`, []string{"old-connection/server 2 syns=2 ack-for-syn"}},
	{"by day, and the client's RST heals it", stands + `
		+30m 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED reply=ack-tracked idle=1800
		+1ms 1 > R 101 0 0 forward/rst-after-challenge ESTABLISHED>CLOSE
		+1s 1 end reset client-rst why=replaced
		+0s 2 new pred=1
		+0s 2 > S 9000 0 0 forward/syn-after-rst CLOSE>SYN_SENT
		+1ms 2 < S. 700 9001 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 2 end closed client-fin`, []string{"retries/old-connection 2 syns=2 syn-established"}},
	{"by night, and the client's RST heals it", `
		+0s 2 new pred=1
		+0s 2 > S 9000 0 0 forward/new NONE>SYN_SENT tomb=1,8h,idle
		+1ms 2 < . 501 101 0 forward/ack-for-syn SYN_SENT>SYN_SENT tomb=1,8h,idle
		+1ms 2 > R 101 0 0 forward/rst-after-challenge SYN_SENT>CLOSE
		+1s 2 end refused client-rst why=replaced
		+0s 3 new pred=2
		+0s 3 > S 9000 0 0 forward/syn-after-rst CLOSE>SYN_SENT
		+1ms 3 < S. 700 9001 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 3 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"retries/old-connection 3 syns=2 ack-for-syn"}},
	{"the server proves the second SYN at once", stands + `
		+30m 1 > S 9000 0 0 forward/syn-established ESTABLISHED>ESTABLISHED idle=1800
		+1ms 1 end forgotten replaced why=replaced
		+0s 2 new pred=1
		+0s 2 < S. 700 9001 0 forward/synack-resync ESTABLISHED>SYN_RECV
		+1ms 2 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 2 end closed client-fin`, nil},
	{"the server proves the second SYN late", stands + `
		+30m 1 > S 9000 0 0 forward/syn-established ESTABLISHED>ESTABLISHED idle=1800
		+1s 1 > S 9000 0 0 forward/syn-established ESTABLISHED>ESTABLISHED idle=1
		+1ms 1 end forgotten replaced why=replaced
		+0s 2 new pred=1
		+0s 2 < S. 700 9001 0 forward/synack-resync ESTABLISHED>SYN_RECV
		+1ms 2 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 2 end closed client-fin`, []string{"retries/old-connection 2 syns=2"}},
	{"the gateway makes room at once", stands + `
		+30m 1 end forgotten gateway-rst why=replaced
		+0s 2 new pred=1
		+0s 2 > S 9000 0 0 forward/syn-established ESTABLISHED>SYN_SENT peer=rst-tracked
		+1ms 2 < S. 700 9001 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 2 end closed client-fin`, nil},
	{"a second dial that nobody answers, and the old connection is closed", stands + `
		+30m 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED
		+1s 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED
		+1h 1 end closed client-fin`, []string{"never-connected/dropped 1 syns=2 syn-established"}},
	{"a second dial on a connection that stalled", stands + `
		+30m 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED
		+1s 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED
		+1h 1 end forgotten idle why=idle stalled=90`, []string{"never-connected/dropped 1 syns=2 syn-established", "stalled/no-answer 1"}},

	{"a SYN on a live connection is forwarded in vain", stands + `
		+30m 1 > S 9000 0 0 forward/syn-established ESTABLISHED>ESTABLISHED idle=1800
		+1s 1 > S 9000 0 0 forward/syn-established ESTABLISHED>ESTABLISHED idle=1
		+1h 1 end forgotten idle why=idle`, []string{"old-connection/forwarded 1 syns=2"}},
	{"the old connection's RST is exact, and no trouble of its own", stands + `
		+30m 1 > S 9000 0 0 drop/syn-established ESTABLISHED>ESTABLISHED reply=ack-tracked idle=1800
		+1ms 1 > R 101 0 0 forward/rst ESTABLISHED>CLOSE
		+1s 1 end reset client-rst why=replaced
		+0s 2 new pred=1
		+0s 2 > S 9000 0 0 forward/syn-after-rst CLOSE>SYN_SENT
		+1ms 2 < S. 700 9001 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 9001 701 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"retries/old-connection 2 syns=2 syn-established"}},
	{"connected with the third SYN", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1s 1 > S 100 0 0 forward/syn-retransmit SYN_SENT>SYN_SENT
		+2s 1 > S 100 0 0 forward/syn-retransmit SYN_SENT>SYN_SENT
		+1ms 1 < S. 500 101 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 1 > . 101 501 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 1 end closed client-fin handshake=3.002`, []string{"retries/syn-again 1 syns=3"}},
	{"dropped for want of room, then let in", `
		+0s 0 > S 100 0 0 drop/embryonic-limit NONE>NONE
		+1s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 < S. 500 101 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 1 > . 101 501 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"retries/syn-again 1 syns=2 embryonic-limit"}},
	{"dialled again from other ports", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 end refused server-rst why=rst
		+0s 1 < R. 0 101 0 forward/rst SYN_SENT>NONE
		+5s 2 new client=10.2.0.7:722
		+0s 2 > S 700 0 0 forward/new NONE>SYN_SENT
		+1ms 2 end refused server-rst why=rst
		+0s 2 < R. 0 701 0 forward/rst SYN_SENT>NONE
		+5s 3 new client=10.2.0.7:723
		+0s 3 > S 900 0 0 forward/new NONE>SYN_SENT
		+1ms 3 < S. 500 901 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 3 > . 901 501 0 forward/handshake SYN_RECV>ESTABLISHED
		+1h 3 end closed client-fin`, []string{"retries/dialled-again 3 syns=3 rst"}},
	{"another client's success is none of its own", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 end refused server-rst why=rst
		+0s 1 < R. 0 101 0 forward/rst SYN_SENT>NONE
		+5s 2 new client=10.2.0.8:721
		+0s 2 > S 700 0 0 forward/new NONE>SYN_SENT
		+1ms 2 < S. 500 701 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 701 501 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"never-connected/refused 1 syns=1 rst"}},
	{"nor is a success long after", `
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 end refused server-rst why=rst
		+0s 1 < R. 0 101 0 forward/rst SYN_SENT>NONE
		+31s 2 new client=10.2.0.7:722
		+0s 2 > S 700 0 0 forward/new NONE>SYN_SENT
		+1ms 2 < S. 500 701 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 701 501 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"never-connected/refused 1 syns=1 rst"}},
	{"nor one in another life of the gateway", `
		+0s run A
		+0s 1 new
		+0s 1 > S 100 0 0 forward/new NONE>SYN_SENT
		+1ms 1 end refused server-rst why=rst
		+0s 1 < R. 0 101 0 forward/rst SYN_SENT>NONE
		+5s run B
		+0s 2 new client=10.2.0.7:722
		+0s 2 > S 700 0 0 forward/new NONE>SYN_SENT
		+1ms 2 < S. 500 701 0 forward/syn-ack SYN_SENT>SYN_RECV
		+1ms 2 > . 701 501 0 forward/handshake SYN_RECV>ESTABLISHED`, []string{"never-connected/refused 1 syns=1 rst"}},

	{"stalled", stands + "+1h 1 end forgotten idle why=idle stalled=62.5", []string{"stalled/no-answer 1"}},
	{"stalled, because the gateway drops", stands + `
		+1s 1 > . 90000 501 10 drop/seq-above ESTABLISHED>ESTABLISHED
		+1h 1 end reset client-rst why=rst stalled=62.5`, []string{"stalled/gateway-dropped 1 seq-above"}},
	{"dead", stands + "+1h 1 inject rst-tracked trigger=dead-connection\n+0s 1 end dead gateway-rst why=dead", []string{"stalled/dead 1"}},
	{"drops without harm", stands + "+1s 1 > . 90000 501 10 drop/seq-above ESTABLISHED>ESTABLISHED\n+1h 1 end closed client-fin", nil},

	{"reset by the gateway, which tells after the end", stands + `
		+1s 1 end forgotten gateway-rst why=deleted
		+0s 1 > . 101 501 10 drop/urgent ESTABLISHED>NONE peer=rst-tracked reply=rst-tracked rule=no-urgent`, []string{"gateway-reset/decision 1 urgent"}},
	{"reset by the gateway's patience", stands + `
		+1h 1 inject rst-tracked trigger=idle-expired
		+0s 1 end forgotten gateway-rst why=idle`, []string{"gateway-reset/idle 1 idle-expired"}},
	{"reset by the client", stands + "+1s 1 > R 101 0 0 forward/rst ESTABLISHED>CLOSE\n+10s 1 end reset client-rst why=rst", []string{"end-reset/client 1 rst"}},
	{"reset by the server", stands + "+1s 1 < R 501 0 0 forward/rst ESTABLISHED>CLOSE\n+10s 1 end reset server-rst why=rst", []string{"end-reset/server 1 rst"}},
	{"a RST after a FIN is no trouble", stands + `
		+1s 1 < F. 501 101 0 forward/fin ESTABLISHED>FIN_WAIT
		+1s 1 > R 101 0 0 forward/rst FIN_WAIT>CLOSE
		+10s 1 end reset client-rst why=rst hist=ShAfR`, nil},
	{"nor is the RST of a client that has forgotten", stands + "+1s 1 > R 101 0 0 forward/rst-for-probe ESTABLISHED>CLOSE\n+10s 1 end reset client-rst why=rst", nil},

	{"cut off", stands + `
		+1h 1 end forgotten idle why=idle
		+412s 0 > P. 101 501 10 drop/late-after-expiry NONE>NONE tomb=1,412s,idle
		+1s 0 > P. 101 501 10 drop/late-after-expiry NONE>NONE tomb=1,413s,idle`, []string{"late/dropped 1 late-after-expiry"}},
	{"cut off with a RST", "+0s 0 < P. 501 101 10 drop/late-after-expiry NONE>NONE tomb=1,412s,evicted reply=rst", []string{"late/refused 1 late-after-expiry"}},
	{"cut off, in the words of a policy that has no memory of what it forgot", "+0s 0 > P. 101 501 10 drop/data-no-state NONE>NONE tomb=1,1h,idle",
		[]string{"late/dropped 1 data-no-state"}},
	{"late, and let through", "+0s 0 > P. 101 501 10 forward/late-after-expiry NONE>NONE tomb=1,412s,idle", nil},
	{"late after a close", "+0s 0 > . 101 501 0 drop/late-after-expiry NONE>NONE tomb=1,130s,fin", nil},
	{"never known", "+0s 0 > P. 101 501 10 drop/data-no-state NONE>NONE", []string{"late/unknown 0 data-no-state"}},
	{"denied from the first SYN on", `
		+0s 1 new
		+0s 1 > S 100 0 0 drop/new NONE>DENIED reply=rst
		+1s 1 > S 100 0 0 drop/denied DENIED>DENIED
		+1m 1 end denied denied why=denied`, []string{"never-connected/gateway-refused 1 syns=2 denied"}},
	{"denied in its middle", stands + `
		+1s 1 end forgotten deleted why=deleted
		+0s 2 new pred=1
		+0s 2 > P. 101 501 10 drop/urgent ESTABLISHED>DENIED rule=no-urgent
		+1s 2 > P. 101 501 10 drop/denied DENIED>DENIED
		+1m 2 end denied denied why=denied`, []string{"late/denied 2 denied"}},
	{"a stray ACK", "+0s 0 > . 101 501 0 drop/ack-no-state NONE>NONE\n+0s 0 < R 501 0 0 drop/rst-no-state NONE>NONE", nil},
	{"reset by the gateway's patience with one whose client had closed", stands + `
		+1s 1 > F. 101 501 0 forward/fin ESTABLISHED>FIN_WAIT
		+1h 1 inject rst-tracked trigger=idle-half-closed
		+0s 1 end forgotten gateway-rst why=idle`, []string{"gateway-reset/idle 1 idle-half-closed"}},
}

func TestTrouble(t *testing.T) {
	seen := map[Kind]map[string]bool{}
	for _, c := range cases {
		got := found(t, c.log)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
		tr := NewTracker(func(c *Case) {
			if seen[c.Kind] == nil {
				seen[c.Kind] = map[string]bool{}
			}
			seen[c.Kind][c.Variant] = true
		})
		for _, e := range script(t, c.log) {
			tr.Add(e)
		}
		tr.Settle()
	}
	for _, k := range kinds {
		for v := range words[k].variants {
			if !seen[k][v] {
				t.Errorf("no case of %s/%s", k, v)
			}
		}
	}
	if len(words) != len(kinds) {
		t.Errorf("%d kinds have words, %d are reported", len(words), len(kinds))
	}
}

// TestFactsKeep: facts that are put away as JSON after each record say the same as facts that are not.
func TestFactsKeep(t *testing.T) {
	for _, c := range cases {
		kept, plain := map[uint64]*Facts{}, map[uint64]*Facts{}
		events := script(t, c.log)
		for _, e := range events {
			if e.Header != nil {
				continue
			}
			if plain[e.FlowID] == nil {
				kept[e.FlowID], plain[e.FlowID] = &Facts{}, &Facts{}
			}
			plain[e.FlowID].Add(e)
			kept[e.FlowID].Add(e)
			b, err := json.Marshal(kept[e.FlowID])
			if err != nil {
				t.Fatal(err)
			}
			back := &Facts{}
			if err := json.Unmarshal(b, back); err != nil {
				t.Fatal(err)
			}
			kept[e.FlowID] = back
		}
		now := events[len(events)-1].Timestamp.Add(time.Hour)
		for id := range plain {
			if !reflect.DeepEqual(plain[id], kept[id]) {
				t.Errorf("%s: flow %d:\n%+v\n%+v", c.name, id, plain[id], kept[id])
			}
			a, okA := plain[id].Trouble(now)
			b, okB := kept[id].Trouble(now)
			if a != b || okA != okB {
				t.Errorf("%s: flow %d: %+v, kept %+v", c.name, id, a, b)
			}
		}
	}
}
