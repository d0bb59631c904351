package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/capture"
)

// redialCapture writes the incident: a client whose connection is remembered dials again from the same port.
func redialCapture(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redial.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(capture.Interface{Name: "eth0", LinkType: capture.LinkRaw}); err != nil {
		t.Fatal(err)
	}
	enc := proxy.NewEncoder(proxy.EncoderConfig{})
	up := conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:721"), netip.MustParseAddrPort("192.0.2.9:515"))
	for i, s := range []conntrack.Segment{
		{Tuple: up, Flags: conntrack.SYN, Seq: 100, Window: 64240}, {Tuple: up.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101, Window: 64240},
		{Tuple: up, Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 64240}, {Tuple: up, Flags: conntrack.SYN, Seq: 90000, Window: 64240},
		{Tuple: up.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 7000, Ack: 90001, Window: 64240},
	} {
		pkt, err := enc.Segment(&s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(0, time.Date(2026, 3, 1, 8, 0, i, 0, time.UTC), pkt, 0, capture.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplayVerb(t *testing.T) {
	path := redialCapture(t)
	out, words, status := runVerb("replay", path, "--policy", "lpd-case-2015", "--shadow", "observe", "--frames", "-o", "json")
	var got struct {
		Packets, Flows, Injected int
		Findings, Verdicts       map[string]int
		Frames                   []struct {
			N               int
			Verdict, Reason string
			Flow            uint64
		}
		Shadows []struct{ Disagreed int }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || words != "" {
		t.Fatalf("status %d, %v\n%s%s", status, err, words, out)
	}
	if got.Packets != 5 || got.Flows != 1 || got.Injected != 1 || len(got.Frames) != 5 || got.Frames[3].Verdict != "drop" ||
		got.Frames[3].Reason != "syn-established" || got.Frames[3].Flow != 1 || len(got.Shadows) != 1 || got.Shadows[0].Disagreed != 1 {
		t.Errorf("%+v", got)
	}

	log := filepath.Join(t.TempDir(), "log")
	out, words, status = runVerb("replay", path, "--policy", "lpd-case-2015", "--set", "on.syn-established=forward", "--log", log)
	if status != 0 || words != "" || !strings.Contains(out, "injected  0 would have been") {
		t.Errorf("status %d: %s%s", status, out, words)
	}
	if _, words, status := runVerb("review", "verify", log); status != 0 {
		t.Errorf("verify: status %d: %s", status, words)
	}
}

// A capture can be annotated, and the annotated one replayed as it is: the same decisions, and nothing of the policy's own.
func TestReplayVerbPcap(t *testing.T) {
	path, dir := redialCapture(t), filepath.Join(t.TempDir(), "pcap")
	if out, words, status := runVerb("replay", path, "--policy", "lpd-case-2015", "--pcap", dir); status != 0 || words != "" {
		t.Fatalf("status %d: %s%s", status, out, words)
	}
	out, words, status := runVerb("replay", dir, "--policy", "lpd-case-2015")
	if status != 0 || words != "" || !strings.Contains(out, "recorded  5 frames tell what their gateway decided; this policy decides 5 of them alike") ||
		!strings.Contains(out, "skipped 1 gateways-own") || !strings.Contains(out, "No decision departs from what the capture shows") {
		t.Errorf("status %d: %s%s", status, out, words)
	}
}

// Damage is told on stderr with the file and the byte, in words; what came before it is in the summary; the status is 1.
func TestReplayVerbBadCapture(t *testing.T) {
	whole, err := os.ReadFile(redialCapture(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.pcapng")
	if err := os.WriteFile(path, whole[:len(whole)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	out, words, status := runVerb("replay", path, "-o", "json")
	var got struct{ Packets int }
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Packets != 4 || status != 1 || !strings.Contains(words, path+": at byte ") || !strings.Contains(words, "cut off") {
		t.Errorf("status %d, %v, %q\n%s", status, err, words, out)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"replay", 2, "accepts 1 arg"},
		{"replay " + path + " -o xml", 2, "want text or json"},
		{"replay " + path + " --log - --frames", 2, "stdout"},
		{"replay " + path + " --pcap -", 2, "want a directory"},
		{"replay " + path + " --pcap " + path, 1, path},
		{"replay " + filepath.Dir(path), 1, "holds no packets-*.pcapng"},
		{"replay " + path + " --policy no-such", 1, "no-such"},
		{"replay " + path + " --shadow no-such", 1, "no-such"},
		{"replay /nonexistent.pcap", 1, "/nonexistent.pcap"},
		{"replay " + os.DevNull, 1, os.DevNull + ": at byte 0: capture: malformed file: the file is empty"},
	} {
		if out, words, status := runVerb(strings.Fields(c.args)...); status != c.status || !strings.Contains(words, c.want) || out != "" {
			t.Errorf("%s: status %d, %q %q; want %d, %q", c.args, status, words, out, c.status, c.want)
		}
	}
}
