package lab

import (
	"container/heap"
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
	Segments   uint64 `json:"segments"` // that came in: GSO super-packets where those pass whole
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Refused    uint64 `json:"refused"` // copies that the kernel did not take, for want of room: lost too, and by no fate
}

// wire carries frames between two links' ends through this process, and harms them. It stands in a namespace of its own:
//
//	a -- wireNear ]wire[ wireFar -- b
//
// Frames keep their link addresses, so that the two ends see one link.
type wire struct {
	ns    *Namespace
	lanes [2]lane
	ended sync.WaitGroup // the lanes' goroutines
	stop  atomic.Bool
}

// lane is one direction of a wire: a goroutine that takes frames in and throws the dice, and one that sends what is on its way.
type lane struct {
	from, to *os.File // packet sockets
	dice     *dice
	harm     [5]atomic.Uint64 // the fields of Harm, in order

	mu   sync.Mutex
	way  transit
	n    uint64        // frames that were ever on their way
	wake chan struct{} // there is an earlier one now, or the wire is closed
}

// travelling is a frame on its way.
type travelling struct {
	due   time.Time
	n     uint64 // of two that are due at once, the earlier one goes first
	frame []byte
}

// transit is a heap of frames by when they are due.
type transit []travelling

func (t transit) Len() int { return len(t) }
func (t transit) Less(i, j int) bool {
	return t[i].due.Before(t[j].due) || t[i].due.Equal(t[j].due) && t[i].n < t[j].n
}
func (t transit) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *transit) Push(x any)   { *t = append(*t, x.(travelling)) }
func (t *transit) Pop() any {
	last := (*t)[len(*t)-1]
	(*t)[len(*t)-1] = travelling{}
	*t = (*t)[:len(*t)-1]
	return last
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
		w.lanes[i].dice, w.lanes[i].wake = newDice(im, 2*stream+uint64(i)), make(chan struct{}, 1)
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
		w.ended.Go(func() { w.deliver(&w.lanes[i]) })
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
		l.meet(frame)
	}
}

// meet lets a segment meet its fate.
func (l *lane) meet(frame []byte) {
	f := l.dice.throw()
	l.harm[0].Add(1)
	switch {
	case f.n == 0:
		l.harm[1].Add(1)
	case f.n == 2:
		l.harm[2].Add(1)
	}
	if f.copies[0] > 0 {
		l.harm[3].Add(1)
	}
	for _, d := range f.copies[:f.n] {
		if d += l.dice.im.Latency; d > 0 {
			l.embark(d, frame)
		} else {
			l.send(frame)
		}
	}
}

// embark puts a copy of a frame on its way.
func (l *lane) embark(d time.Duration, frame []byte) {
	l.mu.Lock()
	l.n++
	heap.Push(&l.way, travelling{time.Now().Add(d), l.n, append([]byte(nil), frame...)})
	first := l.way[0].n == l.n
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// arrived takes the frame that is due, or says how long it is until there is one.
func (l *lane) arrived() (frame []byte, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.way) == 0 {
		return nil, time.Hour // until it is woken
	}
	if wait = time.Until(l.way[0].due); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&l.way).(travelling).frame, 0
}

// deliver sends what was on its way, in the order in which it is due, until the wire is closed.
func (w *wire) deliver(l *lane) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !w.stop.Load() {
		frame, wait := l.arrived()
		if frame != nil {
			l.send(frame)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		}
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

// close ends the wire and removes its namespace. What is on its way is lost. It may be called twice.
func (w *wire) close() error {
	w.stop.Store(true)
	for i := range w.lanes {
		if f := w.lanes[i].from; f != nil {
			f.Close()
		}
		select {
		case w.lanes[i].wake <- struct{}{}:
		default:
		}
	}
	w.ended.Wait()
	return w.ns.Close()
}
