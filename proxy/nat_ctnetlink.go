package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h. Only the two tuples of an entry are read, and by hand: ti-mo/conntrack
// knows no dump filtered by tuple, and refuses a whole entry for one attribute that a newer kernel added.
const (
	ctnlGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIP4Src = 1
	ctaIP4Dst = 2
	ctaIP6Src = 3
	ctaIP6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2

	// Which fields of a tuple a dump is filtered by (CTA_FILTER_FLAG in nf_conntrack_netlink.c, since Linux 5.8; older
	// kernels ignore the filter and list everything).
	filterIPSrc    = 1 << 0
	filterProtoNum = 1 << 3
	filterSrcPort  = 1 << 4
)

// askLimit bounds a question to the host's conntrack. The kernel answers while it is asked; only a walk through a large
// table takes more than microseconds.
const askLimit = 500 * time.Millisecond

// hostConntrack asks the connection tracking of the thread's network namespace. It connects when first asked.
type hostConntrack struct{ conn *netlink.Conn }

// get returns the entry, in the default zone, that has the tuple in either direction.
func (h *hostConntrack) get(tu conntrack.Tuple) (natEntry, bool, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(ctaTupleOrig, encodeTuple(tu))
	entries, err := h.ask(&tu, ae, netlink.Request|netlink.Acknowledge)
	if errors.Is(err, unix.ENOENT) || err == nil && len(entries) == 0 {
		return natEntry{}, false, nil
	}
	if err != nil {
		return natEntry{}, false, err
	}
	return entries[0], true, nil
}

// walk returns the entry, in any zone, whose original direction comes from from.Src and whose reply direction comes from
// to.Src, ports included. The kernel walks its whole table for it.
func (h *hostConntrack) walk(from, to conntrack.Tuple) (natEntry, bool, error) {
	const fields = filterIPSrc | filterProtoNum | filterSrcPort
	ae := netlink.NewAttributeEncoder()
	ae.Nested(ctaTupleOrig, encodeTuple(from))
	ae.Nested(ctaTupleReply, encodeTuple(to))
	ae.Nested(ctaFilter, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(ctaFilterOrigFlags, fields)
		ae.Uint32(ctaFilterReplyFlags, fields)
		return nil
	})
	entries, err := h.ask(&from, ae, netlink.Request|netlink.Dump)
	if err != nil {
		return natEntry{}, false, err
	}
	for _, e := range entries { // an older kernel lists everything
		if e.forward() == (conntrack.Tuple{Src: from.Src, SrcPort: from.SrcPort, Dst: to.Src, DstPort: to.SrcPort}) {
			return e, true, nil
		}
	}
	return natEntry{}, false, nil
}

// ask sends a request about the family of tu and returns the entries in the answer.
func (h *hostConntrack) ask(tu *conntrack.Tuple, ae *netlink.AttributeEncoder, flags netlink.HeaderFlags) ([]natEntry, error) {
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("ctnetlink: encode: %w", err)
	}
	if h.conn == nil {
		if h.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return nil, fmt.Errorf("ctnetlink: %w", err)
		}
	}
	family := byte(unix.AF_INET)
	if !tu.Is4() {
		family = unix.AF_INET6
	}
	request := netlink.Message{
		Header: netlink.Header{Type: ctnlGet, Flags: flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...), // struct nfgenmsg
	}
	if err := h.conn.SetDeadline(time.Now().Add(askLimit)); err != nil {
		return nil, fmt.Errorf("ctnetlink: %w", err)
	}
	answers, err := h.conn.Execute(request)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) { // what is left of the answer must not be taken for the next one
			_ = h.close()
		}
		return nil, fmt.Errorf("ctnetlink: %w", err)
	}
	var entries []natEntry
	for _, m := range answers {
		if m.Header.Type != ctnlGet&^0xff { // entries come as IPCTNL_MSG_CT_NEW
			continue
		}
		if e, ok := decodeNATEntry(m.Data); ok {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// close closes the connection; the next question opens another.
func (h *hostConntrack) close() error {
	if h.conn == nil {
		return nil
	}
	conn := h.conn
	h.conn = nil
	return conn.Close()
}

// encodeTuple writes the inside of CTA_TUPLE_ORIG or CTA_TUPLE_REPLY.
func encodeTuple(tu conntrack.Tuple) func(*netlink.AttributeEncoder) error {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(ctaTupleIP, func(ae *netlink.AttributeEncoder) error {
			if tu.Is4() {
				ae.Bytes(ctaIP4Src, tu.Src[12:])
				ae.Bytes(ctaIP4Dst, tu.Dst[12:])
				return nil
			}
			ae.Bytes(ctaIP6Src, tu.Src[:])
			ae.Bytes(ctaIP6Dst, tu.Dst[:])
			return nil
		})
		ae.Nested(ctaTupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(ctaProtoNum, unix.IPPROTO_TCP)
			ae.Bytes(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, tu.SrcPort))
			ae.Bytes(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, tu.DstPort))
			return nil
		})
		return nil
	}
}

// decodeNATEntry reads the two tuples of an entry of TCP; false for another protocol or a tuple that is not whole.
func decodeNATEntry(data []byte) (e natEntry, ok bool) {
	const nfgenmsg = 4
	if len(data) < nfgenmsg {
		return e, false
	}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsg:])
	if err != nil {
		return e, false
	}
	var original, reply bool
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleOrig:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { original = decodeTuple(ad, &e.original); return nil })
		case ctaTupleReply:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { reply = decodeTuple(ad, &e.reply); return nil })
		}
	}
	return e, ad.Err() == nil && original && reply
}

// decodeTuple reads the inside of a tuple attribute and reports whether it is a whole tuple of TCP.
func decodeTuple(ad *netlink.AttributeDecoder, tu *conntrack.Tuple) bool {
	const whole = 1<<5 - 1
	got := 0
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					a, ok := netip.AddrFromSlice(ad.Bytes())
					switch t := ad.Type(); {
					case ok && (t == ctaIP4Src || t == ctaIP6Src):
						tu.Src, got = a.As16(), got|1
					case ok && (t == ctaIP4Dst || t == ctaIP6Dst):
						tu.Dst, got = a.As16(), got|2
					}
				}
				return ad.Err()
			})
		case ctaTupleProto:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					switch b := ad.Bytes(); {
					case ad.Type() == ctaProtoNum && len(b) == 1 && b[0] == unix.IPPROTO_TCP:
						got |= 4
					case ad.Type() == ctaProtoSrcPort && len(b) == 2:
						tu.SrcPort, got = binary.BigEndian.Uint16(b), got|8
					case ad.Type() == ctaProtoDstPort && len(b) == 2:
						tu.DstPort, got = binary.BigEndian.Uint16(b), got|16
					}
				}
				return ad.Err()
			})
		}
	}
	return ad.Err() == nil && got == whole
}
