package nfqueue

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Message types and attributes of nfnetlink_queue (include/uapi/linux/netfilter/nfnetlink_queue.h). go-nfqueue keeps its
// own copies unexported.
const (
	typePacket       = unix.NFNL_SUBSYS_QUEUE<<8 | 0
	typeVerdict      = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	typeConfig       = unix.NFNL_SUBSYS_QUEUE<<8 | 2
	typeVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	attrPacketHdr  = 1
	attrVerdictHdr = 2
	attrMark       = 3
	attrInDev      = 5
	attrOutDev     = 6
	attrHWAddr     = 9
	attrPayload    = 10
	attrCapLen     = 13
	attrSkbInfo    = 14

	skbPartial       = 1 // NFQA_SKB_CSUMNOTREADY
	skbGSO           = 2 // NFQA_SKB_GSO
	skbNotVerified   = 4 // NFQA_SKB_CSUM_NOTVERIFIED
	nlmsgHeaderLen   = 16
	genmsgLen        = 4
	attrHeaderLen    = 4
	messageOverhead  = 1024 // every attribute of a packet message but the payload, with room to spare
	maxPayloadLength = 0xffff - attrHeaderLen
)

// Packet is one message of the kernel queue: one segment, or one GSO super-packet of several.
type Packet struct {
	ID     uint32 // the kernel's number for it within its queue; what a verdict names
	Mark   uint32 // the packet's fwmark, 0 when it has none
	InDev  uint32 // index of the interface it came in by, 0 for locally made packets
	OutDev uint32 // index of the interface it is about to leave by, 0 where routing has not decided
	CapLen uint32 // bytes of the whole packet from its IP header on; more than len(Data) when only a part was copied
	Queue  uint16
	Proto  uint16 // ethertype: 0x0800 or 0x86dd
	Hook   uint8  // netfilter hook: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting

	// Partial says that the checksum in the packet is not yet complete (the interface will do it); it must not be judged.
	Partial bool
	// GSO says that the packet stands for several segments and will be cut later.
	GSO bool
	// ChecksumUnverified says that the kernel has not looked at the checksum.
	ChecksumUnverified bool

	HWLen  uint8   // bytes of HWAddr that count; 0 when the device has no link-layer address
	HWAddr [8]byte // link-layer address of the sender

	Data []byte // from the IP header on; valid until the next Recv on the same queue
}

// Truncated reports whether Data holds less than the whole packet.
func (p *Packet) Truncated() bool { return p.CapLen > uint32(len(p.Data)) }

// message is what one datagram from the kernel turned out to be.
type message uint8

const (
	messagePacket  message = iota // a packet to be answered
	messageAck                    // an acknowledgement, errno 0
	messageError                  // a refused verdict or configuration
	messageForeign                // nothing of ours
)

// errMalformed is a datagram that carries no packet id: there is nothing that could be answered.
var errMalformed = errors.New("nfqueue: malformed message from the kernel")

// kernelError is the content of an NLMSG_ERROR.
type kernelError struct {
	errno unix.Errno
	typ   uint16 // message type of the request that it answers
	seq   uint32 // its sequence number; for verdicts the packet id
}

// parseMessage reads one datagram. It allocates nothing; p.Data aliases b. A datagram that was cut off is still a
// packet as long as its id is there, because the kernel waits for a verdict on it.
func parseMessage(b []byte, p *Packet, ke *kernelError) (message, error) {
	if len(b) < nlmsgHeaderLen {
		return messageForeign, errMalformed
	}
	order := binary.NativeEndian
	switch order.Uint16(b[4:]) {
	case unix.NLMSG_ERROR:
		return parseError(b, ke)
	case typePacket:
	default:
		return messageForeign, nil
	}
	if n := order.Uint32(b); int64(n) < int64(len(b)) {
		if n < nlmsgHeaderLen {
			return messageForeign, errMalformed
		}
		b = b[:n]
	}
	if len(b) < nlmsgHeaderLen+genmsgLen {
		return messageForeign, errMalformed
	}
	*p = Packet{Queue: binary.BigEndian.Uint16(b[nlmsgHeaderLen+2:])}
	if !parseAttributes(b[nlmsgHeaderLen+genmsgLen:], p) {
		return messageForeign, errMalformed
	}
	if p.CapLen < uint32(len(p.Data)) {
		p.CapLen = uint32(len(p.Data))
	}
	return messagePacket, nil
}

// parseAttributes fills p and reports whether a packet id was among the attributes.
func parseAttributes(b []byte, p *Packet) (found bool) {
	be := binary.BigEndian
	for len(b) >= attrHeaderLen {
		n := int(binary.NativeEndian.Uint16(b))
		typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if n < attrHeaderLen {
			return found
		}
		v := b[attrHeaderLen:min(n, len(b))]
		switch {
		case typ == attrPayload:
			p.Data = v
			p.CapLen = max(p.CapLen, uint32(n-attrHeaderLen))
		case typ == attrPacketHdr && len(v) >= 7: // nfqnl_msg_packet_hdr: id, ethertype, hook
			p.ID, p.Proto, p.Hook, found = be.Uint32(v), be.Uint16(v[4:]), v[6], true
		case typ == attrHWAddr && len(v) >= 4: // nfqnl_msg_packet_hw: length, padding, 8 bytes
			p.HWLen = uint8(min(int(be.Uint16(v)), copy(p.HWAddr[:], v[4:])))
		case len(v) < 4:
		case typ == attrMark:
			p.Mark = be.Uint32(v)
		case typ == attrInDev:
			p.InDev = be.Uint32(v)
		case typ == attrOutDev:
			p.OutDev = be.Uint32(v)
		case typ == attrCapLen:
			p.CapLen = max(p.CapLen, be.Uint32(v))
		case typ == attrSkbInfo:
			info := be.Uint32(v)
			p.Partial = info&skbPartial != 0
			p.GSO = info&skbGSO != 0
			p.ChecksumUnverified = info&skbNotVerified != 0
		}
		next := (n + 3) &^ 3
		if next >= len(b) {
			return found
		}
		b = b[next:]
	}
	return found
}

// parseError reads an NLMSG_ERROR: a negative errno and the header of the request it answers (RFC 3549 section 2.3.2.1).
func parseError(b []byte, ke *kernelError) (message, error) {
	if len(b) < nlmsgHeaderLen+4 {
		return messageForeign, errMalformed
	}
	order := binary.NativeEndian
	*ke = kernelError{errno: unix.Errno(-int32(order.Uint32(b[nlmsgHeaderLen:])))}
	if len(b) >= nlmsgHeaderLen+4+nlmsgHeaderLen {
		req := b[nlmsgHeaderLen+4:]
		ke.typ, ke.seq = order.Uint16(req[4:]), order.Uint32(req[8:])
	}
	if ke.errno == 0 {
		return messageAck, nil
	}
	return messageError, nil
}
