//go:build netns

package fastpath_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// TestForward sends real connections over the program with redirect: what the ends send arrives whole and one hop older, also where the
// next hop is not known at first and where the way gets narrow, in both families.
func TestForward(t *testing.T) {
	for _, c := range []struct{ name, server string }{{"IPv4", "10.7.2.2"}, {"IPv6", "fd07:2::2"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newTown(t)
			b, flows := newBench(t, 4, false, true)
			flows.Beat(conntrack.Never / 2)
			for _, i := range []*net.Interface{w.inside, w.outside} {
				w.check(b.SetEgress(uint32(i.Index), true))
				w.attach(b.Program(14), i.Index)
			}
			far, near := w.dial(c.server)
			slot := w.settle(flows, near)
			stats := func() fastpath.Stats {
				s, err := b.Stats()
				w.check(err)
				return s
			}
			ttl := w.watch(unix.ETH_P_ALL)

			const size = 8 << 20
			w.transfer(flows, slot, near, far, size)
			w.transfer(flows, slot, far, near, size)
			s := stats()
			if s.Redirected < s.Packets*9/10 || s.Bytes < size {
				t.Errorf("of %d packets (%d bytes) that passed %d were sent out: %+v", s.Packets, s.Bytes, s.Redirected, s)
			}

			// The next hop's link address is not known: the kernel asks for it, and then it goes on.
			w.forgetNeighbours()
			before := stats()
			w.transfer(flows, slot, near, far, size)
			if s = stats(); s.Normal[fastpath.NormalNeighbour] == before.Normal[fastpath.NormalNeighbour] || s.Redirected == before.Redirected {
				t.Errorf("unknown neighbour: %+v, before %+v", s, before)
			}

			// The way gets narrower than either end knows: the kernel says so to the sender, which then sends less at a time.
			l, err := netlink.LinkByIndex(w.outside.Index)
			w.check(err)
			w.check(netlink.LinkSetMTU(l, 1300))
			before = stats()
			w.transfer(flows, slot, near, far, size)
			if s = stats(); s.Normal[fastpath.NormalMTU] == before.Normal[fastpath.NormalMTU] || s.Redirected == before.Redirected {
				t.Errorf("smaller MTU: %+v, before %+v", s, before)
			}
			if got := ttl(); got != 1<<63 {
				t.Errorf("hops left at the server: bits %#x, expected 63 alone", got)
			}
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the last acknowledgments are under way
				snap, err := flows.Read(slot)
				w.check(err)
				if s = stats(); snap.Packets[0]+snap.Packets[1] == s.Packets {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("packets by the flow %v, by the counters %d", snap.Packets, s.Packets)
				}
			}
		})
	}
}

// dial opens a connection from the client to the server; the sockets stay in their namespaces.
func (w *town) dial(server string) (far, near *net.TCPConn) {
	w.Helper()
	var l net.Listener
	var err error
	w.in(w.server, func() { l, err = net.Listen("tcp", net.JoinHostPort(server, "80")) })
	w.check(err)
	defer l.Close()
	w.in(w.client, func() {
		var c net.Conn
		c, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
		if err == nil {
			near = c.(*net.TCPConn)
		}
	})
	w.check(err)
	c, err := l.Accept()
	w.check(err)
	far = c.(*net.TCPConn)
	w.Cleanup(func() { near.Close(); far.Close() })
	return far, near
}

