package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// tapped is a bench whose packets are captured.
type tapped struct {
	*bench
	dir      string
	recorder *capture.Recorder
}

func newTapped(t *testing.T, text string, trial bool) *tapped {
	t.Helper()
	b := &tapped{bench: newBench(t, text, trial), dir: t.TempDir()}
	b.recorder = tapInto(t, b.Worker, b.dir)
	return b
}

// tapInto starts a recorder and gives the worker's packets to it.
func tapInto(t testing.TB, w *Worker, dir string) *capture.Recorder {
	t.Helper()
	r, err := capture.StartRecorder(capture.RecorderOptions{PacketLogOptions: capture.PacketLogOptions{Dir: dir, Version: "test",
		MaxTotalBytes: 256 << 20, Logger: slog.New(slog.DiscardHandler)}, RingSize: 1 << 14})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	w.tap.producer = r.Producer()
	w.nameDeciders()
	return r
}

// note is a captured packet.
type note struct {
	capture.Note
	capture.Frame
}

// line is the note without what differs from run to run.
func (n *note) line() string {
	m := n.Note
	m.ID, m.Cause, m.Settles, m.Idle, m.Known, m.Forgotten = decisionlog.ID{}, decisionlog.ID{}, decisionlog.ID{}, 0, false, 0
	return n.Interface + ": " + m.String()
}

// captured ends the capture and returns what is in it.
func (b *tapped) captured() (all []note) {
	b.t.Helper()
	if err := b.recorder.Close(); err != nil {
		b.t.Fatal(err)
	}
	return readNotes(b.t, b.dir)
}

func readNotes(t testing.TB, dir string) (all []note) {
	t.Helper()
	files, err := capture.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		frames, err := capture.ReadAll(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			n, ok := f.Note()
			if !ok {
				t.Fatalf("%s: frame %d has no note: %q", path, f.N, f.Options.Comments)
			}
			all = append(all, note{n, f})
		}
	}
	return all
}

func (b *tapped) expectLines(got []note, want ...string) {
	b.t.Helper()
	var lines []string
	for i := range got {
		lines = append(lines, got[i].line())
	}
	if !slices.Equal(lines, want) {
		b.t.Errorf("captured:\n  %s\nwant:\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// Every packet is captured with its decision, as the log has it, and what the decision made has its packet id. The log has no record of a
// plain forward; the capture has the packet.
func TestTapCapturesEveryPacketWithItsDecision(t *testing.T) {
	b := newTapped(t, "preset: lpd-case-2015\nrules: [{name: printers, match: {dst_port: 515}}]", false)
	b.handshake()
	data := seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, strings.Repeat("x", 600))
	syn := seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, "")
	b.main.push(data, syn)
	b.step()
	got := b.captured()
	b.expectLines(got,
		"queue0 in: halfopen forward reason=new rule=printers state=NONE state_after=SYN_SENT flow=1 direction=to_server",
		"queue0 in: halfopen forward reason=syn-ack rule=printers state=SYN_SENT state_after=SYN_RECV flow=1 direction=to_client",
		"queue0 in: halfopen forward reason=handshake rule=printers state=SYN_RECV state_after=ESTABLISHED flow=1 direction=to_server",
		"queue0 in: halfopen forward reason=in-window rule=printers state=ESTABLISHED flow=1 direction=to_server",
		"queue0 in: halfopen drop reason=syn-established rule=printers reply=ack-tracked state=ESTABLISHED flow=1 direction=to_server",
		"emitted: halfopen inject kind=ack-tracked to=client reason=syn-established rule=printers flow=1 direction=to_client")

	in, ack := &got[4], &got[5]
	if ack.Cause != in.ID || ack.Options.PacketID != in.Options.PacketID || in.Options.PacketID != in.ID.Lo || ack.ID == in.ID {
		t.Errorf("the SYN is %v, packet %d; its answer %v of %v, packet %d", in.ID, in.Options.PacketID, ack.ID, ack.Cause, ack.Options.PacketID)
	}
	if got[3].OrigLen != len(data) || len(got[3].Data) != capture.SnapLen || string(got[3].Data) != string(data[:capture.SnapLen]) {
		t.Errorf("data of %d bytes: %d of %d captured", len(data), len(got[3].Data), got[3].OrigLen)
	}
	if in.Options.Direction != capture.Inbound || ack.Options.Direction != capture.Outbound || in.Options.Queue != 0 || !in.Options.HasQueue {
		t.Errorf("SYN %+v, answer %+v", in.Options, ack.Options)
	}
	b.agreesWithLog(got)
}

// agreesWithLog holds the capture against the log, joined by id: each decision and each injection of the log is in the capture, with the same
// words and the same time.
func (b *tapped) agreesWithLog(got []note) {
	b.t.Helper()
	byID := map[string]*note{}
	for i := range got {
		byID[got[i].ID.String()] = &got[i]
	}
	b.records("decision") // closes the log
	joined := 0
	for line := range strings.Lines(b.lines.String()) {
		var e decisionlog.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.t.Fatal(err)
		}
		var id, want, is string
		switch {
		case e.Decision != nil && e.Decision.Trigger == "":
			d := e.Decision
			id, want = d.ID, fmt.Sprint(d.Verdict, d.Reason, d.Rule, e.FlowID, d.StateBefore, e.Direction, kindOf(d.Reply), kindOf(d.Peer))
		case e.Inject != nil:
			id, want = e.Inject.ID, fmt.Sprint(e.Inject.Kind, e.Inject.To, e.Inject.Cause, e.Inject.Trigger, e.Inject.Error)
		default:
			continue
		}
		n := byID[id]
		if n == nil {
			b.t.Errorf("not captured: %s", line)
			continue
		}
		joined++
		if e.Inject != nil {
			cause := ""
			if !n.Cause.IsZero() {
				cause = n.Cause.String()
			}
			is = fmt.Sprint(n.Kind, n.To, cause, n.Trigger, n.Error)
		} else {
			is = fmt.Sprint(n.Verdict, n.Reason, n.Rule, n.Flow, n.State, [...]string{"", "to_server", "to_client"}[n.Direction], n.Reply, n.Peer)
			if !n.Settles.IsZero() {
				want = strings.Replace(want, e.Decision.StateBefore, "", 1) // the record that settles a hold has no state
			}
		}
		if is != want || !n.Time.Equal(e.Timestamp.Time) {
			b.t.Errorf("captured at %v %s\nlogged   at %v %s", n.Time, is, e.Timestamp, want)
		}
	}
	if joined == 0 {
		b.t.Error("the log has nothing that could be compared")
	}
}

