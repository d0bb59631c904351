//go:build netns

package nfqueue

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// letters sends one-letter datagrams over loopback into a queue and tells which came out, in order.
type letters struct {
	out, in *net.UDPConn
}

func newLetters(t *testing.T, queue string, options ...string) *letters {
	t.Helper()
	newWorld(t)
	run(t, "iptables", append([]string{"-A", "OUTPUT", "-p", "udp", "--dport", "9999", "-j", "NFQUEUE", "--queue-num", queue}, options...)...)
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9999})
	check(t, err)
	t.Cleanup(func() { in.Close() })
	out, err := net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
	check(t, err)
	t.Cleanup(func() { out.Close() })
	return &letters{out: out, in: in}
}

func (l *letters) send(t *testing.T, s string) {
	t.Helper()
	for i := range len(s) {
		// A drop on a full queue shows at the sender as EPERM; the test looks at what arrives.
		_, _ = l.out.Write([]byte(s[i : i+1]))
	}
}

// arrived waits until n letters have come, or none comes any more.
func (l *letters) arrived(t *testing.T, n int) string {
	t.Helper()
	var s strings.Builder
	var b [16]byte
	for range n {
		check(t, l.in.SetReadDeadline(time.Now().Add(2*time.Second)))
		k, err := l.in.Read(b[:])
		if err != nil {
			break
		}
		s.Write(b[:k])
	}
	return s.String()
}

// none reports what else has arrived by now. Verdicts act before Flush returns, so there is nothing to wait for.
func (l *letters) none(t *testing.T) {
	t.Helper()
	check(t, l.in.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	var b [16]byte
	if k, err := l.in.Read(b[:]); err == nil {
		t.Errorf("%q arrived as well", b[:k])
	}
}

// recv takes exactly n packets.
func recv(t *testing.T, q *Queue, n int) []Packet {
	t.Helper()
	batch := make([]Packet, n)
	got, err := q.Recv(batch, 2*time.Second)
	check(t, err)
	if got != n {
		t.Fatalf("received %d packets, want %d", got, n)
	}
	return batch
}

func TestVerdictsInOrder(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3})
	l.send(t, "abcdefgh")
	p := recv(t, q, 8)
	q.Accept(p[0].ID)
	q.Accept(p[1].ID)
	q.Drop(p[2].ID)
	q.Accept(p[3].ID)
	changed := append([]byte(nil), p[4].Data...)
	changed[len(changed)-1] = 'E'
	changed[26], changed[27] = 0, 0 // UDP over IPv4 may go without a checksum (RFC 768)
	check(t, q.AcceptAltered(p[4].ID, changed))
	q.Accept(p[6].ID)
	q.Accept(p[7].ID)
	l.none(t)
	check(t, q.Flush())
	if got := l.arrived(t, 6); got != "abdEgh" {
		t.Errorf("arrived %q", got)
	}
	l.none(t) // f is held: no batch may have let it go
	q.Accept(p[5].ID)
	check(t, q.Flush())
	if got := l.arrived(t, 1); got != "f" {
		t.Errorf("arrived %q", got)
	}
	if st := q.Stats(); st.Sends != 2 || st.VerdictErrors != 0 || q.Outstanding() != 0 {
		t.Errorf("%+v", st)
	}
}

// TestRefusedVerdict sends a verdict for a packet that the kernel no longer holds. The answer comes on the receive path.
func TestRefusedVerdict(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3})
	l.send(t, "a")
	p := recv(t, q, 1)
	q.Accept(p[0].ID)
	check(t, q.Flush())
	q.enc.verdict(typeVerdict, p[0].ID, verdictAccept, 0, false) // behind the books, which would not allow it
	check(t, q.Flush())
	l.send(t, "b")
	p = recv(t, q, 1)
	if st := q.Stats(); st.VerdictErrors != 1 || q.lastErr != (kernelError{unix.ENOENT, typeVerdict, 1}) {
		t.Errorf("%+v %+v", st, q.lastErr)
	}
	q.Accept(p[0].ID)
	check(t, q.Flush())
	if got := l.arrived(t, 2); got != "ab" {
		t.Errorf("arrived %q", got)
	}
}

