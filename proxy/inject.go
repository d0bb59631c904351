package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// RawInjector sends finished IP packets through raw sockets. They leave by the OUTPUT and POSTROUTING hooks with the mark
// that keeps them out of our queue and of the host's connection tracking. It is for one goroutine.
type RawInjector struct {
	fd4, fd6 int // -1 where the host has no such family
}

// OpenRawInjector opens one socket a family in the calling thread's network namespace. Every packet gets mark as its
// firewall mark, which also counts in policy routing (ip rule fwmark). It needs CAP_NET_RAW and CAP_NET_ADMIN. A host
// without one of the families can still send the other.
func OpenRawInjector(mark uint32) (*RawInjector, error) {
	r := &RawInjector{fd4: -1, fd6: -1}
	var err4, err6 error
	r.fd4, err4 = openRaw(unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL, mark)
	r.fd6, err6 = openRaw(unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, mark)
	if err4 != nil && err6 != nil {
		return nil, fmt.Errorf("inject: %w", errors.Join(err4, err6))
	}
	return r, nil
}

// openRaw opens a raw socket that takes whole packets and receives none (IPPROTO_RAW is for sending only: raw(7)).
func openRaw(family, level, header int, mark uint32) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, level, header, 1); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt HDRINCL", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt SO_MARK", err)
	}
	return fd, nil
}

// Send sends an IPv4 or IPv6 packet to the destination in its header. It does not block and keeps no reference to pkt. What
// the kernel refuses at once is an error: no route, an unreachable or prohibiting route, a drop by the host's own rules
// (EPERM), a packet above the path's MTU, a full send buffer. A neighbour that never answers is not: the kernel finds that out
// later and tells only the address that the packet names as its source.
func (r *RawInjector) Send(pkt []byte) error {
	var to unix.Sockaddr
	fd := -1
	switch {
	case len(pkt) >= ip4HeaderMin && pkt[0]>>4 == 4:
		fd, to = r.fd4, &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])}
	case len(pkt) >= ip6HeaderLen && pkt[0]>>4 == 6:
		fd, to = r.fd6, &unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])}
	default:
		return fmt.Errorf("inject: %d bytes are no IP packet", len(pkt))
	}
	if fd < 0 {
		return fmt.Errorf("inject: %w", unix.EAFNOSUPPORT)
	}
	if err := unix.Sendto(fd, pkt, 0, to); err != nil {
		return fmt.Errorf("inject: send to %s: %w", destination(pkt), err)
	}
	return nil
}

// destination returns the destination address of an IP packet whose header is known to be whole.
func destination(pkt []byte) netip.Addr {
	if pkt[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(pkt[16:20]))
	}
	return netip.AddrFrom16([16]byte(pkt[24:40]))
}

// Close closes the sockets.
func (r *RawInjector) Close() error {
	var errs []error
	for _, fd := range []*int{&r.fd4, &r.fd6} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}
