package nfqueue

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Verdicts (include/uapi/linux/netfilter.h). A queue number for verdictQueue stands in the upper 16 bits.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictQueue  = 3
	verdictBypass = 0x8000 // NF_VERDICT_FLAG_QUEUE_BYPASS: accept where nobody listens on that queue

	verdictLength = nlmsgHeaderLen + genmsgLen + attrHeaderLen + 8
	markLength    = attrHeaderLen + 4
)

// encoder writes verdict messages one behind the other into a buffer that never grows. It is pure: the caller sends.
//
// A run of accepts with the same mark is remembered rather than written, and becomes one batch message as soon as
// another verdict or the end of the buffer follows. Only ids below which everything is answered may enter a run.
type encoder struct {
	buf     []byte
	queue   uint16
	run     int    // accepts in the run
	runID   uint32 // its highest id
	runMark uint32
	marked  bool // the run sets runMark
}

func newEncoder(queue uint16) encoder {
	return encoder{queue: queue, buf: make([]byte, 0, 2*verdictLength+attrHeaderLen+markLength+maxPayloadLength+64)}
}

// fits reports whether a verdict with a payload of n bytes still has room, together with the run before it.
func (e *encoder) fits(n int) bool {
	need := 2*(verdictLength+markLength) + attrHeaderLen + (n+3)&^3
	return cap(e.buf)-len(e.buf) >= need
}

// empty reports whether nothing waits to be sent.
func (e *encoder) empty() bool { return len(e.buf) == 0 && e.run == 0 }

// accept appends an accept. inOrder promises that every received id up to this one has been answered.
func (e *encoder) accept(id, mark uint32, marked, inOrder bool) {
	if e.run > 0 && (!inOrder || marked != e.marked || mark != e.runMark) {
		e.endRun()
	}
	if !inOrder {
		e.verdict(typeVerdict, id, verdictAccept, mark, marked)
		return
	}
	e.run++
	e.runID, e.runMark, e.marked = id, mark, marked
}

// other appends any verdict but an accept.
func (e *encoder) other(id, verdict uint32) {
	e.endRun()
	e.verdict(typeVerdict, id, verdict, 0, false)
}

// altered appends an accept with a new packet.
func (e *encoder) altered(id uint32, payload []byte) {
	e.endRun()
	start := len(e.buf)
	e.verdict(typeVerdict, id, verdictAccept, 0, false)
	e.attribute(attrPayload, len(payload))
	e.buf = append(e.buf, payload...)
	for len(e.buf)&3 != 0 {
		e.buf = append(e.buf, 0)
	}
	binary.NativeEndian.PutUint32(e.buf[start:], uint32(len(e.buf)-start))
}

// endRun writes the remembered accepts.
func (e *encoder) endRun() {
	switch {
	case e.run == 0:
		return
	case e.run == 1:
		e.verdict(typeVerdict, e.runID, verdictAccept, e.runMark, e.marked)
	default:
		e.verdict(typeVerdictBatch, e.runID, verdictAccept, e.runMark, e.marked)
	}
	e.run = 0
}

// verdict writes one message. Its sequence number is the packet id, so that a refusal tells which packet it was.
func (e *encoder) verdict(typ uint16, id, verdict, mark uint32, marked bool) {
	length := verdictLength
	if marked {
		length += markLength
	}
	e.buf = appendHeader(e.buf, length, typ, unix.NLM_F_REQUEST, id, e.queue)
	e.attribute(attrVerdictHdr, 8)
	e.buf = binary.BigEndian.AppendUint32(e.buf, verdict)
	e.buf = binary.BigEndian.AppendUint32(e.buf, id)
	if marked {
		e.attribute(attrMark, 4)
		e.buf = binary.BigEndian.AppendUint32(e.buf, mark)
	}
}

func (e *encoder) attribute(typ uint16, n int) {
	e.buf = binary.NativeEndian.AppendUint16(e.buf, uint16(attrHeaderLen+n))
	e.buf = binary.NativeEndian.AppendUint16(e.buf, typ)
}

// appendHeader writes nlmsghdr and nfgenmsg.
func appendHeader(b []byte, length int, typ, flags uint16, seq uint32, queue uint16) []byte {
	order := binary.NativeEndian
	b = order.AppendUint32(b, uint32(length))
	b = order.AppendUint16(b, typ)
	b = order.AppendUint16(b, flags)
	b = order.AppendUint32(b, seq)
	b = order.AppendUint32(b, 0)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, queue)
}
