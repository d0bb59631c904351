//go:build netns

package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
)

// What is not the gateway's to decide passes it: ping, UDP, ICMP errors, later fragments.

// nearGateway is a world with a plain router behind the gateway, so that a router's ICMP errors come through the gateway.
func nearGateway(t *testing.T) (*world, *lab.Namespace) {
	t.Helper()
	w := newWorldOf(t, true)
	w.Far, w.Gateway = w.Gateway, w.Far // the lab's near gateway routes, its far one is the client's first hop
	return w, w.Far
}

// A bottleneck behind the gateway: the router's "fragmentation needed" and "packet too big" come through, and the transfers do too.
func TestPathMTUDiscovery(t *testing.T) {
	w, router := nearGateway(t)
	w.serve()
	w.exec(router, "ip", "link", "set", "ho-outside", "mtu", "1300")
	g := w.start("openbsd-pf")
	for _, from := range []netip.Addr{clientAddr, clientAddr6} {
		if err := w.transfer(from, order{Do: doTake, Total: 1 << 20}, nil, new(atomic.Int64)); err != nil {
			t.Errorf("transfer from %v: %v\n%s", from, err, w.said())
		}
		to := serverAddr
		if from.Is6() {
			to = serverAddr6
		}
		if route := w.exec(w.Client, "ip", "route", "get", to.String()); !strings.Contains(route, "mtu 1300") {
			t.Errorf("the client did not learn of the bottleneck: %s", route)
		}
	}
	g.stop()
	w.verify()
}

// Port unreachable for UDP, time exceeded, ping: errors and other protocols are forwarded, and never queued.
func TestOtherProtocolsPass(t *testing.T) {
	w := newWorld(t)
	g := w.start("openbsd-pf", "--fail-closed")
	for _, to := range []netip.Addr{serverAddr, serverAddr6} {
		w.ping(to, 56)
		w.ping(to, 4000) // in fragments
		w.udpEcho(netip.AddrPortFrom(to, 7002), 64)
		w.udpEcho(netip.AddrPortFrom(to, 7003), 4000) // in fragments, both ways
		w.unreachable(netip.AddrPortFrom(to, 7004))
	}
	g.stop()
	if p := w.verify(); p.Runs[0].Messages != 0 {
		t.Errorf("%d messages were queued, and none was TCP", p.Runs[0].Messages)
	}
}

// ping sends an echo request of a size (RFC 792, RFC 4443) and waits for its answer.
func (w *world) ping(to netip.Addr, size int) {
	w.t.Helper()
	network, request, answer := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, answer = "ip6:ipv6-icmp", 128, 129
	}
	var c net.Conn
	if err := w.Client.Do(func() (err error) { c, err = net.Dial(network, to.String()); return err }); err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerLimit))
	msg := append([]byte{request, 0, 0, 0, 0x42, 0x42, 0, 1}, bytes.Repeat([]byte{0x55, 0xaa}, size/2)...)
	if to.Is4() { // of ICMPv6 the kernel fills in the sum (RFC 3542 section 3.1)
		binary.BigEndian.PutUint16(msg[2:], internetSum(msg))
	}
	if _, err := c.Write(msg); err != nil {
		w.t.Fatal(err)
	}
	for buf := make([]byte, 1<<16); ; {
		n, _, err := c.(*net.IPConn).ReadFrom(buf) // unlike Read it takes the IP header off
		if err != nil {
			w.t.Errorf("ping %v with %d bytes: %v", to, size, err)
			return
		}
		if n == len(msg) && buf[0] == answer && bytes.Equal(buf[4:n], msg[4:]) {
			return
		}
	}
}

