package decisionlog

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

const protoTCP = 6

// AppendCommunityID appends the Community ID (specification v1, seed 0) of a TCP
// connection between two ends; it is the same in both directions. IPv4-mapped
// IPv6 addresses count as IPv4. It costs a SHA-1, so the Writer computes it and
// the packet path does not.
func AppendCommunityID(dst []byte, a, b netip.AddrPort) []byte {
	var msg [2 + 16 + 16 + 2 + 4]byte // seed, addresses, protocol and padding, ports
	lo, hi := a, b
	if less(hi, lo) {
		lo, hi = hi, lo
	}
	m := appendAddr(msg[:2], lo.Addr())
	m = appendAddr(m, hi.Addr())
	m = append(m, protoTCP, 0)
	m = binary.BigEndian.AppendUint16(m, lo.Port())
	m = binary.BigEndian.AppendUint16(m, hi.Port())
	sum := sha1.Sum(m)
	return base64.StdEncoding.AppendEncode(append(dst, "1:"...), sum[:])
}

// less orders two ends by the bytes of their addresses, then by port.
func less(a, b netip.AddrPort) bool {
	var ab, bb [16]byte
	x, y := appendAddr(ab[:0], a.Addr()), appendAddr(bb[:0], b.Addr())
	if c := bytes.Compare(x, y); c != 0 {
		return c < 0
	}
	return a.Port() < b.Port()
}

// appendAddr appends an address in network byte order, 4 or 16 octets.
func appendAddr(dst []byte, a netip.Addr) []byte {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return append(dst, b[:]...)
	}
	b := a.As16()
	return append(dst, b[:]...)
}
