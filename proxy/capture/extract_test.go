package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// segment is the smallest IPv4 packet with the ports of a TCP segment.
func segment(from, to string) []byte {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	if a.Addr().Is6() {
		p := append([]byte{0x60, 0, 0, 0, 0, 28, protoHopByHop, 64}, a.Addr().AsSlice()...)
		p = append(p, b.Addr().AsSlice()...)
		p = append(p, protoFragment, 0, 1, 4, 0, 0, 0, 0)
		p = append(p, protoTCP, 0, 0, 0, 0, 0, 0, 0)
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(p, a.Port()), b.Port())
	}
	p := bytes.Clone(ipv4)
	copy(p[12:], a.Addr().AsSlice())
	copy(p[16:], b.Addr().AsSlice())
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(p, a.Port()), b.Port())
}

const (
	one   = "10.0.0.1:721"
	two   = "10.0.0.2:721"
	six   = "[2001:db8::1]:721"
	goal  = "192.0.2.9:515"
	goal6 = "[2001:db8::9]:515"
)

// recordedDay is a directory of several files: packet n at second n of day 1, told apart by its id.
func recordedDay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	opt := quiet(dir)
	opt.MaxFileBytes, opt.MaxTotalBytes = 700, -1
	var now atomic.Int64
	opt.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	r := startRecorder(t, opt, nil)
	p := r.Producer()
	id := func(n int) decisionlog.ID { return decisionlog.ID{Hi: 1, Lo: uint64(n)} }
	put := func(n int, place Place, data []byte, note Note) {
		now.Store(86400 + int64(n))
		k := p.Record(place, 0, observer, data)
		note.ID = id(n)
		k.Note, k.Time = note, now.Load()*1e9
		p.Push()
		r.Flush()
	}
	put(1, Received, segment(one, goal), Note{Verdict: "forward", Flow: 71})
	put(2, Received, segment(two, goal), Note{Verdict: "forward", Flow: 72})
	put(3, Received, segment(goal, one), Note{Verdict: "drop", Flow: 71})
	put(4, Emitted, segment("203.0.113.7:40000", goal), Note{Verdict: Inject, Cause: id(3)}) // translated on its way, and without a flow
	put(5, Emitted, ipv4, Note{Verdict: Inject, Trigger: "probe", Flow: 72})
	put(6, Received, segment(one, goal), Note{Verdict: "hold", Tombstone: 71, TombstoneWhy: "idle"})
	put(7, Received, segment(six, goal6), Note{Verdict: "forward", Flow: 73})
	put(8, Released, segment(one, goal), Note{Verdict: "drop", Settles: id(6)})
	put(9, Emitted, ipv4, Note{Verdict: Inject, Cause: id(8)})
	put(10, Received, segment(goal, two), Note{Verdict: "forward", Flow: 1<<51 | 72})
	put(11, Received, ipv4, Note{Verdict: "drop", Reason: "malformed"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(mustFiles(t, dir)); n < 4 {
		t.Fatalf("only %d files", n)
	}
	return dir
}

// extracted are the numbers of the packets that are picked.
func extracted(t *testing.T, dir string, pick Pick) string {
	t.Helper()
	var buf bytes.Buffer
	n, err := ExtractFlow(&buf, dir, pick)
	if err != nil {
		t.Fatal(err)
	}
	frames, err := drainReader(t, buf.Bytes())
	if err != nil || len(frames) != n {
		t.Fatalf("%d packets written, %d read, %v", n, len(frames), err)
	}
	var all []string
	for _, f := range frames {
		note, _ := f.Note()
		all = append(all, fmt.Sprint(note.ID.Lo))
	}
	return strings.Join(all, " ")
}

func TestExtractFlow(t *testing.T) {
	dir := recordedDay(t)
	at := func(n int) time.Time { return time.Unix(86400+int64(n), 0) }
	end := netip.MustParseAddrPort
	cid := string(decisionlog.AppendCommunityID(nil, end(goal), end(one)))
	for name, c := range map[string]struct {
		pick Pick
		want string
	}{
		"a flow, what it caused, and who met its tombstone": {Pick{Flow: 71}, "1 3 4 6 8 9"},
		"a flow with probes, its id masked":                 {Pick{Flow: 3<<51 | 72}, "2 5 10"},
		"no such flow":                                      {Pick{Flow: 99}, ""},
		"community id":                                      {Pick{CommunityID: cid}, "1 3 4 6 8 9"},
		"ends":                                              {Pick{Ends: [2]netip.AddrPort{end(goal), end(two)}}, "2 10"},
		"ends, IPv6":                                        {Pick{Ends: [2]netip.AddrPort{end(six), end(goal6)}}, "7"},
		"ends and a flow that is another's":                 {Pick{Flow: 71, Ends: [2]netip.AddrPort{end(two), end(goal)}}, ""},
		"from":                                              {Pick{From: at(9)}, "9 10 11"},
		"until":                                             {Pick{Until: at(2)}, "1 2"},
		"a range":                                           {Pick{From: at(5), Until: at(7)}, "5 6 7"},
		"a range of a flow":                                 {Pick{Flow: 71, From: at(2), Until: at(7)}, "3 4 6"},
	} {
		if got := extracted(t, dir, c.pick); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The stream is a capture as the directory's files are: comments, ids and interfaces are kept, and a replay knows what the gateway made.
func TestExtractKeepsWhatIsKnown(t *testing.T) {
	dir := recordedDay(t)
	var buf bytes.Buffer
	if _, err := ExtractFlow(&buf, dir, Pick{Flow: 71, From: time.Unix(86400, 0)}); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Section(); s.Comment != "halfopen extract flow=71 from=1970-01-02T00:00:00Z" || s.Application != "halfopen" {
		t.Errorf("section %+v", s)
	}
	var own []bool
	names := map[int]string{}
	for {
		f, err := r.Next()
		if err != nil {
			break
		}
		own = append(own, r.OwnDeed(&f))
		names[f.InterfaceID] = f.Interface
		if d, ok := r.Decider(&f); !ok || d != *observer || !f.Options.HasPacketID || f.Options.Direction == Unknown {
			t.Errorf("frame %d: %+v, %+v", f.N, d, f.Options)
		}
	}
	if fmt.Sprint(own) != "[false false true false true true]" || len(names) != 3 {
		t.Errorf("the gateway's own: %v; interfaces %v", own, names)
	}
}

// While a gateway writes, the newest file may end anywhere, and the oldest may go.
func TestExtractBesideAWriter(t *testing.T) {
	dir := recordedDay(t)
	files := mustFiles(t, dir)
	last := files[len(files)-1]
	st, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, st.Size()-5); err != nil { // inside the statistics
		t.Fatal(err)
	}
	if got := extracted(t, dir, Pick{Until: time.Unix(1e6, 0)}); got != "1 2 3 4 5 6 7 8 9 10 11" {
		t.Errorf("%s", got)
	}
	if err := (&extraction{}).file("/nonexistent/packets", time.Time{}); err != nil {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestExtractDamage(t *testing.T) {
	dir := recordedDay(t)
	files := mustFiles(t, dir)
	data, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 0xff // the last block's second length
	if err := os.WriteFile(files[1], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := extracted(t, dir, Pick{From: time.Unix(86400+10, 0)}); got != "10 11" { // what is older is not read
		t.Errorf("behind the damage: %s", got)
	}
	if got := extracted(t, dir, Pick{Until: time.Unix(1, 0)}); got != "" {
		t.Errorf("before everything: %s", got)
	}
	if err := os.WriteFile(files[2], []byte("no capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	n, err := ExtractFlow(&buf, dir, Pick{Until: time.Unix(1e6, 0)})
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), files[1]) || !strings.Contains(err.Error(), files[2]) || n < 8 {
		t.Errorf("%d packets, %v", n, err)
	}
	if _, err := ExtractFlow(&buf, dir, Pick{}); err == nil {
		t.Error("nothing picked: no error")
	}
	if _, err := ExtractFlow(&buf, dir+"/nowhere", Pick{Flow: 1}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if n, err := ExtractFlow(fullWriter{}, dir, Pick{Flow: 71}); !errors.Is(err, errFull) {
		t.Errorf("a writer that takes nothing: %d, %v", n, err)
	}
}

var errFull = errors.New("full")

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errFull }
func (fullWriter) Close() error              { panic("the writer is the caller's to close") }

// A capture of a time that has not come (a replay's) is not left out because its files are older.
func TestExtractFromAReplaysCapture(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenPacketLog(PacketLogOptions{Dir: dir, MaxFileBytes: 1, MaxTotalBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(1000 * time.Hour)
	for n := range 3 {
		if err := l.Write(&Packet{Note: Note{Verdict: "forward", Flow: 5, ID: decisionlog.ID{Lo: uint64(n + 1)}}, By: observer, Time: future.UnixNano()}, ipv4); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.put(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(mustFiles(t, dir)); n != 3 {
		t.Fatalf("%d files", n)
	}
	if got := extracted(t, dir, Pick{From: future.Add(-time.Hour)}); got != "1 2 3" {
		t.Errorf("%s", got)
	}
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		ok     bool
	}{
		"IPv4":                        {segment(one, goal), true},
		"IPv6 with extension headers": {segment(six, goal6), true},
		"cut before the ports":        {segment(one, goal)[:23], false},
		"cut in an extension header":  {segment(six, goal6)[:50], false},
		"IPv6 cut before the ports":   {segment(six, goal6)[:59], false},
		"short":                       {[]byte{0x45, 0}, false},
		"short IPv6":                  {append([]byte{0x60}, make([]byte, 25)...), false},
		"a header of 8 bytes":         {append([]byte{0x42}, segment(one, goal)[1:]...), false},
		"another protocol":            {func() []byte { p := segment(one, goal); p[9] = 17; return p }(), false},
		"a later fragment":            {func() []byte { p := segment(one, goal); p[7] = 3; return p }(), false},
		"another protocol, IPv6":      {func() []byte { p := segment(six, goal6); p[6] = 58; return p }(), false},
		"a later fragment, IPv6":      {func() []byte { p := segment(six, goal6); p[51] = 8; return p }(), false},
	} {
		from, to, ok := ends(c.packet)
		if ok != c.ok {
			t.Errorf("%s: %v", name, ok)
		}
		if pair := from.String() + " " + to.String(); ok && pair != one+" "+goal && pair != six+" "+goal6 {
			t.Errorf("%s: %s", name, pair)
		}
	}
}

func FuzzEnds(f *testing.F) {
	f.Add(segment(one, goal))
	f.Add(segment(six, goal6))
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, to, ok := ends(b); ok && (!from.IsValid() || !to.IsValid()) {
			t.Errorf("%v %v", from, to)
		}
	})
}

// BenchmarkExtract is how fast a flow is looked for.
func BenchmarkExtract(b *testing.B) {
	dir := b.TempDir()
	r := startRecorder(b, quiet(dir), nil)
	p := r.Producer()
	const packets = 50_000
	for n := range packets {
		k := p.Record(Received, 0, observer, segment(one, goal))
		for k == nil {
			r.Flush()
			k = p.Record(Received, 0, observer, segment(one, goal))
		}
		k.Time = int64(n)
		k.Note = Note{Verdict: "forward", Reason: "in-window", State: "ESTABLISHED", Known: true, Idle: 12345678, Flow: uint64(n%1000) + 1,
			Direction: decisionlog.ToServer, ID: decisionlog.ID{Hi: 1, Lo: uint64(n)}}
		p.Push()
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	found := 0
	for b.Loop() {
		n, err := ExtractFlow(fullSink{}, dir, Pick{Flow: 7})
		if err != nil {
			b.Fatal(err)
		}
		found = n
	}
	if found != packets/1000 {
		b.Errorf("%d packets", found)
	}
	b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

type fullSink struct{}

func (fullSink) Write(p []byte) (int, error) { return len(p), nil }
