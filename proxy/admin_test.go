package proxy

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

func TestFlowsListing(t *testing.T) {
	h := newEngineHost(t, 2)
	c, _ := serveAdmin(t, h, nil)
	h.open(t, 0, tuple("10.0.0.1:721", "192.0.2.1:515"))
	h.step(t, 1, tuple("[2001:db8::1]:40000", "[2001:db8::2]:80"), conntrack.SYN, 7, 0)
	var lines []string
	for _, f := range list(t, c, "") {
		lines = append(lines, string(f.AppendConntrack(nil)))
	}
	slices.Sort(lines)
	// As `conntrack -L -o id` of conntrack-tools 1.4.7 prints such entries, timeouts as in Linux.
	want := "tcp      6 120 SYN_SENT src=2001:db8::1 dst=2001:db8::2 sport=40000 dport=80 packets=1 bytes=40 [UNREPLIED] " +
		"src=2001:db8::2 dst=2001:db8::1 sport=80 dport=40000 packets=0 bytes=0 mark=0 use=1 id=2001\n" +
		"tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=192.0.2.1 sport=721 dport=515 packets=2 bytes=80 " +
		"src=192.0.2.1 dst=10.0.0.1 sport=515 dport=721 packets=1 bytes=40 [ASSURED] mark=0 use=1 id=1001\n"
	if got := strings.Join(lines, ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	f := list(t, c, "dport=515")[0]
	if f.Queue == nil || *f.Queue != 0 || f.AgeS != 2 || f.IdleS != 0 || f.RemainingS != 432000 || f.ClientNext != 101 || f.ServerNext != 501 ||
		f.ClientAck != 501 || f.ServerAck != 101 || f.History == "" || f.Proto != "TCP" {
		t.Errorf("%+v", f)
	}
}

func TestFlowsListingInChunks(t *testing.T) {
	h := newEngineHost(t, 2)
	c, _ := serveAdmin(t, h, nil)
	const each = 2*listChunk + 300
	for i := range h.workers {
		for n := range each {
			tu := conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)}), 1024), netip.MustParseAddrPort("192.0.2.1:80"))
			s := conntrack.Segment{Tuple: tu, Flags: conntrack.SYN, Seq: 1, Window: 1}
			h.workers[i].engine.Step(h.workers[i].now, &s) // nobody else uses the engine yet
		}
	}
	h.turns.Store(0)
	seen := map[uint64]bool{}
	for _, f := range list(t, c, "") {
		seen[uint64(*f.Queue)<<32|f.FlowID] = true
	}
	if len(seen) != 2*each {
		t.Errorf("%d flows listed, want %d", len(seen), 2*each)
	}
	if n := h.turns.Load(); n < 6 {
		t.Errorf("%d turns for %d flows: a turn took more than a chunk", n, 2*each)
	}
	h.fail.Store(true)
	err := c.Flows(t.Context(), "", func(*Flow) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("a listing without the second worker: %v", err)
	}
}

func TestShortListingIsAnError(t *testing.T) {
	h := newEngineHost(t, 2)
	c, _ := serveAdmin(t, h, nil)
	h.open(t, 0, tuple("10.0.0.1:721", "192.0.2.1:515"))
	h.fail.Store(true)
	if err := c.Flows(t.Context(), "", func(*Flow) error { return nil }); err == nil {
		t.Error("a listing without the second worker ends well")
	}
}

func TestExpiredFlowsAreNotListed(t *testing.T) {
	h := newEngineHost(t, 1)
	c, _ := serveAdmin(t, h, nil)
	h.step(t, 0, tuple("10.0.0.1:1", "192.0.2.1:80"), conntrack.SYN, 1, 0)
	_ = h.do(t.Context(), 0, func(w *engineWorker) { w.now = w.now.Add(120 * time.Second) })
	if flows := list(t, c, ""); len(flows) != 0 {
		t.Errorf("%+v", flows)
	}
}

