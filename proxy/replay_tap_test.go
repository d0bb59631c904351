package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// dialedAgain is a connection that falls silent and is dialled again, with a datagram in between.
func dialedAgain(t *testing.T) []captured {
	c := conversation(t, clientEnd, serverEnd)
	other := slices.Clone(c[0])
	other[9] = 17
	packets := frames(c[0], c[1], c[2], c[3], c[4], other, seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, strings.Repeat("x", 700)))
	packets[6].at = 25 * time.Second
	return packets
}

// A replay's capture has each decided packet whole, with its decision in the log's words and the number of its frame, and what the policy would
// have sent.
func TestReplayWritesAnAnnotatedCapture(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "pcap"), t.TempDir()
	packets := dialedAgain(t)
	mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Policy: "lpd-case-2015", Shadows: []string{"observe"}, PcapDir: dir, LogDir: log})
	got := readNotes(t, dir)
	var lines []string
	for i := range got {
		lines = append(lines, got[i].line())
	}
	want := []string{
		"queue0 in: halfopen forward reason=new state=NONE state_after=SYN_SENT would=forward would_reason=new flow=1 direction=to_server in=eth0 pcap_cnt=1",
		"queue0 in: halfopen forward reason=syn-ack state=SYN_SENT state_after=SYN_RECV would=forward would_reason=syn-ack flow=1 direction=to_client in=eth0 pcap_cnt=2",
		"queue0 in: halfopen forward reason=handshake state=SYN_RECV state_after=ESTABLISHED would=forward would_reason=handshake flow=1 direction=to_server in=eth0 pcap_cnt=3",
		"queue0 in: halfopen forward reason=in-window state=ESTABLISHED would=forward would_reason=in-window flow=1 direction=to_server in=eth0 pcap_cnt=4",
		"queue0 in: halfopen forward reason=in-window state=ESTABLISHED would=forward would_reason=in-window flow=1 direction=to_client in=eth0 pcap_cnt=5",
		"queue0 in: halfopen drop reason=syn-established reply=ack-tracked state=ESTABLISHED would=forward would_reason=syn-established flow=1 direction=to_server in=eth0 pcap_cnt=7",
		"emitted: halfopen inject kind=ack-tracked to=client reason=syn-established flow=1 direction=to_client",
	}
	if !slices.Equal(lines, want) {
		t.Fatalf("captured:\n  %s\nwant:\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
	syn, ack := &got[5], &got[6]
	if string(syn.Data) != string(packets[6].packet) || syn.OrigLen != len(packets[6].packet) || !syn.Time.Equal(captureStart.Add(25*time.Second)) {
		t.Errorf("the SYN: %d of %d bytes, %v", len(syn.Data), syn.OrigLen, syn.Time)
	}
	var s conntrack.Segment
	NewDecoder().Decode(ack.Data, len(ack.Data), PacketInfo{}, &s)
	if s.Tuple != tuple(serverEnd, clientEnd) || s.Seq != 501 || s.Ack != 106 || s.Checksum != conntrack.ChecksumGood || ack.Options.PacketID != syn.Options.PacketID {
		t.Errorf("the answer: %+v, packet %d of %d", s, ack.Options.PacketID, syn.Options.PacketID)
	}
	byID := map[string]string{}
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision != nil {
			byID[e.Decision.ID] = fmt.Sprint(e.Decision.Verdict, e.Decision.Reason, e.PcapCnt, e.Timestamp.UnixNano())
		}
	}
	if is := fmt.Sprint(syn.Verdict, syn.Reason, syn.PcapCnt, syn.Time.UnixNano()); byID[syn.ID.String()] != is {
		t.Errorf("the log says %q, the capture %q", byID[syn.ID.String()], is)
	}
}

