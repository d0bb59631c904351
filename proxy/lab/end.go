package lab

import (
	"context"
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

// End is one end of a connection: a kernel TCP socket inside a namespace.
type End struct {
	conn *net.TCPConn
}

// Dial connects from a chosen local address and port. A port that an earlier socket used is taken again at once (SO_REUSEADDR), as
// an LPD client with its eleven ports must. Keepalive probes are off: an end speaks only when it is told to.
func (ns *Namespace) Dial(ctx context.Context, local, remote netip.AddrPort) (*End, error) {
	e, _, err := ns.dial(ctx, local, remote)
	return e, err
}

// dial is Dial; it also says when the SYN was about to leave, the zero time if there was none.
func (ns *Namespace) dial(ctx context.Context, local, remote netip.AddrPort) (e *End, at time.Time, err error) {
	err = ns.Do(func() error {
		d := net.Dialer{
			LocalAddr: net.TCPAddrFromAddrPort(local),
			KeepAlive: -1,
			Control: func(network, address string, c syscall.RawConn) error {
				err := reuseAddress(network, address, c)
				at = time.Now()
				return err
			},
		}
		d.SetMultipathTCP(false)
		c, err := d.DialContext(ctx, "tcp", remote.String())
		if err != nil {
			return err
		}
		e = &End{conn: c.(*net.TCPConn)}
		return nil
	})
	return e, at, err
}

func reuseAddress(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	return errors.Join(cerr, err)
}

// Say sends text and waits for the other end's echo of it.
func (e *End) Say(text string, limit time.Duration) error {
	if err := e.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.WriteString(e.conn, text); err != nil {
		return err
	}
	_, err := io.ReadFull(e.conn, make([]byte, len(text)))
	return err
}

// Hear waits for n bytes from the other end.
func (e *End) Hear(n int, limit time.Duration) error {
	if err := e.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := io.ReadFull(e.conn, make([]byte, n))
	return err
}

// Finish closes the sending direction (FIN); the socket lives on until Close or Silence.
func (e *End) Finish() error { return e.conn.CloseWrite() }

// Drained waits until the other end has closed its direction too.
func (e *End) Drained(limit time.Duration) error {
	if err := e.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, e.conn)
	return err
}

// Close closes normally (FIN, unless data is left unread).
func (e *End) Close() error { return e.conn.Close() }

// Reset closes with a RST.
func (e *End) Reset() error {
	if err := e.conn.SetLinger(0); err != nil {
		return err
	}
	return e.conn.Close()
}

// Silence makes the socket vanish without a word, as a power cut does: the kernel sends nothing for a socket that is closed in
// repair mode (tcp(7), TCP_REPAIR; net/ipv4/tcp.c, __tcp_close). It needs CAP_NET_ADMIN.
func (e *End) Silence() error {
	return errors.Join(repair(e.conn), e.conn.Close())
}

func repair(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	})
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("lab: TCP_REPAIR: %w", err)
	}
	return nil
}

// Service is a server that accepts connections, echoes what it is sent and holds every connection until the client closes it, for
// ever if the client never does.
type Service struct {
	Addr netip.AddrPort

	listener net.Listener
	hold     bool // keep its own direction open after the client's FIN
	done     sync.WaitGroup

	mu     sync.Mutex
	held   map[*net.TCPConn]struct{}
	closed bool
}

// Serve starts a server on addr. With hold it never closes its direction, even after the client's FIN.
func (ns *Namespace) Serve(addr netip.AddrPort, hold bool) (*Service, error) {
	s := &Service{Addr: addr, hold: hold, held: map[*net.TCPConn]struct{}{}}
	err := ns.Do(func() error {
		lc := net.ListenConfig{KeepAlive: -1, Control: reuseAddress}
		lc.SetMultipathTCP(false)
		var err error
		s.listener, err = lc.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: serve %s in %s: %w", addr, ns.Name, err)
	}
	s.done.Add(1)
	go s.accept()
	return s, nil
}

func (s *Service) accept() {
	defer s.done.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		conn := c.(*net.TCPConn)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			vanish(conn)
			return
		}
		s.held[conn] = struct{}{}
		s.done.Add(1)
		s.mu.Unlock()
		go s.echo(conn)
	}
}

// echo returns what it reads until the connection ends. A connection that the client closed or reset is closed and forgotten; on
// other occasions (vanish) somebody else has closed it.
func (s *Service) echo(conn *net.TCPConn) {
	defer s.done.Done()
	_, err := io.Copy(onlyWriter{conn}, onlyReader{conn})
	if err == nil && s.hold {
		return
	}
	s.mu.Lock()
	delete(s.held, conn)
	s.mu.Unlock()
	conn.Close()
}

// onlyReader and onlyWriter hide TCPConn's splice, so that data takes the ordinary way through read and write.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// Held returns the number of connections that the server believes in.
func (s *Service) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

// HangUp closes the server's side of every connection normally (FIN).
func (s *Service) HangUp() {
	for _, c := range s.take() {
		c.Close()
	}
}

// Say sends text on every connection that the server holds, unasked.
func (s *Service) Say(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for c := range s.held {
		_, err := io.WriteString(c, text)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Forget loses every connection without a word, as a reboot does; the server goes on listening.
func (s *Service) Forget() {
	for _, c := range s.take() {
		vanish(c)
	}
}

func (s *Service) take() []*net.TCPConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*net.TCPConn
	for c := range s.held {
		out = append(out, c)
		delete(s.held, c)
	}
	return out
}

// vanish closes a connection in repair mode; where that is refused (the socket is closed already) it closes it plainly.
func vanish(c *net.TCPConn) {
	_ = repair(c)
	c.Close()
}

// Close stops listening, loses every connection silently and waits for the server's goroutines.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close()
	s.Forget()
	s.done.Wait()
}