// internetSum is the checksum of RFC 1071, of an even number of bytes.
func internetSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// udpEcho sends a datagram of a size through the gateway and waits for it to come back.
func (w *world) udpEcho(at netip.AddrPort, size int) {
	w.t.Helper()
	var server, client *net.UDPConn
	err := w.Server.Do(func() (err error) {
		server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err == nil {
		defer server.Close()
		err = w.Client.Do(func() (err error) {
			client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
			return err
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	go func() {
		buf := make([]byte, 1<<16)
		if n, from, err := server.ReadFromUDPAddrPort(buf); err == nil {
			_, _ = server.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	sent, got := bytes.Repeat([]byte("datagram"), size/8), make([]byte, size+1)
	client.SetDeadline(time.Now().Add(answerLimit))
	_, err = client.Write(sent)
	n := 0
	if err == nil {
		n, err = client.Read(got)
	}
	if err != nil || !bytes.Equal(got[:n], sent) {
		w.t.Errorf("UDP to %v: %d of %d bytes came back: %v", at, n, size, err)
	}
}

// unreachable proves that the server's ICMP error reaches the client.
func (w *world) unreachable(at netip.AddrPort) {
	w.t.Helper()
	var c net.Conn
	if err := w.Client.Do(func() (err error) { c, err = net.Dial("udp", at.String()); return err }); err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerLimit))
	if _, err := c.Write([]byte("anybody?")); err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "connection refused") {
		w.t.Errorf("UDP to %v, where nobody listens: %v", at, err)
	}
}

// Of a segment in fragments the first is decided, and the others follow it: the server answers, so all of it arrived.
func TestFragmentsPass(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	w.echoServer(netip.AddrPortFrom(serverAddr6, 7001))
	w.exec(w.Client, "nft", "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; add rule inet mute out tcp flags rst drop")
	g := w.start("linux-default")
	s := w.sender(w.Client)
	for _, p := range fragments(s.segment(netip.AddrPortFrom(clientAddr, 40001), at, conntrack.SYN, 1000, 0, strings.Repeat("x", 800))) {
		s.send(p)
	}
	for _, p := range fragments(s.segment(netip.AddrPortFrom(clientAddr6, 40001), netip.AddrPortFrom(serverAddr6, 7001), conntrack.SYN, 1000, 0, strings.Repeat("x", 800))) {
		s.send(p)
	}
	answers := func() (n int) {
		w.events(func(e *decisionlog.Event) {
			if e.Decision != nil && e.Decision.Reason == "syn-data-ignored" && e.DestPort == 40001 && e.Decision.Verdict == "forward" {
				n++
			}
		})
		return n
	}
	w.until("both families' SYN in fragments is answered", answerLimit, func() bool { return answers() >= 2 })
	w.connect(0, at)
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
}

// fragments cuts a packet in two: the first has 400 bytes of the segment, its header whole.
func fragments(p []byte) [][]byte {
	const first = 400 // a multiple of 8
	if p[0]>>4 == 4 {
		cut := func(b []byte, word uint16) []byte {
			f := append(append([]byte(nil), p[:20]...), b...)
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
			binary.BigEndian.PutUint16(f[4:], 0x4242)
			binary.BigEndian.PutUint16(f[6:], word)
			return f // the kernel fills in the header's checksum (raw(7))
		}
		return [][]byte{cut(p[20:20+first], 0x2000), cut(p[20+first:], first/8)}
	}
	cut := func(b []byte, word uint16) []byte {
		f := append([]byte(nil), p[:40]...)
		f[6] = 44 // fragment header (RFC 8200 section 4.5)
		f = append(f, 6, 0, byte(word>>8), byte(word), 0, 0, 0x42, 0x42)
		f = append(f, b...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		return f
	}
	return [][]byte{cut(p[40:40+first], 1), cut(p[40+first:], first)}
}

// A super-packet of the kernel's segmentation offload is one message, and counted as one.
func TestSuperPackets(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("observe")
	const size = 8 << 20
	if err := w.transfer(clientAddr, order{Do: doTake, Total: size}, nil, new(atomic.Int64)); err != nil {
		t.Fatal(err)
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" || p.Runs[0].Messages == 0 || p.Runs[0].Messages > size/1460 {
		t.Errorf("runs ended %s; %+v; %d bytes are %d segments, and should be far fewer messages", p.statuses(), p.Runs, size, size/1460)
	}
	var packets, sent uint64
	w.events(func(e *decisionlog.Event) {
		if e.Flow != nil && e.Flow.BytesToServer > sent {
			packets, sent = e.Flow.PktsToServer, e.Flow.BytesToServer
		}
	})
	if sent < size || sent > size*11/10 || sent/packets < 3000 {
		t.Errorf("flow records count %d bytes in %d packets, of %d bytes of data: super-packets are not read right", sent, packets, size)
	}
}
