package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"halfopen/proxy/decisionlog"
)

// quiet is a recorder's options for tests that ask when they want something written.
func quiet(dir string) RecorderOptions {
	return RecorderOptions{PacketLogOptions: PacketLogOptions{Dir: dir, Version: "test", Run: "RUN", Logger: slog.New(slog.DiscardHandler)}, Retry: time.Hour}
}

func startRecorder(t testing.TB, opt RecorderOptions, d *disk) *Recorder {
	t.Helper()
	r, err := StartRecorder(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if d != nil {
		r.log.dir.Write = d.write
	}
	return r
}

// file is an annotated capture as it is read back.
type file struct {
	section Section
	frames  []Frame
	ifaces  []Interface
	stats   []Statistics
	err     error
}

func readFile(t testing.TB, path string) (f file) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		fr, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				f.err = err
			}
			break
		}
		f.frames = append(f.frames, fr)
	}
	f.section, f.stats = r.Section(), r.Statistics()
	for i := 0; ; i++ {
		iface, ok := r.InterfaceAt(i)
		if !ok {
			return f
		}
		f.ifaces = append(f.ifaces, iface)
	}
}

func readDir(t testing.TB, dir string) (all []file) {
	t.Helper()
	paths, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		f := readFile(t, p)
		if f.err != nil {
			t.Errorf("%s: %v", p, f.err)
		}
		all = append(all, f)
	}
	return all
}

var observer = &Decider{Policy: "observe", Preset: "observe", Rev: "sha256:1"}

// numbered records packet n: it is told apart by its id.
func numbered(p *Producer, n int) bool {
	k := p.Record(Received, 3, observer, ipv4)
	if k == nil {
		return false
	}
	k.Time = int64(n) * 1000
	k.Note = Note{Verdict: "forward", ID: decisionlog.ID{Hi: 1, Lo: uint64(n)}}
	p.Push()
	return true
}

// ids are the packet ids of frames.
func ids(frames []Frame) (all []uint64) {
	for _, f := range frames {
		all = append(all, f.Options.PacketID)
	}
	return all
}

