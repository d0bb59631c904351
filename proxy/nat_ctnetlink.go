package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
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
	filterProtoNum = 1 << 3
	filterSrcPort  = 1 << 4
)

// askLimit bounds a question to the host's conntrack. The kernel answers while it is asked; only a walk through a large
// table takes more than microseconds.
const askLimit = 500 * time.Millisecond

// maxListed bounds how many entries of a dump are read: a kernel that knows no filter lists its whole table.
const maxListed = 1 << 17

// hostConntrack asks the connection tracking of the thread's network namespace. It opens its socket when first asked. The
// socket is driven by hand: ctnetlink marks the single answer to a plain request as part of several, and mdlayher/netlink
// then waits for an end that never comes.
type hostConntrack struct {
	fd     int // valid while open
	open   bool
	seq    uint32
	buffer []byte
}

// get returns the entry, in the default zone, that has the tuple in either direction.
func (h *hostConntrack) get(tu conntrack.Tuple) (found natEntry, ok bool, err error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(ctaTupleOrig, encodeTuple(tu))
	err = h.ask(&tu, ae, netlink.Request, func(e natEntry) bool { found, ok = e, true; return false })
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return found, ok, err
}

// walk returns the entry, in any zone, whose original direction comes from from.Src and whose reply direction comes from
// to.Src, ports included. The kernel walks its whole table for it and lists those with the ports; it cannot be asked for addresses,
// because ctnetlink_filter_match_tuple compares those of IPv6 the wrong way round (seen in Linux 6.18).
func (h *hostConntrack) walk(from, to conntrack.Tuple) (found natEntry, ok bool, err error) {
	const fields = filterProtoNum | filterSrcPort
	ae := netlink.NewAttributeEncoder()
	ae.Nested(ctaTupleOrig, encodeTuple(from))
	ae.Nested(ctaTupleReply, encodeTuple(to))
	ae.Nested(ctaFilter, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(ctaFilterOrigFlags, fields)
		ae.Uint32(ctaFilterReplyFlags, fields)
		return nil
	})
	want := conntrack.Tuple{Src: from.Src, SrcPort: from.SrcPort, Dst: to.Src, DstPort: to.SrcPort}
	err = h.ask(&from, ae, netlink.Request|netlink.Dump, func(e natEntry) bool {
		if e.forward() == want {
			found, ok = e, true
		}
		return true // to the end, which the socket must see
	})
	return found, ok, err
}

// ask sends a request about the family of tu and hands over the entries in the answer until each says false or the answer
// ends. After an error that is not the kernel's plain refusal the socket is closed, so that the rest of an answer is not taken
// for the next one.
func (h *hostConntrack) ask(tu *conntrack.Tuple, ae *netlink.AttributeEncoder, flags netlink.HeaderFlags, each func(natEntry) bool) error {
	attrs, err := ae.Encode()
	if err != nil {
		return fmt.Errorf("ctnetlink: encode: %w", err)
	}
	if err := h.connect(); err != nil {
		return fmt.Errorf("ctnetlink: %w", err)
	}
	family := byte(unix.AF_INET)
	if !tu.Is4() {
		family = unix.AF_INET6
	}
	h.seq++
	request := netlink.Message{
		Header: netlink.Header{Length: uint32(unix.NLMSG_HDRLEN + 4 + len(attrs)), Type: ctnlGet, Flags: flags, Sequence: h.seq},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...), // struct nfgenmsg
	}
	bytes, err := request.MarshalBinary()
	if err != nil {
		return fmt.Errorf("ctnetlink: encode: %w", err)
	}
	if err := unix.Sendto(h.fd, bytes, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ctnetlink: %w", errors.Join(os.NewSyscallError("sendto", err), h.close()))
	}
	refusal, err := h.answer(each)
	if err != nil {
		return fmt.Errorf("ctnetlink: %w", errors.Join(err, h.close()))
	}
	if refusal != 0 {
		return fmt.Errorf("ctnetlink: %w", refusal)
	}
	return nil
}

// connect opens the socket.
func (h *hostConntrack) connect() error {
	if h.open {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	limit := unix.NsecToTimeval(int64(askLimit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return errors.Join(os.NewSyscallError("setsockopt SO_RCVTIMEO", err), unix.Close(fd))
	}
	if h.buffer == nil {
		h.buffer = make([]byte, 1<<16) // the kernel fills at most 32 KiB at a time (netlink_dump)
	}
	h.fd, h.open = fd, true
	return nil
}

// answer reads the answer to the last request. refusal is the error number with which the kernel refused it.
func (h *hostConntrack) answer(each func(natEntry) bool) (refusal unix.Errno, err error) {
	for listed, end := 0, time.Now().Add(askLimit); listed < maxListed && time.Now().Before(end); {
		n, _, err := unix.Recvfrom(h.fd, h.buffer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(h.buffer[:n])
		if err != nil {
			return 0, fmt.Errorf("answer: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != h.seq: // of a request that was given up
			case m.Header.Type == unix.NLMSG_DONE:
				return 0, nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))), nil
			default:
				listed++
				if e, ok := decodeNATEntry(m.Data); ok && !each(e) {
					return 0, nil
				}
			}
		}
	}
	return 0, errors.New("the answer does not end")
}

// close closes the socket; the next question opens another.
func (h *hostConntrack) close() error {
	if !h.open {
		return nil
	}
	h.open = false
	return os.NewSyscallError("close", unix.Close(h.fd))
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
