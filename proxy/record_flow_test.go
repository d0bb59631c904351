package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// play plays segments, one a line as "PAUSE DIR FLAGS SEQ LEN [ACK]", through an engine, lets a day pass, and returns how each
// flow ended. DIR is > for the client.
func play(t *testing.T, text, script string) (ends []policy.FlowEvent) {
	t.Helper()
	pol, problems := policy.Load("test.yaml", []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	e := policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, FirstID: 1})
	note := func(ev *policy.FlowEvent) {
		if ev.Kind == policy.FlowEnd {
			ends = append(ends, *ev)
		}
	}
	now := conntrack.Instant(time.Hour)
	advance := func() {
		for e.Advance(now, 100, func(ev *policy.TimeEvent) {
			if ev.Kind == policy.TimeFlow {
				note(&ev.Flow)
			}
		}) {
		}
	}
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		pause, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(pause)
		s := conntrack.Segment{Tuple: tuple(clientEnd, serverEnd), Window: 10000}
		if f[1] == "<" {
			s.Tuple = s.Tuple.Reverse()
		}
		for _, c := range f[2] {
			s.Flags |= map[rune]conntrack.Flags{'S': conntrack.SYN, 'F': conntrack.FIN, 'R': conntrack.RST, '.': conntrack.ACK}[c]
		}
		s.Seq, s.Len = conntrack.Seq(decimal(t, f[3])), decimal(t, f[4])
		if len(f) > 5 {
			s.Ack = conntrack.Seq(decimal(t, f[5]))
		}
		advance()
		out := e.Step(now, &s)
		for i := range out.Flows {
			note(&out.Flows[i])
		}
	}
	now = now.Add(24 * 6 * time.Hour)
	advance()
	return ends
}

func decimal(t *testing.T, s string) (n uint32) {
	t.Helper()
	for _, c := range s {
		if c < '0' || c > '9' {
			t.Fatalf("number %q", s)
		}
		n = 10*n + uint32(c-'0')
	}
	return n
}

const opened = `
	0s  > S  100 0
	1ms < S. 500 0 101
	1ms > .  101 0 501
`

func TestEndedBy(t *testing.T) {
	for _, c := range []struct{ name, policy, script, want string }{
		{"client closes", "", opened + "1s > F. 101 0 501\n1ms < F. 501 0 102\n1ms > . 102 0 502", "closed client-fin"},
		{"server closes", "", opened + "1s < F. 501 0 101\n1ms > . 101 0 502\n1ms > F. 101 0 502\n1ms < . 502 0 102", "closed server-fin"},
		{"half closed", "", opened + "1s < F. 501 0 101\n1ms > . 101 0 502", "half-closed idle"},
		{"client resets", "", opened + "1s > R. 101 0 501", "reset client-rst"},
		{"server resets, and the client again", "", opened + "1s < R 501 0\n1ms > R 101 0", "reset server-rst"},
		{"refused", "", "0s > S 100 0\n1ms < R. 0 0 101", "refused server-rst"},
		{"unanswered", "", "0s > S 100 0", "unanswered idle"},
		{"silence", "", opened, "forgotten idle"},
		{"the gateway resets at the end of its patience", "\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}", opened, "forgotten gateway-rst"},
		{"the gateway makes room", "\non: {syn-established: {packet: forward, peer: rst-tracked, state: replace}}",
			opened + "1s > S 9000 0\n1ms < R. 0 0 9001", "forgotten gateway-rst, refused server-rst"},
		{"a refused SYN resets nothing that stands", "\non: {syn-established: {packet: drop, reply: rst-tracked}}", opened + "1s > S 900000 0", "forgotten idle"},
		{"the gateway resets a handshake", "\non: {syn-retransmit: {packet: drop, reply: rst-tracked, state: delete}}", "0s > S 100 0\n1s > S 100 0", "unanswered gateway-rst"},
		{"replaced", "\non: {syn-established: {packet: forward, state: replace}}", opened + "1s > S 900000 0", "forgotten replaced, unanswered idle"},
	} {
		var got []string
		for _, ev := range play(t, "preset: observe"+c.policy, c.script) {
			got = append(got, outcomeWord(&ev.Entry, ev.Why)+" "+endedBy(&ev.Entry, ev.Why))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// What was done about a connection is counted in its entry, whether its decisions get records or not.
func TestFlowInterventions(t *testing.T) {
	for _, c := range []struct{ name, policy, script, want string }{
		{"left alone", "", opened + "1s > F. 101 501\n1ms < F. 501 102\n1ms > . 102 502", "0/0"},
		{"drops", "\non: {syn-established: {packet: drop}}", opened + "1s > S 900000 0\n1s > S 900000 0", "2/0"},
		{"an answer", "\non: {syn-established: {packet: drop, reply: ack-tracked}}", opened + "1s > S 900000 0", "1/0"},
		{"an answer, and the SYN goes on", "\non: {syn-established: {packet: forward, reply: ack-tracked}}", opened + "1s > S 900000 0", "1/0"},
		{"a RST to each end", "\non: {seq-above: {packet: drop, reply: rst-tracked, peer: rst-tracked, state: delete}}", opened + "1s > . 90000000 501", "1/2"},
		{"what makes room counts with the old one", "\non: {syn-established: {packet: forward, peer: rst-tracked, state: replace}}", opened + "1s > S 900000 0", "1/1, 0/0"},
		{"a probe asks, and does nothing", "\non: {syn-established: {packet: forward, peer: probe-ack}}", opened + "1s > S 900000 0", "0/0"},
		{"dropped while it opens", "\non: {syn-retransmit: {packet: drop, reply: rst-tracked, state: delete}}", "0s > S 100 0\n1s > S 100 0", "1/1"},
		{"what is denied from its first SYN on", "\non: {new: {packet: drop, reply: rst, state: deny}, denied: {packet: drop}}", "0s > S 100 0\n1s > S 100 0", "2/1"},
		{"time resets", "\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}", opened, "1/2"},
		{"up to 255", "\non: {syn-established: {packet: drop}}", opened + strings.Repeat("1s > S 900000 0\n", 300), "255/0"},
	} {
		var got []string
		for _, ev := range play(t, "preset: observe"+c.policy, c.script) {
			got = append(got, fmt.Sprintf("%d/%d", ev.Entry.Interventions, ev.Entry.Resets))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// What users feel of a flow stands in its records.
func TestFlowMeasures(t *testing.T) {
	b := newBench(t, "preset: observe", false)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "question"), seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "question"),
		seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 109, "answer"), seg(t, serverEnd, clientEnd, conntrack.ACK, 900000, 109, "x"),
		seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 507, "question"), seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 109, "answer"))
	time.Sleep(2 * time.Millisecond)
	b.step()
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	flows := b.records("flow")
	last := flows[len(flows)-1]
	for _, want := range []string{`"event":"update"`, `"handshake_s":0.00`, `"response_s":0.00`, `"retransmits_toserver":2`, `"retransmits_toclient":1`,
		`"out_of_window_toclient":1`} {
		if !strings.Contains(last, want) {
			t.Errorf("no %s in %s", want, last)
		}
	}
	if strings.Contains(last, "stalled") || strings.Contains(last, "ended_by") {
		t.Errorf("a live flow that waits for nothing: %s", last)
	}
}
