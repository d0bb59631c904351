package proxy

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// ScriptEpoch is the time at which every script begins in a capture.
var ScriptEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// ScriptCapture says what [WriteScript] wrote.
type ScriptCapture struct {
	Packets int              // of the script
	Made    int              // that the gateway sends: its own, and those of the script that it rewrote or let go after a hold
	Result  *scenario.Result // how the script went
	// Left are lines that no packet can show, as problems of the script's file.
	Left policy.Problems
}

// WriteScript plays a script and writes it as a capture of raw IP packets, on the interfaces and with the notes that a gateway's annotated
// capture has: the script's segments as its queue would have received them, and what it sends because of them. The script begins at
// [ScriptEpoch]. Besides its note each packet has comments with the decision that the script expects, or that came out where it expects
// none, and with its line, whose number is the packet's id, too. Checksums are right unless the script says otherwise, and payload is
// zeros. A segment that is longer than a packet can be is written as a super-packet that was cut off behind its headers.
//
// Where a policy cannot be loaded nothing is written, and Result.Played is false. The error is the writer's.
func WriteScript(w io.Writer, s *scenario.Script, cfg scenario.Config) (*ScriptCapture, error) {
	sw := &scriptWriter{w: w, s: s, enc: NewEncoder(EncoderConfig{}), editor: editor{decoder: NewDecoder()}, held: map[uint64]scriptHeld{}, out: &ScriptCapture{}}
	cfg.Observe = func(p *policy.Policy, _ *conntrack.Segment, _ *policy.Outcome) { sw.policy = p }
	cfg.Played = func(p *scenario.Played) {
		if sw.err == nil {
			sw.err = sw.event(p)
		}
	}
	sw.out.Result = s.Run(cfg)
	if sw.err == nil && sw.out.Result.Played {
		sw.err = sw.begin() // of a script without segments
	}
	if sw.err == nil && sw.ng != nil {
		sw.err = sw.ng.Flush()
	}
	return sw.out, sw.err
}

// scriptWriter writes a script as packets.
type scriptWriter struct {
	w      io.Writer
	s      *scenario.Script
	policy *policy.Policy // that decided the last segment
	ng     *capture.Writer
	enc    *Encoder
	editor editor
	out    *ScriptCapture
	err    error
	from   conntrack.Instant     // when the script began
	held   map[uint64]scriptHeld // packets that the gateway holds
}

// scriptHeld is a packet that waits.
type scriptHeld struct {
	data []byte
	size int
	line int
}

// begin writes the file's head, once.
func (sw *scriptWriter) begin() (err error) {
	if sw.ng != nil {
		return nil
	}
	about := strings.TrimSpace(fmt.Sprintf("scenario %s\n%s", sw.s.Name(), sw.s.Prose()))
	if sw.ng, err = capture.NewWriter(sw.w, capture.Section{Comment: about, Application: capture.Application}); err != nil {
		return err
	}
	by := ""
	if sw.policy != nil {
		by = decider(sw.policy, nil).String()
	}
	for _, place := range [...]capture.Place{capture.Received, capture.Released, capture.Emitted} { // which are their numbers, too
		if _, err = sw.ng.AddInterface(capture.Interface{Name: capture.InterfaceName(place, 0), Description: by, LinkType: capture.LinkRaw}); err != nil {
			return err
		}
	}
	return nil
}

// event writes what belongs to an event, in the order in which it was on the wire.
func (sw *scriptWriter) event(p *scenario.Played) error {
	sw.from = p.Start
	for i := range p.Time {
		if err := sw.timed(&p.Time[i]); err != nil {
			return err
		}
	}
	if p.Segment == nil {
		return nil
	}
	data, size, why := scriptPacket(sw.enc, p.Segment, p.Options)
	if why != "" {
		sw.out.Left = append(sw.out.Left, policy.ProblemAt(sw.s.Name(), p.Line, 1, p.Text, why, "a packet"))
		return nil
	}
	out := p.Outcome
	if out.Verdict == policy.Hold {
		sw.held[out.Hold] = scriptHeld{data, size, p.Line}
	}
	if err := sw.packet(p, data, size); err != nil {
		return err
	}
	because := causedBy(out, decisionlog.ID{}, out.Dir, data)
	if out.HasPeer {
		if err := sw.made(&out.Peer, p.Now, because, p.Line); err != nil {
			return err
		}
	}
	if out.Verdict == policy.Rewrite {
		if err := sw.rewritten(p, data, size); err != nil {
			return err
		}
	}
	because.dir = out.Dir.Other()
	if out.HasReply {
		return sw.made(&out.Reply, p.Now, because, p.Line)
	}
	return nil
}