func TestRecorderRoundTrip(t *testing.T) {
	dir := t.TempDir()
	opt := quiet(dir)
	opt.IfaceName = func(i uint32) string { return fmt.Sprintf("eth%d", i) }
	r := startRecorder(t, opt, nil)
	p := r.Producer()
	long := append(bytes.Clone(ipv4), make([]byte, 500)...)
	run := func(lo uint64) decisionlog.ID { return decisionlog.ID{Hi: 1 << 60, Lo: lo} }
	site := &Decider{Policy: "site.yaml", Preset: "openbsd-pf", Rev: "sha256:2"}
	for _, c := range []struct {
		place Place
		by    *Decider
		data  []byte
		note  Note
	}{
		{Received, observer, long, Note{Verdict: "drop", Reason: "syn-established", Reply: "ack-tracked", ID: run(1)}},
		{Emitted, observer, ipv4, Note{Verdict: Inject, Kind: "ack-tracked", Cause: run(1), ID: run(2)}},
		{Received, observer, ipv4, Note{Verdict: "hold", ID: run(3)}},
		{Released, site, ipv4, Note{Verdict: "forward", Settles: run(3), ID: run(4)}},
		{Emitted, site, ipv4, Note{Verdict: Inject, Kind: "probe-ack", Trigger: "probe", ID: run(5)}},
		{Received, site, ipv4, Note{Verdict: "forward", ID: run(6)}},
	} {
		k := p.Record(c.place, 3, c.by, c.data)
		k.Note, k.Time = c.note, 1700000000123456789
		if c.place == Received {
			k.OrigLen, k.InDev, k.OutDev = 1500, 1, 2
		}
		p.Push()
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files := readDir(t, dir)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	f := files[0]
	if want := (Section{Application: "halfopen test", Comment: "halfopen version=test run=RUN file=1 policy=observe preset=observe policy_rev=sha256:1"}); f.section != want {
		t.Errorf("section %+v", f.section)
	}
	old, now := "policy=observe preset=observe policy_rev=sha256:1", "policy=site.yaml preset=openbsd-pf policy_rev=sha256:2"
	wantIfaces := []Interface{
		{Name: "queue3 in", Description: old, LinkType: LinkRaw, SnapLen: SnapLen}, {Name: "emitted", Description: old, LinkType: LinkRaw, SnapLen: SnapLen},
		{Name: "queue3 out", Description: now, LinkType: LinkRaw, SnapLen: SnapLen}, {Name: "emitted", Description: now, LinkType: LinkRaw, SnapLen: SnapLen},
		{Name: "queue3 in", Description: now, LinkType: LinkRaw, SnapLen: SnapLen},
	}
	if diff := cmp.Diff(wantIfaces, f.ifaces); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	at := time.Unix(1700000000, 123456789).UTC()
	in := func(n, iface int, id uint64, data []byte, comment string) Frame {
		return Frame{N: n, Time: at, Interface: "queue3 in", InterfaceID: iface, LinkType: LinkRaw, Data: data, OrigLen: 1500, Options: Options{
			Comments: []string{comment}, Direction: Inbound, PacketID: id, HasPacketID: true, Queue: 3, HasQueue: true}}
	}
	out := func(n, iface int, name string, id uint64, comment string) Frame {
		f := Frame{N: n, Time: at, Interface: name, InterfaceID: iface, LinkType: LinkRaw, Data: ipv4, OrigLen: 20, Options: Options{Comments: []string{comment},
			Direction: Outbound, PacketID: id, HasPacketID: true}}
		if name != "emitted" {
			f.Options.Queue, f.Options.HasQueue = 3, true
		}
		return f
	}
	want := []Frame{
		in(1, 0, 1, long[:SnapLen], "halfopen drop reason=syn-established reply=ack-tracked in=eth1 out=eth2 id="+run(1).String()),
		out(2, 1, "emitted", 1, "halfopen inject kind=ack-tracked cause="+run(1).String()+" id="+run(2).String()),
		in(3, 0, 3, ipv4, "halfopen hold in=eth1 out=eth2 id="+run(3).String()),
		out(4, 2, "queue3 out", 3, "halfopen forward settles="+run(3).String()+" id="+run(4).String()),
		out(5, 3, "emitted", 5, "halfopen inject kind=probe-ack trigger=probe id="+run(5).String()),
		in(6, 4, 6, ipv4, "halfopen forward in=eth1 out=eth2 id="+run(6).String()),
	}
	if diff := cmp.Diff(want, f.frames); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	var received uint64
	for i, s := range f.stats {
		received += s.Received
		if s.Interface != i || s.Dropped != 0 || !s.Start.Equal(at) || !s.End.Equal(at) || s.Time.IsZero() {
			t.Errorf("statistics %+v", s)
		}
	}
	if len(f.stats) != 5 || received != 6 {
		t.Errorf("statistics of %d interfaces, %d packets", len(f.stats), received)
	}
	if c := r.Counters(); c.Packets != 6 || c.RingDropped != 0 || c.DiskDropped != 0 {
		t.Errorf("counters %+v", c)
	}
}

// Each file stands for itself, and together they hold every packet once, in order. The oldest go.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	opt := quiet(dir)
	opt.MaxFileBytes, opt.MaxTotalBytes = 2000, -1
	r := startRecorder(t, opt, nil)
	p := r.Producer()
	for n := 1; n <= 100; n++ {
		numbered(p, n)
		r.Flush()
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files := readDir(t, dir)
	next, received := uint64(1), uint64(0)
	for i, f := range files {
		if !strings.Contains(f.section.Comment, fmt.Sprintf(" file=%d ", i+1)) || len(f.stats) != 1 {
			t.Errorf("file %d: %+v, %+v", i+1, f.section, f.stats)
		}
		for _, id := range ids(f.frames) {
			if id != next {
				t.Fatalf("packet %d, want %d", id, next)
			}
			next++
		}
		received += f.stats[0].Received
	}
	if len(files) < 5 || next != 101 || received != 100 {
		t.Errorf("%d files, %d packets, statistics of %d", len(files), next-1, received)
	}

	opt.MaxTotalBytes = 8000
	r = startRecorder(t, opt, nil)
	p = r.Producer()
	numbered(p, 200)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	left := readDir(t, dir)
	if n := len(left); n >= len(files) || n < 2 || left[n-1].frames[0].Options.PacketID != 200 {
		t.Errorf("%d files left of %d", n, len(files)+1)
	}
}

// The packets of several workers stand in the order of time, though they are pushed out of it.
func TestWorkersInOrderOfTime(t *testing.T) {
	dir := t.TempDir()
	opt := quiet(dir)
	var mu sync.Mutex
	now := time.Unix(0, 0)
	opt.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := startRecorder(t, opt, nil)
	a, b := r.Producer(), r.Producer()
	numbered(a, 2)
	numbered(a, 4)
	numbered(b, 3)
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	time.Sleep(3 * r.opt.Flush)
	numbered(b, 1_000_001) // one second: not ripe, since another worker may have an older one under way
	time.Sleep(3 * r.opt.Flush)
	if n := r.Counters().Packets; n != 3 {
		t.Errorf("%d packets written, want the 3 that are old enough", n)
	}
	numbered(a, 1_000_000)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ids(readDir(t, dir)[0].frames)); got != "[2 3 4 1000000 1000001]" {
		t.Errorf("order %s", got)
	}
}

