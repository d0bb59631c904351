package experiment

import (
	"encoding/binary"
	"net/netip"

	"halfopen/conntrack"
	"halfopen/policy"
)

// maxUnit is the most bytes that a unit has: two addresses and two ports.
const maxUnit = 16 + 16 + 2 + 2

// UnitKey is a unit in canonical form, to be compared and hashed.
type UnitKey struct {
	b [maxUnit]byte
	n uint8
}

// Bytes returns the canonical bytes that are hashed: of a client its 16 octets (IPv4 addresses IPv4-mapped; with [UnitClient64] the low
// eight octets of an IPv6 address are zero), of a pair client and server, of a flow those and both ports, the client's first.
func (k *UnitKey) Bytes() []byte { return k.b[:k.n] }

// Key returns the unit of a connection whose tuple is in original direction: from the client.
func (u Unit) Key(tu *conntrack.Tuple) (k UnitKey) {
	k.n = uint8(u.put(&k.b, tu))
	return k
}

// put writes a unit's canonical bytes and returns how many there are.
func (u Unit) put(b *[maxUnit]byte, tu *conntrack.Tuple) int {
	copy(b[:16], tu.Src[:])
	switch u {
	case UnitClient:
		return 16
	case UnitPair:
		copy(b[16:32], tu.Dst[:])
		return 32
	case UnitFlow:
		copy(b[16:32], tu.Dst[:])
		binary.BigEndian.PutUint16(b[32:], tu.SrcPort)
		binary.BigEndian.PutUint16(b[34:], tu.DstPort)
		return 36
	}
	if !is4(&tu.Src) {
		clear(b[8:16])
	}
	return 16
}

// is4 reports whether an address is IPv4-mapped, as tuples hold IPv4 addresses.
func is4(a *[16]byte) bool {
	return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// Text returns a unit as logs and reports have it: 10.0.0.1, 2001:db8::/64, 10.0.0.1 > 10.0.1.9, 10.0.0.1:721 > 10.0.1.9:515.
func (u Unit) Text(tu *conntrack.Tuple) string {
	client, server := tu.From(), tu.To()
	switch u {
	case UnitClient:
		return client.Addr().String()
	case UnitPair:
		return client.Addr().String() + " > " + server.Addr().String()
	case UnitFlow:
		return client.String() + " > " + server.String()
	}
	if client.Addr().Is4() {
		return client.Addr().String()
	}
	return netip.PrefixFrom(client.Addr(), 64).Masked().String()
}

// FromClient returns the tuple in original direction of a connection whose SYN nobody saw, from that of its first segment seen: the client
// is the end with the higher port, and with equal ports the segment's sender. The engine assigns such connections by it.
func FromClient(tu conntrack.Tuple) conntrack.Tuple {
	if tu.SrcPort < tu.DstPort {
		return tu.Reverse()
	}
	return tu
}

// ParseUnit returns the unit of a word.
func ParseUnit(word string) (Unit, bool) {
	for i, w := range unitWords {
		if w == word {
			return Unit(i), true
		}
	}
	return 0, false
}

// UnitOf returns the text of the unit that a connection belongs to; its tuple is in original direction.
func (s *Spec) UnitOf(tu *conntrack.Tuple) string { return s.Unit.Text(tu) }

// Matches reports whether the experiment's match holds for a connection; its tuple is in original direction.
func (s *Spec) Matches(tu *conntrack.Tuple) bool {
	for part := range policy.NumMatchParts {
		if !s.Match.Holds(part, tu) {
			return false
		}
	}
	return true
}
