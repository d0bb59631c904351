//go:build netns

package nfqueue

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// listen opens a TCP listener at the server's end.
func (w *world) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	w.in(t, w.server, func() {
		var err error
		l, err = net.Listen("tcp", addr)
		check(t, err)
	})
	return l
}

// open binds a queue that the test closes.
func open(t *testing.T, cfg Config) *Queue {
	t.Helper()
	q, err := Open(cfg)
	check(t, err)
	t.Cleanup(func() { q.Close() })
	return q
}

// transfer sends size bytes from the client to the server while serve runs on the gateway, and checks every byte.
func (w *world) transfer(t *testing.T, addr string, size int, serve func(done <-chan struct{})) {
	t.Helper()
	l := w.listen(t, addr)
	defer l.Close()
	want := make([]byte, size)
	rand.Read(want)
	got := make(chan []byte, 1)
	fail := make(chan error, 2)
	go func() {
		c, err := l.Accept()
		if err != nil {
			fail <- err
			return
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		if err != nil {
			fail <- err
			return
		}
		got <- b
	}()
	done := make(chan struct{})
	go w.clientSend(addr, want, fail)
	go func() {
		defer close(done)
		select {
		case b := <-got:
			if !bytes.Equal(b, want) {
				t.Errorf("%d bytes arrived, %d were sent, or they differ", len(b), len(want))
			}
		case err := <-fail:
			t.Errorf("transfer: %v", err)
		case <-time.After(60 * time.Second):
			t.Error("transfer: no end after 60 s")
		}
	}()
	serve(done)
}

// acceptAll answers everything until done.
func acceptAll(t *testing.T, q *Queue, done <-chan struct{}, look func(*Packet)) {
	t.Helper()
	batch := make([]Packet, q.Config().Batch)
	for {
		n, err := q.Recv(batch, 10*time.Millisecond)
		check(t, err)
		for i := range n {
			if look != nil {
				look(&batch[i])
			}
			q.Accept(batch[i].ID)
		}
		check(t, q.Flush())
		if n == 0 {
			select {
			case <-done:
				return
			default:
			}
		}
	}
}

func TestSuperPackets(t *testing.T) {
	w := newWorld(t)
	for _, ip := range []string{"iptables", "ip6tables"} {
		run(t, ip, "-A", "FORWARD", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", "7", "--queue-bypass")
	}
	q := open(t, Config{Number: 7, CopyRange: 256, GSO: true, FailOpen: true})
	for _, addr := range []string{server4 + ":515", "[" + server6 + "]:515"} {
		var super, packets int
		w.transfer(t, addr, 20<<20, func(done <-chan struct{}) {
			acceptAll(t, q, done, func(p *Packet) {
				packets++
				if p.GSO && p.CapLen > 3000 {
					super++
				}
				if len(p.Data) > 256 || p.Hook != 2 || p.InDev == 0 || p.OutDev == 0 {
					t.Errorf("packet %+v", p)
				}
			})
		})
		if super == 0 {
			t.Errorf("%s: no super-packet among %d", addr, packets)
		}
		t.Logf("%s: %d packets, %d super, %+v", addr, packets, super, q.Stats())
	}
	if st := q.Stats(); st.LostIDs+st.VerdictErrors+st.Malformed+st.Foreign+st.Unasked != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestInUse(t *testing.T) {
	newWorld(t)
	open(t, Config{Number: 9})
	_, err := Open(Config{Number: 9})
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("second bind: %v", err)
	}
	t.Log(err)
}

func isPrivilege(err error) bool { return errors.Is(err, ErrPrivilege) && !errors.Is(err, ErrInUse) }
