package decisionlog

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkWriteMix is the whole way of typical records into files, as fast as one worker puts them and the disk takes them.
func BenchmarkWriteMix(b *testing.B) {
	w, err := Open(Options{Dir: b.TempDir(), MaxTotalBytes: 256 << 20, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	p, records, n := w.Producer(1), mixed(b), 0
	for b.Loop() {
		for !p.Put(&records[n%len(records)]) {
			runtime.Gosched()
		}
		n++
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	c := w.Counters()
	b.ReportMetric(float64(c.Bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkOverload is a worker that puts records without pause while the disk takes 20 MB/s: what a Put costs it then (mean and longest
// of the time its thread spent on a processor), and how much is lost. It fails unless the log accounts for every record.
func BenchmarkOverload(b *testing.B) {
	dir := b.TempDir()
	w, err := Open(Options{Dir: dir, MaxTotalBytes: -1, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	w.sink.(*dirSink).Write = func(f *os.File, buf []byte) (int, error) {
		time.Sleep(time.Duration(len(buf)) * time.Second / 20e6)
		return f.Write(buf)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, r := w.Producer(1), typical()["opened"]
	put, refused := uint64(0), uint64(0)
	var longest time.Duration
	before := threadTime(b)
	for b.Loop() {
		if put%64 == 0 { // the clock costs more than the Put
			at := threadTime(b)
			if !p.Put(&r) {
				refused++
			}
			longest = max(longest, threadTime(b)-at)
		} else if !p.Put(&r) {
			refused++
		}
		put++
	}
	spent := threadTime(b) - before
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	var t Tally
	for e, err := range Read(dir) {
		if err != nil {
			b.Fatal(err)
		}
		t.Add(e.Tally())
	}
	if t.Gaps != refused || t.Decisions != put-refused || t.Upper != 0 {
		b.Fatalf("tally %+v, %d refused of %d", t, refused, put)
	}
	b.ReportMetric(float64(spent)/float64(put), "cpu-ns/put")
	b.ReportMetric(float64(longest), "longest-cpu-ns")
	b.ReportMetric(100*float64(refused)/float64(put), "%lost")
}

// BenchmarkCompress is what a finished file costs, unpaced: 8 MiB of typical records, whose numbers differ from each other as a log's do.
func BenchmarkCompress(b *testing.B) {
	var text []byte
	records := mixed(b)
	for n := uint64(0); len(text) < 8<<20; n++ {
		r := records[n%100]
		h := n * 0x9e3779b97f4a7c15
		r.Time += int64(n * 1000003)
		r.FlowID, r.TCP.Seq, r.TCP.Ack, r.TCP.TSVal = h>>13, uint32(h>>7), uint32(h>>19), uint32(n)
		r.Decision.ID.Lo, r.Decision.Latency, r.Flow.Start = n, int64(20000+h>>50), r.Time-int64(h>>30)
		text = append(r.AppendJSON(text), '\n')
	}
	var out bytes.Buffer
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, n := threadTime(b), 0
	for b.Loop() {
		out.Reset()
		if err := Compress(&out, bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n)*float64(len(text))/1e6/(threadTime(b)-before).Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(len(text))/float64(out.Len()), "ratio")
}