// packet writes a segment of the script.
func (sw *scriptWriter) packet(p *scenario.Played, data []byte, size int) error {
	decision := p.Want
	if decision == "" {
		decision = p.Got
	}
	var note capture.Note
	j := journal{now: p.Now}
	j.noteDecision(&note, p.Segment, p.Outcome)
	comments := []string{note.String(), "=> " + decision, fmt.Sprintf("line %d: %s", p.Line, p.Text)}
	for _, line := range p.Between {
		comments = append(comments, "before this packet: "+line)
	}
	sw.out.Packets++
	return sw.write(capture.Received, p.Now, data, size, p.Line, comments...)
}

// rewritten writes what is left of a packet. Without a note: it is none that was decided.
func (sw *scriptWriter) rewritten(p *scenario.Played, data []byte, size int) error {
	left, _, omit := sw.editor.rewrite(bytes.Clone(data), size, PacketInfo{}, p.Outcome.Strip, p.Outcome.MSS)
	if omit != "" {
		return nil
	}
	sw.out.Made++
	return sw.write(capture.Released, p.Now, left, len(left), p.Line, fmt.Sprintf("line %d: rewritten, without %s", p.Line, strings.Join(p.Outcome.Strip.Words(), ", ")))
}

// timed writes what time alone has made the gateway do.
func (sw *scriptWriter) timed(ev *policy.TimeEvent) error {
	why := injection{flow: ev.Flow.Entry.ID}
	line := 0
	if ev.Kind == policy.TimeRelease {
		h, ok := sw.held[ev.Hold]
		if !ok {
			return nil // its line has no packet
		}
		delete(sw.held, ev.Hold)
		line, why.quote = h.line, h.data
		sw.out.Made++
		if err := sw.write(capture.Released, ev.At, h.data, h.size, h.line, fmt.Sprintf("line %d: the hold ends with %s", h.line, ev.Verdict)); err != nil {
			return err
		}
	} else {
		why.trigger = ev.Trigger()
	}
	for i := range ev.Emit {
		if !ev.HasEmit[i] {
			continue
		}
		why.dir = conntrack.Direction(i).Other()
		if err := sw.made(&ev.Emit[i], ev.At, why, line); err != nil {
			return err
		}
	}
	return nil
}

// made writes a packet that the gateway sends, or both where it sends two.
func (sw *scriptWriter) made(em *policy.Emit, now conntrack.Instant, why injection, line int) error {
	if err := sw.madeOne(em, now, &why, line); err != nil {
		return err
	}
	if second, ok := em.Second(); ok {
		return sw.madeOne(&second, now, &why, line)
	}
	return nil
}

func (sw *scriptWriter) madeOne(em *policy.Emit, now conntrack.Instant, why *injection, line int) error {
	data, err := encodeEmit(sw.enc, em, em.Segment.Tuple, why.quote)
	if err != nil {
		return err
	}
	var note capture.Note
	noteInjection(&note, em, why, note.ID)
	comments := []string{note.String()}
	if line > 0 {
		comments = append(comments, fmt.Sprintf("because of line %d", line))
	}
	sw.out.Made++
	return sw.write(capture.Emitted, now, data, len(data), line, comments...)
}

// write writes a packet at a time of the script.
func (sw *scriptWriter) write(place capture.Place, now conntrack.Instant, data []byte, size, line int, comments ...string) error {
	if err := sw.begin(); err != nil {
		return err
	}
	after := now.Sub(sw.from)
	if after > time.Duration(math.MaxInt64-ScriptEpoch.UnixNano()) {
		return fmt.Errorf("%s: a script that lasts beyond the year 2262 has no place in a capture", sw.s.Name())
	}
	o := capture.Options{Comments: comments, Direction: capture.Outbound, PacketID: uint64(line), HasPacketID: line > 0}
	if place == capture.Received {
		o.Direction = capture.Inbound
	}
	return sw.ng.WritePacket(int(place), ScriptEpoch.Add(after), data, size, o)
}
