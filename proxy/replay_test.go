package proxy

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
)

func TestReplayLinkTypes(t *testing.T) {
	const mac = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"
	prefix := func(v4, v6 string) func([]byte) []byte {
		return func(p []byte) []byte {
			if p[0]>>4 == 6 {
				return append([]byte(v6), p...)
			}
			return append([]byte(v4), p...)
		}
	}
	padded := func(p []byte) []byte { // a short frame carries padding that is no data
		return append(append([]byte(mac+"\x08\x00"), p...), 0, 0, 0, 0, 0, 0)
	}
	const cooked = "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"
	for _, c := range []struct {
		name string
		link capture.LinkType
		wrap func([]byte) []byte
		v6   bool
	}{
		{"raw", capture.LinkRaw, nil, true},
		{"ipv4", capture.LinkIPv4, nil, false},
		{"ethernet", capture.LinkEthernet, prefix(mac+"\x08\x00", mac+"\x86\xdd"), true},
		{"ethernet, padded", capture.LinkEthernet, padded, false},
		{"vlan", capture.LinkEthernet, prefix(mac+"\x81\x00\x00\x05\x08\x00", mac+"\x81\x00\x00\x05\x86\xdd"), true},
		{"qinq", capture.LinkEthernet, prefix(mac+"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00", mac+"\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd"), true},
		{"cooked", capture.LinkSLL, prefix(cooked+"\x08\x00", cooked+"\x86\xdd"), true},
		{"cooked 2", capture.LinkSLL2, prefix("\x08\x00"+strings.Repeat("\x00", 18), "\x86\xdd"+strings.Repeat("\x00", 18)), true},
		{"loopback", capture.LinkNull, prefix("\x02\x00\x00\x00", "\x1e\x00\x00\x00"), true},
	} {
		ends := [][2]string{{"10.0.0.1:721", "192.0.2.9:515"}}
		if c.v6 {
			ends = append(ends, [2]string{"[2001:db8::1]:721", "[2001:db8::9]:515"})
		}
		for _, e := range ends {
			got := mustReplay(t, ReplayConfig{Capture: ng(t, frames(conversation(t, e[0], e[1])...), c.wrap, c.link)})
			if !slices.Equal(got.texts, plainCourse) || got.Flows != 1 || len(got.Problems) > 0 {
				t.Errorf("%s %s: %v, %d flows, %v", c.name, e[0], got.texts, got.Flows, got.Problems)
			}
		}
	}
}

func TestReplayFormats(t *testing.T) {
	plain := classic(capture.LinkRaw, frames(conversation(t, clientEnd, serverEnd)...)...)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	zw.Write(plain)
	zw.Close()
	for want, data := range map[string][]byte{"pcap": plain, "pcap.gz": zipped.Bytes()} {
		got := mustReplay(t, ReplayConfig{Capture: writeFile(t, data)})
		if !slices.Equal(got.texts, plainCourse) || got.Format != want {
			t.Errorf("%s: format %s, %v", want, got.Format, got.texts)
		}
	}
}

// What a gateway's rules do not queue is skipped with a reason, and what was cut behind the headers is decided all the same.
func TestReplaySkipsAndCuts(t *testing.T) {
	c := conversation(t, clientEnd, serverEnd)
	udp := bytes.Clone(c[0])
	udp[9] = 17
	fragment := bytes.Clone(c[3])
	fragment[7] = 3
	mld := append([]byte{0x60, 0, 0, 0, 0, 16, 0, 1}, make([]byte, 32)...)
	mld = append(mld, 58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0)
	packets := frames(c[0], udp, fragment, mld, []byte{0x10}, c[1], c[2], c[3])
	packets[7].iface = 1
	path := ng(t, packets, nil, capture.LinkRaw, capture.LinkRaw)
	got := mustReplay(t, ReplayConfig{Capture: path})
	want := []string{"forward/new", "skip/not-tcp", "skip/fragment", "skip/not-tcp", "skip/not-ip", "forward/syn-ack", "forward/handshake", "forward/in-window"}
	if !slices.Equal(got.texts, want) {
		t.Errorf("%v\nwant %v", got.texts, want)
	}
	if got := mustReplay(t, ReplayConfig{Capture: path, Interface: "eth1"}); got.Skipped[SkipInterface] != 7 || got.TCP != 1 {
		t.Errorf("one interface: %+v", got.Replay)
	}
	cut := frames(c...)
	file := classic(capture.LinkRaw, cut[:4]...)
	file = file[:len(file)-5] // the five bytes of payload, and the record says so
	binary.LittleEndian.PutUint32(file[len(file)-40-8:], 40)
	if got := mustReplay(t, ReplayConfig{Capture: writeFile(t, file)}); !slices.Equal(got.texts, plainCourse[:4]) {
		t.Errorf("cut to headers: %v %v", got.texts, got.Problems)
	}
}

