package trouble

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// A script is a log in lines of
//
//	+TIME FLOW new [pred=N]
//	+TIME FLOW DIR FLAGS SEQ ACK LEN VERDICT/REASON BEFORE>AFTER [reply=KIND] [peer=KIND] [rule=NAME] [idle=S] [tomb=FLOW,AGO,WHY]
//	+TIME FLOW end OUTCOME BY [why=WORD] [stalled=S] [handshake=S] [again=N] [hist=LETTERS] [adopted]
//	+TIME FLOW inject KIND trigger=WORD
//	+TIME run NAME
//
// TIME counts from the line before. FLOW is 0 for a segment without a connection; client=ADDR:PORT on a line changes the client from
// then on. DIR is > for the client.
func script(t testing.TB, text string) (events []*decisionlog.Event) {
	t.Helper()
	at := time.Date(2026, 11, 23, 7, 12, 0, 0, time.UTC)
	client := "10.2.0.7:721"
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 || w[0] == "#" {
			continue
		}
		pause, err := time.ParseDuration(strings.TrimPrefix(w[0], "+"))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		at = at.Add(pause)
		e := &decisionlog.Event{Timestamp: decisionlog.Time{Time: at}}
		if w[1] == "run" {
			e.Header = &decisionlog.HeaderEvent{Run: w[2]}
			events = append(events, e)
			continue
		}
		opts := map[string]string{}
		for _, o := range w[2:] {
			if k, v, ok := strings.Cut(o, "="); ok {
				opts[k] = v
			}
		}
		if c := opts["client"]; c != "" {
			client = c
		}
		e.FlowID, _ = strconv.ParseUint(w[1], 10, 64)
		setEnds(e, client, "192.0.2.9:515")
		secs := func(k string) *float64 {
			if opts[k] == "" {
				return nil
			}
			v, err := strconv.ParseFloat(opts[k], 64)
			if err != nil {
				t.Fatal(err)
			}
			return &v
		}
		num := func(s string) uint64 {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil && s != "" {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
		switch w[2] {
		case "new":
			e.Flow = &decisionlog.FlowEvent{Event: "new", Predecessor: num(opts["pred"]), Start: e.Timestamp}
		case "end":
			e.Flow = &decisionlog.FlowEvent{Event: "end", Outcome: w[3], EndedBy: w[4], Reason: opts["why"], History: opts["hist"], HandshakeS: secs("handshake"),
				SYNRetransmits: num(opts["again"]), Adopted: strings.Contains(line, "adopted")}
			if s := secs("stalled"); s != nil {
				e.Flow.Stalled, e.Flow.StallS = true, *s
			}
		case "inject":
			e.Inject = &decisionlog.InjectEvent{Kind: w[3], Trigger: opts["trigger"]}
		default:
			e.Direction = "to_server"
			if w[2] == "<" {
				e.Direction = "to_client"
				setEnds(e, "192.0.2.9:515", client)
			}
			verdict, reason, _ := strings.Cut(w[7], "/")
			before, after, _ := strings.Cut(w[8], ">")
			e.TCP = &decisionlog.TCPEvent{Flags: w[3], Seq: uint32(num(w[4])), Ack: uint32(num(w[5])), Len: uint32(num(w[6]))}
			e.Decision = &decisionlog.DecisionEvent{Verdict: verdict, Reason: reason, Rule: opts["rule"], StateBefore: before, StateAfter: after,
				IdleS: secs("idle"), Reply: madeOf(opts["reply"]), Peer: madeOf(opts["peer"]), Settles: opts["settles"]}
			if tomb := strings.Split(opts["tomb"], ","); len(tomb) == 3 {
				ago, err := time.ParseDuration(tomb[1])
				if err != nil {
					t.Fatal(err)
				}
				e.Decision.Tombstone = &decisionlog.TombstoneEvent{FlowID: num(tomb[0]), Why: tomb[2], TimeoutS: 3600,
					Forgotten: decisionlog.Time{Time: at.Add(-ago)}}
			}
		}
		events = append(events, e)
	}
	return events
}

func setEnds(e *decisionlog.Event, src, dst string) {
	for _, x := range []struct {
		text string
		ip   *string
		port *uint16
	}{{src, &e.SrcIP, &e.SrcPort}, {dst, &e.DestIP, &e.DestPort}} {
		i := strings.LastIndexByte(x.text, ':')
		p, _ := strconv.Atoi(x.text[i+1:])
		*x.ip, *x.port = strings.Trim(x.text[:i], "[]"), uint16(p)
	}
}

func madeOf(kind string) *decisionlog.MadeEvent {
	if kind == "" {
		return nil
	}
	return &decisionlog.MadeEvent{Kind: kind}
}

// found returns the cases of a script in short.
func found(t *testing.T, text string) (cases []string) {
	t.Helper()
	tr := NewTracker(func(c *Case) {
		cases = append(cases, brief(c))
		if c.At.IsZero() || c.Until.Before(c.At.Time) || c.What == "" || !c.Client.IsValid() || !c.Server.IsValid() || c.Server.Port() != 515 {
			t.Errorf("%+v", c)
		}
		if words[c.Kind].variants[c.Variant] == "" {
			t.Errorf("no words for %s/%s", c.Kind, c.Variant)
		}
	})
	for _, e := range script(t, text) {
		tr.Add(e)
	}
	tr.Settle()
	if len(tr.open)+len(tr.recent)+len(tr.late)+len(tr.loose)+len(tr.pairs)+len(tr.waiting) != 0 {
		t.Error("something is left after the end")
	}
	return cases
}

// brief writes a case in short.
func brief(c *Case) string {
	s := fmt.Sprintf("%s/%s %d", c.Kind, c.Variant, c.FlowID)
	if c.SYNs > 0 {
		s += fmt.Sprintf(" syns=%d", c.SYNs)
	}
	if c.Reason != "" {
		s += " " + c.Reason
	}
	return s
}