// TestLostMessages overflows a tiny socket buffer. What the kernel could not deliver must be counted to the packet:
// from the next id where one arrives, else from the kernel's table.
func TestLostMessages(t *testing.T) {
	const sent = 1000
	for _, failOpen := range []bool{false, true} {
		l := newLetters(t, "3")
		check(t, l.in.SetReadBuffer(1<<20))
		q := open(t, Config{Number: 3, FailOpen: failOpen, ReadBuffer: 16 << 10})
		l.send(t, strings.Repeat("x", sent))
		tail := uint32(0)
		batch := make([]Packet, 64)
		for {
			n, err := q.Recv(batch, 0)
			check(t, err)
			if n == 0 {
				break
			}
			for i := range n {
				q.Accept(batch[i].ID)
			}
			check(t, q.Flush())
		}
		tail, err := q.TailLoss()
		check(t, err)
		st := q.Stats()
		if st.Received+st.LostIDs+uint64(tail) != sent || tail == 0 {
			t.Errorf("fail-open %v: received %d, lost %d, tail %d of %d", failOpen, st.Received, st.LostIDs, tail, sent)
		}
		l.send(t, "y")
		p := recv(t, q, 1)
		if lost := q.Stats().LostIDs - st.LostIDs; lost != uint64(tail) {
			t.Errorf("fail-open %v: the gap says %d, the table said %d", failOpen, lost, tail)
		}
		q.Accept(p[0].ID)
		check(t, q.Flush())
		want := int(q.Stats().Received)
		if failOpen {
			want = sent + 1
		}
		if got := l.arrived(t, sent+1); len(got) != want {
			t.Errorf("fail-open %v: %d letters arrived, want %d", failOpen, len(got), want)
		}
		k, _, err := q.Kernel()
		check(t, err)
		if drops := k.SocketDrops; failOpen != (drops == 0) {
			t.Errorf("fail-open %v: the kernel counts %d drops", failOpen, drops)
		}
	}
}

// TestFullQueue fills the kernel's queue: no id is used up, and with fail-open the packets pass uncounted.
func TestFullQueue(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3, FailOpen: true, MaxLen: 4})
	l.send(t, "abcdefgh")
	if got := l.arrived(t, 4); got != "efgh" {
		t.Errorf("past the full queue went %q", got)
	}
	for _, p := range recv(t, q, 4) {
		q.Accept(p.ID)
	}
	check(t, q.Flush())
	if got := l.arrived(t, 4); got != "abcd" {
		t.Errorf("from the queue came %q", got)
	}
	if st := q.Stats(); st.LostIDs != 0 {
		t.Errorf("%+v", st)
	}
}

// TestBufferHoldsTheQueue fills a queue of the default length with the default buffer: the queue must be full before
// the socket is.
func TestBufferHoldsTheQueue(t *testing.T) {
	l := newLetters(t, "3")
	raw, err := l.out.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) {
		// Queued datagrams stay on the sender's account.
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<28)
	}))
	check(t, err)
	q := open(t, Config{Number: 3, CopyRange: 256, GSO: true, FailOpen: true})
	if n, err := q.ReadBuffer(); err != nil || n < q.Config().ReadBuffer {
		t.Errorf("buffer of %d bytes (%v), asked for %d", n, err, q.Config().ReadBuffer)
	}
	long := make([]byte, 1000)
	for range DefaultMaxLen + 100 {
		_, _ = l.out.Write(long)
	}
	st, ok, err := q.Kernel()
	check(t, err)
	if !ok || st.Waiting != DefaultMaxLen || st.LastID != DefaultMaxLen {
		t.Errorf("%+v", st)
	}
	empty, err := q.Drain(make([]Packet, 64), 20*time.Second, func(p *Packet) { q.Accept(p.ID) })
	check(t, err)
	if st := q.Stats(); !empty || st.Received != DefaultMaxLen || st.LostIDs != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCloseLetsGo closes a fail-open queue with received and unreceived packets in it, and a fail-closed one.
