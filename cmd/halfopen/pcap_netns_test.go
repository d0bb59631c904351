//go:build netns

package main

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// oneFile is the only capture of a directory.
func oneFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := capture.Files(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: captures %v, %v; want one", dir, files, err)
	}
	return files[0]
}

// TestPcapOfAnIncident captures the incident at a gateway and reads the capture as a person does, in Wireshark: it tells what the log tells, and a
// replay of it decides the same.
func TestPcapOfAnIncident(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var report struct {
		Captures struct {
			Gateway    string
			FarGateway string `json:"far_gateway"`
		}
		Log string
	}
	pcap := filepath.Join(dir, "pcap")
	halfopenJSON(t, &report, "lab", "run", "silence-on-the-wire", "--phase", "remembered", "--far-policy", filepath.Join("..", "..", "docs", "examples", "far.yaml"),
		"-o", "json", "--out", dir, "--pcap", pcap)
	if report.Captures.Gateway != pcap || report.Captures.FarGateway != filepath.Join(pcap, "far") {
		t.Fatalf("captures %+v", report.Captures)
	}
	oneFile(t, report.Captures.FarGateway)
	file := oneFile(t, pcap)
	w := newWireshark(t)
	rows := w.table(file, "frame.number", "frame.time_epoch", "frame.interface_name", "frame.interface_description", "frame.packet_id", "frame.packet_flags_direction",
		"frame.interface_queue", "frame.comment", "halfopen.verdict", "halfopen.reason", "halfopen.reply", "halfopen.flow", "halfopen.state", "halfopen.kind",
		"halfopen.to", "halfopen.cause", "halfopen.id", "halfopen.policy_rev", "ip.src", "tcp.seq_raw", "tcp.ack_raw")

	drops := incidentInLog(t, report.Log, rows)
	for _, name := range []string{"frame.comment", "frame.packet_id", "halfopen.verdict", "halfopen.reason", "halfopen.id", "halfopen.policy_rev"} {
		for _, r := range rows {
			if r[name] == "" {
				t.Errorf("frame %s has no %s: %q", r["frame.number"], name, r["frame.comment"])
			}
		}
	}
	incidentInColumns(t, w, file, drops)

	// A replay of what was captured decides as the gateway did.
	var replayed struct {
		TCP            int            `json:"tcp"`
		Skipped        map[string]int `json:"skipped"`
		Recorded       struct{ Frames, Same int }
		Counterfactual struct{ Flows int }
	}
	again := filepath.Join(dir, "replayed")
	halfopenJSON(t, &replayed, "replay", pcap, "--policy", "lpd-case-2015", "--fresh", "--log", again, "-o", "json")
	if replayed.TCP+replayed.Skipped["gateways-own"] != len(rows) || replayed.Skipped["gateways-own"] != drops || replayed.Recorded.Same != replayed.TCP ||
		replayed.Recorded.Frames != replayed.TCP || replayed.Counterfactual.Flows != 0 {
		t.Errorf("replayed %+v of %d frames", replayed, len(rows))
	}
	live := courses(t, report.Log, sameClock)
	if len(live) == 0 {
		t.Error("no connection at the gateway")
	}
	sameCourses(t, live, courses(t, again, sameClock))
}

