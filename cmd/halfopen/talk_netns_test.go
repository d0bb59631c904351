//go:build netns

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
		t.err = t.SetDeadline(time.Now().Add(t.j.step))
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