func kindOf(m *decisionlog.MadeEvent) string {
	if m == nil {
		return ""
	}
	return m.Kind
}

// A hold and its end are the same packet: the end stands on an interface of its own and names the hold.
func TestTapCapturesHowAHoldEnds(t *testing.T) {
	b := newTapped(t, "preset: observe\non: {new: {packet: hold, hold: 100ms, then: drop, reply: icmp-port}}", false)
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""))
	b.step()
	b.later(150 * time.Millisecond)
	b.step()
	got := b.captured()
	b.expectLines(got,
		"queue0 in: halfopen hold reason=new state=NONE direction=to_server",
		"queue0 out: halfopen drop reason=new reply=icmp-port",
		"emitted: halfopen inject kind=icmp-port to=client reason=new")
	hold, end, icmp := &got[0], &got[1], &got[2]
	if end.Settles != hold.ID || end.Options.PacketID != hold.Options.PacketID || string(end.Data) != string(hold.Data) || end.OrigLen != hold.OrigLen {
		t.Errorf("hold %+v, end %+v", hold, end)
	}
	if icmp.Cause != end.ID {
		t.Errorf("the reply is of %v, want %v", icmp.Cause, end.ID)
	}
	b.agreesWithLog(got)
}

// A rewritten packet stands twice: as it came, and as it left, with what its decision made behind both.
func TestTapOfARewrite(t *testing.T) {
	b := newTapped(t, "preset: observe\non: {urgent: {packet: rewrite, strip: [urgent, push], reply: ack-tracked}}", false)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.URG|conntrack.PSH, 101, 501, "bb"))
	b.step()
	got := b.captured()
	b.expectLines(got[3:],
		"queue0 in: halfopen rewrite reason=urgent reply=ack-tracked stripped=urgent,push state=ESTABLISHED flow=1 direction=to_server",
		"queue0 out: halfopen rewrite reason=urgent stripped=urgent,push flow=1 direction=to_server",
		"emitted: halfopen inject kind=ack-tracked to=client reason=urgent flow=1 direction=to_client")
	in, out := &got[3], &got[4]
	if out.Cause != in.ID || out.Options.PacketID != in.Options.PacketID || !bytes.Equal(out.Data, b.second.altered[0]) || bytes.Equal(out.Data, in.Data) {
		t.Errorf("came %x, left %x", in.Data, out.Data)
	}
	again := mustReplay(t, ReplayConfig{Capture: b.dir, Policy: writeFile(t, []byte("preset: observe\non: {urgent: {packet: rewrite, strip: [urgent, push], reply: ack-tracked}}")), Fresh: true})
	if again.Skipped[SkipOwnDeed] != 2 || again.Recorded.Same != 4 || again.Counterfactual.Flows != 0 {
		t.Errorf("replayed: %+v", again.Replay)
	}
	b.agreesWithLog(got)
}