// incidentInLog joins a capture with its log by id, and returns how many packets were dropped.
func incidentInLog(t *testing.T, log string, rows []map[string]string) (drops int) {
	t.Helper()
	byID := map[string]map[string]string{}
	received := 0
	for _, r := range rows {
		byID[r["halfopen.id"]] = r
		switch {
		case r["halfopen.verdict"] == "inject":
			if r["frame.interface_name"] != "emitted" || !strings.HasSuffix(r["frame.packet_flags_direction"], "2") {
				t.Errorf("made here: %v", r)
			}
		case !regexp.MustCompile(`^queue[01] in$`).MatchString(r["frame.interface_name"]) || !strings.HasSuffix(r["frame.packet_flags_direction"], "1") ||
			r["frame.interface_queue"]+" in" != strings.TrimPrefix(r["frame.interface_name"], "queue"):
			t.Errorf("received: %v", r)
		default:
			received++
		}
	}
	var stats *decisionlog.StatsEvent
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Decision != nil:
			d, r := e.Decision, byID[e.Decision.ID]
			reply := ""
			if d.Reply != nil {
				reply = d.Reply.Kind
			}
			if d.Verdict == "drop" {
				drops++
			}
			if r["halfopen.verdict"] != d.Verdict || r["halfopen.reason"] != d.Reason || r["halfopen.reply"] != reply || r["halfopen.state"] != d.StateBefore ||
				r["halfopen.flow"] != strconv.FormatUint(e.FlowID, 10) || r["halfopen.policy_rev"] != d.PolicyRev || r["ip.src"] != e.SrcIP ||
				r["tcp.seq_raw"] != strconv.Itoa(int(e.TCP.Seq)) || r["frame.time_epoch"] != epoch(e) {
				t.Errorf("logged   %s\ncaptured %v", e.Raw, r)
			}
		case e.Inject != nil:
			i, r := e.Inject, byID[e.Inject.ID]
			if cause := byID[i.Cause]; r["halfopen.kind"] != i.Kind || r["halfopen.to"] != i.To || r["halfopen.cause"] != i.Cause || r["tcp.seq_raw"] != strconv.Itoa(int(e.TCP.Seq)) ||
				r["tcp.ack_raw"] != strconv.Itoa(int(e.TCP.Ack)) || r["frame.packet_id"] != cause["frame.packet_id"] || cause["halfopen.reason"] != r["halfopen.reason"] {
				t.Errorf("logged   %s\ncaptured %v\ncause    %v", e.Raw, r, cause)
			}
		case e.Stats != nil:
			stats = e.Stats
		}
	}
	if stats == nil || !stats.Final || stats.Received != uint64(received) || stats.PcapDropped != 0 || drops == 0 {
		t.Errorf("%d packets captured, %d of them dropped; the log's last stats %+v", received, drops, stats)
	}
	return drops
}

// epoch is a record's time as tshark writes it.
func epoch(e *decisionlog.Event) string {
	n := strconv.FormatInt(e.Timestamp.UnixNano(), 10)
	return n[:len(n)-9] + "." + n[len(n)-9:]
}

// incidentInColumns looks at a capture with the profile: columns, colours and buttons.
func incidentInColumns(t *testing.T, w *wireshark, file string, drops int) {
	t.Helper()
	columns := w.run(true, "-r", file)
	if n := strings.Count(columns, " drop syn-established "); n != drops {
		t.Errorf("%d lines say drop syn-established, want %d:\n%s", n, drops, columns)
	}
	if n := strings.Count(columns, " inject syn-established "); n != drops {
		t.Errorf("%d lines say inject syn-established, want %d:\n%s", n, drops, columns)
	}
	if plain := w.run(false, "-r", file); strings.Count(plain, "halfopen drop reason=syn-established") != drops {
		t.Errorf("without Lua the column Decision lacks the drops:\n%s", plain)
	}
	colours := map[string]int{}
	for name := range strings.Lines(w.run(false, "-r", file, "--color", "-T", "fields", "-e", "frame.coloring_rule.name")) {
		colours[strings.TrimSpace(name)]++
	}
	if colours["halfopen: dropped and answered"] != drops || colours["halfopen: made here"] != drops || colours["halfopen: forwarded, as a healthy connection"] == 0 ||
		len(colours) != 3 {
		t.Errorf("colours %v", colours)
	}
	for label, want := range map[string]int{"Drops": drops, "Answered": drops, "Made here": drops, "Odd": 2 * drops, "Old connection": 2 * drops, "Held": 0, "Rewritten": 0,
		"Forgotten": 0, "Would differ": 0, "Lost before": 0} {
		filter, ok := buttons(t)[label]
		if !ok {
			t.Errorf("no button %q", label)
			continue
		}
		if n := w.matching(false, file, filter); n != want {
			t.Errorf("button %q lets %d frames through, want %d", label, n, want)
		}
	}
	if len(buttons(t)) != 10 {
		t.Errorf("%d buttons", len(buttons(t)))
	}
}

