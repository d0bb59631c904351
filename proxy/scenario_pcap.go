package proxy

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/capture"
)

// ScriptInterface is the name of the interface that a script's own segments stand on in a capture.
const ScriptInterface = "script"

// ScriptEpoch is the time at which every script begins in a capture.
var ScriptEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// ScriptCapture says what [WriteScript] wrote.
type ScriptCapture struct {
	Packets int              // of the script
	Made    int              // that the gateway sends
	Result  *scenario.Result // how the script went
	// Left are lines that no packet can show, as problems of the script's file.
	Left policy.Problems
}

// WriteScript plays a script and writes it as a pcapng capture of raw IP packets: the script's segments on one interface, what the gateway
// sends because of them on another ([capture.MadeInterface]). The script begins at [ScriptEpoch]. Each packet has a comment: the line
// of the script with the decision that it expects, or that came out where it expects none; one that the gateway sent, what caused it.
// Checksums are right unless the script says otherwise, and payload is zeros. A segment that is longer than a packet can be is written
// as a super-packet that was cut off behind its headers.
//
// Where a policy cannot be loaded nothing is written, and Result.Played is false. The error is the writer's.
func WriteScript(w io.Writer, s *scenario.Script, cfg scenario.Config) (*ScriptCapture, error) {
	sw := &scriptWriter{s: s, enc: NewEncoder(EncoderConfig{}), held: map[uint64][]byte{}, last: map[conntrack.Tuple][]byte{}, out: &ScriptCapture{}}
	cfg.Played = func(p *scenario.Played) {
		if sw.err == nil {
			sw.err = sw.event(w, p)
		}
	}
	sw.out.Result = s.Run(cfg)
	if sw.err == nil && sw.out.Result.Played {
		sw.err = sw.begin(w) // of a script without events
	}
	if sw.err == nil && sw.ng != nil {
		sw.err = sw.ng.Flush()
	}
	return sw.out, sw.err
}

// scriptWriter writes a script as packets.
type scriptWriter struct {
	s    *scenario.Script
	ng   *capture.Writer
	enc  *Encoder
	out  *ScriptCapture
	err  error
	from conntrack.Instant          // when the script began
	held map[uint64][]byte          // packets that the gateway holds
	last map[conntrack.Tuple][]byte // the last packet of each direction
}

// Interfaces of the file.
const (
	ofScript = iota
	ofGateway
)

// begin writes the file's head, once.
func (sw *scriptWriter) begin(w io.Writer) (err error) {
	if sw.ng != nil {
		return nil
	}
	about := strings.TrimSpace(fmt.Sprintf("%s, policy %s\n%s", sw.s.Name(), sw.s.PolicyName(), sw.s.Prose()))
	if sw.ng, err = capture.NewWriter(w, capture.Section{Comment: about, Application: "halfopen"}); err != nil {
		return err
	}
	for _, i := range [...]capture.Interface{
		ofScript:  {Name: ScriptInterface, Description: "what the gateway receives", LinkType: capture.LinkRaw},
		ofGateway: {Name: capture.MadeInterface, Description: "what the gateway sends by itself", LinkType: capture.LinkRaw},
	} {
		if _, err = sw.ng.AddInterface(i); err != nil {
			return err
		}
	}
	return nil
}

// event writes what belongs to an event, in the order in which it was on the wire.
func (sw *scriptWriter) event(w io.Writer, p *scenario.Played) error {
	if err := sw.begin(w); err != nil {
		return err
	}
	if sw.from == 0 {
		sw.from = p.Start
	}
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
	sw.last[p.Segment.Tuple] = data
	if p.Outcome.Verdict == policy.Hold {
		sw.held[p.Outcome.Hold] = data
	}
	because := fmt.Sprintf("line %d: %s/%s", p.Line, p.Outcome.Verdict, p.Outcome.Finding)
	if p.Outcome.HasPeer {
		if err := sw.made(&p.Outcome.Peer, p.Now, because, data); err != nil {
			return err
		}
	}
	if err := sw.packet(p, data, size); err != nil {
		return err
	}
	if p.Outcome.HasReply {
		return sw.made(&p.Outcome.Reply, p.Now, because, data)
	}
	return nil
}

// packet writes a segment of the script.
func (sw *scriptWriter) packet(p *scenario.Played, data []byte, size int) error {
	decision := p.Want
	if decision == "" {
		decision = p.Got
	}
	var comments []string
	for _, line := range p.Between {
		comments = append(comments, "before this packet: "+line)
	}
	comments = append(comments, "=> "+decision, fmt.Sprintf("line %d: %s", p.Line, p.Text))
	sw.out.Packets++
	return sw.write(ofScript, p.Now, data, size, capture.Options{Comments: comments, Direction: capture.Inbound})
}

// timed writes what time alone has made the gateway send.
func (sw *scriptWriter) timed(ev *policy.TimeEvent) error {
	offending := sw.held[ev.Hold]
	because := ev.Trigger()
	if ev.Kind == policy.TimeRelease {
		because = "the end of a hold: " + ev.Verdict.String()
		delete(sw.held, ev.Hold)
	}
	for i := range ev.Emit {
		if !ev.HasEmit[i] {
			continue
		}
		if err := sw.made(&ev.Emit[i], ev.At, because, offending); err != nil {
			return err
		}
	}
	return nil
}

// made writes a packet that the gateway sends, or both where it sends two. offending is what an ICMP error is about.
func (sw *scriptWriter) made(em *policy.Emit, now conntrack.Instant, because string, offending []byte) error {
	if second, ok := em.Second(); ok {
		if err := sw.madeOne(em, now, because, offending); err != nil {
			return err
		}
		return sw.madeOne(&second, now, because, offending)
	}
	return sw.madeOne(em, now, because, offending)
}

func (sw *scriptWriter) madeOne(em *policy.Emit, now conntrack.Instant, because string, offending []byte) error {
	var data []byte
	var err error
	switch em.ICMP {
	case policy.ReplyNone:
		data, err = sw.enc.Segment(&em.Segment, nil)
	case policy.ReplyICMPAdmin:
		data, err = sw.enc.Unreachable(&em.Segment.Tuple, UnreachableAdmin, offending)
	default:
		data, err = sw.enc.Unreachable(&em.Segment.Tuple, UnreachablePort, offending)
	}
	if err != nil {
		return err
	}
	sw.out.Made++
	return sw.write(ofGateway, now, data, len(data), capture.Options{Comments: []string{"sent: " + em.Kind, "because of " + because}, Direction: capture.Outbound})
}

// write writes a packet at a time of the script.
func (sw *scriptWriter) write(iface int, now conntrack.Instant, data []byte, size int, o capture.Options) error {
	after := now.Sub(sw.from)
	if after > time.Duration(math.MaxInt64-ScriptEpoch.UnixNano()) {
		return fmt.Errorf("%s: a script that lasts beyond the year 2262 has no place in a capture", sw.s.Name())
	}
	return sw.ng.WritePacket(iface, ScriptEpoch.Add(after), data, size, o)
}