// writesNow is an injector that makes the recorder write.
type writesNow struct{ *capture.Recorder }

func (w writesNow) Send([]byte) error { w.Flush(); return nil }

// What could not be rewritten is captured with what became of it instead.
func TestTapOfWhatIsNotRewritten(t *testing.T) {
	b := newTapped(t, "preset: observe\non: {urgent: {packet: rewrite, strip: urgent, reply: ack-tracked, peer: probe-ack}}", false)
	b.handshake()
	b.Worker.second = nil
	b.Worker.injector = writesNow{b.recorder} // what the decision makes first must not have the packet written before it is known what becomes of it
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.URG, 101, 501, "bb"))
	b.step()
	got := b.captured()
	b.expectLines(got[3:],
		"queue0 in: halfopen drop reason=urgent reply=ack-tracked peer=probe-ack rewrite_omitted=second-queue state=ESTABLISHED flow=1 direction=to_server",
		"emitted: halfopen inject kind=probe-ack to=server reason=urgent flow=1 direction=to_server",
		"emitted: halfopen inject kind=ack-tracked to=client reason=urgent flow=1 direction=to_client")
	b.agreesWithLog(got)
}

// With --dry-run the packet is forwarded, and the comment says what the policy under trial would have done.
func TestTapOfADryRun(t *testing.T) {
	b := newTapped(t, "preset: lpd-case-2015", true)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""), seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 101, ""))
	b.step()
	got := b.captured()
	b.expectLines(got[3:],
		"queue0 in: halfopen forward reason=syn-established state=ESTABLISHED would=drop would_reason=syn-established would_reply=ack-tracked flow=1 direction=to_server",
		"queue0 in: halfopen forward reason=in-window state=ESTABLISHED would=forward would_reason=in-window diverged=true flow=1 direction=to_client")
	files, _ := capture.Files(b.dir)
	r, err := capture.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := r.Decider(&f); !ok || d.Policy != "observe" || d.WouldPreset != "lpd-case-2015" || d.WouldRev != b.trial.pol.Rev() {
		t.Errorf("decided by %+v", d)
	}
	b.agreesWithLog(got)
}

// What could not be sent says why; what a rate limit keeps out of the log is captured all the same.
func TestTapOfWhatTheLogLacks(t *testing.T) {
	b := newTapped(t, "preset: lpd-case-2015\nlog: {rate: {all: 1}}", false)
	b.handshake()
	b.Worker.injector = &recorder{wire: b.wire, err: errors.New("no route to host")}
	for range 3 {
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""))
	}
	b.step()
	got := b.captured()
	failed := 0
	for _, n := range got {
		if n.Verdict == capture.Inject {
			failed++
			if n.Error != "no route to host" {
				t.Errorf("%s", n.String())
			}
		}
	}
	if failed != 3 || len(got) != 9 {
		t.Errorf("%d packets captured, %d of them not sent; want 9 and 3", len(got), failed)
	}
}

// Behind a reload the capture names the new policy.
func TestTapNamesThePolicyOfAReload(t *testing.T) {
	b := newTapped(t, "preset: observe", false)
	b.handshake()
	first := b.engine.Policy()
	pol, problems := policy.Load("new.yaml", []byte("preset: observe\ntimeouts: {established: 1h}"), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	b.adoptPolicy(b.now, pol, nil)
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "x"))
	b.step()
	b.captured()
	files, _ := capture.Files(b.dir)
	r, err := capture.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var revs []string
	for {
		f, err := r.Next()
		if err != nil {
			break
		}
		d, _ := r.Decider(&f)
		revs = append(revs, d.Rev)
	}
	if want := []string{first.Rev(), first.Rev(), first.Rev(), pol.Rev()}; !slices.Equal(revs, want) || first.Rev() == pol.Rev() {
		t.Errorf("revisions %q, want %q", revs, want)
	}
	if s := r.Section().Comment; !strings.Contains(s, "version=test") || !strings.Contains(s, "policy_rev="+first.Rev()) {
		t.Errorf("section comment %q", s)
	}
}

// Capturing costs the packet path no allocation, and in the ring there is room for each packet.
func TestTapAllocatesNothing(t *testing.T) {
	w, src := established(t, "preset: linux-default", dataAndAck(t)...)
	r := tapInto(t, w, t.TempDir())
	turns := 0
	turn := func() {
		turns++
		src.left = batchSize
		w.tick()
		if _, err := w.turn(); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	r.Flush() // the writer has opened its file
	if n := allocations(20, turn); n != 0 {
		t.Errorf("%v allocations for %d packets", n, batchSize)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if c := r.Counters(); c.Packets != uint64(turns*batchSize) || c.RingDropped != 0 {
		t.Errorf("%+v, want %d packets", c, turns*batchSize)
	}
}
