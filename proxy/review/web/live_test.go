package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
)

// writing is a log that is being written, with small files.
type writing struct {
	*decisionlog.Writer
	p *decisionlog.Producer
}

func beginLog(t *testing.T, dir string) *writing {
	t.Helper()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 4000, BootID: "boot", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &writing{w, w.Producer(0)}
}

// put writes a decision about a client's port.
func (w *writing) put(port uint16, reason string) {
	r := decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, FlowID: uint64(port), Src: netip.AddrPortFrom(netip.MustParseAddr("10.2.0.7"), port),
		Dst: netip.MustParseAddrPort("192.0.2.9:515"), TCP: decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN}}
	r.Decision = decisionlog.Decision{ID: w.p.NextID(), Verdict: "drop", Reason: reason, StateBefore: "ESTABLISHED", StateAfter: "ESTABLISHED"}
	w.p.Put(&r)
	w.Flush()
}

// stream reads events.
type stream struct {
	t    *testing.T
	res  *http.Response
	scan *bufio.Scanner
	id   string // of the last event
}

func listen(t *testing.T, base, target, last string) *stream {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(stop)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %d %s", target, res.StatusCode, res.Header.Get("Content-Type"))
	}
	return &stream{t: t, res: res, scan: bufio.NewScanner(res.Body)}
}

// next is the data of the next row.
func (s *stream) next() string {
	s.t.Helper()
	data, row := "", false
	for s.scan.Scan() {
		line := s.scan.Text()
		switch {
		case line == "" && row:
			return data
		case line == "event: row":
			row = true
		case strings.HasPrefix(line, "id: "):
			s.id = line[4:]
		case strings.HasPrefix(line, "data: "):
			data += line[6:]
		}
	}
	s.t.Fatalf("the stream ended: %v", s.scan.Err())
	return ""
}

func TestFollow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := beginLog(t, dir)
	w.put(721, "syn-established")
	s := serve(t, dir, nil)
	server := httptest.NewServer(s)
	defer server.Close()
	st := listen(t, server.URL, "/live?q=reason:syn-established", "")
	time.Sleep(50 * time.Millisecond) // until it has found where the log ends
	w.put(722, "seq-above")           // not asked for
	for port := uint16(723); port < 740; port++ {
		w.put(port, "syn-established") // over several files
	}
	var third string
	for port := uint16(723); port < 740; port++ {
		row := st.next()
		if !strings.Contains(row, "10.2.0.7:"+itoa(port)) || !strings.Contains(row, `data-cursor="`) {
			t.Fatalf("port %d: %s", port, row)
		}
		if port == 725 {
			third = st.id
		}
	}
	st.res.Body.Close()
	again := listen(t, server.URL, "/live?q=reason:syn-established", third)
	for port := uint16(726); port < 740; port++ {
		if row := again.next(); !strings.Contains(row, "10.2.0.7:"+itoa(port)) {
			t.Fatalf("after %s: port %d: %s", third, port, row)
		}
	}
	again.res.Body.Close() // the test's server waits for who listens
}

// Who was away for long gets all that came meanwhile, page by page and once.
func TestFollowCatchesUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := beginLog(t, dir)
	const n = 2*livePage + 50
	for i := range n {
		w.put(uint16(1000+i), "syn-established")
	}
	s := serve(t, dir, nil)
	p, err := s.src.x.Page(t.Context(), index.Filter{}, index.Cursor{}, 1, index.OldestFirst)
	if err != nil || len(p.Rows) != 1 {
		t.Fatal(p, err)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	st := listen(t, server.URL, "/live", p.Rows[0].Cursor.String())
	for i := 1; i < n; i++ {
		if row := st.next(); !strings.Contains(row, fmt.Sprintf("10.2.0.7:%d<", 1000+i)) {
			t.Fatalf("record %d: %s", i, row)
		}
	}
	st.res.Body.Close()
}

func itoa(n uint16) string {
	return string([]byte{'0' + byte(n/100), '0' + byte(n/10%10), '0' + byte(n%10)})
}

func TestFollowersAreBounded(t *testing.T) {
	dir := t.TempDir()
	w := beginLog(t, dir)
	w.put(721, "syn-established")
	s := serve(t, dir, nil)
	server := httptest.NewServer(s)
	defer server.Close()
	var all []*stream
	for range maxFollowers {
		all = append(all, listen(t, server.URL, "/live", ""))
	}
	res, err := http.Get(server.URL + "/live")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "32 follow already") {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	res.Body.Close()
	if res, err := http.Get(server.URL + "/"); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("who follows keeps others from looking: %v", err)
	}
	for _, st := range all { // who goes makes room
		st.res.Body.Close()
	}
	for deadline := time.Now().Add(15 * time.Second); len(s.live) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d places are still taken", len(s.live))
		}
	}
}

// A server that ends ends the streams.
func TestFollowEndsWithTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := beginLog(t, dir)
	w.put(721, "syn-established")
	x, err := index.Open(t.Context(), dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s, err := New(Config{Dir: dir, Index: x})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	server := httptest.NewServer(s)
	defer server.Close()
	st := listen(t, server.URL, "/live", "")
	w.put(722, "syn-established")
	st.next()
	stop()
	if _, err := io.Copy(io.Discard, st.res.Body); err != nil { // to its end
		t.Errorf("the stream broke: %v", err)
	}
	<-ended
}
