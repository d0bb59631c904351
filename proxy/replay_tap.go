package proxy

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// replayTap writes the annotated capture of a replay: as a gateway's, but that packets are whole as far as the capture has them, that nothing is
// lost, and that each comment names the frame.
type replayTap struct {
	log      *capture.PacketLog // nil for none
	deciders deciders
	encoder  *Encoder
	editor   editor
	err      error // of the disk; nothing is written after it
}

// openTap opens the annotated capture, which must be a directory of its own.
func (r *replay) openTap() error {
	dir := r.cfg.PcapDir
	if dir == "" {
		return nil
	}
	if SameDir(dir, r.cfg.LogDir) {
		return fmt.Errorf("replay: the decision log and the capture are both to be in %s; each wants a directory of its own", dir)
	}
	if files, err := capture.Files(dir); err == nil && len(files) > 0 {
		return fmt.Errorf("replay: %s holds a capture already; a replay wants a directory of its own", dir)
	}
	log, err := capture.OpenPacketLog(capture.PacketLogOptions{Dir: dir, MaxTotalBytes: -1, Version: r.cfg.Version, Run: r.log.Run(), Logger: r.cfg.Logger})
	if err != nil {
		return err
	}
	r.tap.log, r.tap.encoder, r.tap.editor = log, NewEncoder(EncoderConfig{}), editor{decoder: NewDecoder()}
	var would *policy.Policy
	if len(r.beside) > 0 {
		would = r.beside[0]
	}
	r.tap.deciders = deciders{decider(r.pol, would)}
	if r.exps != nil {
		for _, p := range r.exps.pols {
			if p == nil {
				p = r.pol
			}
			r.tap.deciders = append(r.tap.deciders, decider(p, would))
		}
	}
	return nil
}

// closeTap completes the annotated capture, if there is one.
func (r *replay) closeTap() error {
	if r.tap.log == nil {
		return nil
	}
	if err := r.tap.log.Close(); r.tap.err == nil {
		r.tap.err = err
	}
	return r.tap.err
}

// write writes a packet until the disk refuses one: what comes after that would be a capture with a hole.
func (t *replayTap) write(p *capture.Packet, data []byte) {
	if t.err == nil {
		t.err = t.log.Write(p, data)
	}
}

// tapDecision captures the packet at hand with the decision about it.
func (r *replay) tapDecision(s *conntrack.Segment, out *policy.Outcome) {
	if r.tap.log == nil {
		return
	}
	p := capture.Packet{Time: r.journal.wall(r.journal.now), Place: capture.Received, OrigLen: uint32(r.at.length), By: r.tap.deciders.of(out.Arm)}
	r.journal.noteDecision(&p.Note, s, out)
	p.Note.In = r.at.iface
	if sh := r.first(); sh != nil {
		noteWould(&p.Note.Would, sh.out, sh.how == diverged)
	}
	r.tap.write(&p, r.at.packet)
	if out.Verdict == policy.Rewrite {
		r.tapRewrite(out)
	}
}

// tapRewrite captures what would be left of the packet at hand, where all of it was captured.
func (r *replay) tapRewrite(out *policy.Outcome) {
	left, _, omit := r.tap.editor.rewrite(bytes.Clone(r.at.packet), r.at.length, PacketInfo{}, out.Strip, out.MSS)
	if omit != "" {
		return
	}
	p := capture.Packet{Time: r.journal.wall(r.journal.now), Place: capture.Released, By: r.tap.deciders.of(out.Arm)}
	r.journal.noteRewrite(&p.Note, out)
	r.tap.write(&p, left)
}

// tapInjection captures what the policy would have sent.
func (r *replay) tapInjection(e *policy.Emit, why *injection, id decisionlog.ID) {
	if r.tap.log == nil {
		return
	}
	packet, err := encodeEmit(r.tap.encoder, e, e.Segment.Tuple, why.quote)
	if err != nil { // as a gateway, which has nothing to send then
		return
	}
	p := capture.Packet{Time: r.journal.wall(r.journal.now), Place: capture.Emitted, By: r.tap.deciders.of(why.arm)}
	noteInjection(&p.Note, e, why, id)
	r.tap.write(&p, packet)
}

// tapRelease captures how a hold ended.
func (r *replay) tapRelease(h *heldPacket, ev *policy.TimeEvent) {
	if r.tap.log == nil {
		return
	}
	p := capture.Packet{Time: r.journal.wall(r.journal.now), Place: capture.Released, OrigLen: h.length, By: r.tap.deciders.of(h.arm)}
	r.journal.noteRelease(&p.Note, h, ev)
	r.tap.write(&p, h.quote)
}

// recorded compares the decision at hand with the one that the capture tells of the same packet.
func (r *replay) recorded(out *policy.Outcome) {
	was, is := noted(&r.note), deedOf(out)
	rep := &r.report.Recorded
	rep.Frames++
	if was == is && out.Rule == r.note.Rule {
		rep.Same++
		return
	}
	if pair := was.String() + " | " + is.String(); len(rep.Pairs) < maxPoints || rep.Pairs[pair] > 0 {
		rep.Pairs[pair]++
	}
}

// noted is what a note says was done.
func noted(n *capture.Note) Deed {
	return Deed{Verdict: n.Verdict, Reason: n.Reason, Reply: n.Reply, Peer: n.Peer, Stripped: strings.Join(policy.Strip(n.Stripped).Words(), ",")}
}

// sides notices segments that a capture shows twice because it was taken on both sides of a gateway: a replay decides them twice.
type sides struct {
	begun bool
	first string                          // interface of the first frame
	lru   *simplelru.LRU[sideKey, string] // nil until another shows up
}

// sideKey is a segment as it looks on either side.
type sideKey struct {
	tuple    conntrack.Tuple
	seq, ack conntrack.Seq
	flags    conntrack.Flags
	len      uint32
	tsval    uint32
}

// sidesRemembered bounds the segments that sides compares with: the two sides of a gateway are milliseconds apart.
const sidesRemembered = 1 << 12

// seen reports whether another interface than the frame's showed the segment a short while ago. Nothing is remembered before a second
// interface shows up, so a capture of one costs nothing.
func (d *sides) seen(iface string, s *conntrack.Segment) bool {
	if !d.begun {
		d.first, d.begun = iface, true
	}
	if d.lru == nil && iface != d.first {
		d.lru, _ = simplelru.NewLRU[sideKey, string](sidesRemembered, nil) // fails for sizes below 1 only
	}
	if d.lru == nil || nameless(s) {
		return false
	}
	key := sideKey{s.Tuple, s.Seq, s.Ack, s.Flags, s.Len, s.Options.TSVal}
	at, known := d.lru.Get(key)
	if known && at != iface {
		d.lru.Remove(key)
		return true
	}
	d.lru.Add(key, iface)
	return false
}
