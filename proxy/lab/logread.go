package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
)

// entry is what the lab reads of a decision log's line (ARCHITECTURE.md, "The decision record").
type entry struct {
	Timestamp stamp      `json:"timestamp"`
	EventType string     `json:"event_type"`
	SrcIP     netip.Addr `json:"src_ip"`
	SrcPort   uint16     `json:"src_port"`
	DestIP    netip.Addr `json:"dest_ip"`
	DestPort  uint16     `json:"dest_port"`
	TCP       struct {
		Flags string `json:"flags"`
		Seq   uint32 `json:"seq"`
		Ack   uint32 `json:"ack"`
		Len   int    `json:"len"`
	} `json:"tcp"`
	FlowID    uint64      `json:"flow_id"`
	Direction string      `json:"direction"`
	Decision  decidedPart `json:"decision"`
	Flow      struct {
		Event  string `json:"event"`
		Reason string `json:"reason"`
		State  string `json:"state"`
	} `json:"flow"`
	Inject struct {
		Kind  string `json:"kind"`
		Error string `json:"error"`
	} `json:"inject"`
}

// decidedPart is a record's decision.
type decidedPart struct {
	Verdict     string                     `json:"verdict"`
	Reason      string                     `json:"reason"`
	Rule        string                     `json:"rule"`
	StateBefore string                     `json:"state_before"`
	IdleS       float64                    `json:"idle_s"`
	RemainingS  *float64                   `json:"remaining_s"`
	Reply       *made                      `json:"reply"`
	Peer        *made                      `json:"peer"`
	Expected    *decisionlog.ExpectedEvent `json:"expected"`
	Tomb        *struct {
		Forgotten stamp   `json:"forgotten"`
		Why       string  `json:"why"`
		State     string  `json:"state"`
		TimeoutS  float64 `json:"timeout_s"`
		ClientSeq uint32  `json:"client_seq"`
		ServerSeq uint32  `json:"server_seq"`
	} `json:"tombstone"`
}

// made is a segment that a decision caused.
type made struct {
	Kind string `json:"kind"`
}

// stamp is EVE's timestamp, whose zone has no colon.
type stamp struct{ time.Time }

// UnmarshalJSON accepts "2026-11-23T18:01:36.123456789+0000" and RFC 3339.
func (s *stamp) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	var err error
	for _, layout := range []string{"2006-01-02T15:04:05.999999999-0700", time.RFC3339Nano} {
		if s.Time, err = time.Parse(layout, text); err == nil {
			return nil
		}
	}
	return err
}

// readLog reads every record of a log directory. A directory that does not exist has none.
func readLog(dir string) ([]entry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, name := range files {
		if err := readLogFile(name, &all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readLogFile(name string, all *[]entry) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for line := 1; sc.Scan(); line++ {
		var e entry
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return fmt.Errorf("lab: %s:%d: %w", name, line, err)
		}
		*all = append(*all, e)
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("lab: %s: %w", name, errors.Join(err))
	}
	return nil
}

// flagBits translates the log's letters (tcpdump's) into header bits.
func flagBits(letters string) uint8 {
	var bits uint8
	for _, c := range letters {
		switch c {
		case 'F':
			bits |= flagFIN
		case 'S':
			bits |= flagSYN
		case 'R':
			bits |= flagRST
		case 'P':
			bits |= flagPSH
		case '.':
			bits |= flagACK
		}
	}
	return bits
}

// about reports whether the record speaks of this segment. Times are compared loosely: the log is stamped when the gateway's process
// has the segment, the capture when the interface had it.
func (e *entry) about(p *passage) bool {
	const known = flagFIN | flagSYN | flagRST | flagPSH | flagACK
	apart := e.Timestamp.Sub(p.at)
	return apart > -holdLimit && apart < holdLimit &&
		e.TCP.Seq == p.seq && e.TCP.Ack == p.ack && e.TCP.Len == p.size && flagBits(e.TCP.Flags) == p.flags&known
}

// describe says in a few words what the record decided.
func (e *entry) describe() string {
	if e.EventType == "inject" {
		if e.Inject.Error != "" {
			return "injected " + e.Inject.Kind + " FAILED: " + e.Inject.Error
		}
		return "injected: " + e.Inject.Kind
	}
	d := &e.Decision
	words := []string{d.Reason + ": " + d.Verdict}
	if d.Rule != "" && d.Verdict != "forward" {
		words = append(words, "rule "+d.Rule)
	}
	if d.Reply != nil {
		words = append(words, "reply "+d.Reply.Kind)
	}
	if d.Peer != nil {
		words = append(words, "to the other end "+d.Peer.Kind)
	}
	return strings.Join(words, ", ")
}

// annotate writes what a gateway's log says beside the segments that it saw (g counts from the client), and counts its decisions by
// reason from the incident on.
func (p *Phase) annotate(log []entry, g int, name string, view *GatewayView, since, until time.Time) {
	view.Decisions = map[string]int{}
	used := map[*passage]bool{}
	for i := range log {
		e := &log[i]
		if e.Timestamp.Before(since) || e.Timestamp.After(until) {
			continue
		}
		if e.EventType != "decision" && e.EventType != "inject" {
			continue
		}
		at := p.find(e, g, used)
		if at >= 0 {
			s := p.trace[at]
			used[s] = true
			if s.toServer {
				s.notes = append(s.notes, name+e.describe())
			} else { // the near gateway had it first
				s.notes = append([]string{name + e.describe()}, s.notes...)
			}
		}
		if e.EventType == "decision" && (at >= p.mark || at < 0 && !e.Timestamp.Before(p.incident)) {
			view.Decisions[e.Decision.Reason]++
		}
	}
}

// forgot reports whether the gateway's idle timer ended a flow in the phase before the incident.
func (p *Phase) forgot(log []entry, since time.Time) bool {
	for i := range log {
		e := &log[i]
		if e.EventType == "flow" && e.Flow.Event == "end" && e.Flow.Reason == "idle" &&
			e.Timestamp.After(since) && e.Timestamp.Before(p.incident.Add(clockSlack)) {
			return true
		}
	}
	return false
}

// clockSlack is how much later than its record a segment may have been captured: the two clocks are read at different places.
const clockSlack = 2 * time.Millisecond

// find returns the index of the segment that a record of gateway g is about, or -1. A gateway decides in the order of arrival, so that of
// several equal segments (retransmissions) a record belongs to the first that has none yet.
func (p *Phase) find(e *entry, g int, used map[*passage]bool) int {
	for i, s := range p.trace {
		if used[s] || !e.about(s) {
			continue
		}
		if e.EventType == "inject" && s.injectedBy() == g {
			return i
		}
		if e.EventType == "decision" && s.arrivedAt(g) && !s.at.After(e.Timestamp.Add(clockSlack)) {
			return i
		}
	}
	return -1
}