func TestReplayClock(t *testing.T) {
	c := conversation(t, clientEnd, serverEnd)
	packets := frames(c...)
	packets[3].at, packets[4].at = packets[4].at, packets[3].at-2*time.Second // an ACK that was stamped two seconds early
	for i := 5; i < len(packets); i++ {
		packets[i].at = 5 * time.Minute
	}
	got := mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw)})
	if got.OutOfOrder != 1 || got.BackS < 2 || got.BackS > 2.1 || !slices.Equal(got.texts, plainCourse) {
		t.Errorf("%d out of order by %v, %v", got.OutOfOrder, got.BackS, got.texts)
	}
	for i := 1; i < len(got.frames); i++ {
		if got.frames[i].Time < got.frames[i-1].Time {
			t.Errorf("time goes back at frame %d", i+1)
		}
	}
	// The capture's time is the engine's: five minutes of silence outlast a timer of a minute.
	late := mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Overrides: []string{"timeouts.established=1m"}})
	if late.texts[5] != "forward/late-fin" || late.Ended["idle"] == 0 {
		t.Errorf("after five minutes: %v, ended %v", late.texts, late.Ended)
	}
}

func TestReplayAbsurdTimes(t *testing.T) {
	c := conversation(t, clientEnd, serverEnd)
	packets := frames(c...)
	packets[4].at = 40 * 365 * 24 * time.Hour
	got := mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw)})
	if len(got.Problems) != 1 || got.Problems[0].Frame != 5 || !slices.Equal(got.texts, plainCourse) || got.OutOfOrder != 0 {
		t.Errorf("one frame from another century: %v, %v", got.Problems, got.texts)
	}
	for i := 4; i < len(packets); i++ { // a real leap: the second frame confirms it
		packets[i].at = 40*365*24*time.Hour + time.Duration(i)
	}
	got = mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw)})
	if len(got.Problems) != 1 || got.texts[5] != "forward/fin-no-state" {
		t.Errorf("a leap of 40 years: %v, %v", got.Problems, got.texts)
	}
	file := classic(capture.LinkRaw, frames(c...)...)
	binary.LittleEndian.PutUint32(file[24+4:], 1_000_001) // of a million
	got = mustReplay(t, ReplayConfig{Capture: writeFile(t, file)})
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, "at byte 24") || !slices.Equal(got.texts, plainCourse) {
		t.Errorf("a fraction beyond the second: %v, %v", got.Problems, got.texts)
	}
}

func TestReplayBadCaptures(t *testing.T) {
	whole := classic(capture.LinkRaw, frames(conversation(t, clientEnd, serverEnd)...)...)
	record := 24 + 16 + 40 // the first record's end
	huge := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(huge[record+8:], 0x7fffffff)
	for _, c := range []struct {
		name    string
		data    []byte
		packets int
		want    string // in the problem
	}{
		{"cut inside a record", whole[:record+30], 1, fmt.Sprintf("at byte %d: capture: malformed file: cut off inside a record", record)},
		{"cut behind a record's header", whole[:record+16], 1, fmt.Sprintf("at byte %d", record)},
		{"cut inside a record's header", whole[:record+7], 1, "cut off inside a record's header"},
		{"an absurd length", huge, 1, "2147483647 captured bytes"},
		{"no frames", whole[:24], 0, "holds no frames"},
		{"an unknown link type", classic(147, frames(conversation(t, clientEnd, serverEnd)...)...), 9, "at byte 24: frame 1: link type 147"},
	} {
		path := writeFile(t, c.data)
		got := mustReplay(t, ReplayConfig{Capture: path})
		if got.Packets != c.packets || got.ProblemsInAll != 1 || !strings.Contains(got.Problems[0].Text, c.want) || !strings.Contains(got.Problems[0].Text, path) {
			t.Errorf("%s: %d packets, %v; want %d, %q", c.name, got.Packets, got.Problems, c.packets, c.want)
		}
	}
	for name, data := range map[string][]byte{"empty": {}, "text": []byte("no capture"), "half a header": whole[:11], "gzip of nothing": {0x1f, 0x8b, 8, 0}} {
		path := writeFile(t, data)
		_, err := RunReplay(t.Context(), ReplayConfig{Capture: path, Policy: "observe"})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplayCounterfactual(t *testing.T) {
	other := conversation(t, "10.0.0.7:40000", serverEnd)
	path := ng(t, frames(append(redial(t), other...)...), nil, capture.LinkRaw)
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: "lpd-case-2015"})
	if got.texts[5] != "drop/syn-established reply=ack-tracked" || got.Injected != 1 || got.InjectedKinds["ack-tracked"] != 1 {
		t.Fatalf("%v, injected %v", got.texts, got.InjectedKinds)
	}
	cf := got.Counterfactual
	if cf.Flows != 1 || cf.Frames != 2 || len(cf.First) != 1 || cf.First[0].N != 6 || cf.First[0].After != 2 || cf.First[0].Flow != 1 || cf.First[0].Src != clientEnd {
		t.Errorf("counterfactual %+v", cf)
	}
	for _, f := range got.frames {
		if want := f.N == 7 || f.N == 8; f.Counterfactual != want {
			t.Errorf("frame %d: counterfactual %v", f.N, f.Counterfactual)
		}
	}
	if got := mustReplay(t, ReplayConfig{Capture: path}); got.Counterfactual.Flows != 0 || got.Verdicts["forward"] != got.TCP || got.Flows != 3 {
		t.Errorf("observe: %+v", got.Replay)
	}
}

