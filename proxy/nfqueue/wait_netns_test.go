//go:build netns

package nfqueue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWakeEndsLinger wakes a receive call that looks on for packets.
func TestWakeEndsLinger(t *testing.T) {
	newWorld(t)
	q := open(t, Config{Number: 3, Linger: time.Minute})
	batch := make([]Packet, DefaultBatch)
	q.luck = lingerLuck
	q.lingered = q.stats.Received + 1 // as if packets had come
	timer := time.AfterFunc(20*time.Millisecond, q.Wake)
	defer timer.Stop()
	if n, err := q.Recv(batch, ShortWait); n != 0 || err != nil || q.luck != lingerLuck {
		t.Errorf("%d, %v, luck %d", n, err, q.luck)
	}
	if q.called.Load() {
		t.Error("the wake-up counts for the next wait, too")
	}
}

// TestWakeEndsRecv wakes a receive call before and while it waits, short and long, and between packets.
func TestWakeEndsRecv(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3})
	batch := make([]Packet, DefaultBatch)
	for _, wait := range []time.Duration{-1, time.Hour, ShortWait} {
		q.Wake()
		if n, err := q.Recv(batch, wait); n != 0 || err != nil {
			t.Errorf("woken before a wait of %v: %d, %v", wait, n, err)
		}
		timer := time.AfterFunc(5*time.Millisecond, q.Wake)
		if n, err := q.Recv(batch, wait); n != 0 || err != nil {
			t.Errorf("woken in a wait of %v: %d, %v", wait, n, err)
		}
		timer.Stop()
	}
	for range 3 { // whatever the last timer has left
		_, err := q.Recv(batch, time.Millisecond)
		check(t, err)
	}
	begin := time.Now()
	if n, err := q.Recv(batch, 20*time.Millisecond); n != 0 || err != nil || time.Since(begin) < 10*time.Millisecond {
		t.Errorf("nothing came: %d, %v after %v", n, err, time.Since(begin))
	}
	q.Wake()
	l.send(t, "a")
	n, err := q.Recv(batch, time.Minute)
	if check(t, err); n == 0 { // the wake-up came alone
		n, err = q.Recv(batch, time.Minute)
		check(t, err)
	}
	if n != 1 {
		t.Fatalf("received %d packets, want 1", n)
	}
	q.Accept(batch[0].ID)
	check(t, q.Flush())
	if got := l.arrived(t, 1); got != "a" {
		t.Errorf("arrived %q", got)
	}
	q.Wake() // nobody waits: nothing must lie in the socket's buffer
	if _, errno := q.recvmmsg(1, unix.MSG_PEEK|unix.MSG_DONTWAIT, true); errno != unix.EAGAIN {
		t.Errorf("a wake-up that nobody needs is in the buffer: %v", errno)
	}
	if st := q.Stats(); st.Foreign+st.Malformed+st.VerdictErrors+st.LostIDs != 0 {
		t.Errorf("a wake-up is no packet, error or loss: %+v", st)
	}
}

// TestPollerDoesNotKnow: Go's poller would be woken by every message on a socket that it knows.
func TestPollerDoesNotKnow(t *testing.T) {
	newWorld(t)
	q := open(t, Config{Number: 3})
	var st unix.Stat_t
	check(t, unix.Fstat(q.fd, &st))
	polls := 0
	fds, err := filepath.Glob("/proc/self/fd/*")
	check(t, err)
	for _, f := range fds {
		if to, _ := os.Readlink(f); to != "anon_inode:[eventpoll]" {
			continue
		}
		polls++
		info, err := os.ReadFile("/proc/self/fdinfo/" + filepath.Base(f))
		check(t, err)
		if strings.Contains(string(info), fmt.Sprintf(" ino:%x ", st.Ino)) {
			t.Errorf("the queue's socket is known to the poller:\n%s", info)
		}
	}
	if polls == 0 {
		t.Error("this process has no poller, so nothing was tested")
	}
}

// TestCallsAllocateNothing receives and answers on a live queue.
func TestCallsAllocateNothing(t *testing.T) {
	newWorld(t)
	q := open(t, Config{Number: 3})
	batch := make([]Packet, DefaultBatch)
	n := testing.AllocsPerRun(100, func() {
		q.enc.verdict(typeVerdict, 1, verdictAccept, 0, false) // the kernel does not know it, and says so
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, wait := range []time.Duration{0, time.Millisecond} {
			if n, err := q.Recv(batch, wait); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if q.Stats().VerdictErrors == 0 {
		t.Error("nothing was sent and received")
	}
}
