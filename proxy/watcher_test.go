package proxy

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

const guarded = `experiment:
  name: guarded
  arms:
    - {name: control, weight: 50, policy: gateway}
    - {name: dropping, weight: 50, policy: drop.yaml}
  guardrails:
    - {metric: connect-failure, max_increase: 5%}
`

// watchedBench is a bench whose worker tells a watcher; crossings are noted.
func watchedBench(t *testing.T, text, exp string) (*bench, *watcher, *experiments, *[]string) {
	b := newBench(t, text, false)
	x := loaded(t, exp, nil)
	crossings := &[]string{}
	w := newWatcher(b.shared.clock, func(s *experiment.Spec, arm, detail string) {
		*crossings = append(*crossings, s.Name+"/"+arm+": "+detail)
	})
	w.use(x, slog.New(slog.DiscardHandler))
	b.runs(x)
	b.watching = w.ring(0)
	return b, w, x, crossings
}

// connects takes client i through its handshake, as far as it gets.
func (b *bench) connects(t *testing.T, i int) {
	from := fmt.Sprintf("10.1.%d.%d:%d", i>>8, i&255, 1024+i)
	b.main.push(clientSYN(t, i))
	b.step()
	if b.engine.Len() == 0 || b.engine.Find(b.now, &[]conntrack.Tuple{tuple(from, serverEnd)}[0]) == nil {
		b.main.push(clientSYN(t, i)) // it tries again
		b.step()
		return
	}
	b.main.push(seg(t, serverEnd, from, conntrack.SYN|conntrack.ACK, 500, 101, ""))
	b.main.push(seg(t, from, serverEnd, conntrack.ACK, 101, 501, ""))
	b.step()
}

// figure returns a metric's sums of an arm.
func figure(w *watcher, arm int, metric string) (num, den float64) {
	for _, f := range w.states()["guarded"].Arms[arm].Figures {
		if f.Metric == metric {
			return f.Num, f.Den
		}
	}
	return -1, -1
}

// TestWatcherFindsHarm: what a worker's connections come to reaches the limits, dials without an entry too, and harm stops the arm.
func TestWatcherFindsHarm(t *testing.T) {
	b, w, x, crossings := watchedBench(t, "preset: observe", guarded)
	const n = 400
	for i := range n {
		b.connects(t, i)
	}
	now := b.shared.clock.Now()
	w.look(now)
	if fail, all := figure(w, 0, "connect-failure"); fail != 0 || all < n/2-60 || all > n/2+60 {
		t.Errorf("control: %v of %v dials failed", fail, all)
	}
	if _, all := figure(w, 1, "connect-failure"); all != 0 || len(*crossings) != 0 {
		t.Errorf("%v dials have failed before their time, %v", all, *crossings)
	}
	w.look(now.Add(experiment.AttemptOver + time.Second))
	control, dropping := w.states()["guarded"].Arms[0], w.states()["guarded"].Arms[1]
	if fail, all := figure(w, 1, "connect-failure"); fail != all || int(all)+control.Units != n || dropping.Units != int(all) {
		t.Errorf("dropping: %v of %v dials failed, units %d and %d", fail, all, control.Units, dropping.Units)
	}
	if again, all := figure(w, 1, "syn-retransmit"); again != all {
		t.Errorf("%v repetitions of %v dials, want one each", again, all)
	}
	if len(*crossings) != 1 || !strings.HasPrefix((*crossings)[0], "guarded/dropping: connect-failure ") {
		t.Fatalf("crossings %q", *crossings)
	}
	w.look(now.Add(time.Hour))
	if len(*crossings) != 1 {
		t.Errorf("told again: %q", *crossings)
	}
	if _, err := x.stop("guarded", "dropping", ArmStop{}); err != nil {
		t.Fatal(err)
	}
	b.connects(t, n+1)
	b.connects(t, n+2)
	b.connects(t, n+3)
	w.look(now.Add(2 * time.Hour))
	if st := w.states()["guarded"].Arms[1]; st.Units != dropping.Units || st.Stopped == nil {
		t.Errorf("after its stop the arm has %d units, %d before; stopped %v", st.Units, dropping.Units, st.Stopped)
	}
}

// TestWatcherKeepsFigures: a reload keeps the figures of an experiment that is as it was, those of another begin anew.
func TestWatcherKeepsFigures(t *testing.T) {
	b, w, x, _ := watchedBench(t, "preset: observe", guarded)
	for i := range 50 {
		b.connects(t, i)
	}
	count := func() float64 {
		_, all := figure(w, 0, "connect-failure")
		return all
	}
	before := count()
	log := slog.New(slog.DiscardHandler)
	next := loaded(t, guarded, x)
	if w.use(next, log); count() != before || before < 10 {
		t.Errorf("%v dials after a reload, %v before", count(), before)
	}
	if w.use(loaded(t, strings.Replace(guarded, "5%", "6%", 1), next), log); count() != 0 {
		t.Errorf("%v dials of another limit's figures", count())
	}
	w.use(nil, log)
	b.connects(t, 60)
	w.look(b.now)
	if len(w.states()) != 0 {
		t.Error("figures of no experiment")
	}
}