func TestReplayShadows(t *testing.T) {
	path := ng(t, frames(append(redial(t), conversation(t, "10.0.0.7:40000", serverEnd)...)...), nil, capture.LinkRaw)
	got := mustReplay(t, ReplayConfig{Capture: path, Shadows: []string{"lpd-case-2015", "observe"}})
	lpd, same := got.Shadows[0], got.Shadows[1]
	if same.Disagreed+same.Timed != 0 || same.Diverged != 0 || same.Agreed != uint64(got.TCP) {
		t.Errorf("a policy beside itself: %+v", same)
	}
	if lpd.Disagreed != 1 || lpd.Timed != 0 || lpd.Diverged != 2 || lpd.Injected != 1 || len(lpd.First) != 1 || lpd.Recorded != 1 {
		t.Fatalf("%+v", lpd)
	}
	if d := lpd.First[0]; d.N != 6 || d.Live.Verdict != "forward" || d.Shadow.String() != "drop/syn-established reply=ack-tracked" {
		t.Errorf("%+v", d)
	}
}

func TestReplayLog(t *testing.T) {
	path := ng(t, frames(append(redial(t), conversation(t, "10.0.0.7:40000", serverEnd)...)...), nil, capture.LinkRaw)
	dir := t.TempDir()
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: "lpd-case-2015", Shadows: []string{"observe"}, LogDir: dir})
	rep, err := review.Verify(dir)
	if err != nil || !rep.OK {
		t.Fatalf("verify: %v %+v", err, rep)
	}
	decisions, counted, injects := map[uint64]string{}, uint64(0), 0
	for e, err := range decisionlog.Read(dir) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Decision != nil:
			decisions[e.PcapCnt] = e.Decision.Verdict + "/" + e.Decision.Reason
			if f := got.frames[e.PcapCnt-1]; f.Verdict+"/"+f.Reason != decisions[e.PcapCnt] || f.Flow != e.FlowID {
				t.Errorf("record of frame %d: %s flow %d, the frame %+v", e.PcapCnt, decisions[e.PcapCnt], e.FlowID, f)
			}
			if e.PcapCnt == 6 && (e.Decision.Would == nil || e.Decision.Would.Verdict != "forward" || !e.Timestamp.Equal(captureStart.Add(5*time.Millisecond)) || e.InIface != "eth0") {
				t.Errorf("record of frame 6: %s", e.Raw)
			}
		case e.Flow != nil:
			counted += e.Flow.Counted
		case e.Inject != nil:
			injects++
		}
	}
	if uint64(len(decisions))+counted != uint64(got.TCP) || injects != 1 || decisions[6] != "drop/syn-established" {
		t.Errorf("%d decisions, %d counted, %d injected of %d packets: %v", len(decisions), counted, injects, got.TCP, decisions)
	}
	if _, err := RunReplay(t.Context(), ReplayConfig{Capture: path, Policy: "observe", LogDir: dir}); err == nil || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("a second replay into the same directory: %v", err)
	}
}