// TestPcapUnderTraffic captures what passes while a policy is tried and reloaded. The capture has every packet that the kernel counted.
func TestPcapUnderTraffic(t *testing.T) {
	w := newWorld(t)
	w.serve()
	at := netip.AddrPortFrom(serverAddr, 515)
	w.echoServer(at)
	policy := write(t, w.dir, "site.yaml", "preset: lpd-case-2015\n")
	pcap := filepath.Join(w.dir, "pcap")
	g := w.start(policy, "--pcap", pcap, "--dry-run", "--metrics", "127.0.0.1:9109", "--pcap-file", "64KiB")
	if _, words, status := w.tryHalfopen(w.Gateway, "run", "--policy", "observe", "--queues", "10", "--pcap", pcap); status != 1 || !strings.Contains(words, "another process writes to "+pcap) {
		t.Errorf("a second gateway with the same directory: status %d, %q", status, words)
	}
	old := w.connect(721, at)
	if err := old.Silence(); err != nil {
		t.Fatal(err)
	}
	w.connect(721, at)
	l := w.startLoad(w.clientPool(2))
	write(t, w.dir, "site.yaml", "preset: lpd-case-2015\ntimeouts: {established: 3h}\n")
	w.halfopenIn(w.Gateway, "reload", "--admin", g.admin)
	l.progress("after the reload")
	l.end()
	metrics := w.scrape("127.0.0.1:9109", "halfopen_pcap_packets_total", "halfopen_pcap_dropped_total")
	if !strings.Contains(metrics, "halfopen_pcap_dropped_total 0") {
		t.Errorf("metrics:\n%s", metrics)
	}
	g.stop()
	w.verify()

	var stats *decisionlog.StatsEvent
	w.events(func(e *decisionlog.Event) {
		if e.Stats != nil {
			stats = e.Stats
		}
	})
	files, err := capture.Files(pcap)
	if err != nil || len(files) == 0 {
		t.Fatalf("captures %v, %v", files, err)
	}
	var packets, would, missing uint64
	revs := map[string]int{}
	for _, path := range files {
		r, err := capture.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for {
			f, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n, ok := f.Note()
			d, named := r.Decider(&f)
			if !ok || !named || n.Verdict != "forward" || n.Would.Verdict == "" || d.Preset != "observe" || d.WouldPreset != "lpd-case-2015" || n.In == "" || n.Out == "" {
				t.Fatalf("%s: frame %d: %q by %+v", path, f.N, f.Options.Comments, d)
			}
			packets++
			revs[d.WouldRev]++
			if n.Would.Verdict == "drop" && n.Would.Reply == "ack-tracked" {
				would++
			}
		}
		for _, s := range r.Statistics() {
			missing += s.Dropped
		}
		r.Close()
	}
	if packets+missing != stats.Received || stats.PcapDropped != missing {
		t.Errorf("%d packets captured, %d missing; received %d, missing by the log %d", packets, missing, stats.Received, stats.PcapDropped)
	}
	if would == 0 || len(revs) != 2 {
		t.Errorf("%d SYNs would have been answered; revisions %v", would, revs)
	}
}

// A disk that is full for the capture alone keeps nobody from being forwarded or logged; what is missing is counted, told, and captured again when there
// is room.
func TestPcapDiskFull(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	pcap := smallDisk(t, 256<<10)
	fill := filepath.Join(pcap, "fill")
	if err := os.WriteFile(fill, make([]byte, 512<<10), 0o644); err == nil {
		t.Fatal("the disk is not full")
	}
	g := w.start("observe", "--pcap", pcap)
	live := w.connect(0, at)
	w.until("the disk is reported", answerLimit, func() bool { return strings.Contains(g.said(), "no space left on device") })
	w.say(live)
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.say(live)
	w.until("the capture is written", answerLimit, func() bool { return strings.Contains(g.said(), "the disk takes packets again") })
	w.say(live)
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	frames, err := capture.ReadAll(oneFile(t, pcap))
	if err != nil || len(frames) < 6 {
		t.Errorf("%d frames, %v", len(frames), err)
	}
}

// What a killed gateway captured can be read up to its end, and the next one goes on in the same directory.
func TestPcapOfAKilledGateway(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	pcap := filepath.Join(w.dir, "pcap")
	g := w.start("observe", "--pcap", pcap)
	live := w.connect(0, at)
	w.until("the capture is written", answerLimit, func() bool {
		files, err := capture.Files(pcap)
		if err != nil || len(files) == 0 {
			return false
		}
		frames, _ := capture.ReadAll(files[0])
		return len(frames) >= 3
	})
	g.kill()
	w.say(live)
	g = w.start("observe", "--pcap", pcap)
	w.say(live)
	g.signal(syscall.SIGTERM)
	<-g.done
	files, err := capture.Files(pcap)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	out, words, status := halfopen(t, "replay", pcap, "--policy", "observe", "-o", "json")
	if !strings.Contains(out, `"packets"`) || status != 0 && !strings.Contains(words, "cut off") {
		t.Errorf("replay: status %d, %s%s", status, out, words)
	}
}
