//go:build netns

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	step time.Duration // how long each step of a connection may take
	jobs sync.Map      // number -> *job
	last uint64
	errs []string
	mu   sync.Mutex
	done map[string]int // jobs that both ends completed, by kind
}

// job is one connection, or one series of them from the same port.
type job struct {
	number uint64
	step   time.Duration // of the workload
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

// enduring is how long a step may take of a connection that must be completed though it loses segments: many retransmissions, of which
// each waits twice as long as the one before.
const enduring = 150 * time.Second

// workPort is where the server of a workload listens; nobody listens at closedPort.
const (
	workPort   = 7010
	closedPort = 7011
)

// silentAndBackName is the kind that is the incident.
const silentAndBackName = "silent and back"

// kinds are the connections of a workload. Of the long transfers only a part is played, one in so many bytes.
func kinds(part int) []*kind {
	long := func(n int) int { return n / part }
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
			calls(func(t *talk) error { return t.give(long(40e3)).fin().take(long(200e3)).end() }),
			func(t *talk) error { return t.take(long(40e3)).hear().give(long(200e3)).fin().err }},
		{"server half-closes", 1,
			calls(func(t *talk) error { return t.take(long(40e3)).hear().give(long(200e3)).fin().err }),
			func(t *talk) error { return t.give(long(40e3)).fin().take(long(200e3)).end() }},
		{"upload", 1,
			calls(func(t *talk) error { return t.give(long(1 << 20)).fin().end() }),
			func(t *talk) error { return t.take(long(1 << 20)).hear().fin().err }},
		{"download", 1,
			calls(func(t *talk) error { return t.take(long(2 << 20)).hear().fin().err }),
			func(t *talk) error { return t.give(long(2 << 20)).fin().end() }},
		{"both ways", 1,
			calls(func(t *talk) error { return t.both(long(500e3)).fin().end() }),
			func(t *talk) error { return t.both(long(500e3)).fin().end() }},
		{"trickle", 2,
			calls(func(t *talk) error { return t.trickle(25).fin().end() }),
			func(t *talk) error { return t.trickle(25).fin().end() }},
		{"slow reader", 1, // the window closes, and opens again
			calls(func(t *talk) error {
				time.Sleep(700 * time.Millisecond)
				return t.take(long(300e3)).hear().fin().err
			}),
			func(t *talk) error { return t.give(long(300e3)).fin().end() }},
		{"client resets", 1,
			calls(func(t *talk) error { return t.give(500).take(500).reset() }),
			func(t *talk) error { return t.take(500).give(500).untilReset() }},
		{"server resets", 1,
			calls(func(t *talk) error { return t.give(500).take(500).give(1).untilReset() }),
			func(t *talk) error { return t.take(500).give(500).take(1).reset() }},
		{"refused", 1, refused, nil},
		{"same port again", 1, samePort, // the server is in TIME_WAIT when the port is used again
			func(t *talk) error { return t.take(900).give(900).fin().end() }},
		{silentAndBackName, 1, silentAndBack,
			func(t *talk) error {
				if t.take(600).give(600).err == nil {
					_ = t.end() // when and how the first connection ends is the second one's matter
					t.err = nil
				}
				return t.err
			}},
	}
}

// call connects to the server, and says which job this is.
func (l *workload) call(j *job, port uint16) (*talk, error) {
	var c net.Conn
	err := l.w.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(j.from), KeepAlive: -1, Timeout: l.step, Control: func(_, _ string, c syscall.RawConn) error {
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
		case <-time.After(j.step):
			return fmt.Errorf("the server's end is not done within %v", j.step)
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
	for end := time.Now().Add(l.step); ; time.Sleep(20 * time.Millisecond) {
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

// runWorkload plays every kind but one from every address of the client and tells how many of each kind both ends completed. Each kind
// is played at most rounds times from an address, and each step of a connection may take as long as step says.
func (w *world) runWorkload(pool []netip.Addr, all []*kind, rounds int, step time.Duration, without string) *workload {
	w.t.Helper()
	l := &workload{w: w, step: step, done: map[string]int{}}
	for _, at := range []netip.Addr{station4.Addr(), station6.Addr()} {
		l.serve(netip.AddrPortFrom(at, workPort))
	}
	var running sync.WaitGroup
	room := make(chan struct{}, 64)
	port := uint16(30000)
	most := 0
	for _, k := range all {
		most = max(most, k.times)
	}
	for round := range min(rounds, most) {
		for _, from := range pool {
			for _, k := range all {
				if round >= k.times || k.name == without {
					continue
				}
				l.last++
				port++
				j := &job{number: l.last, step: l.step, kind: k, from: netip.AddrPortFrom(from, port), server: make(chan error, 8)}
				l.jobs.Store(j.number, j)
				room <- struct{}{}
				running.Go(func() {
					defer func() { <-room }()
					l.finish(j, k.client(l, j))
				})
			}
		}
	}
	running.Wait()
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
