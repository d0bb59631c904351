package nfqueue

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The expressions of our rules, in the order in which nft itself would emit them. Everything compares register 1.

func equal(b []byte) expr.Any { return compare(expr.CmpOpEq, b) }
func compare(op expr.CmpOp, b []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: 1, Data: b}
}
func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }
func mask(m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}
func payload(base expr.PayloadBase, offset, n uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: base, Offset: offset, Len: n}
}

// markIs matches packets whose fwmark, under mask, is value.
func markIs(m, value uint32) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyMARK), mask(binaryutil.NativeEndian.PutUint32(m)), equal(binaryutil.NativeEndian.PutUint32(value))}
}

func protocolIs(op expr.CmpOp, proto byte) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), compare(op, []byte{proto})}
}

func familyIs(nfproto byte) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyNFPROTO), equal([]byte{nfproto})}
}

// laterFragment4 matches IPv4 fragments but the first (RFC 791: fragment offset, 13 bits at byte 6).
func laterFragment4() []expr.Any {
	return append(familyIs(unix.NFPROTO_IPV4), payload(expr.PayloadBaseNetworkHeader, 6, 2), mask([]byte{0x1f, 0xff}),
		compare(expr.CmpOpNeq, []byte{0, 0}))
}

// laterFragment6 matches IPv6 fragments but the first (RFC 8200 section 4.5: offset, 13 bits at byte 2 of the header).
func laterFragment6() []expr.Any {
	return append(familyIs(unix.NFPROTO_IPV6),
		&expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
		mask([]byte{0xff, 0xf8}), compare(expr.CmpOpNeq, []byte{0, 0}))
}

// matches is an alternative's conditions; the caller has made sure of TCP.
func (a *alternative) matches() []expr.Any {
	var e []expr.Any
	for _, i := range []struct {
		key  expr.MetaKey
		name string
	}{{expr.MetaKeyIIFNAME, a.iif}, {expr.MetaKeyOIFNAME, a.oif}} {
		if i.name != "" {
			e = append(e, meta(i.key), equal(interfaceName(i.name)))
		}
	}
	if a.src.IsValid() || a.dst.IsValid() {
		proto, srcAt, dstAt := byte(unix.NFPROTO_IPV4), uint32(12), uint32(16)
		if !a.v4() {
			proto, srcAt, dstAt = unix.NFPROTO_IPV6, 8, 24
		}
		e = append(e, familyIs(proto)...)
		e = append(e, prefixAt(a.src, srcAt)...)
		e = append(e, prefixAt(a.dst, dstAt)...)
	}
	if a.ports[0] {
		e = append(e, portAt(a.sport, 0)...)
	}
	if a.ports[1] {
		e = append(e, portAt(a.dport, 2)...)
	}
	return e
}

// interfaceName is a name as the kernel compares it: IFNAMSIZ bytes.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func prefixAt(p netip.Prefix, offset uint32) []expr.Any {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	addr := p.Addr().AsSlice()
	e := []expr.Any{payload(expr.PayloadBaseNetworkHeader, offset, uint32(len(addr)))}
	if !p.IsSingleIP() {
		m := make([]byte, len(addr))
		for i := range p.Bits() {
			m[i/8] |= 0x80 >> (i % 8)
		}
		e = append(e, mask(m))
	}
	return append(e, equal(addr))
}

func portAt(r PortRange, offset uint32) []expr.Any {
	first, last := binary.BigEndian.AppendUint16(nil, r.First), binary.BigEndian.AppendUint16(nil, r.Last)
	load := payload(expr.PayloadBaseTransportHeader, offset, 2)
	if r.First == r.Last {
		return []expr.Any{load, equal(first)}
	}
	return []expr.Any{load, compare(expr.CmpOpGte, first), compare(expr.CmpOpLte, last)}
}

func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }

// countIn adds to the table's named counter.
func countIn(name string) expr.Any {
	return &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name}
}

// nativeQueue is nft's own queue statement. Without the fanout flag the kernel picks the queue by a hash of both
// addresses, in either order (nft_queue.c, nf_queue.h), so that both directions of a flow meet.
func nativeQueue(first, last uint16, bypass bool) expr.Any {
	q := &expr.Queue{Num: first, Total: last - first + 1}
	if bypass {
		q.Flag = expr.QueueFlagBypass
	}
	return q
}

// xtQueue is the xtables target NFQUEUE, revision 3: queue, number of queues, flags, padded to eight bytes
// (struct xt_NFQ_info_v3 in include/uapi/linux/netfilter/xt_NFQUEUE.h). It chooses among queues as nativeQueue does.
func xtQueue(first, last uint16, bypass bool) expr.Any {
	var flags uint16
	if bypass {
		flags = xtBypass
	}
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info, first)
	binary.NativeEndian.PutUint16(info[2:], last-first+1)
	binary.NativeEndian.PutUint16(info[4:], flags)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

// Flags of xt_NFQ_info_v3.
const (
	xtBypass = 1
	xtFanout = 2
)
