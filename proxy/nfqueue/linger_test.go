package nfqueue

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lingering is a queue on one end of a socket pair, and the other end, which is the kernel.
func lingering(t *testing.T, linger time.Duration) (*Queue, int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	q := fakeQueue()
	q.fd, q.cfg.Batch, q.cfg.Linger = fds[0], 4, linger
	q.prepare()
	return q, fds[1]
}

// A short wait begins awake where packets came since the last one: what comes later than its time finds it awake all the same.
func TestLinger(t *testing.T) {
	q, kernel := lingering(t, time.Minute)
	batch := make([]Packet, 4)
	id := uint32(0)
	send := func() {
		id++
		if err := unix.Send(kernel, packetMessage(id, []byte{0x45}), 0); err != nil {
			t.Error(err)
		}
	}
	if n, err := q.Recv(batch, time.Millisecond); n != 0 || err != nil {
		t.Fatalf("nothing has come yet: %d, %v", n, err) // and it did not wait for a minute
	}
	send()
	if n, err := q.Recv(batch, ShortWait); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	q.luck = lingerLuck
	timer := time.AfterFunc(5*ShortWait, send)
	defer timer.Stop()
	if n, err := q.Recv(batch, ShortWait); n != 1 || err != nil {
		t.Errorf("awake: %d, %v", n, err)
	}
	send()
	if n, err := q.Recv(batch, time.Minute); n != 1 || err != nil || q.lingered == q.stats.Received {
		t.Errorf("a long wait: %d, %v", n, err)
	}
	q.cfg.Linger = 1
	if n, err := q.Recv(batch, time.Millisecond); n != 0 || err != nil || q.luck != lingerLuck-1 {
		t.Errorf("awake for nothing: %d, %v, luck %d", n, err, q.luck)
	}
	if n, err := q.Recv(batch, time.Millisecond); n != 0 || err != nil || q.luck != lingerLuck-1 {
		t.Errorf("a second wait without a packet in between: %d, %v, luck %d", n, err, q.luck)
	}
}

// Where looking on does not pay it is tried now and then; where it pays for one wait in three it goes on.
func TestLingerPays(t *testing.T) {
	for _, c := range []struct{ pays, least, most int }{{0, 1000 / lingerTry, 1000/lingerTry + lingerLuck + 1}, {1, 1000, 1000}, {3, 1000, 1000}, {8, 60, 500}} {
		q, kernel := lingering(t, 1)
		batch := make([]Packet, 4)
		q.luck = lingerLuck
		awake, id := 0, uint32(0)
		for i := range 1000 {
			q.stats.Received++ // of the turn before
			if c.pays > 0 && i%c.pays == 0 {
				id++
				if err := unix.Send(kernel, packetMessage(id, []byte{0x45}), 0); err != nil {
					t.Fatal(err)
				}
			}
			if q.lingers() {
				awake++
				if _, err := q.linger(batch); err != nil {
					t.Fatal(err)
				}
			} else if _, err := q.recvReady(batch); err != nil {
				t.Fatal(err)
			}
		}
		if awake < c.least || awake > c.most {
			t.Errorf("pays one time in %d: %d waits of 1000 began awake, want %d to %d", c.pays, awake, c.least, c.most)
		}
	}
}