func TestReplayWriter(t *testing.T) {
	path := ng(t, frames(redial(t)...), nil, capture.LinkRaw)
	for _, withFrames := range []bool{true, false} {
		var out bytes.Buffer
		w := NewReplayWriter(&out, true)
		cfg := ReplayConfig{Capture: path, Policy: "lpd-case-2015"}
		if withFrames {
			cfg.Frame = w.Frame
		}
		r, err := RunReplay(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(r, withFrames); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Packets, Flows, Injected int
			Findings, Verdicts       map[string]int
			Frames                   []struct {
				N               int
				Verdict, Reason string
				Flow            uint64
			}
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if got.Packets != 8 || got.Flows != 1 || got.Injected != 1 || got.Verdicts["drop"] == 0 || got.Findings["syn-established"] != 1 {
			t.Errorf("%+v", got)
		}
		if n := len(got.Frames); withFrames && (n != 8 || got.Frames[5].N != 6 || got.Frames[5].Verdict != "drop" || got.Frames[5].Flow != 1) || !withFrames && n != 0 {
			t.Errorf("frames %+v", got.Frames)
		}
	}
	var out bytes.Buffer
	w := NewReplayWriter(&out, false)
	r, err := RunReplay(t.Context(), ReplayConfig{Capture: path, Policy: "lpd-case-2015", Shadows: []string{"observe"}, Frame: w.Frame})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(r, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10.0.0.1:721 > 192.0.2.9:515 S seq 900000 len 0  => drop/syn-established reply=ack-tracked  flow 1", "(counterfactual)",
		"frame 6  10.0.0.1:721 > 192.0.2.9:515  flow 1  drop/syn-established reply=ack-tracked  (2 frames follow)", "the shadow forward/syn-established"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// What time causes has its own time in the log, however long the capture is silent, and is a point from which on the connection would
// have gone another way.
func TestReplayTimers(t *testing.T) {
	packets := frames(conversation(t, clientEnd, serverEnd)[:6]...)
	packets[5].at = time.Hour
	dir := t.TempDir()
	got := mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), LogDir: dir, Fresh: true,
		Overrides: []string{"timeouts.established=10m", "on.idle-expired={reply: rst-tracked, peer: rst-tracked}"}})
	if got.Injected != 2 || got.Counterfactual.Flows != 1 || !got.frames[5].Counterfactual || got.frames[4].Counterfactual {
		t.Fatalf("injected %d, counterfactual %+v, frames %+v", got.Injected, got.Counterfactual, got.frames)
	}
	if p := got.Counterfactual.First[0]; p.N != 5 || p.After != 1 || p.Reason != "idle-expired" || p.Verdict != "" {
		t.Errorf("%+v", p)
	}
	injects := 0
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Inject == nil {
			continue
		}
		injects++
		// The last segment before the silence was frame 5, at 4 ms; a timer's resolution is about a millisecond.
		due := captureStart.Add(4*time.Millisecond + 10*time.Minute)
		if late := e.Timestamp.Sub(due); late < 0 || late > 5*time.Millisecond || e.Inject.Trigger != "idle-expired" || e.PcapCnt != 0 {
			t.Errorf("%v after the timer: %s", late, e.Raw)
		}
	}
	if injects != 2 {
		t.Errorf("%d inject records", injects)
	}
}

// A connection that begins anew on the same ports is judged for itself, by the policy and by a shadow.
func TestReplayBeginsAfresh(t *testing.T) {
	first, again := conversation(t, clientEnd, serverEnd), conversation(t, clientEnd, serverEnd)
	packets := frames(append(first, again...)...)
	for i := len(first); i < len(packets); i++ {
		packets[i].at += 10 * time.Minute // the first is forgotten
	}
	strict := filepath.Join(t.TempDir(), "strict.yaml")
	if err := os.WriteFile(strict, []byte("preset: observe\nlate: 1s\non: {in-window: drop}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, dir := ng(t, packets, nil, capture.LinkRaw), t.TempDir()
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: strict, Shadows: []string{"observe"}})
	if cf := got.Counterfactual; cf.Flows != 2 || cf.First[0].N != 4 || cf.First[1].N != 13 || cf.First[0].After != 5 || got.Shadows[0].Disagreed != 2 {
		t.Errorf("counterfactual %+v, shadow %+v", cf, got.Shadows[0])
	}
	if got.frames[9].Counterfactual || got.frames[12].Counterfactual || !got.frames[13].Counterfactual {
		t.Errorf("%+v", got.frames)
	}
	// A forward that a shadow would have dropped gets a record of its own, and is then not counted by its flow as well.
	mustReplay(t, ReplayConfig{Capture: path, Shadows: []string{strict}, LogDir: dir})
	if rep, err := review.Verify(dir); err != nil || !rep.OK || rep.Runs[0].Explained.Counted != 0 || rep.Runs[0].Explained.Decisions != 18 {
		t.Errorf("%v %+v", err, rep)
	}
}