func TestOneWriterPerDirectory(t *testing.T) {
	dir := t.TempDir()
	startRecorder(t, quiet(dir), nil)
	if _, err := StartRecorder(quiet(dir)); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v", err)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	opt := quiet(t.TempDir())
	opt.RingSize = 1 << 13
	p := startRecorder(t, opt, nil).Producer()
	n := 0
	if a := testing.AllocsPerRun(1000, func() { n++; numbered(p, n) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// A file whose writer was killed is cut off: what is whole can be read, and the error says that it is no other damage.
func TestCutFile(t *testing.T) {
	dir := t.TempDir()
	r := startRecorder(t, quiet(dir), nil)
	p := r.Producer()
	numbered(p, 1)
	numbered(p, 2)
	r.Flush()
	path := mustFiles(t, dir)[0]
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, st.Size()-9); err != nil {
		t.Fatal(err)
	}
	f := readFile(t, path)
	if !errors.Is(f.err, ErrCut) || !errors.Is(f.err, ErrFormat) || len(f.frames) != 1 {
		t.Errorf("%d frames, %v", len(f.frames), f.err)
	}
}

// A replay's packets are kept whole.
func TestPacketLogKeepsAllBytes(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenPacketLog(PacketLogOptions{Dir: dir, MaxTotalBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	big := append(bytes.Clone(ipv4), make([]byte, 60000)...)
	for n := range 10 {
		p := Packet{Note: Note{Verdict: "forward", PcapCnt: uint64(n + 1)}, By: observer, OrigLen: 70000, Time: int64(n)}
		if err := l.Write(&p, big); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Write(&Packet{By: observer}, make([]byte, MaxFrame+1)); err == nil {
		t.Error("a packet beyond MaxFrame: no error")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := readDir(t, dir)[0]
	if len(f.frames) != 10 || !bytes.Equal(f.frames[9].Data, big) || f.frames[9].OrigLen != 70000 || f.ifaces[0].SnapLen != 0 {
		t.Errorf("%d frames, interfaces %+v", len(f.frames), f.ifaces)
	}
}

// BenchmarkRecorder is the writer's side: from ring to file, in packets a second.
func BenchmarkRecorder(b *testing.B) {
	opt := quiet(b.TempDir())
	opt.MaxTotalBytes = 256 << 20
	r := startRecorder(b, opt, nil)
	p := r.Producer()
	note := Note{Verdict: "forward", Reason: "in-window", State: "ESTABLISHED", Known: true, Idle: 12345678, Flow: 1 << 49, Direction: decisionlog.ToServer,
		ID: decisionlog.ID{Hi: 1 << 60, Lo: 1 << 40}}
	b.ReportAllocs()
	for b.Loop() {
		k := p.Record(Received, 0, observer, ipv4)
		for k == nil {
			r.Flush()
			k = p.Record(Received, 0, observer, ipv4)
		}
		k.Note, k.Time = note, 1700000000e9
		p.Push()
	}
	b.StopTimer()
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(r.Counters().Packets)/b.Elapsed().Seconds(), "packets/s")
}