func TestCloseLetsGo(t *testing.T) {
	for _, failOpen := range []bool{true, false} {
		l := newLetters(t, "3")
		q := open(t, Config{Number: 3, FailOpen: failOpen})
		l.send(t, "abc")
		recv(t, q, 2)
		check(t, q.Close())
		want := map[bool]string{true: "abc", false: ""}[failOpen]
		if got := l.arrived(t, len(want)); got != want {
			t.Errorf("fail-open %v: %q arrived", failOpen, got)
		}
		l.none(t)
		if _, err := q.Recv(make([]Packet, 1), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("receiving from a closed queue: %v", err)
		}
	}
}

func TestDrain(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3})
	l.send(t, strings.Repeat("d", 200))
	run(t, "iptables", "-F", "OUTPUT")
	seen := 0
	empty, err := q.Drain(make([]Packet, 64), 10*time.Second, func(p *Packet) { seen++; q.Accept(p.ID) })
	check(t, err)
	if got := l.arrived(t, 200); !empty || seen != 200 || len(got) != 200 {
		t.Errorf("empty %v, handled %d, arrived %d", empty, seen, len(got))
	}
	// A packet that nobody answers keeps the queue from being empty, but not Drain from ending.
	run(t, "iptables", "-A", "OUTPUT", "-p", "udp", "--dport", "9999", "-j", "NFQUEUE", "--queue-num", "3")
	l.send(t, "z")
	empty, err = q.Drain(make([]Packet, 64), 50*time.Millisecond, func(*Packet) {})
	check(t, err)
	if empty {
		t.Error("a queue with a held packet counts as empty")
	}
	held, err := q.Release()
	check(t, err)
	if got := l.arrived(t, 1); held != 1 || got != "z" {
		t.Errorf("released %d, arrived %q", held, got)
	}
}

// TestAlive unbinds a queue behind its owner's back.
func TestAlive(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3, FailOpen: true})
	if ok, err := q.Alive(); !ok || err != nil {
		t.Fatalf("alive %v, %v", ok, err)
	}
	l.send(t, "a")
	recv(t, q, 1)
	stuck := make(chan error, 1)
	go func() { // the owner waits meanwhile
		_, err := q.Recv(make([]Packet, 1), 300*time.Millisecond)
		stuck <- err
	}()
	check(t, q.Abandon())
	check(t, <-stuck)
	if got := l.arrived(t, 1); got != "a" {
		t.Errorf("arrived %q", got)
	}
	if ok, err := q.Alive(); ok || err != nil {
		t.Errorf("after unbinding: alive %v, %v", ok, err)
	}
	other := open(t, Config{Number: 3})
	if ok, _ := q.Alive(); ok {
		t.Error("bound by another socket, and still alive")
	}
	if ok, _ := other.Alive(); !ok {
		t.Error("the new owner is not alive")
	}
}

// TestNoAllocationOnSocket measures the system calls' side of the hot path.
func TestNoAllocationOnSocket(t *testing.T) {
	l := newLetters(t, "3")
	q := open(t, Config{Number: 3, CopyRange: 256})
	batch := make([]Packet, 64)
	one := []byte("x")
	n := testing.AllocsPerRun(200, func() {
		_, _ = l.out.Write(one)
		n, err := q.Recv(batch, time.Second)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		q.Accept(batch[0].ID)
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func TestPrivilege(t *testing.T) {
	newWorld(t)
	drop := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	check(t, unix.Capget(&drop, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	check(t, unix.Capset(&drop, &caps[0])) // this thread only, which ends with the test
	for what, err := range map[string]error{
		"queue": func() error { _, err := Open(Config{Number: 3}); return err }(),
		"rules": func() error { _, err := (&RuleSet{}).Install(); return err }(),
	} {
		if !isPrivilege(err) {
			t.Errorf("%s: %v", what, err)
		} else {
			t.Log(err)
		}
	}
	if r := Probe(); r.Worst() != Fail || r.Checks[0].Level != Fail {
		t.Errorf("the doctor finds nothing wrong: %+v", r)
	}
}
