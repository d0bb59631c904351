package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"halfopen/proxy/decisionlog"
)

// told writes what a phase turned on.
func (p *Phase) told() (out []string) {
	for _, d := range p.decisive {
		if d.Finding == "" {
			out = append(out, d.Event+" "+d.state)
			continue
		}
		out = append(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s%s x%d %s [%s] %s %s", d.Finding, d.Verdict, d.Reply, d.Peer, d.Segments, d.Segment, d.Memory, strings.Join(d.Numbers, "; "), d.state)), " "))
	}
	return out
}

func ended(at time.Time, why string) entry {
	e := entry{EventType: "flow"}
	e.Timestamp.Time, e.Flow.Event, e.Flow.Reason, e.Flow.State = at, "end", why, "ESTABLISHED"
	return e
}

// TestDecide: what an incident turned on is told, and nothing else: not what led to it, not the plain, not what came after the connection stood.
func TestDecide(t *testing.T) {
	const isnA, isnB, isnS, isnT = 1000, 900_000_000, 7000, 50_000_000
	lived := newStory().see(true, flagSYN, isnA, 0, 0, 0, 1).see(false, flagSYN|flagACK, isnS, isnA+1, 0, 1, 0).see(true, flagACK, isnA+1, isnS+1, 0, 0, 1)
	before := lived.now
	start := lived.wait(3 * time.Second).now
	lived.see(true, flagSYN, isnB, 0, 0, 0).wait(time.Second)
	again := lived.now
	lived.see(true, flagSYN, isnB, 0, 0, 0, 1).see(false, flagSYN|flagACK, isnT, isnB+1, 0, 1, 0)
	stood := lived.now
	num := func(n uint32) *uint32 { return &n }
	remaining := 3599.5

	drop := decision(start, "syn-established", "drop", "S", isnB, 0)
	drop.Direction, drop.Decision.StateBefore, drop.Decision.IdleS, drop.Decision.RemainingS = "to_server", "ESTABLISHED", 0.5, &remaining
	drop.Decision.Reply = &made{"ack-tracked"}
	drop.Decision.Expected = &decisionlog.ExpectedEvent{Seq: num(isnA + 1), SeqLo: num(isnA + 1 - 500), SeqHi: num(isnA + 1 + 600), Ack: num(9)}
	bare := decision(again, "ack-for-syn", "forward", ".", isnS+1, isnA+1)
	bare.Direction, bare.Decision.Expected = "to_client", &decisionlog.ExpectedEvent{AckLo: num(isnB), AckHi: num(isnB + 1)}
	late := decision(start, "late-after-expiry", "drop", "P.", isnA+1, isnS+1)
	late.TCP.Len = 14
	late.Decision.Tomb = &struct {
		Forgotten stamp   `json:"forgotten"`
		Why       string  `json:"why"`
		State     string  `json:"state"`
		TimeoutS  float64 `json:"timeout_s"`
		ClientSeq uint32  `json:"client_seq"`
		ServerSeq uint32  `json:"server_seq"`
	}{stamp{late.Timestamp.Add(-time.Second)}, "idle", "ESTABLISHED", 2, isnA + 1, isnS + 1}
	probe := decision(before, "ack-for-probe", "forward", ".", isnA+1, isnS+1)
	probe.Direction, probe.Decision.StateBefore = "to_server", "ESTABLISHED"
	fresh := decision(start, "new", "forward", "S", isnB, 0)
	dropped := decision(start, "new", "drop", "S", isnB, 0)

	const dropText = "syn-established drop ack-tracked x%d SYN B0 [remembered in ESTABLISHED, last segment 500 ms before, 1 h left on its timer] seq: expected A1 (-500 to +600), seen B0 ESTABLISHED"
	for _, c := range []struct {
		name   string
		expiry bool
		log    []entry
		want   []string
	}{
		{"the same twice", false, []entry{drop, drop}, []string{fmt.Sprintf(dropText, 2)}},
		{"what led to it, the plain, the aftermath", false, []entry{
			decision(before, "data-after-rst", "forward", ".", 1, 1), decision(before, "new", "forward", "S", isnA, 0),
			fresh, drop, decision(stood.Add(time.Second), "rst-ignored", "forward", ".", 1, 1),
		}, []string{fmt.Sprintf(dropText, 1)}},
		{"another answer is another decision", false, []entry{drop, bare}, []string{
			fmt.Sprintf(dropText, 1), "ack-for-syn forward x1 ACK A1 ack A1, from the server [nothing remembered] ack: expected B0 to B1, seen A1",
		}},
		{"only plain ones", false, []entry{fresh, fresh}, []string{"new forward x1 SYN B0 [nothing remembered]"}},
		{"a plain finding that is dropped", false, []entry{dropped}, []string{"new drop x1 SYN B0 [nothing remembered]"}},
		{"time", true, []entry{ended(before, "idle"), ended(before, "replaced"), late}, []string{
			"the idle timer ran out: the gateway forgot the connection ESTABLISHED",
			"late-after-expiry drop x1 data A1+14 ack A1 [forgotten 1 s before, in ESTABLISHED: its idle timer of 2 s had run out] ESTABLISHED",
		}},
		{"probes", true, []entry{probe, probe}, []string{"ack-for-probe forward x2 ACK A1 ack A1 [remembered in ESTABLISHED, last segment 0 s before] ESTABLISHED"}},
		{"an expiry that is not of the incident", false, []entry{ended(before, "idle"), fresh}, []string{"new forward x1 SYN B0 [nothing remembered]"}},
	} {
		p := &Phase{Facts: map[string]any{}, incident: start, expiry: c.expiry}
		p.fill(window{phase: p, from: time.Unix(0, 0), until: stood.Add(time.Minute)}, lived.packets, 2, c.log, nil)
		if diff := cmp.Diff(c.want, p.told()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
