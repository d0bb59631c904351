//go:build netns

package nfqueue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestRerouteToSecondQueue sends every packet on from a headers-only queue of super-packets to a whole-packet queue of
// single segments. One flow, so one order: the second queue must deliver what a receiver can put together.
func TestRerouteToSecondQueue(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{0, 0}, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	first := open(t, Config{Number: 0, CopyRange: 256, GSO: true, FailOpen: true})
	second := open(t, Config{Number: 1, FailOpen: true, MaxLen: 4096})
	batch, super := make([]Packet, DefaultBatch), 0
	w.transfer(t, server4+":515", 4<<20, func(done <-chan struct{}) {
		for {
			n, err := first.Recv(batch, time.Millisecond)
			check(t, err)
			for i := range n {
				if batch[i].GSO {
					super++
				}
				first.Reroute(batch[i].ID, 1)
			}
			check(t, first.Flush())
			m, err := second.Recv(batch, time.Millisecond)
			check(t, err)
			for i := range m {
				p := &batch[i]
				if p.Truncated() || p.GSO || p.Partial || len(p.Data) > 1500 || !tcpChecksumGood(p.Data) {
					t.Fatalf("second queue: %d of %d bytes, GSO %v, partial %v", len(p.Data), p.CapLen, p.GSO, p.Partial)
				}
				second.Accept(p.ID)
			}
			check(t, second.Flush())
			if n+m == 0 {
				select {
				case <-done:
					return
				default:
				}
			}
		}
	})
	a, b := first.Stats(), second.Stats()
	t.Logf("first %+v, second %+v, %d super-packets", a, b, super)
	if super == 0 || b.Received <= a.Received || a.LostIDs+b.LostIDs != 0 {
		t.Errorf("%d super-packets, %+v, %+v", super, a, b)
	}
	// Nobody on the second queue: a rerouted packet goes on.
	check(t, second.Close())
	w.transfer(t, server4+":515", 1<<20, func(done <-chan struct{}) {
		for {
			n, err := first.Recv(batch, 10*time.Millisecond)
			check(t, err)
			for i := range n {
				first.Reroute(batch[i].ID, 1)
			}
			check(t, first.Flush())
			select {
			case <-done:
				return
			default:
			}
		}
	})
}

// tcpChecksumGood verifies the checksum of an IPv4 TCP segment (RFC 9293 section 3.1).
func tcpChecksumGood(b []byte) bool {
	seg := b[int(b[0]&15)*4:]
	sum := uint32(unix.IPPROTO_TCP) + uint32(len(seg))
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
		if len(b)%2 != 0 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(b[12:20])
	add(seg)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}

// TestBothQueues uses many addresses: the kernel spreads address pairs, and keeps both directions of each together.
func TestBothQueues(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{0, 1}, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	a := open(t, Config{Number: 0, CopyRange: 256, GSO: true})
	b := open(t, Config{Number: 1, CopyRange: 256, GSO: true})
	w.in(t, w.server, func() {
		link, err := netlink.LinkByName("eth0")
		check(t, err)
		for i := range 16 {
			addr, _ := netlink.ParseAddr(fmt.Sprintf("10.2.1.%d/16", i))
			check(t, netlink.AddrAdd(link, addr))
		}
	})
	seen := map[string]map[uint16]bool{} // server address -> queues
	for i := range 16 {
		ip := net.IPv4(10, 2, 1, byte(i)).To4()
		w.transfer(t, ip.String()+":515", 100, func(done <-chan struct{}) {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, q := range []*Queue{a, b} {
					for _, p := range recvUpTo(t, q) {
						src, dst := net.IP(p.Data[12:16]), net.IP(p.Data[16:20])
						if !src.Equal(ip) && !dst.Equal(ip) {
							continue // the end of the transfer before
						}
						if seen[ip.String()] == nil {
							seen[ip.String()] = map[uint16]bool{}
						}
						seen[ip.String()][p.Queue] = true
					}
				}
			}
		})
	}
	used := map[uint16]int{}
	for addr, queues := range seen {
		if len(queues) != 1 {
			t.Errorf("%s: one flow in %d queues", addr, len(queues))
		}
		for q := range queues {
			used[q]++
		}
	}
	if len(used) != 2 || len(seen) != 16 {
		t.Errorf("%d addresses, flows per queue %v", len(seen), used)
	}
}

// recvUpTo accepts what is there and returns it, with data of its own.
func recvUpTo(t *testing.T, q *Queue) []Packet {
	t.Helper()
	batch := make([]Packet, 64)
	n, err := q.Recv(batch, time.Millisecond)
	check(t, err)
	for i := range n {
		q.Accept(batch[i].ID)
		batch[i].Data = bytes.Clone(batch[i].Data)
	}
	check(t, q.Flush())
	return batch[:n]
}

