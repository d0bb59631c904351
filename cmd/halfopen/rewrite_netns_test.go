//go:build netns

package main

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
)

const strippingPolicy = `
preset: linux-default
on:
  new: {packet: rewrite, strip: [fastopen, data, timestamps], mss: 1300}
  syn-ack: {packet: rewrite, strip: [fastopen], mss: 1300}
  urgent: {packet: rewrite, strip: [urgent]}
  in-window: {packet: rewrite, strip: [push]}
`

// Options of a connection in TCP_INFO (linux/tcp.h: TCPI_OPT_*).
const (
	infoTimestamps = 1
	infoSACK       = 2
	infoWScale     = 4
	infoFastOpen   = 128 // the SYN and its data were taken (TCPI_OPT_TFO_CHILD)
)

// ended is a connection at the server: what came, and what the kernel had agreed on.
type ended struct {
	text    string
	options uint8
	mss     uint32 // the most data that the server's kernel would put into a segment
}

// Real ends on both sides: a SYN loses its Fast Open cookie, its data and its timestamps, an urgent byte becomes one of the stream,
// transfers are cut at every PSH, and everything arrives byte for byte; no kernel sees a wrong checksum, whoever computes them.
func TestRewrite(t *testing.T) {
	for _, offloads := range []string{"on", "off"} {
		t.Run("offloads "+offloads, func(t *testing.T) {
			w := newWorld(t)
			for _, at := range []struct {
				ns   *lab.Namespace
				link string
			}{{w.Client, "ho-inside"}, {w.Gateway, "ho-inside"}, {w.Gateway, "ho-outside"}, {w.Server, "ho-outside"}} {
				w.exec(at.ns, "ethtool", "-K", at.link, "tx", offloads, "tso", offloads, "gso", offloads, "gro", offloads)
			}
			for _, ns := range []*lab.Namespace{w.Client, w.Server} {
				w.exec(ns, "sysctl", "-q", "-w", "net.ipv4.tcp_fastopen=1027") // client, server, every listener (ip-sysctl.rst)
			}
			w.serve()
			came := w.listenFast()
			for _, to := range fastStations {
				w.fastOpen(to, "a", "")
				<-came // the cookie is the client's now
				w.fastOpen(to, "hello", "")
				if e := <-came; e.text != "hello" || e.options&infoFastOpen == 0 || e.options&infoTimestamps == 0 || e.mss <= 1300 {
					t.Fatalf("without a gateway the server got %+v: Fast Open does not work here, so that nothing would be stripped", e)
				}
			}
			file := filepath.Join(w.dir, "strip.yaml")
			if err := os.WriteFile(file, []byte(strippingPolicy), 0o644); err != nil {
				t.Fatal(err)
			}
			g := w.start(file)
			for _, to := range fastStations {
				w.fastOpen(to, "hello, ", "!world")
				e := <-came
				if e.text != "hello, !world" { // not stripped, the urgent byte is none of the stream's
					t.Errorf("%v: the server got %q", to, e.text)
				}
				if e.options&(infoFastOpen|infoTimestamps) != 0 || e.options&infoSACK == 0 || e.options&infoWScale == 0 || e.mss > 1300 {
					t.Errorf("%v: the server's options are %#x, its segments have %d bytes", to, e.options, e.mss)
				}
			}
			const size = 4 << 20
			for _, from := range []netip.Addr{clientAddr, clientAddr6} {
				for _, do := range []byte{doTake, doGive} {
					if err := w.transfer(from, order{Do: do, Total: size}, nil, new(atomic.Int64)); err != nil {
						t.Errorf("transfer %c from %v: %v", do, from, err)
					}
				}
			}
			for _, ns := range []*lab.Namespace{w.Client, w.Server} {
				if n := strings.TrimSpace(w.exec(ns, "sh", "-c", "nstat -asz TcpInCsumErrors | awk 'NR > 1 {print $2}'")); n != "0" {
					t.Errorf("%s saw %q wrong checksums", ns.Name, n)
				}
			}
			g.stop()
			if p := w.verify(); p.statuses() != "final/balanced" {
				t.Errorf("runs ended %s", p.statuses())
			}
			w.judgeStripped()
		})
	}
}

// judgeStripped checks that the log tells what was taken from what, and that everything could be taken.
func (w *world) judgeStripped() {
	w.t.Helper()
	lost := map[string]int{}
	w.events(func(e *decisionlog.Event) {
		if d := e.Decision; d != nil {
			if d.RewriteOmitted != "" || (d.Verdict == "rewrite") != (len(d.Stripped) > 0) {
				w.t.Errorf("%s %s: stripped %v, omitted %q", d.Verdict, d.Reason, d.Stripped, d.RewriteOmitted)
			}
			if d.Verdict == "rewrite" {
				lost[d.Reason+" "+strings.Join(d.Stripped, ",")]++
			}
		}
	})
	for what, n := range map[string]int{"syn-fast-open data,fastopen,timestamps,mss": 2, "urgent urgent": 2, "new timestamps,mss": 4, "syn-ack mss": 6, "in-window push": 16} {
		if lost[what] < n {
			w.t.Errorf("%d records of %q, want %d; all are %v", lost[what], what, n, lost)
		}
	}
}

var fastStations = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.10:7010"), netip.MustParseAddrPort("[2001:db8:3::10]:7010")}

// listenFast takes connections that send until they end, and tells of each.
func (w *world) listenFast() <-chan ended {
	w.t.Helper()
	came := make(chan ended)
	for _, at := range fastStations {
		w.accept(at, func(c *net.TCPConn) { came <- hear(c) })
	}
	return came
}

// hear reads a connection to its end.
func hear(c *net.TCPConn) (e ended) {
	defer c.Close()
	text, _ := io.ReadAll(patient{c})
	e.text = string(text)
	raw, err := c.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				e.options, e.mss = info.Options, info.Snd_mss
			}
		})
	}
	return e
}

// fastOpen sends first with its SYN where the kernel has a cookie, and then more, whose first byte is urgent, and ends.
func (w *world) fastOpen(to netip.AddrPort, first, more string) {
	w.t.Helper()
	err := w.Client.Do(func() error {
		var sa unix.Sockaddr
		family := unix.AF_INET
		if to.Addr().Is4() {
			sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
		} else {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		limit := unix.NsecToTimeval(int64(trafficLimit))
		for _, opt := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, opt, &limit); err != nil {
				return err
			}
		}
		if err := unix.Sendto(fd, []byte(first), unix.MSG_FASTOPEN, sa); err != nil {
			return err
		}
		for i, part := range slices.DeleteFunc([]string{more[:min(1, len(more))], more[min(1, len(more)):]}, func(s string) bool { return s == "" }) {
			time.Sleep(20 * time.Millisecond) // parts that go out as segments of their own
			if err := unix.Sendto(fd, []byte(part), map[int]int{0: unix.MSG_OOB}[i], nil); err != nil {
				return err
			}
		}
		if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
			return err
		}
		_, err = unix.Read(fd, make([]byte, 1)) // the server's FIN
		return err
	})
	if err != nil {
		w.t.Fatalf("Fast Open to %v: %v", to, err)
	}
}