// Without a log the capture is the same; what time sends, and how a hold ends, is in it too.
func TestReplayCaptureOfWhatTimeDoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pcap")
	policy := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(policy, []byte("preset: observe\ntimeouts: {established: 10s}\non: {new: {packet: hold, hold: 1s, then: forward}, idle-expired: {peer: rst-tracked}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	packets := dialedAgain(t)
	for i := 1; i < 6; i++ {
		packets[i].at += 2 * time.Second
	}
	mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Policy: policy, PcapDir: dir})
	got := readNotes(t, dir)
	kinds := map[string]int{}
	for i := range got {
		n := &got[i]
		kinds[n.Interface+" "+n.Verdict+n.Kind+n.Trigger]++
		if n.Reason == "new" && !n.Settles.IsZero() && (n.Options.PacketID != n.Settles.Lo || len(n.Data) == 0 || !n.Time.Equal(got[0].Time.Add(time.Second))) {
			t.Errorf("released: %s, %v, %d bytes", n.String(), n.Time, len(n.Data))
		}
	}
	for kind, want := range map[string]int{"queue0 in hold": 2, "queue0 out forward": 2, "emitted injectrst-trackedidle-expired": 1} {
		if kinds[kind] != want {
			t.Errorf("%d %q, want %d: %v", kinds[kind], kind, want, kinds)
		}
	}
}

// What would be left of a rewritten packet stands behind it.
func TestReplayCaptureOfARewrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pcap")
	policy := writeFile(t, []byte("preset: observe\non: {in-window: {packet: rewrite, strip: push}}"))
	packets := frames(conversation(t, clientEnd, serverEnd)...)
	mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Policy: policy, PcapDir: dir})
	got := readNotes(t, dir)
	if len(got) != 10 || got[3].Verdict != "rewrite" || got[4].Interface != "queue0 out" || got[4].Cause != got[3].ID || got[3].PcapCnt != 4 {
		t.Fatalf("%d packets: %s, %s", len(got), got[3].line(), got[4].line())
	}
	var s conntrack.Segment
	NewDecoder().Decode(got[4].Data, len(got[4].Data), PacketInfo{}, &s)
	if s.Flags != conntrack.ACK || s.Seq != 101 || s.Len != 5 || s.Checksum != conntrack.ChecksumGood || string(got[3].Data) != string(packets[3].packet) {
		t.Errorf("left as %+v", s)
	}
}

func TestReplayCaptureRefuses(t *testing.T) {
	dir := t.TempDir()
	cfg := ReplayConfig{Capture: ng(t, dialedAgain(t), nil, capture.LinkRaw), Policy: "observe", PcapDir: dir}
	mustReplay(t, cfg)
	if _, err := RunReplay(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "holds a capture already") {
		t.Errorf("a directory with a capture: %v", err)
	}
	cfg.PcapDir, cfg.LogDir = filepath.Join(dir, "x"), filepath.Join(dir, "x", ".")
	if _, err := RunReplay(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "a directory of its own") {
		t.Errorf("log and capture in one directory: %v", err)
	}
}

// What a gateway captured with --pcap can be replayed as it is: what it made is skipped, and under the same policy every decision is the same,
// and nothing is counterfactual, because the capture shows what followed upon those decisions.
func TestReplayOfAGatewaysCapture(t *testing.T) {
	b := newTapped(t, "preset: lpd-case-2015", false)
	b.handshake()
	for range 3 {
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""), seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 101, ""))
	}
	b.step()
	b.captured()

	same := mustReplay(t, ReplayConfig{Capture: b.dir, Policy: "lpd-case-2015", Fresh: true})
	if same.Packets != 12 || same.TCP != 9 || same.Skipped[SkipOwnDeed] != 3 || same.Recorded.Frames != 9 || same.Recorded.Same != 9 ||
		same.Counterfactual.Flows != 0 || len(same.Problems) > 0 {
		t.Errorf("the same policy: %+v", same.Replay)
	}
	other := mustReplay(t, ReplayConfig{Capture: b.dir, Policy: "observe", Fresh: true})
	pair := "drop/syn-established reply=ack-tracked | forward/syn-established"
	if other.Recorded.Same != 6 || other.Recorded.Pairs[pair] != 3 || other.Counterfactual.Flows != 1 || other.Counterfactual.First[0].N != 4 {
		t.Errorf("another policy: %+v", other.Replay)
	}

	// Somebody has removed the comments: the interface tells.
	stripped := filepath.Join(t.TempDir(), "stripped.pcapng")
	copyCapture(t, b.dir, stripped, func(f *capture.Frame) { f.Options.Comments = nil })
	bare := mustReplay(t, ReplayConfig{Capture: stripped, Policy: "lpd-case-2015", Fresh: true})
	if bare.Skipped[SkipOwnDeed] != 3 || bare.Recorded.Frames != 0 || bare.Counterfactual.Flows != 1 {
		t.Errorf("without comments: %+v", bare.Replay)
	}
}

