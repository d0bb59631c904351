package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// snifferBuffer is the socket's receive buffer in bytes. The kernel charges a frame's whole memory, not its length, so it must be
// generous for bursts between two scheduling slices of the reading goroutine.
const snifferBuffer = 64 << 20

// SnifferStats counts what a sniffer saw.
type SnifferStats struct {
	Frames  uint64 // written to the file
	Dropped uint64 // lost by the kernel because the socket's buffer was full (PACKET_STATISTICS)
}

// Sniffer records one interface into a pcapng file: each frame once, with its link-layer header, the kernel's timestamp and its
// direction (epb_flags). It needs CAP_NET_RAW.
type Sniffer struct {
	sock *os.File
	out  *Writer
	done chan struct{}
	once sync.Once // Stop

	mu     sync.Mutex // guards out and the fields below: the recording goroutine against Flush and Stop
	stats  SnifferStats
	err    error
	closed bool
}

// StartSniffer opens a packet socket on the interface name in the network namespace of the calling thread (the caller must hold the
// thread with runtime.LockOSThread if it is not the process's own namespace) and records into path until Stop. The file's interface
// is named label.
func StartSniffer(name, label, path string, section Section) (*Sniffer, error) {
	sock, err := packetSocket(name)
	if err != nil {
		return nil, fmt.Errorf("capture: sniff %s: %w", name, err)
	}
	f, err := os.Create(path)
	if err != nil {
		sock.Close()
		return nil, fmt.Errorf("capture: %w", err)
	}
	out, err := NewWriter(f, section)
	if err == nil {
		_, err = out.AddInterface(Interface{Name: label, Description: name, LinkType: LinkEthernet})
	}
	if err != nil {
		sock.Close()
		f.Close()
		return nil, err
	}
	s := &Sniffer{sock: sock, out: out, done: make(chan struct{})}
	go s.run()
	return s, nil
}

// packetSocket returns a non-blocking AF_PACKET socket bound to one interface. It is opened for no protocol and bound to all of them
// only together with the interface, so that it never holds a frame of another one.
func packetSocket(name string) (*os.File, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, snifferBuffer); err != nil {
		// Without CAP_NET_ADMIN the size is limited by net.core.rmem_max; losses are counted either way.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, snifferBuffer)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("SO_TIMESTAMPNS: %w", err)
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet:"+name), nil
}

// run reads until Stop sets the deadline, then empties the socket.
func (s *Sniffer) run() {
	defer close(s.done)
	raw, err := s.sock.SyscallConn()
	if err != nil {
		s.fail(err)
		return
	}
	data := make([]byte, MaxFrame)
	oob := make([]byte, 256)
	for {
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			rerr = s.receive(int(fd), data, oob)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			s.fail(err)
			return
		case rerr != nil:
			s.fail(rerr)
			return
		}
	}
}

func (s *Sniffer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("capture: sniffer: %w", err)
	}
}

// receive takes one frame from the socket into the file. An interface that went down (ENETDOWN) has nothing more to say, but the
// frames before it are good: that is no error.
func (s *Sniffer) receive(fd int, data, oob []byte) error {
	n, oobn, _, from, err := unix.Recvmsg(fd, data, oob, 0)
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
		return nil
	}
	if err != nil {
		return err
	}
	o := Options{Direction: Inbound}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
		o.Direction = Outbound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Frames++
	return s.out.WritePacket(0, stamp(oob[:oobn]), data[:n], n, o)
}

// stamp returns the kernel's receive time from the control messages.
func stamp(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS &&
			len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(ts.Unix())
		}
	}
	return time.Now()
}

// Stop ends the recording: frames that the kernel had already queued are still written. It returns what was seen, and the first
// error. A second call returns the same without effect.
func (s *Sniffer) Stop() (SnifferStats, error) {
	s.once.Do(func() {
		_ = s.sock.SetReadDeadline(time.Unix(1, 0))
		<-s.done
		s.drain()
		if err := s.close(); err != nil {
			s.fail(err)
		}
		s.sock.Close()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, s.err
}

// drain writes what is left in the socket and takes the drop count.
func (s *Sniffer) drain() {
	raw, err := s.sock.SyscallConn()
	if err != nil {
		s.fail(err)
		return
	}
	_ = raw.Control(func(fd uintptr) {
		data, oob := make([]byte, MaxFrame), make([]byte, 256)
		for err == nil {
			err = s.receive(int(fd), data, oob)
		}
		if !errors.Is(err, unix.EAGAIN) {
			s.fail(err)
		}
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			s.mu.Lock()
			s.stats.Dropped += uint64(st.Drops)
			s.mu.Unlock()
		}
	})
}

func (s *Sniffer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.out.Close()
}

// Flush makes what was recorded so far readable in the file. It is safe during a run.
func (s *Sniffer) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.out.Flush()
}