// settle installs and arms a connection by the numbers that its client's socket has.
func (w *town) settle(flows *fastpath.Flows, near *net.TCPConn) uint32 {
	w.Helper()
	raw, err := near.SyscallConn()
	w.check(err)
	var next [2]conntrack.Seq
	w.check(raw.Control(func(fd uintptr) {
		set := func(opt, v int) { w.check(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, opt, v)) }
		set(unix.TCP_REPAIR, 1)
		for dir, queue := range []int{2, 1} { // TCP_SEND_QUEUE, TCP_RECV_QUEUE
			set(unix.TCP_REPAIR_QUEUE, queue)
			n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
			w.check(err)
			next[dir] = conntrack.Seq(uint32(n))
		}
		set(unix.TCP_REPAIR, -1) // on without a window probe
	}))
	tu := conntrack.MakeTuple(netip.MustParseAddrPort(near.LocalAddr().String()), netip.MustParseAddrPort(near.RemoteAddr().String()))
	slot, err := flows.Install([2]fastpath.Key{{Tuple: tu, Ifindex: uint32(w.inside.Index)}, {Tuple: tu.Reverse(), Ifindex: uint32(w.outside.Index)}})
	w.check(err)
	st := conntrack.Fast{Deadline: conntrack.Never}
	for n := range st.Side {
		st.Side[n] = conntrack.FastSide{End: next[n], MaxEnd: next[n].Add(60000), MaxAck: next[1-n], MaxWin: 60000,
			Flags: sideFlags | conntrack.SideLiberal} // the window's scale is not known, so that it looks as if it shrank
	}
	snap, err := flows.Read(slot)
	w.check(err)
	flows.Arm(slot, snap.Punt, &st, &conntrack.FastRules{Check: conntrack.SeqOff, Retransmits: 3, Timeout: time.Hour})
	return slot
}

// transfer sends n bytes from one end to the other, and arms the flow again where something was punted, like a repetition: nobody
// waits for a verdict here.
func (w *town) transfer(flows *fastpath.Flows, slot uint32, from, to *net.TCPConn, n int) {
	w.Helper()
	w.check(to.SetReadDeadline(time.Now().Add(30 * time.Second)))
	done := make(chan error, 2)
	go func() {
		_, err := from.Write(make([]byte, n))
		done <- err
	}()
	go func() {
		got, err := io.CopyN(io.Discard, to, int64(n))
		if err != nil {
			err = fmt.Errorf("%d of %d bytes came: %w", got, n, err)
		}
		done <- err
	}()
	for left := 2; left > 0; {
		s, err := flows.Read(slot)
		w.check(err)
		if !s.Armed {
			flows.Arm(slot, s.Punt, &s.Fast, &conntrack.FastRules{Check: conntrack.SeqOff, Retransmits: 3, Timeout: time.Hour})
		}
		select {
		case err := <-done:
			w.check(err)
			left--
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// forgetNeighbours empties the gateway's tables of link addresses.
func (w *town) forgetNeighbours() {
	w.Helper()
	for _, i := range []*net.Interface{w.inside, w.outside} {
		list, err := netlink.NeighList(i.Index, netlink.FAMILY_ALL)
		w.check(err)
		for n := range list {
			if err := netlink.NeighDel(&list[n]); err != nil && !errors.Is(err, unix.ENOENT) {
				w.Logf("neighbour %v: %v", list[n].IP, err)
			}
		}
	}
}

// watch looks at what reaches the server from the client by TCP, and returns how many hops it had left: a set of bits.
func (w *town) watch(protocol uint16) func() uint64 {
	w.Helper()
	var seen atomic.Uint64
	ready, done := make(chan error, 1), make(chan struct{})
	var stop atomic.Bool
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err := netns.Set(w.server)
		var fd int
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(protocol>>8|protocol<<8))
		}
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000})
		}
		ready <- err
		if err != nil {
			return
		}
		defer unix.Close(fd)
		b := make([]byte, 128)
		for !stop.Load() {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
					continue
				}
				return
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype != unix.PACKET_HOST || n < 41 {
				continue
			}
			switch {
			case b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
				seen.Or(1 << (b[8] & 63))
			case b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
				seen.Or(1 << (b[7] & 63))
			}
		}
	}()
	w.check(<-ready)
	return func() uint64 {
		stop.Store(true)
		<-done
		return seen.Load()
	}
}
