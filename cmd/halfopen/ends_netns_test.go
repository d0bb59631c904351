//go:build netns

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
)

// Addresses of the ends (proxy/lab).
var (
	clientAddr  = netip.MustParseAddr("192.0.2.10")
	clientAddr6 = netip.MustParseAddr("2001:db8:1::10")
	serverAddr  = netip.MustParseAddr("198.51.100.10")
	serverAddr6 = netip.MustParseAddr("2001:db8:3::10")
)

const (
	answerLimit  = 30 * time.Second // for an echo of a connection that lives
	refusedAfter = 2 * time.Second  // two SYNs unanswered: nothing comes through
)

// echoServer serves an address of the server until the test ends.
func (w *world) echoServer(at netip.AddrPort) *lab.Service {
	w.t.Helper()
	srv, err := w.Server.Serve(at, false)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(srv.Close)
	return srv
}

// tryDial dials from a port of the client, 0 for any. The error is the kernel's, or that of the limit.
func (w *world) tryDial(limit time.Duration, port uint16, to netip.AddrPort) (*lab.End, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	from := clientAddr
	if to.Addr().Is6() {
		from = clientAddr6
	}
	e, err := w.Client.Dial(ctx, netip.AddrPortFrom(from, port), to)
	if err == nil {
		w.t.Cleanup(func() { e.Close() })
	}
	return e, err
}

// connect is tryDial for a connection that must come about and carry data.
func (w *world) connect(port uint16, to netip.AddrPort) *lab.End {
	w.t.Helper()
	e, err := w.tryDial(answerLimit, port, to)
	if err != nil {
		w.t.Fatalf("dial %v: %v\n%s", to, err, w.said())
	}
	w.say(e)
	return e
}

// say proves that a connection lives.
func (w *world) say(e *lab.End) {
	w.t.Helper()
	if err := e.Say("is anybody there?\n", answerLimit); err != nil {
		w.t.Fatalf("no echo: %v\n%s", err, w.said())
	}
}

// refused proves that nothing comes through.
func (w *world) refused(to netip.AddrPort) {
	w.t.Helper()
	if _, err := w.tryDial(refusedAfter, 0, to); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("dial %v: %v; nothing should come through\n%s", to, err, w.said())
	}
}

// sender sends packets of its own making from inside a namespace.
type sender struct {
	w   *world
	raw *proxy.RawInjector
	enc *proxy.Encoder
}

// sender opens raw sockets in a namespace, until the test ends.
func (w *world) sender(ns *lab.Namespace) *sender {
	w.t.Helper()
	s := &sender{w: w, enc: proxy.NewEncoder(proxy.EncoderConfig{})}
	if err := ns.Do(func() (err error) { s.raw, err = proxy.OpenRawInjector(0); return err }); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.raw.Close() })
	return s
}

// send sends whole packets. Every goroutine may call it, as long as no other does.
func (s *sender) send(packets ...[]byte) {
	s.w.t.Helper()
	for _, p := range packets {
		for { // a full send buffer empties by itself
			err := s.raw.Send(p)
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				s.w.t.Error(err)
				return
			}
			break
		}
	}
}

// segment makes a packet. The slice is the caller's.
func (s *sender) segment(from, to netip.AddrPort, f conntrack.Flags, seq, ack conntrack.Seq, payload string) []byte {
	s.w.t.Helper()
	p, err := s.enc.Segment(&conntrack.Segment{Tuple: conntrack.MakeTuple(from, to), Flags: f, Seq: seq, Ack: ack, Window: 64240}, []byte(payload))
	if err != nil {
		s.w.t.Fatal(err)
	}
	return append([]byte(nil), p...)
}

// segments sends n bare ACKs that belong to no connection, each of another port.
func (s *sender) segments(n int, to netip.AddrPort) {
	s.w.t.Helper()
	for i := range n {
		s.send(s.segment(netip.AddrPortFrom(clientAddr, uint16(20000+i)), to, conntrack.ACK, 1, 1, ""))
	}
}

// gaps sums up what gap records admit, by the place of the loss.
func (w *world) gaps() map[string]uint64 {
	w.t.Helper()
	sum := map[string]uint64{}
	w.events(func(e *decisionlog.Event) {
		if e.Gap != nil {
			sum[e.Gap.Where] += e.Gap.Count
		}
	})
	return sum
}

// signal sends the gateway a signal.
func (g *gatewayProcess) signal(s syscall.Signal) {
	g.w.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.w.t.Fatalf("signal %v: %v\n%s", s, err, g.said())
	}
	if s == syscall.SIGSTOP { // each thread stops when it next leaves the kernel
		g.w.until("every thread stands", answerLimit, g.stands)
	}
}

// stands reports whether every thread of the gateway is stopped (proc_pid_stat(5): state T).
func (g *gatewayProcess) stands() bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil || !strings.Contains(string(b), ") T ") {
			return false
		}
	}
	return true
}

// halfopenIn runs a verb inside a namespace; it must succeed.
func (w *world) halfopenIn(ns *lab.Namespace, args ...string) (stdout string) {
	w.t.Helper()
	out, words, status := w.tryHalfopen(ns, args...)
	if status != 0 {
		w.t.Fatalf("halfopen %s: status %d\n%s%s", strings.Join(args, " "), status, out, words)
	}
	return out
}

// tryHalfopen runs a verb inside a namespace to its end, which a gateway that starts after all does not reach.
func (w *world) tryHalfopen(ns *lab.Namespace, args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	return w.tryAs(ns, nil, args...)
}

// tryAs is tryHalfopen with other privileges, nil for the test's own.
func (w *world) tryAs(ns *lab.Namespace, as *syscall.Credential, args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	var out, words bytes.Buffer
	ctx, cancel := context.WithTimeout(w.t.Context(), endLimit)
	defer cancel()
	cmd := w.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &words
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: as}
	err := ns.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Errorf("halfopen %s: %v\n%s", strings.Join(args, " "), err, words.String())
		return "", "", -1
	}
	return out.String(), words.String(), cmd.ProcessState.ExitCode()
}

// command is a verb in the namespace of the thread that starts it.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = endLimit
	return cmd
}
