package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"halfopen/proxy/lab/habits"
)

// hall is the services of an experiment: each answers requests, and ends connections as the requests tell it to.
type hall struct {
	listeners []net.Listener
	done      sync.WaitGroup

	mu     sync.Mutex
	held   map[*net.TCPConn]struct{}
	served []*Served
	closed bool
}

// openHall starts the services in the namespace.
func openHall(ns *Namespace) (*hall, error) {
	h := &hall{held: map[*net.TCPConn]struct{}{}}
	for service, port := range servicePorts {
		keep := net.KeepAliveConfig{Enable: service == habits.Keepalive, Idle: habits.KeepaliveEvery, Interval: habits.KeepaliveEvery, Count: 60}
		err := ns.Do(func() error {
			lc := net.ListenConfig{KeepAlive: -1, KeepAliveConfig: keep, Control: reuseAddress}
			lc.SetMultipathTCP(false)
			l, err := lc.Listen(context.Background(), "tcp", withPort(server4, port).String())
			if err == nil {
				h.listeners = append(h.listeners, l)
			}
			return err
		})
		if err != nil {
			h.close()
			return nil, fmt.Errorf("lab: serve %s in %s: %w", service, ns.Name, err)
		}
	}
	for _, l := range h.listeners {
		h.done.Go(func() { h.accept(l) })
	}
	return h, nil
}

func (h *hall) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		conn := c.(*net.TCPConn)
		s := &Served{From: conn.RemoteAddr().(*net.TCPAddr).AddrPort(), To: l.Addr().(*net.TCPAddr).AddrPort(), Accepted: time.Now(), Ended: "held"}
		s.From, s.To = unmapped(s.From), unmapped(s.To)
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			vanish(conn)
			return
		}
		h.held[conn] = struct{}{}
		h.served = append(h.served, s)
		h.done.Add(1)
		h.mu.Unlock()
		go h.serve(conn, s)
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// serve answers requests until the connection ends. What it writes into s is read after close.
func (h *hall) serve(conn *net.TCPConn, s *Served) {
	defer h.done.Done()
	ended, err := answer(conn, s)
	h.mu.Lock()
	_, mine := h.held[conn]
	delete(h.held, conn)
	if mine { // else the lab has closed it: it was held to the end
		s.Ended = ended
		if err != nil {
			s.Error = plain(err)
		}
	}
	h.mu.Unlock()
	switch {
	case !mine:
	case ended == habits.Loses.String():
		vanish(conn)
	default:
		conn.Close()
	}
}

// answer returns how the connection ended.
func answer(conn *net.TCPConn, s *Served) (ended string, err error) {
	buf := make([]byte, requestSize, 4096)
	for {
		if _, err := io.ReadFull(conn, buf[:requestSize]); err != nil {
			if errors.Is(err, io.EOF) {
				return "client-fin", nil
			}
			return "error", err
		}
		var r request
		if err := r.decode(buf); err != nil {
			return "error", err
		}
		if cap(buf) < r.size {
			buf = append(make([]byte, 0, r.size), buf[:requestSize]...)
		}
		s.Talk, s.Attempt = int(r.talk), int(r.attempt)
		if _, err := io.ReadFull(conn, buf[requestSize:r.size]); err != nil {
			return "error", err
		}
		s.Requests++
		n, err := conn.Write(buf[:r.size])
		s.Sent += n
		if err != nil {
			return "error", err
		}
		if r.end != habits.Holds {
			time.Sleep(r.after)
			return r.end.String(), nil
		}
	}
}

// close stops the services; what they still hold vanishes.
func (h *hall) close() []*Served {
	h.mu.Lock()
	h.closed = true
	for c := range h.held {
		delete(h.held, c)
		vanish(c)
	}
	h.mu.Unlock()
	for _, l := range h.listeners {
		l.Close()
	}
	h.done.Wait()
	return h.served
}
