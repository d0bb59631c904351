package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Harm counts what wires did.
type Harm struct {
	Segments   uint64 // that came in: GSO super-packets where those pass whole
	Lost       uint64
	Duplicated uint64
	Reordered  uint64
	Refused    uint64 // copies that the kernel did not take, for want of room: lost too, and by no fate
}

// wire carries frames between two links' ends through this process, and harms them. It stands in a namespace of its own:
//
//	a -- wireNear ]wire[ wireFar -- b
//
// Frames keep their link addresses, so that the two ends see one link.
type wire struct {
	ns    *Namespace
	lanes [2]lane
	loose sync.WaitGroup // copies that are held back
	ended sync.WaitGroup // lanes
	stop  atomic.Bool
}

// lane is one direction of a wire.
type lane struct {
	from, to *os.File // packet sockets
	dice     *dice
	harm     [5]atomic.Uint64 // the fields of Harm, in order
}

// Interface names inside a wire's namespace.
const (
	wireNear = "ho-near"
	wireFar  = "ho-far"
)

// vnetHeader is the length of struct virtio_net_hdr, which the kernel puts in front of each frame under PACKET_VNET_HDR: it tells a
// checksum that is to be finished and a super-packet's segments, and gives both back to a frame that is sent.
const vnetHeader = 10

// largestFrame is a frame with the largest GSO super-packet that PACKET_VNET_HDR can describe.
const largestFrame = vnetHeader + 14 + 1<<16

// newWire makes the namespace of a wire. Its links are laid before start.
func newWire(name string, im Impairment, stream uint64) (*wire, error) {
	ns, err := newNamespace(name)
	if err != nil {
		return nil, err
	}
	w := &wire{ns: ns}
	for i := range w.lanes {
		w.lanes[i].dice = newDice(im, 2*stream+uint64(i))
	}
	// The namespace's own stack must have nothing to say on either link.
	if err := ns.sysctl(true, map[string]string{"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// start begins to carry.
func (w *wire) start() error {
	var ends [2]*os.File
	err := w.ns.Do(func() (err error) {
		for i, name := range [...]string{wireNear, wireFar} {
			if ends[i], err = wireSocket(name); err != nil {
				return fmt.Errorf("lab: wire %s: %s: %w", w.ns.Name, name, err)
			}
		}
		return nil
	})
	for i := range w.lanes {
		w.lanes[i].from, w.lanes[i].to = ends[i], ends[1-i]
	}
	if err != nil {
		return err
	}
	for i := range w.lanes {
		w.ended.Go(func() { w.carry(&w.lanes[i]) })
	}
	return nil
}

// wireSocket opens a packet socket that sees what arrives on an interface, and sends on it.
func wireSocket(name string) (*os.File, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet:"+name), nil
}

// carry takes frames across one lane until the wire is closed.
func (w *wire) carry(l *lane) {
	buf := make([]byte, largestFrame)
	for {
		n, err := l.from.Read(buf)
		switch {
		case w.stop.Load():
			return
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return
		case n <= vnetHeader:
			continue
		}
		frame := buf[:n]
		if !isTCP(frame[vnetHeader:]) {
			l.send(frame)
			continue
		}
		w.meet(l, frame)
	}
}

// meet lets a segment meet its fate.
func (w *wire) meet(l *lane, frame []byte) {
	f := l.dice.throw()
	l.harm[0].Add(1)
	switch {
	case f.n == 0:
		l.harm[1].Add(1)
	case f.n == 2:
		l.harm[2].Add(1)
	}
	for i, d := range f.copies[:f.n] {
		if d == 0 {
			l.send(frame)
			continue
		}
		if i == 0 {
			l.harm[3].Add(1)
		}
		held := append([]byte(nil), frame...)
		w.loose.Add(1)
		time.AfterFunc(d, func() {
			defer w.loose.Done()
			if !w.stop.Load() {
				l.send(held)
			}
		})
	}
}

// send puts a frame onto the other link.
func (l *lane) send(frame []byte) {
	if _, err := l.to.Write(frame); err != nil {
		l.harm[4].Add(1)
	}
}

// isTCP reports whether an Ethernet frame carries TCP. The lab's links carry no tags and no extension headers.
func isTCP(frame []byte) bool {
	switch {
	case len(frame) < 14+20:
		return false
	case binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP:
		return frame[14+9] == unix.IPPROTO_TCP
	}
	return binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 && frame[14+6] == unix.IPPROTO_TCP
}

// add adds what the wire has done so far.
func (w *wire) add(h *Harm) {
	for i := range w.lanes {
		for j, to := range []*uint64{&h.Segments, &h.Lost, &h.Duplicated, &h.Reordered, &h.Refused} {
			*to += w.lanes[i].harm[j].Load()
		}
	}
}

// close ends the wire and removes its namespace. What it holds back is lost. It may be called twice.
func (w *wire) close() error {
	w.stop.Store(true)
	for i := range w.lanes {
		if f := w.lanes[i].from; f != nil {
			f.Close()
		}
	}
	w.ended.Wait()
	w.loose.Wait()
	return w.ns.Close()
}
