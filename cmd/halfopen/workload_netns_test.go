//go:build netns

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workload is connections of many kinds between the client's and the server's kernel. Both ends are in this process, so that each knows
// what the other must have sent.
type workload struct {
	w    *world
	jobs sync.Map // number -> *job
	last uint64
	errs []string
	mu   sync.Mutex
	done map[string]int // jobs that both ends completed, by kind
}

// job is one connection, or one series of them from the same port.
type job struct {
	number uint64
	kind   *kind
	from   netip.AddrPort
	server chan error // how the server's end went, for each connection of the job
}

// kind is what the two ends of a connection do. Both must end without error.
type kind struct {
	name   string
	times  int // per address of the client
	client func(*workload, *job) error
	server func(*talk) error
}

// enduring is how long each step of a connection may take that loses segments: many retransmissions, of which each waits twice as long
// as the one before.
const enduring = 150 * time.Second

// workPort is where the server of a workload listens; nobody listens at closedPort.
const (
	workPort   = 7010
	closedPort = 7011
)

// kinds are the connections of a workload.
func kinds() []*kind {
	return []*kind{
		{"short", 6,
			calls(func(t *talk) error { return t.give(700).take(2500).fin().end() }),
			func(t *talk) error { return t.take(700).give(2500).hear().fin().err }},
		{"server closes", 2,
			calls(func(t *talk) error { return t.take(80).give(3000).take(100).hear().fin().err }),
			func(t *talk) error { return t.give(80).take(3000).give(100).fin().end() }},
		{"both close at once", 1,
			calls(func(t *talk) error { return t.give(9000).fin().take(9000).end() }),
			func(t *talk) error { return t.give(9000).fin().take(9000).end() }},
		{"client half-closes", 1,
			calls(func(t *talk) error { return t.give(40e3).fin().take(200e3).end() }),
			func(t *talk) error { return t.take(40e3).hear().give(200e3).fin().err }},
		{"server half-closes", 1,
			calls(func(t *talk) error { return t.take(40e3).hear().give(200e3).fin().err }),
			func(t *talk) error { return t.give(40e3).fin().take(200e3).end() }},
		{"upload", 1,
			calls(func(t *talk) error { return t.give(1 << 20).fin().end() }),
			func(t *talk) error { return t.take(1 << 20).hear().fin().err }},
		{"download", 1,
			calls(func(t *talk) error { return t.take(2 << 20).hear().fin().err }),
			func(t *talk) error { return t.give(2 << 20).fin().end() }},
		{"both ways", 1,
			calls(func(t *talk) error { return t.both(500e3).fin().end() }),
			func(t *talk) error { return t.both(500e3).fin().end() }},
		{"trickle", 2,
			calls(func(t *talk) error { return t.trickle(25).fin().end() }),
			func(t *talk) error { return t.trickle(25).fin().end() }},
		{"slow reader", 1, // the window closes, and opens again
			calls(func(t *talk) error {
				time.Sleep(700 * time.Millisecond)
				return t.take(300e3).hear().fin().err
			}),
			func(t *talk) error { return t.give(300e3).fin().end() }},
		{"client resets", 1,
			calls(func(t *talk) error { return t.give(500).take(500).reset() }),
			func(t *talk) error { return t.take(500).give(500).untilReset() }},
		{"server resets", 1,
			calls(func(t *talk) error { return t.give(500).take(500).untilReset() }),
			func(t *talk) error { return t.take(500).give(500).reset() }},
		{"refused", 1, refused, nil},
		{"same port again", 1, samePort, // the server is in TIME_WAIT when the port is used again
			func(t *talk) error { return t.take(900).give(900).fin().end() }},
		{"silent and back", 1, silentAndBack,
			func(t *talk) error {
				if t.take(600).give(600).err == nil {
					_ = t.end() // when and how the first connection ends is the second one's matter
					t.err = nil
				}
				return t.err
			}},
	}
}

// talk is one end of a connection at its work. What follows a failed step does nothing.
type talk struct {
	*net.TCPConn
	j            *job
	mine, theirs *rand.ChaCha8 // what this end sends, and what it must hear
	err          error
}

