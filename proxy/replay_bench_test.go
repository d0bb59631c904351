package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// busyCapture writes a capture of so many connections that stay open, each with its handshake and some data, interleaved.
func busyCapture(b *testing.B, flows, rounds int) (path string, packets int) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "busy.pcapng")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.AddInterface(capture.Interface{Name: "eth0", LinkType: capture.LinkRaw}); err != nil {
		b.Fatal(err)
	}
	enc := NewEncoder(EncoderConfig{})
	at := captureStart
	server := netip.MustParseAddrPort("192.0.2.9:515")
	for round := range 3 + rounds {
		for i := range flows {
			tu := conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000), server)
			s := conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 64240}
			switch round {
			case 0:
				s.Flags, s.Seq, s.Ack = conntrack.SYN, 100, 0
			case 1:
				s.Tuple, s.Flags, s.Seq, s.Ack = tu.Reverse(), conntrack.SYN|conntrack.ACK, 500, 101
			}
			pkt, err := enc.Segment(&s, nil)
			if err != nil {
				b.Fatal(err)
			}
			at = at.Add(time.Microsecond)
			if err := w.WritePacket(0, at, pkt, 0, capture.Options{}); err != nil {
				b.Fatal(err)
			}
			packets++
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return path, packets
}

// processorTime is what all threads of the process have spent on processors, the collection of garbage included.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Packets a second from file to summary, and what a connection costs in memory while it is remembered.
func BenchmarkReplay(b *testing.B) {
	for _, c := range []struct {
		name          string
		flows, rounds int
		shadows       []string
		log           bool
	}{
		{"1000 flows", 1000, 100, nil, false},
		{"50000 flows", 50000, 3, nil, false},
		{"1000 flows, a shadow", 1000, 100, []string{"linux-default"}, false},
		{"1000 flows, a log", 1000, 100, nil, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			path, packets := busyCapture(b, c.flows, c.rounds)
			perFlow := 0.0
			n := 0
			began := processorTime(b)
			for b.Loop() {
				cfg := ReplayConfig{Capture: path, Policy: "observe", Shadows: c.shadows}
				if c.log {
					n++
					cfg.LogDir = filepath.Join(b.TempDir(), fmt.Sprint(n))
				}
				if n++; n == 1 { // what is live at the last frame, less what was before
					var before, after runtime.MemStats
					runtime.GC()
					runtime.ReadMemStats(&before)
					cfg.Frame = func(f *ReplayFrame) error {
						if f.N == packets {
							runtime.GC()
							runtime.ReadMemStats(&after)
							perFlow = float64(after.HeapAlloc-before.HeapAlloc) / float64(c.flows)
						}
						return nil
					}
				}
				r, err := RunReplay(b.Context(), cfg)
				if err != nil || r.TCP != packets || r.Live != c.flows {
					b.Fatalf("%v %+v", err, r)
				}
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(float64(processorTime(b)-began)/float64(packets)/float64(b.N), "cpu-ns/packet")
			if perFlow > 0 {
				b.ReportMetric(perFlow, "B/flow")
			}
		})
	}
}
