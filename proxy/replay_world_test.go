package proxy

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// captured is a packet of a capture that a test makes.
type captured struct {
	at     time.Duration // after captureStart
	packet []byte        // IP packet
	iface  int
	dir    capture.Direction
}

var captureStart = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// frames numbers packets a millisecond apart.
func frames(packets ...[]byte) (out []captured) {
	for i, p := range packets {
		out = append(out, captured{at: time.Duration(i) * time.Millisecond, packet: p})
	}
	return out
}

// conversation is a connection from handshake to both FINs: nine segments.
func conversation(t testing.TB, client, server string) [][]byte {
	t.Helper()
	const ack = conntrack.ACK
	part := func(from, to string, f conntrack.Flags, seq, ackNo conntrack.Seq, payload string) []byte {
		return mustEncode(t, &conntrack.Segment{Tuple: tuple(from, to), Flags: f, Seq: seq, Ack: ackNo, Window: 64240}, []byte(payload))
	}
	return [][]byte{
		part(client, server, conntrack.SYN, 100, 0, ""), part(server, client, conntrack.SYN|ack, 500, 101, ""), part(client, server, ack, 101, 501, ""),
		part(client, server, ack|conntrack.PSH, 101, 501, "print"), part(server, client, ack, 501, 106, ""),
		part(client, server, ack|conntrack.FIN, 106, 501, ""), part(server, client, ack, 501, 107, ""),
		part(server, client, ack|conntrack.FIN, 501, 107, ""), part(client, server, ack, 107, 502, ""),
	}
}

// ng writes a pcapng capture with interfaces of the given link types; wrap puts the link header in front of a packet.
func ng(t testing.TB, packets []captured, wrap func([]byte) []byte, links ...capture.LinkType) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(f, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range links {
		if _, err := w.AddInterface(capture.Interface{Name: fmt.Sprintf("eth%d", i), LinkType: l}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packets {
		data := p.packet
		if wrap != nil {
			data = wrap(data)
		}
		if err := w.WritePacket(p.iface, captureStart.Add(p.at), data, 0, capture.Options{Direction: p.dir}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// classic writes a pcap capture of raw IP packets with microseconds, little endian.
func classic(link capture.LinkType, packets ...captured) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 0), 0), 65535)
	b = le.AppendUint32(b, uint32(link))
	for _, p := range packets {
		at := captureStart.Add(p.at)
		b = le.AppendUint32(le.AppendUint32(b, uint32(at.Unix())), uint32(at.Nanosecond()/1000))
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(p.packet))), uint32(len(p.packet)))
		b = append(b, p.packet...)
	}
	return b
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.pcap")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replayed is a replay with its frames.
type replayed struct {
	*Replay
	frames []ReplayFrame
	texts  []string // "forward/new"
}

// mustReplay replays a capture and checks its books.
func mustReplay(t testing.TB, cfg ReplayConfig) *replayed {
	t.Helper()
	out := &replayed{}
	cfg.Frame = func(f *ReplayFrame) error {
		one := *f
		one.Segment = nil
		out.frames = append(out.frames, one)
		out.texts = append(out.texts, deedText(f.Verdict, f.Reason, f.Reply, f.Peer))
		return nil
	}
	if cfg.Policy == "" {
		cfg.Policy = "observe"
	}
	var err error
	if out.Replay, err = RunReplay(t.Context(), cfg); err != nil {
		t.Fatalf("replay of %s: %v", cfg.Capture, err)
	}
	out.conserved(t)
	return out
}

// conserved checks that each frame is explained once.
func (r *replayed) conserved(t testing.TB) {
	t.Helper()
	sum := func(m map[string]int) (n int) {
		for _, k := range m {
			n += k
		}
		return n
	}
	if r.Packets != len(r.frames) || r.Packets != r.TCP+sum(r.Skipped) || r.TCP != sum(r.Verdicts) || r.TCP != sum(r.Findings) || r.TCP != sum(r.Decisions) {
		t.Errorf("%s: %d frames, %d told, %d TCP, skipped %v, verdicts %v, findings %v", r.Capture, r.Packets, len(r.frames), r.TCP, r.Skipped, r.Verdicts, r.Findings)
	}
	verdicts, findings, skipped := map[string]int{}, map[string]int{}, map[string]int{}
	for i, f := range r.frames {
		if f.N != i+1 {
			t.Fatalf("%s: frame %d is told as %d", r.Capture, i+1, f.N)
		}
		if f.Verdict == "skip" {
			skipped[f.Reason]++
			continue
		}
		verdicts[f.Verdict]++
		findings[f.Reason]++
	}
	if !maps.Equal(verdicts, r.Verdicts) || !maps.Equal(findings, r.Findings) || !maps.Equal(skipped, r.Skipped) {
		t.Errorf("%s: frames say %v %v %v, the summary %v %v %v", r.Capture, verdicts, findings, skipped, r.Verdicts, r.Findings, r.Skipped)
	}
	ended := r.Live + sum(r.Ended)
	if r.Tracked != ended {
		t.Errorf("%s: %d flows began, %d ended or live", r.Capture, r.Tracked, ended)
	}
	for _, sh := range r.Shadows {
		agreed, disagreed := uint64(0), uint64(0)
		for _, c := range sh.Matrix {
			agreed, disagreed = agreed+c.Agreed, disagreed+c.Disagreed
		}
		if n := uint64(r.TCP); n != sh.Verdicts["forward"]+sh.Verdicts["drop"]+sh.Verdicts["rewrite"]+sh.Verdicts["hold"] || n != sh.Segments || n != sh.Agreed+sh.Disagreed+sh.Diverged || sh.Relaxed+sh.Shed != 0 ||
			agreed != sh.Agreed || disagreed != sh.Disagreed+sh.Timed || sh.Recorded != disagreed {
			t.Errorf("%s: shadow %+v of %d packets", r.Capture, sh, r.TCP)
		}
	}
}

var plainCourse = []string{"forward/new", "forward/syn-ack", "forward/handshake", "forward/in-window", "forward/in-window", "forward/fin",
	"forward/in-window", "forward/fin", "forward/in-window"}

// A connection whose client dials again while the firewall still knows the old one: the case of the print server.
func redial(t testing.TB) [][]byte {
	c := conversation(t, clientEnd, serverEnd)[:5]
	again := func(from, to string, f conntrack.Flags, seq, ack conntrack.Seq) []byte {
		return mustEncode(t, &conntrack.Segment{Tuple: tuple(from, to), Flags: f, Seq: seq, Ack: ack, Window: 64240}, nil)
	}
	return append(c, again(clientEnd, serverEnd, conntrack.SYN, 900000, 0), again(serverEnd, clientEnd, conntrack.SYN|conntrack.ACK, 7000, 900001),
		again(clientEnd, serverEnd, conntrack.ACK, 900001, 7001))
}
