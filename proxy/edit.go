package proxy

import (
	"encoding/binary"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Why a packet could not be rewritten.
const (
	omitTruncated = "truncated"    // not all of its bytes are here
	omitGSO       = "gso"          // it stands for several segments, which the kernel was to cut and did not
	omitMalformed = "malformed"    // it is no proper segment
	omitFragment  = "fragment"     // what is to be taken lies in other fragments too
	omitPartial   = "partial"      // its checksum is not finished, and cannot be finished here
	omitBusy      = "second-queue" // the second queue has no room, or did not hand the packet over
)

// rewriteOmits are the words of a decision's rewrite_omitted.
func rewriteOmits() []string {
	return []string{omitTruncated, omitGSO, omitMalformed, omitFragment, omitPartial, omitBusy}
}

// editor takes parts from packets. It belongs to one worker.
type editor struct{ decoder *Decoder }

// rewrite takes the parts of strip from the packet in pkt, in place, and returns what is left of pkt and whether it changed; mss is the largest segment size
// that a SYN may announce, where strip has [policy.StripMSS]. What the packet does not have is not missed. Options become
// no-operations; only [policy.StripData] makes a packet shorter, and the IP header says so. Where it cannot be done, omit says why
// and pkt is as it was.
//
// Checksums follow the change (RFC 1624), so that one which was wrong stays wrong and its receiver still sees that the segment was
// damaged on its way. Only a checksum that is partial is computed, since there is none yet that could be wrong.
func (e *editor) rewrite(pkt []byte, origLen int, info PacketInfo, strip policy.Strip, mss uint16) (left []byte, changed bool, omit string) {
	if info.GSO {
		return pkt, false, omitGSO
	}
	if origLen > len(pkt) {
		return pkt, false, omitTruncated
	}
	var f frame
	var s conntrack.Segment
	e.decoder.decode(pkt, len(pkt), PacketInfo{Partial: true}, &f, &s)
	switch {
	case s.Defect != conntrack.DefectNone:
		return pkt, false, omitMalformed
	case info.Partial && (f.fragment || f.unsummed):
		return pkt, false, omitPartial
	}
	has := strip.Of(&s, mss)
	if has&policy.StripData != 0 {
		if f.fragment {
			return pkt, false, omitFragment
		}
		if !lengthSaid(pkt) {
			return pkt, false, omitGSO // a length beyond 16 bits: RFC 2675, or the kernel's "BIG TCP"
		}
	}
	if has == 0 {
		return pkt, false, ""
	}
	tcp := f.transport
	header := int(tcp[12]>>4) * 4
	change := uint64(^foldSum(sumHeader(tcp[:header])))
	editHeader(tcp[:header], has, mss)
	change += sumHeader(tcp[:header])
	if has&policy.StripData != 0 {
		change += uint64(^foldSum(sumBytes(0, tcp[header:]))) + uint64(^uint16(len(tcp))) + uint64(header)
		pkt = cutPayload(pkt[:cap(pkt)-cap(tcp)+header], len(tcp)-header)
		tcp = tcp[:header]
	}
	if info.Partial {
		clear(tcp[16:18])
		binary.BigEndian.PutUint16(tcp[16:], ^foldSum(sumBytes(pseudoSum(&s.Tuple, len(tcp)), tcp)))
		return pkt, true, ""
	}
	mend(tcp[16:18], change)
	return pkt, true, ""
}

// sumHeader sums a TCP header without its checksum.
func sumHeader(tcp []byte) uint64 { return sumBytes(sumBytes(0, tcp[:16]), tcp[18:]) }

// mend applies a change, the complement of what was and what is now, to a checksum (RFC 1624 section 3, equation 3).
func mend(sum []byte, change uint64) {
	old := binary.BigEndian.Uint16(sum)
	binary.BigEndian.PutUint16(sum, ^foldSum(uint64(^old)+change))
}

// editHeader takes parts that it has from a TCP header whose options can be walked.
func editHeader(tcp []byte, has policy.Strip, mss uint16) {
	syn := tcp[13]&2 != 0
	if has&policy.StripUrgent != 0 {
		tcp[13] &^= 0x20
		clear(tcp[18:20])
	}
	if has&policy.StripReserved != 0 {
		tcp[12] &^= 0x0e
	}
	if has&policy.StripECN != 0 {
		tcp[12] &^= 0x01
		tcp[13] &^= 0xc0
	}
	if has&policy.StripPush != 0 {
		tcp[13] &^= 0x08
	}
	take := has.Options()
	for list := tcp[tcpHeaderMin:]; len(list) > 0 && list[0] != 0; {
		if list[0] == 1 {
			list = list[1:]
			continue
		}
		option := list[:list[1]]
		list = list[list[1]:]
		switch bit := optionBit(option[0], option[2:], syn); {
		case bit&take != 0:
			for i := range option {
				option[i] = 1
			}
		case bit == conntrack.OptMSS && has&policy.StripMSS != 0 && binary.BigEndian.Uint16(option[2:]) > mss:
			binary.BigEndian.PutUint16(option[2:], mss)
		}
	}
}

// lengthSaid reports whether the IP header itself says how long the packet is.
func lengthSaid(pkt []byte) bool {
	if pkt[0]>>4 == 4 {
		return binary.BigEndian.Uint16(pkt[2:]) != 0
	}
	return binary.BigEndian.Uint16(pkt[4:]) != 0
}

// cutPayload makes the IP header of a packet that ends with its TCP header say that n bytes less follow.
func cutPayload(pkt []byte, n int) []byte {
	at := 4
	if pkt[0]>>4 == 4 {
		at = 2
	}
	old := binary.BigEndian.Uint16(pkt[at:])
	binary.BigEndian.PutUint16(pkt[at:], old-uint16(n))
	if at == 2 {
		mend(pkt[10:12], uint64(^old)+uint64(old-uint16(n)))
	}
	return pkt
}