// TestWatcherStillThere: data after a connection was forgotten tells once that its user had not gone; a keepalive does not.
func TestWatcherStillThere(t *testing.T) {
	b, w, _, _ := watchedBench(t, "preset: observe\ntimeouts: {established: 10ms}\non: {late-after-expiry: drop}", strings.Replace(strings.Replace(guarded, "connect-failure", "still-there", 1), "drop.yaml", "gateway", 1))
	told := func() (n float64) {
		for arm := range 2 {
			num, _ := figure(w, arm, "still-there")
			n += num
		}
		return n
	}
	late := func(seq, ack conntrack.Seq, payload string) {
		from := "10.1.0.0:1024"
		time.Sleep(15 * time.Millisecond)
		b.main.push(seg(t, from, serverEnd, conntrack.ACK, seq, ack, payload))
		b.step()
	}
	b.connects(t, 0)
	late(100, 501, "x") // a keepalive: one byte below what comes next
	if n := told(); n != 0 {
		t.Errorf("a keepalive tells of %v users", n)
	}
	late(101, 501, "more")
	late(105, 501, "more")
	if n := told(); n != 1 {
		t.Errorf("%v users were still there, want 1", n)
	}
}

// TestWatcherLosses: what the ring cannot take is counted, and the worker does not wait.
func TestWatcherLosses(t *testing.T) {
	b, _, _, _ := watchedBench(t, "preset: observe", guarded)
	e := conntrack.Entry{Arm: 1}
	for range watchRing + 7 {
		b.watchFlow(&policy.FlowEvent{Kind: policy.FlowNew, Entry: e})
	}
	if b.counts.Unwatched != 7 {
		t.Errorf("%d lost, want 7", b.counts.Unwatched)
	}
}

// TestStopsAreResumed: the next run takes over which arms were stopped, from the last file of the log.
func TestStopsAreResumed(t *testing.T) {
	dir := t.TempDir()
	log, err := decisionlog.Open(decisionlog.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	x := loaded(t, guarded, nil)
	g := &Gateway{log: log, experiments: x, watcher: newWatcher(NewClock(), nil), cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	g.crossedLimit(&x.set.Specs[0], "dropping", "connect-failure is too high")
	since := x.stopped[armKey{"guarded", "dropping"}].At
	g.putStarts() // as a new file of the log begins
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = decisionlog.Open(decisionlog.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	y := loaded(t, guarded, nil)
	y.resumeStops(log.Previous())
	st, ok := y.stopped[armKey{"guarded", "dropping"}]
	if !ok || len(y.stopped) != 1 || st.Kind != "guardrail" || st.Detail != "connect-failure is too high" || !st.At.Equal(since) {
		t.Errorf("resumed %+v, want since %v", y.stopped, since)
	}
	if counts := armsOf(y, 1000, 0); counts[2] != 0 {
		t.Errorf("the stopped arm has connections: %v", counts[:4])
	}
	z := loaded(t, strings.Replace(guarded, "name: guarded", "name: another", 1), nil)
	if z.resumeStops(log.Previous()); len(z.stopped) != 0 {
		t.Error("another experiment's arm is stopped")
	}
}

// TestStopWhileFileBegins: an arm may be stopped while the supervisor repeats in a new file which ones were (a race, found with -race).
func TestStopWhileFileBegins(t *testing.T) {
	log, err := decisionlog.Open(decisionlog.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 50 {
		x := loaded(t, guarded, nil)
		g := &Gateway{log: log, experiments: x, watcher: newWatcher(NewClock(), nil), cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
		begun, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			close(begun)
			for range 10 {
				g.putStops(x, &x.set.Specs[0])
			}
		}()
		<-begun
		g.crossedLimit(&x.set.Specs[0], "dropping", "connect-failure is too high")
		<-done
		if len(x.stopped) != 1 {
			t.Fatalf("stopped %v", x.stopped)
		}
	}
}

// TestWatcherKnowsBeginnings: the figures of an experiment that a reload has changed have nothing of connections that began before it, also
// where their client has others.
func TestWatcherKnowsBeginnings(t *testing.T) {
	text := strings.Replace(guarded, "connect-failure", "retransmission", 1)
	b, w, x, _ := watchedBench(t, "preset: observe\ntimeouts: {close: 5ms}", strings.Replace(text, "drop.yaml", "gateway", 1))
	reset := func(from string) {
		b.main.push(seg(t, from, serverEnd, conntrack.RST|conntrack.ACK, 101, 501, ""))
		b.step()
		time.Sleep(10 * time.Millisecond)
		b.step()
	}
	packets := func() (n float64) {
		for arm := range 2 {
			_, den := figure(w, arm, "retransmission")
			n += den
		}
		return n
	}
	b.connects(t, 0)
	w.use(loaded(t, strings.Replace(strings.Replace(text, "5%", "6%", 1), "drop.yaml", "gateway", 1), x), slog.New(slog.DiscardHandler))
	time.Sleep(time.Millisecond)
	b.main.push(seg(t, "10.1.0.0:2000", serverEnd, conntrack.SYN, 100, 0, ""))
	b.step()
	if reset("10.1.0.0:1024"); packets() != 0 {
		t.Errorf("%v packets of a connection from before", packets())
	}
	if reset("10.1.0.0:2000"); packets() != 2 {
		t.Errorf("%v packets of the connection that began since, want 2", packets())
	}
}

// TestWatcherGivesRingsUp: a worker that takes another's place takes its ring's, and what the old one told before is heard.
func TestWatcherGivesRingsUp(t *testing.T) {
	b, w, _, _ := watchedBench(t, "preset: observe", guarded)
	for i := range 20 {
		b.connects(t, i)
	}
	for range 3 {
		b.watching = w.ring(0)
	}
	if _, all := figure(w, 0, "connect-failure"); all == 0 || len(w.rings) != 1 {
		t.Errorf("%v dials, %d rings", all, len(w.rings))
	}
}
