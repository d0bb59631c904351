//go:build netns

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Where the server of these tests listens.
var (
	station4 = netip.MustParseAddrPort("198.51.100.10:7000")
	station6 = netip.MustParseAddrPort("[2001:db8:3::10]:7000")
)

// stationFor returns the server's address of the client's family.
func stationFor(client netip.Addr) netip.AddrPort {
	if client.Is4() {
		return station4
	}
	return station6
}

// order is what a client sends first: what the server is to do with the connection.
type order struct {
	Do    byte          // one of the words below
	Total int64         // bytes that a giver gives; 0: until a byte comes
	Pace  time.Duration // between frames
}

const (
	doEcho = 'e' // return what comes
	doTake = 't' // take frames until an empty one, answer with their hash
	doGive = 'g' // give frames, the last one empty, and their hash
)

const (
	orderSize = 1 + 8 + 8
	frameSize = 256 << 10
)

// trafficLimit bounds each single read and write of a connection that must live.
const trafficLimit = 60 * time.Second

// patient is a connection each of whose reads and writes has trafficLimit.
type patient struct{ *net.TCPConn }

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(trafficLimit)); err != nil {
		return 0, err
	}
	return p.TCPConn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(trafficLimit)); err != nil {
		return 0, err
	}
	return p.TCPConn.Write(b)
}

// serve starts the server on both families. Its connections end with their clients.
func (w *world) serve() {
	w.t.Helper()
	for _, at := range []netip.AddrPort{station4, station6} {
		w.serveAt(at)
	}
}

// listen listens on one of the server's addresses until the test ends.
func (w *world) listen(at netip.AddrPort) net.Listener {
	w.t.Helper()
	var l net.Listener
	err := w.Server.Do(func() (err error) {
		lc := net.ListenConfig{KeepAlive: -1}
		lc.SetMultipathTCP(false)
		l, err = lc.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	return l
}

// serveAt starts the server on one address.
func (w *world) serveAt(at netip.AddrPort) {
	w.t.Helper()
	w.accept(at, func(c *net.TCPConn) {
		defer c.Close()
		obey(patient{c})
	})
}

// accept gives each connection to an address to serve, on a goroutine of its own.
func (w *world) accept(at netip.AddrPort, serve func(*net.TCPConn)) {
	w.t.Helper()
	l := w.listen(at)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
}

// obey does what the client orders. Errors are the client's to notice.
func obey(c patient) {
	var b [orderSize]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return
	}
	switch b[0] {
	case doEcho:
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 64<<10))
	case doTake:
		if sum, err := takeFrames(c, nil); err == nil {
			_, _ = c.Write(sum)
		}
	case doGive:
		stop := make(chan struct{})
		go func() { // the client's byte, or the connection's end
			defer close(stop)
			_ = c.SetReadDeadline(time.Time{}) // it may come late
			_, _ = c.TCPConn.Read(make([]byte, 1))
		}()
		total := int64(binary.BigEndian.Uint64(b[1:]))
		if sum, err := giveFrames(c, total, time.Duration(binary.BigEndian.Uint64(b[9:])), stop, nil); err == nil {
			_, _ = c.Write(sum)
		}
	}
}

// giveFrames writes frames (four bytes of length, then so many bytes) of total bytes in all, or until stop, then an empty one. It
// returns the hash of what they carried. No two frames are the same.
func giveFrames(w io.Writer, total int64, pace time.Duration, stop <-chan struct{}, moved *atomic.Int64) ([]byte, error) {
	frame := make([]byte, 4+frameSize)
	rng := rand.NewChaCha8([32]byte{byte(rand.Int())})
	_, _ = rng.Read(frame[4:])
	sum := sha256.New()
	for given := int64(0); total == 0 || given < total; {
		size := int64(frameSize)
		if total > 0 {
			size = min(size, total-given)
		}
		select {
		case <-stop:
			size = 0
		default:
		}
		if size == 0 {
			break
		}
		binary.BigEndian.PutUint32(frame, uint32(size))
		binary.BigEndian.PutUint64(frame[4:], uint64(given))
		sum.Write(frame[4 : 4+size])
		if _, err := w.Write(frame[:4+size]); err != nil {
			return nil, fmt.Errorf("after %d bytes given: %w", given, err)
		}
		given += size
		if moved != nil {
			moved.Add(size)
		}
		if pace > 0 {
			time.Sleep(pace)
		}
	}
	_, err := w.Write(make([]byte, 4))
	return sum.Sum(nil), err
}