// TestLocalTraffic queues what the gateway itself sends and receives, but neither loopback nor marked packets, and keeps
// marked ones out of connection tracking.
func TestLocalTraffic(t *testing.T) {
	w := newWorld(t)
	run(t, "nft", "add table inet host; add chain inet host f { type filter hook output priority 0; }; add rule inet host f ct state established accept")
	rs := RuleSet{Queues: [2]uint16{2, 2}, Hooks: Input | Output, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	q := open(t, Config{Number: 2, CopyRange: 256, GSO: true, FailOpen: true})
	l := w.listen(t, server4+":515")
	defer l.Close()
	loop, err := net.Listen("tcp", "127.0.0.1:515")
	check(t, err)
	defer loop.Close()
	for _, lis := range []net.Listener{l, loop} {
		go echo(lis)
	}
	// talk holds one conversation and counts its queued packets by hook; late packets of others have other ports.
	talk := func(addr string, mark int) map[uint8]int {
		var all []Packet
		done := make(chan said, 1)
		go func() { done <- w.say(addr, mark) }()
		for {
			all = append(all, recvUpTo(t, q)...)
			select {
			case s := <-done:
				check(t, s.err)
				return byHook(append(all, recvUpTo(t, q)...), s.port)
			default:
			}
		}
	}
	if hooks := talk(server4+":515", 0); hooks[1] < 2 || hooks[3] < 3 {
		t.Errorf("packets by hook %v", hooks)
	}
	if out := run(t, "conntrack", "-L"); !strings.Contains(out, "dport=515") {
		t.Fatalf("the host does not track: %s", out)
	}
	if hooks := talk("127.0.0.1:515", 0); len(hooks) != 0 {
		t.Errorf("loopback packets by hook %v", hooks)
	}
	run(t, "conntrack", "-F")
	// The answers carry no mark, so they are queued and tracked; what we sent is neither.
	marked := talk(server4+":515", 0x01000000)
	if marked[3] != 0 || marked[1] < 2 {
		t.Errorf("of a conversation whose outgoing packets are marked, by hook: %v", marked)
	}
	for line := range strings.Lines(run(t, "conntrack", "-L")) {
		_, original, _ := strings.Cut(line, "src=")
		if strings.HasPrefix(original, "10.2.0.254 ") && strings.Contains(line, "ESTABLISHED") {
			t.Errorf("a marked packet is tracked: %s", line)
		}
	}
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
	}
}

// byHook counts the packets, by hook, that have a port at either end.
func byHook(all []Packet, port uint16) map[uint8]int {
	hooks := map[uint8]int{}
	for _, p := range all {
		ports := p.Data[int(p.Data[0]&15)*4:]
		if binary.BigEndian.Uint16(ports) == port || binary.BigEndian.Uint16(ports[2:]) == port {
			hooks[p.Hook]++
		}
	}
	return hooks
}

// said is how a conversation ended and which local port it had.
type said struct {
	port uint16
	err  error
}

// say dials from the gateway with a mark, sends a word, waits for its echo, and leaves the connection open for a while.
func (w *world) say(addr string, mark int) said {
	runtime.LockOSThread() // not given back: see newWorld
	if err := netns.Set(w.gateway); err != nil {
		return said{err: err}
	}
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		return err
	}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return said{err: err}
	}
	time.AfterFunc(time.Second, func() { c.Close() })
	if _, err := c.Write([]byte("hello")); err != nil {
		return said{err: err}
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return said{uint16(c.LocalAddr().(*net.TCPAddr).Port), err}
}

// TestFragmentsPass sends a TCP segment in fragments: only the first may be queued.
func TestFragmentsPass(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{2, 2}, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	q := open(t, Config{Number: 2})
	w.in(t, w.client, func() {
		sendFragments(t, unix.AF_INET, server4)
		sendFragments(t, unix.AF_INET6, server6)
	})
	var got []Packet
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline) && len(got) < 2; {
		got = append(got, recvUpTo(t, q)...)
	}
	got = append(got, recvUpTo(t, q)...)
	if len(got) != 2 || got[0].Proto != unix.ETH_P_IP || got[1].Proto != unix.ETH_P_IPV6 {
		t.Errorf("%d packets queued of two fragmented segments: %+v", len(got), got)
	}
	if n := counter(t, &rs); n != 2 {
		t.Errorf("%d counted", n)
	}
}

// sendFragments sends two fragments of a TCP segment of 48 bytes over a raw socket.
func sendFragments(t *testing.T, family int, dst string) {
	t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_RAW, unix.IPPROTO_RAW)
	check(t, err)
	defer unix.Close(fd)
	payload := make([]byte, 24)
	payload[1], payload[3], payload[12] = 9, 9, 0x50
	ip := net.ParseIP(dst)
	for i, more := range []byte{1, 0} {
		if family == unix.AF_INET {
			h := []byte{0x45, 0, 0, 44, 0, 7, more << 5, byte(i * 3), 64, unix.IPPROTO_TCP, 0, 0}
			h = append(append(h, net.ParseIP(client4).To4()...), ip.To4()...)
			check(t, unix.Sendto(fd, append(h, payload...), 0, &unix.SockaddrInet4{Addr: [4]byte(ip.To4())}))
			continue
		}
		h := []byte{0x60, 0, 0, 0, 0, 32, unix.IPPROTO_FRAGMENT, 64}
		h = append(append(h, net.ParseIP(client6)...), ip...)
		h = append(h, unix.IPPROTO_TCP, 0, 0, byte(i*24)|more, 0, 0, 0, 7)
		check(t, unix.Sendto(fd, append(h, payload...), 0, &unix.SockaddrInet6{Addr: [16]byte(ip)}))
	}
}

// TestCloseUnderLoad closes the queue in the middle of a transfer, which goes on because rule and queue fail open.
func TestCloseUnderLoad(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{2, 2}, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	w.transfer(t, server4+":515", 64<<20, func(done <-chan struct{}) {
		for range 20 { // open and close while packets rain
			q, err := Open(Config{Number: 2, CopyRange: 256, GSO: true, FailOpen: true})
			check(t, err)
			for range 5 {
				recvUpTo(t, q)
			}
			begin := time.Now()
			check(t, q.Close())
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("close took %v", d)
			}
		}
		<-done
	})
}
