//go:build netns

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/proxy/decisionlog"
)

// soakPolicy drops what belongs to no connection, so that a connection that the gateway loses is lost. Closed connections are forgotten
// soon and few tombstones are kept: the tables reach their steady size within the warm-up.
const soakPolicy = `preset: openbsd-pf
timeouts: {time_wait: 3s, close: 3s, fin_wait: 10s, last_ack: 5s}
limits: {tombstones: 4096}
`

// Sizes of the soak's log.
const (
	soakDisk  = 96 << 20
	soakTotal = "48MiB"
	soakFile  = "4MiB"
)

// TestSoak keeps mixed traffic up under everything that happens to a gateway in a year: two reloads, a kill -9, a full log disk. No
// connection that was alive may be lost, memory must not grow, and the log must balance.
func TestSoak(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	w.logDir = filepath.Join(smallDisk(t, soakDisk), "log")
	pool := w.clientPool(12)
	file := write(t, w.dir, "policy.yaml", soakPolicy)
	run := func() *gatewayProcess {
		return w.start(file, "--log-total", soakTotal, "--log-file", soakFile, "--stats-every", "2s", "--update-every", "5s")
	}
	g := run()
	began := time.Now()
	l := w.startLoad(pool)
	mixed := w.mix(pool)
	at := func(part float64) {
		time.Sleep(time.Until(began.Add(time.Duration(part * float64(*soakFor)))))
	}

	at(0.1)
	write(t, w.dir, "policy.yaml", soakPolicy+"adopt: 9m\n")
	g.signal(syscall.SIGHUP)
	at(0.2)
	l.progress("after the first reload")
	g.kill()
	time.Sleep(300 * time.Millisecond)
	g = run()
	l.progress("after kill -9 and restart")
	memory := g.watchMemory()
	at(0.4)
	w.fillDisk(began.Add(*soakFor / 2))
	l.progress("while the log disk was full")
	at(0.6)
	write(t, w.dir, "policy.yaml", soakPolicy)
	if out, words, status := halfopen(t, "reload", "--admin", g.admin); status != 0 {
		t.Errorf("reload: status %d\n%s%s", status, out, words)
	}
	at(1)
	l.progress("at the end")
	mixed.end()
	l.end()
	memory.check(t)
	g.stop()
	w.checkSoakLog()
}

// checkSoakLog proves the log and looks for what must be in it.
func (w *world) checkSoakLog() {
	w.t.Helper()
	if !strings.Contains(w.said(), "no space left") {
		w.t.Errorf("the disk was never full\n%s", w.said())
	}
	if n := strings.Count(w.said(), "policy reloaded"); n != 2 {
		w.t.Errorf("%d reloads, want 2\n%s", n, w.said())
	}
	p := w.verify()
	if last := p.Runs[len(p.Runs)-1]; last.End != "final" || last.Status != "balanced" || last.Messages == 0 {
		w.t.Errorf("proof: %+v", last)
	}
	gaps := map[string]uint64{}
	w.events(func(e *decisionlog.Event) {
		if e.Gap != nil {
			gaps[e.Gap.Where+" "+e.Gap.Bound] += e.Gap.Count
		}
	})
	w.t.Logf("packets in gaps: %v", gaps)
}

// mix is connections that come and go.
type mix struct {
	w       *world
	stop    chan struct{}
	running sync.WaitGroup
	done    [3]atomic.Int64 // connections by kind
	bytes   atomic.Int64
	mu      sync.Mutex
	errs    []error
}

// Kinds of connections of a mix.
const (
	mixShort  = iota // a question, an answer, a FIN or a RST
	mixBulk          // a few MiB one way
	mixSilent        // falls silent, and its port is used again at once
)

// mix starts short connections, transfers, and clients that fall silent and come back from the same port.
func (w *world) mix(pool []netip.Addr) *mix {
	m := &mix{w: w, stop: make(chan struct{})}
	echo := netip.AddrPortFrom(station4.Addr(), 7002)
	w.echoServer(echo)
	for range 6 {
		m.run(mixShort, 30*time.Millisecond, func() error { return m.short(pool[rand.IntN(len(pool))]) })
	}
	for _, do := range []byte{doTake, doGive} {
		m.run(mixBulk, 300*time.Millisecond, func() error {
			return w.transfer(pool[rand.IntN(len(pool))], order{Do: do, Total: 8 << 20}, nil, &m.bytes)
		})
	}
	for i := range 2 {
		from := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(721+i))
		m.run(mixSilent, 500*time.Millisecond, func() error { return m.silent(from, echo) })
	}
	return m
}