// What time made the gateway send is no counterfactual under its own policy, and is one where another policy sends it.
func TestReplayOfWhatTimeDidAtAGateway(t *testing.T) {
	const resets = "preset: observe\ntimeouts: {established: 100ms}\non: {idle-expired: {peer: rst-tracked}}\n"
	for text, want := range map[string]int{resets: 0, "preset: observe\n": 1} {
		b := newTapped(t, text, false)
		b.handshake()
		time.Sleep(150 * time.Millisecond) // captures have the time of the wall
		b.step()
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "late"))
		b.step()
		b.captured()
		got := mustReplay(t, ReplayConfig{Capture: b.dir, Policy: writeFile(t, []byte(resets)), Fresh: true})
		if got.Counterfactual.Flows != want || got.Ended["idle"] != 1 || got.Injected == 0 {
			t.Errorf("captured under %q: %d counterfactual connections, want %d (%+v)", text, got.Counterfactual.Flows, want, got.Replay)
		}
	}
}

// copyCapture copies a capture, changing each frame.
func copyCapture(t *testing.T, from, to string, change func(*capture.Frame)) {
	t.Helper()
	r, err := capture.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(f, r.Section())
	if err != nil {
		t.Fatal(err)
	}
	have := 0
	for {
		fr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for ; have <= fr.InterfaceID; have++ {
			i, _ := r.InterfaceAt(have)
			if _, err := w.AddInterface(i); err != nil {
				t.Fatal(err)
			}
		}
		change(&fr)
		if err := w.WritePacket(fr.InterfaceID, fr.Time, fr.Data, fr.OrigLen, fr.Options); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// The files of a directory are one capture. What is wrong with one of them is told, and the next is read.
func TestReplayOfADirectory(t *testing.T) {
	dir := t.TempDir()
	for i, b := range []*tapped{newTapped(t, "preset: observe", false), newTapped(t, "preset: observe", false), newTapped(t, "preset: observe", false)} {
		b.handshake()
		b.captured()
		files, err := capture.Files(b.dir)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // its writer was killed: the last packet is cut, the statistics are missing
			data = data[:len(data)-100]
		}
		name := fmt.Sprintf("packets-2026112%dT000000.000Z-000001.pcapng", i)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := mustReplay(t, ReplayConfig{Capture: dir, Policy: "observe"})
	if got.Packets != 8 || len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, "packets-20261121T000000.000Z-000001.pcapng") ||
		!strings.Contains(got.Problems[0].Text, "cut off") {
		t.Errorf("%d frames, %v", got.Packets, got.Problems)
	}
	empty := t.TempDir()
	if _, err := RunReplay(t.Context(), ReplayConfig{Capture: empty, Policy: "observe"}); err == nil || !strings.Contains(err.Error(), empty) ||
		!strings.Contains(err.Error(), "packets-*.pcapng") {
		t.Errorf("an empty directory: %v", err)
	}
}

// A capture of both sides of a gateway shows segments twice: the report says so, and how to take one side.
func TestReplayOfBothSides(t *testing.T) {
	var packets []captured
	for i, p := range conversation(t, clientEnd, serverEnd) {
		at := time.Duration(i) * time.Millisecond
		packets = append(packets, captured{at: at, packet: p, iface: i % 2}, captured{at: at + 10*time.Microsecond, packet: p, iface: 1 - i%2})
	}
	again := packets[2].packet // sent again twice, and seen on one side only
	packets = append(packets, captured{at: time.Second, packet: again}, captured{at: 2 * time.Second, packet: again})
	path := ng(t, packets, nil, capture.LinkRaw, capture.LinkRaw)
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: "observe"})
	if got.SeenBefore != 8 { // the first segment's double came when only one interface was known
		t.Errorf("%d doubles, want 8", got.SeenBefore)
	}
	var text strings.Builder
	if err := NewReplayWriter(&text, false).Close(got.Replay, false); err != nil || !strings.Contains(text.String(), "--interface") {
		t.Errorf("%v %s", err, text.String())
	}
	if got := mustReplay(t, ReplayConfig{Capture: path, Policy: "observe", Interface: "eth0"}); got.SeenBefore != 0 {
		t.Errorf("one side: %d doubles", got.SeenBefore)
	}
}