// takeFrames reads frames up to the empty one and returns the hash of what they carried.
func takeFrames(r io.Reader, moved *atomic.Int64) ([]byte, error) {
	frame := make([]byte, frameSize)
	sum := sha256.New()
	for taken := int64(0); ; {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, fmt.Errorf("after %d bytes taken: %w", taken, err)
		}
		size := binary.BigEndian.Uint32(head[:])
		if size == 0 {
			return sum.Sum(nil), nil
		}
		if size > frameSize {
			return nil, fmt.Errorf("after %d bytes taken: a frame of %d bytes: the stream is damaged", taken, size)
		}
		if _, err := io.ReadFull(r, frame[:size]); err != nil {
			return nil, fmt.Errorf("after %d bytes taken: %w", taken, err)
		}
		sum.Write(frame[:size])
		taken += int64(size)
		if moved != nil {
			moved.Add(int64(size))
		}
	}
}

// dial connects a client's address to the server and orders.
func (w *world) dial(from netip.Addr, o order) (patient, error) {
	p, err := w.dialWithin(from, trafficLimit)
	if err != nil {
		return patient{}, err
	}
	b := binary.BigEndian.AppendUint64([]byte{o.Do}, uint64(o.Total))
	if _, err := p.Write(binary.BigEndian.AppendUint64(b, uint64(o.Pace))); err != nil {
		p.Close()
		return patient{}, err
	}
	return p, nil
}

// dialWithin connects a client's address to the server, or fails within the limit.
func (w *world) dialWithin(from netip.Addr, limit time.Duration) (patient, error) {
	var c net.Conn
	err := w.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), KeepAlive: -1, Timeout: limit}
		d.SetMultipathTCP(false)
		c, err = d.Dial("tcp", stationFor(from).String())
		return err
	})
	if err != nil {
		return patient{}, err
	}
	return patient{c.(*net.TCPConn)}, nil
}

// errChanged is what transfers end with whose hashes differ.
var errChanged = errors.New("the bytes that arrived are not those that were sent")

// transfer moves total bytes (0: until stop) one way and compares the hashes of both ends.
func (w *world) transfer(from netip.Addr, o order, stop <-chan struct{}, moved *atomic.Int64) error {
	c, err := w.dial(from, o)
	if err != nil {
		return err
	}
	defer c.Close()
	var mine []byte
	theirs := make([]byte, sha256.Size)
	switch o.Do {
	case doTake:
		mine, err = giveFrames(c, o.Total, o.Pace, stop, moved)
	case doGive:
		over := make(chan struct{})
		defer close(over)
		if stop != nil {
			go func() {
				select {
				case <-stop:
					_, _ = c.Write([]byte{0})
				case <-over:
				}
			}()
		}
		mine, err = takeFrames(c, moved)
	default:
		return fmt.Errorf("no transfer: order %c", o.Do)
	}
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(c, theirs); err != nil {
		return fmt.Errorf("the other end's hash: %w", err)
	}
	if !bytes.Equal(mine, theirs) {
		return errChanged
	}
	return nil
}

// ask sends n random bytes on an echoing connection and compares what comes back.
func (c patient) ask(n int) error {
	sent, got := make([]byte, n), make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(rand.Int())}).Read(sent)
	binary.BigEndian.PutUint64(sent, rand.Uint64())
	if _, err := c.Write(sent); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errChanged
	}
	return nil
}

// chat keeps one connection talking until stop.
func (w *world) chat(from netip.Addr, pause time.Duration, stop <-chan struct{}, moved *atomic.Int64) error {
	c, err := w.dial(from, order{Do: doEcho})
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		size := 64 + rand.IntN(2000)
		if err := c.ask(size); err != nil {
			return err
		}
		moved.Add(int64(size))
		select {
		case <-stop:
			return nil
		case <-time.After(pause):
		}
	}
}
