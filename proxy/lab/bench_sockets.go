package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// The sockets of the load generator.

// listen opens the next listener in the server's namespace, for a load.
func (b *bench) listen(load string) (fd int, port uint16, err error) {
	port = b.port
	b.loads[port] = load
	if b.port++; b.port == 0 {
		b.port = 10000
	}
	err = b.top.Server.Do(func() (err error) {
		if fd, err = socketFD(); err != nil {
			return err
		}
		if err = unix.Bind(fd, addrOf(server4, port)); err == nil {
			err = unix.Listen(fd, 4096)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("lab: listen on port %d: %w", port, err)
		}
		return nil
	})
	return fd, port, err
}

// pair is a connection's two ends.
func (b *bench) pair(l int, port uint16, small bool, from netip.Addr) (client, server int, err error) {
	mss := 0
	if small {
		mss = b.mss
	}
	err = b.top.Client.Do(func() (err error) { client, err = dialFD(from, port, mss); return err })
	if err != nil {
		return 0, 0, fmt.Errorf("lab: %w", err)
	}
	if server, err = acceptFD(l); err != nil {
		unix.Close(client)
		return 0, 0, fmt.Errorf("lab: accept: %w", err)
	}
	return client, server, nil
}

// dialFD connects from an address; mss is the largest segment that the socket sends, 0 for what the path takes.
func dialFD(from netip.Addr, port uint16, mss int) (int, error) {
	fd, err := socketFD()
	if err != nil {
		return 0, err
	}
	if mss > 0 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
	}
	if err == nil { // the port is chosen by connect, when it knows the other end
		err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
	if err == nil {
		err = unix.Bind(fd, addrOf(from, 0))
	}
	if err == nil {
		err = connectFD(fd, port)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// socketFD opens a blocking socket in the thread's namespace whose calls end after socketWait. An accepted one inherits that.
func socketFD() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	limit := unix.Timeval{Sec: socketWait}
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		congested(fd))
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

// congestion names the congestion control of the load's sockets: Linux's own default, whatever the host's is, or the one that no kernel lacks.
// BBR sends each segment by a timer, at the rate that it believes in: what is measured then is that belief, and the timers.
var congestion = sync.OnceValue(func() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	}
	if err != nil {
		return "reno"
	}
	return "cubic"
})

func congested(fd int) error {
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion()); err != nil {
		return fmt.Errorf("TCP_CONGESTION %s: %w", congestion(), err)
	}
	return nil
}

// connectFD connects to the server. A signal does not break it off: the socket goes on connecting, and a second call waits.
func connectFD(fd int, port uint16) error {
	to := addrOf(server4, port)
	for {
		switch err := unix.Connect(fd, to); err {
		case nil, unix.EISCONN:
			return nil
		case unix.EINTR, unix.EALREADY:
		default:
			return fmt.Errorf("connect: %w", err)
		}
	}
}

func acceptFD(l int) (int, error) {
	for {
		fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func readFD(fd int) (int, error) {
	var b [64]byte
	for {
		n, err := unix.Read(fd, b[:])
		if err != unix.EINTR {
			return n, err
		}
	}
}

func addrOf(a netip.Addr, port uint16) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
}
