package conntrack

import (
	"bytes"
	"net/netip"
)

// Tuple names one direction of a TCP connection. IPv4 addresses are held in their IPv4-mapped IPv6 form, so one code path
// serves both families. It is comparable and free of pointers.
type Tuple struct {
	Src, Dst         [16]byte
	SrcPort, DstPort uint16
}

// MakeTuple returns the tuple of a segment from src to dst.
func MakeTuple(src, dst netip.AddrPort) Tuple {
	return Tuple{Src: src.Addr().As16(), Dst: dst.Addr().As16(), SrcPort: src.Port(), DstPort: dst.Port()}
}

// Reverse returns the tuple of the other direction.
func (t Tuple) Reverse() Tuple {
	return Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort}
}

// Canonical returns the one of t and t.Reverse that is the same for both directions, and whether that is the reverse.
func (t Tuple) Canonical() (Tuple, bool) {
	c := bytes.Compare(t.Src[:], t.Dst[:])
	if c < 0 || c == 0 && t.SrcPort <= t.DstPort {
		return t, false
	}
	return t.Reverse(), true
}

// Is4 reports whether both ends are IPv4.
func (t *Tuple) Is4() bool { return t.mapped() }

// From returns the source as an address and port, IPv4 unmapped.
func (t Tuple) From() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Src).Unmap(), t.SrcPort)
}

// To returns the destination as an address and port, IPv4 unmapped.
func (t Tuple) To() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Dst).Unmap(), t.DstPort)
}

// String returns "from > to" for logs and test failures.
func (t Tuple) String() string { return t.From().String() + " > " + t.To().String() }
