//go:build netns

package proxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
)

// sink is a transfer one way that never pauses, from the client to the server.
type sink struct {
	port      uint16
	sent, got atomic.Int64
	conn      net.Conn
	ended     chan error // both ends
}

func (s *site) sink(port uint16) *sink {
	s.t.Helper()
	k := &sink{port: port, ended: make(chan error, 2)}
	at := netip.AddrPortFrom(s.at.Addr(), port)
	err := s.top.Server.Do(func() error {
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			return err
		}
		go func() {
			defer l.Close()
			c, err := l.Accept()
			for buf := make([]byte, 1<<16); err == nil; {
				var n int
				n, err = c.Read(buf)
				k.got.Add(int64(n))
			}
			k.ended <- err
		}()
		return nil
	})
	if err == nil {
		err = s.top.Client.Do(func() (err error) { k.conn, err = net.DialTimeout("tcp", at.String(), patienceLimit); return err })
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		var err error
		for buf := make([]byte, 1<<16); err == nil; {
			var n int
			n, err = k.conn.Write(buf)
			k.sent.Add(int64(n))
		}
		k.ended <- err
	}()
	return k
}

// A connection of the kernel's own ends that never pauses is frozen again and again, and given a lull each time: its acknowledgments wait in
// the kernel's queue, all leave it again, and the connection is back on the fast path.
func TestFastPathLulls(t *testing.T) {
	s := newSite(t, func(c *Config) { c.FastPath = FastPathOn })
	k := s.sink(7100)
	s.until("the transfer takes the fast path", func() bool { return s.fast.kernel().Packets > 1000 })
	w := s.workerList()[0]
	do := func(fn func(f *fastWorker)) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patienceLimit)
		defer cancel()
		if err := w.Do(ctx, func(_ conntrack.Instant, w *Worker) { fn(w.fast) }); err != nil {
			t.Fatal(err)
		}
	}
	const times = 30
	helped, kept := 0, 0
	for range times {
		do(func(f *fastWorker) {
			for _, n := range f.live {
				if sl := f.slot(n); sl.tuple.DstPort == k.port {
					f.w.engine.StopFast(f.w.now, &sl.tuple)
					sl.ways, sl.rest, sl.lullTwice = 1<<conntrack.Original, 0, 2 // 20 ms: the machine may be busy
					f.beginLull(n, sl)
				}
			}
		})
		s.until("the lull ends", func() (over bool) {
			do(func(f *fastWorker) {
				for _, l := range f.lulls {
					kept = max(kept, len(l.ids))
				}
				if over = len(f.lulls) == 0; over && f.counts.Lulls > 0 {
					for _, n := range f.live {
						if sl := f.slot(n); sl.tuple.DstPort == k.port && sl.lullTwice == 0 {
							helped++
						}
					}
				}
			})
			return over
		})
		passed, got := s.fast.kernel().Packets, k.got.Load()
		s.until("the transfer takes the fast path again", func() bool { return s.fast.kernel().Packets > passed+1000 && k.got.Load() > got })
	}
	do(func(f *fastWorker) {
		if f.counts.Lulls < times {
			t.Errorf("%d lulls", f.counts.Lulls)
		}
	})
	t.Logf("%d of %d lulls brought it back, %d acknowledgments seen waiting", helped, times, kept)
	if helped == 0 {
		t.Error("no lull brought the connection back")
	}
	_ = k.conn.SetWriteDeadline(time.Unix(1, 0))
	<-k.ended
	if err := k.conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-k.ended; err != io.EOF || k.got.Load() != k.sent.Load() {
		t.Errorf("%v; %d bytes of %d arrived", err, k.got.Load(), k.sent.Load())
	}
	s.until("nothing waits in the kernel's queue", func() (none bool) {
		do(func(f *fastWorker) { none = f.w.waitingInKernel() == 0 })
		return none
	})
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if gaps := s.balanced(); len(gaps) > 0 {
		t.Errorf("lost: %v", gaps)
	}
}