func TestFlowsKill(t *testing.T) {
	h := newEngineHost(t, 2)
	pending := NewPending()
	pending.Load([]policy.Saved{
		{Entry: conntrack.Entry{ID: 1, State: conntrack.Established, Tuple: tuple("10.0.0.9:9", "192.0.2.1:515"), Deadline: 1e18, LastSeen: -5e9}},
		{Entry: conntrack.Entry{ID: 2, State: conntrack.Established, Tuple: tuple("10.0.0.8:9", "192.0.2.1:80"), Deadline: 1e18}},
	}, NewClock().Now(), NewClock().Now())
	c, _ := serveAdmin(t, h, pending)
	h.open(t, 0, tuple("10.0.0.1:721", "192.0.2.1:515"))
	h.open(t, 1, tuple("10.0.0.2:721", "192.0.2.1:515"))
	h.open(t, 1, tuple("10.0.0.2:50000", "192.0.2.1:80"))
	restored := 0
	for _, f := range list(t, c, "dport=515") {
		if f.Restored {
			restored++
			if f.Queue != nil || f.IdleS < 5 || f.IdleS > 600 {
				t.Errorf("restored flow %+v", f)
			}
		}
	}
	if restored != 1 {
		t.Errorf("%d restored flows listed", restored)
	}
	if _, err := c.Kill(t.Context(), ""); err == nil {
		t.Error("killing without a filter")
	}
	if _, err := c.Kill(t.Context(), "dport=x"); err == nil || !strings.Contains(err.Error(), "filter") {
		t.Errorf("bad filter: %v", err)
	}
	if n, err := c.Kill(t.Context(), "dport=515"); n != 3 || err != nil {
		t.Errorf("%d killed, %v", n, err)
	}
	if left := list(t, c, "all"); len(left) != 2 || left[0].DestPort != 80 || left[1].DestPort != 80 {
		t.Errorf("left %+v", left)
	}
	if n, err := c.Kill(t.Context(), "all"); n != 2 || err != nil || pending.Any() {
		t.Errorf("%d killed, %v", n, err)
	}
}

func TestFlowEvents(t *testing.T) {
	h := newEngineHost(t, 1)
	c, a := serveAdmin(t, h, nil)
	got := make(chan Flow, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Events(t.Context(), "dport=515", func(f *Flow) error { got <- *f; return nil })
	}()
	for deadline := time.Now().Add(20 * time.Second); h.events.subscribers.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody subscribed")
		}
	}
	h.step(t, 0, tuple("10.0.0.1:1", "192.0.2.1:80"), conntrack.SYN, 1, 0) // not picked
	h.open(t, 0, tuple("10.0.0.1:721", "192.0.2.1:515"))
	if n, err := c.Kill(t.Context(), "sport=721"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	var events []string
	var last Flow
	for len(events) == 0 || last.Event != "destroy" {
		select {
		case last = <-got:
			line := string(last.AppendConntrack(nil))
			events = append(events, strings.Fields(line)[0])
			if last.DestPort != 515 || last.Timestamp == "" {
				t.Errorf("%+v", last)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("events %v", events)
		}
	}
	if events[0] != "[NEW]" || events[len(events)-1] != "[DESTROY]" || last.EndReason != "killed" {
		t.Errorf("events %v, end %q", events, last.EndReason)
	}
	if err := a.Close(); err != nil { // the gateway stops: the stream ends well
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the stream's end: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the stream goes on")
	}
	if n := h.events.subscribers.Load(); n != 0 {
		t.Errorf("%d subscribers left", n)
	}
}

func TestAdminReload(t *testing.T) {
	h := newEngineHost(t, 1)
	c, _ := serveAdmin(t, h, nil)
	before := h.pol.Rev()
	res, err := c.Reload(t.Context(), "openbsd-pf")
	if err != nil || res.Policy != "openbsd-pf" || res.Before != before || res.Rev == before || res.Flows == "" {
		t.Fatalf("%+v, %v", res, err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("timeouts:\n  establishd: 1h\n  syn_sent: 1 hour\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = c.Reload(t.Context(), bad)
	var refused *RefusedError
	if !errors.As(err, &refused) || len(refused.Problems) != 2 || refused.Problems[0].Line != 2 || refused.Problems[1].Line != 3 {
		t.Errorf("%v", err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.Rev != res.Rev {
		t.Errorf("after a bad file: %+v, %v", st, err)
	}
	if _, err := c.Reload(t.Context(), filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("no file: %v", err)
	}
}

func TestAdminSlowReaderStallsNobody(t *testing.T) {
	h := newEngineHost(t, 1)
	c, _ := serveAdmin(t, h, nil)
	for n := range 30000 {
		tu := conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1024), netip.MustParseAddrPort("192.0.2.1:80"))
		s := conntrack.Segment{Tuple: tu, Flags: conntrack.SYN, Seq: 1, Window: 1}
		h.workers[0].engine.Step(h.workers[0].now, &s)
	}
	stuck, enough := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		var once sync.Once
		ended <- c.Flows(ctx, "", func(*Flow) error { once.Do(func() { close(stuck) }); <-enough; return errors.New("enough") })
	}()
	<-stuck
	if st, err := c.Status(t.Context()); err != nil || st.Policy != "observe" {
		t.Errorf("%+v, %v", st, err)
	}
	if err := h.Each(t.Context(), func(int, conntrack.Instant, *policy.Engine) {}); err != nil {
		t.Error(err)
	}
	close(enough)
	if err := <-ended; err == nil || err.Error() != "enough" {
		t.Errorf("%v", err)
	}
}