// run repeats one kind of connection until the end.
func (m *mix) run(kind int, pause time.Duration, do func() error) {
	m.running.Go(func() {
		for {
			if err := do(); err != nil {
				m.mu.Lock()
				m.errs = append(m.errs, fmt.Errorf("kind %d: %w", kind, err))
				m.mu.Unlock()
			}
			m.done[kind].Add(1)
			select {
			case <-m.stop:
				return
			case <-time.After(pause):
			}
		}
	})
}

// short is a question and its answer.
func (m *mix) short(from netip.Addr) error {
	c, err := m.w.dial(from, order{Do: doEcho})
	if err != nil {
		return err
	}
	defer c.Close()
	size := 100 + rand.IntN(20000)
	m.bytes.Add(int64(size))
	if rand.IntN(4) == 0 {
		defer c.SetLinger(0) // ends with a RST
	}
	return c.ask(size)
}

// silent dials, talks and vanishes.
func (m *mix) silent(from, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(m.w.t.Context(), trafficLimit)
	defer cancel()
	e, err := m.w.Client.Dial(ctx, from, to)
	if err != nil {
		return err
	}
	return errors.Join(e.Say("print job\n", trafficLimit), e.Silence())
}

// end stops the mix; no connection may have failed.
func (m *mix) end() {
	m.w.t.Helper()
	close(m.stop)
	m.running.Wait()
	m.w.t.Logf("%d short connections, %d transfers, %d returns from silence, %d MiB", m.done[mixShort].Load(), m.done[mixBulk].Load(),
		m.done[mixSilent].Load(), m.bytes.Load()>>20)
	if len(m.errs) > 0 {
		m.w.t.Errorf("%d connections failed: %v", len(m.errs), errors.Join(m.errs[:min(10, len(m.errs))]...))
	}
}

// smallDisk makes a file system of its own size that is mounted nowhere: it is reached through this process's descriptor, and gone with it.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fs)
	if err := errors.Join(unix.FsconfigSetString(fs, "size", strconv.Itoa(size)), unix.FsconfigCreate(fs)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
}

// fillDisk keeps the log's disk full until a time, also when the log makes room, and then frees it.
func (w *world) fillDisk(until time.Time) {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.logDir), "filler")
	f, err := os.Create(path)
	if err != nil {
		w.t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for time.Now().Before(until) {
		if _, err := f.Write(block); err == nil {
			continue
		} else if !errors.Is(err, unix.ENOSPC) {
			w.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
		w.t.Fatal(err)
	}
}

// memoryWatch samples a process's resident memory, without the pages of its program file.
type memoryWatch struct {
	stop    chan struct{}
	done    chan struct{}
	samples []int // KiB
}

func (g *gatewayProcess) watchMemory() *memoryWatch {
	m := &memoryWatch{stop: make(chan struct{}), done: make(chan struct{})}
	status := fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid)
	go func() {
		defer close(m.done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-m.stop:
				return
			case <-tick.C:
			}
			b, _ := os.ReadFile(status)
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
					kib, _ := strconv.Atoi(f[1])
					m.samples = append(m.samples, kib)
				}
			}
		}
	}()
	return m
}

// memorySlack is how much the mean may grow after the warm-up: two full rings of records (4096 each) and the collector's own rhythm.
const memorySlack = 24 << 10 // KiB

// check compares the mean of the last quarter with that of the second; the first is the warm-up.
func (m *memoryWatch) check(t *testing.T) {
	t.Helper()
	close(m.stop)
	<-m.done
	n := len(m.samples)
	if n < 8 {
		t.Fatalf("%d samples of the gateway's memory", n)
	}
	early, late := mean(m.samples[n/4:n/2]), mean(m.samples[3*n/4:])
	var eighths []int
	for i := range 8 {
		eighths = append(eighths, mean(m.samples[i*n/8:(i+1)*n/8]))
	}
	t.Logf("anonymous resident memory, KiB: means by eighth of the time %v, peak %d", eighths, slices.Max(m.samples))
	if late > early+memorySlack {
		t.Errorf("the gateway's memory grew from %d KiB to %d KiB", early, late)
	}
}

func mean(v []int) int {
	sum := 0
	for _, x := range v {
		sum += x
	}
	return sum / len(v)
}