// newTalk makes an end. The bytes of a direction are a stream that the job's number seeds.
func newTalk(c *net.TCPConn, j *job, client bool) *talk {
	var up, down [32]byte
	binary.BigEndian.PutUint64(up[:], j.number)
	down = up
	down[8] = 1
	if !client {
		up, down = down, up
	}
	return &talk{TCPConn: c, j: j, mine: rand.NewChaCha8(up), theirs: rand.NewChaCha8(down)}
}

// step does something within the time that a step has.
func (t *talk) step(what string, do func() error) *talk {
	if t.err == nil {
		t.err = t.SetDeadline(time.Now().Add(enduring))
	}
	if t.err == nil {
		if err := do(); err != nil {
			t.err = fmt.Errorf("%s: %w", what, err)
		}
	}
	return t
}

// give sends the next n bytes.
func (t *talk) give(n int) *talk {
	return t.step(fmt.Sprintf("give %d bytes", n), func() error { return t.send(n) })
}

func (t *talk) send(n int) error {
	b := make([]byte, min(n, 16<<10))
	for ; n > 0; n -= len(b) {
		b = b[:min(n, len(b))]
		_, _ = t.mine.Read(b)
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// take reads the next n bytes, which must be what the other end has sent.
func (t *talk) take(n int) *talk {
	return t.step(fmt.Sprintf("take %d bytes", n), func() error { return t.receive(n) })
}

func (t *talk) receive(n int) error {
	got, must := make([]byte, min(n, 16<<10)), make([]byte, min(n, 16<<10))
	for at := 0; at < n; at += len(got) {
		got = got[:min(n-at, len(got))]
		_, _ = t.theirs.Read(must[:len(got)])
		if k, err := io.ReadFull(t, got); err != nil {
			return fmt.Errorf("after %d: %w", at+k, err)
		}
		if !bytes.Equal(got, must[:len(got)]) {
			return fmt.Errorf("after %d: %w", at, errChanged)
		}
	}
	return nil
}

// both gives and takes n bytes at the same time.
func (t *talk) both(n int) *talk {
	return t.step(fmt.Sprintf("give and take %d bytes", n), func() error {
		sent := make(chan error, 1)
		go func() { sent <- t.send(n) }()
		return errors.Join(t.receive(n), <-sent)
	})
}

// trickle gives and takes a few bytes many times, with pauses.
func (t *talk) trickle(times int) *talk {
	for i := range times {
		t.give(40).take(40)
		time.Sleep(time.Duration((i*7+int(t.j.number))%20) * time.Millisecond)
	}
	return t
}

// fin closes this end's direction.
func (t *talk) fin() *talk { return t.step("close", t.CloseWrite) }

// hear waits for the other end's FIN. No byte may come before it.
func (t *talk) hear() *talk {
	return t.step("wait for the end", func() error {
		switch n, err := t.Read(make([]byte, 1)); {
		case errors.Is(err, io.EOF):
			return nil
		case n > 0:
			return errors.New("more bytes than were sent")
		default:
			return err
		}
	})
}

// end is the last step: hear, and what went wrong.
func (t *talk) end() error { return t.hear().err }

// reset closes with a RST.
func (t *talk) reset() error {
	return t.step("reset", func() error { return errors.Join(t.SetLinger(0), t.Close()) }).err
}

// untilReset sends until the other end's RST is known. A RST may be lost; what is sent after it draws another.
func (t *talk) untilReset() error {
	return t.step("wait for a reset", func() error {
		for {
			_, err := t.Write([]byte{0})
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				return nil
			}
			if err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}).err
}

// call connects to the server, and says which job this is.
func (l *workload) call(j *job, port uint16) (*talk, error) {
	var c net.Conn
	err := l.w.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(j.from), KeepAlive: -1, Timeout: enduring, Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				if j.kind.name == "slow reader" {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10)
				}
			})
		}}
		d.SetMultipathTCP(false)
		c, err = d.Dial("tcp", netip.AddrPortFrom(stationFor(j.from.Addr()).Addr(), port).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	t := newTalk(c.(*net.TCPConn), j, true)
	if _, err := t.Write(binary.BigEndian.AppendUint64(nil, j.number)); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// calls is a client with one connection.
func calls(do func(*talk) error) func(*workload, *job) error {
	return func(l *workload, j *job) error {
		t, err := l.call(j, workPort)
		if err != nil {
			return err
		}
		defer t.Close()
		if err := do(t); err != nil {
			return err
		}
		return j.served(1)
	}
}

// served waits for the server's ends of n connections.
func (j *job) served(n int) error {
	for range n {
		select {
		case err := <-j.server:
			if err != nil {
				return fmt.Errorf("server: %w", err)
			}
		case <-time.After(enduring):
			return fmt.Errorf("the server's end is not done within %v", enduring)
		}
	}
	return nil
}

// refused dials where nobody listens: the server's RST must arrive.
func refused(l *workload, j *job) error {
	c, err := l.call(j, closedPort)
	if err == nil {
		c.Close()
		return errors.New("connected where nobody listens")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// samePort dials four times from one port, each time as soon as the port is free.
func samePort(l *workload, j *job) error {
	for n := range 4 {
		t, err := l.callAgain(j)
		if err != nil {
			return fmt.Errorf("connection %d: %w", n+1, err)
		}
		err = t.give(900).take(900).end()
		t.Close()
		if err == nil {
			err = j.served(1)
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", n+1, err)
		}
	}
	return nil
}

// callAgain is call for a port whose last connection may still be on its way out.
func (l *workload) callAgain(j *job) (*talk, error) {
	for end := time.Now().Add(enduring); ; time.Sleep(20 * time.Millisecond) {
		t, err := l.call(j, workPort)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) || time.Now().After(end) {
			return t, err
		}
	}
}

// silentAndBack is the incident: a client that vanishes without a word, and dials again from the same port.
func silentAndBack(l *workload, j *job) error {
	for n := range 2 {
		t, err := l.callAgain(j)
		if err != nil {
			return fmt.Errorf("connection %d: %w", n+1, err)
		}
		if t.give(600).take(600); n == 0 {
			t.step("fall silent", t.silence)
		} else {
			t.fin().hear()
		}
		t.Close()
		if t.err != nil {
			return fmt.Errorf("connection %d: %w", n+1, t.err)
		}
	}
	return j.served(2)
}

// silence makes the socket vanish (tcp(7), TCP_REPAIR).
func (t *talk) silence() error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	return errors.Join(err, set, t.Close())
}

// runWorkload plays every kind from every address of the client and returns how many of each kind both ends completed.
func (w *world) runWorkload(pool []netip.Addr) *workload {
	w.t.Helper()
	l := &workload{w: w, done: map[string]int{}}
	for _, at := range []netip.Addr{station4.Addr(), station6.Addr()} {
		l.serve(netip.AddrPortFrom(at, workPort))
	}
	var all sync.WaitGroup
	room := make(chan struct{}, 64)
	port := uint16(30000)
	for round := range 6 {
		for _, from := range pool {
			for _, k := range kinds() {
				if round >= k.times {
					continue
				}
				l.last++
				port++
				j := &job{number: l.last, kind: k, from: netip.AddrPortFrom(from, port), server: make(chan error, 8)}
				l.jobs.Store(j.number, j)
				room <- struct{}{}
				all.Go(func() {
					defer func() { <-room }()
					l.finish(j, k.client(l, j))
				})
			}
		}
	}
	all.Wait()
	return l
}

func (l *workload) finish(j *job, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.done[j.kind.name]++
		return
	}
	l.errs = append(l.errs, fmt.Sprintf("%s from %v (job %d): %v", j.kind.name, j.from, j.number, err))
}

// serve is the server's end.
func (l *workload) serve(at netip.AddrPort) {
	l.w.t.Helper()
	var ln net.Listener
	err := l.w.Server.Do(func() (err error) {
		lc := net.ListenConfig{KeepAlive: -1}
		lc.SetMultipathTCP(false)
		ln, err = lc.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		l.w.t.Fatal(err)
	}
	l.w.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go l.answer(c.(*net.TCPConn))
		}
	}()
}

// answer does the server's part of a job.
func (l *workload) answer(c *net.TCPConn) {
	defer c.Close()
	var number [8]byte
	if _, err := io.ReadFull(c, number[:]); err != nil {
		return // the client will miss its answer
	}
	if v, ok := l.jobs.Load(binary.BigEndian.Uint64(number[:])); ok {
		j := v.(*job)
		j.server <- j.kind.server(newTalk(c, j, false))
	}
}
