package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/scenario"
	"halfopen/proxy/capture"
)

// parseScript parses a script whose ends are c and s, over IPv4 or IPv6.
func parseScript(t testing.TB, text string, six bool) *scenario.Script {
	t.Helper()
	flow := "flow c 10.0.0.1:721 s 192.0.2.9:515\n"
	if six {
		flow = "flow c [2001:db8::1]:721 s [2001:db8::9]:515\n"
	}
	s, problems := scenario.Parse("test.scn", []byte("policy openbsd-pf\n"+flow+text))
	if s == nil {
		t.Fatal(problems)
	}
	return s
}

// What stands in a scenario stands in the packets: numbers, options as written, a wrong checksum, every defect that a packet can have.
func TestScriptPackets(t *testing.T) {
	for _, c := range []struct {
		line     string
		v4, v6   string // defect, with "?" where the packet does not tell its ports; "none" where there is no packet
		checksum conntrack.Checksum
	}{
		{"S 0:0(0) win 7 <mss 1460,sackOK,TS val 5 ecr 6,nop,wscale 7>", "", "", conntrack.ChecksumGood},
		{"FSRPU.EWe -5:4(9) ack @77 urg 9 <kind 77 len 5,eol>", "", "", conntrack.ChecksumGood},
		{". 1:1(0) ack 1 <nop,nop,sack 10:20 30:40,fastopen 01020304>", "", "", conntrack.ChecksumGood},
		{"P. 1:1461(1460) ack 1 cksum bad", "", "", conntrack.ChecksumBad},
		{"P. 1:2(1) ack 1 reserved 5", "", "", conntrack.ChecksumGood},
		{"S 0:0(0) <kind 19 len 18,kind 29 len 4,kind 30 len 12>", "", "", conntrack.ChecksumGood},
		{". 1:1(0) ack 1 <kind 30 len 4,kind 30 len 8>", "", "", conntrack.ChecksumGood},
		{"P. 1:65001(65000) ack 1", "", "", conntrack.ChecksumGood},
		{"P. 1:1000001(1000000) ack 1 <TS val 1 ecr 2>", "", "", conntrack.ChecksumUnverified}, // a super-packet
		{"S 0:0(0) defect short-ip-header", "short-ip-header?", "short-ip-header?", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect bad-ip-length", "bad-ip-length?", "bad-ip-length?", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect not-tcp", "none", "none", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect fragment", "fragment", "fragment", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect short-tcp-header", "short-tcp-header", "short-tcp-header", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect bad-data-offset", "bad-data-offset", "bad-data-offset", conntrack.ChecksumUnverified},
		{"P. 3:5(2) ack 9 win 3 <mss 1460> defect bad-options", "bad-options", "bad-options", conntrack.ChecksumGood},
		{"S 0:0(0) defect bad-ipv6-chain", "none", "bad-ipv6-chain?", conntrack.ChecksumUnverified},
		{"S 0:0(0) defect ipv4-mapped", "ipv4-mapped?", "none", conntrack.ChecksumUnverified},
		{"P. 1:1000001(1000000) ack 1 cksum bad", "none", "none", conntrack.ChecksumBad},
	} {
		line := c.line
		if i := strings.Index(line, " <"); i > 0 && strings.Contains(line, "defect") { // fields stand before options
			j := strings.Index(line, ">") + 1
			line = line[:i] + line[j:] + line[i:j]
		}
		for _, six := range []bool{false, true} {
			want := c.v4
			if six {
				want = c.v6
			}
			var sent conntrack.Segment
			var options []scenario.Option
			res := parseScript(t, "+0 c > s "+line+"\n", six).Run(scenario.Config{Played: func(p *scenario.Played) { sent, options = *p.Segment, p.Options }})
			if !res.Played {
				t.Fatal(res.Problems)
			}
			data, size, why := scriptPacket(NewEncoder(EncoderConfig{}), &sent, options)
			if want == "none" {
				if why == "" {
					t.Errorf("%s: a packet %x", line, data[:min(len(data), 80)])
				}
				continue
			}
			d := NewDecoder()
			var got conntrack.Segment
			d.Decode(data, size, PacketInfo{}, &got)
			if data[0]>>4 == 4 && len(data) >= ip4HeaderMin && foldSum(sumBytes(0, data[:ip4HeaderMin])) != 0xffff {
				t.Errorf("%s: the IP header's checksum is wrong: %x", line, data[:ip4HeaderMin])
			}
			defect, portless := strings.CutSuffix(want, "?")
			if why != "" || got.Defect.String() != defect || nameless(&got) != portless || !portless && got.Tuple != sent.Tuple {
				t.Errorf("%s: %s, %s, %s (want %s)", line, why, got.Defect, got.Tuple, want)
			}
			if defect != "" && defect != "bad-options" {
				continue
			}
			if got.Checksum != c.checksum && defect == "" {
				t.Errorf("%s: checksum %d, want %d", line, got.Checksum, c.checksum)
			}
			got.Checksum, got.TTL, got.Bytes = sent.Checksum, sent.TTL, sent.Bytes
			if defect != "" {
				sent.Options = conntrack.Options{}
			}
			if got != sent {
				t.Errorf("%s:\n%+v became\n%+v", line, sent, got)
			}
			if defect == "" && optionWords(takenOptions(d.options())) != optionWords(options) && !strings.HasPrefix(optionWords(takenOptions(d.options())), optionWords(options)+"0:") {
				t.Errorf("%s: options %s became %s", line, optionWords(options), optionWords(takenOptions(d.options())))
			}
		}
	}
}

// The file: one interface for each side, times of the script, comments with the decision, and what the gateway sends at its own time, in
// the order of the wire.
func TestScriptCaptureFile(t *testing.T) {
	s := parseScript(t, `+0 c > s S 0:0(0)                  => forward/new
+1ms s > c S. 0:0(0) ack 1
+1ms c > s . 1:1(0) ack 1
gap
+1s c > s S 900000:900000(0)       => drop/syn-established peer=rst-tracked
  emit c > s R 1:1(0)
+1s c > s P. 1:1(0) ack 1          => forward/adopted
+9s c > s S 7:7(0) defect not-tcp
`, false)
	var out bytes.Buffer
	done, err := WriteScript(&out, s, scenario.Config{Policy: "x.yaml", Read: func(string) ([]byte, error) {
		return []byte("preset: openbsd-pf\non: {syn-established: {packet: drop, reply: ack-tracked, peer: rst-tracked}}\n"), nil
	}})
	if err != nil || done.Packets != 5 || done.Made != 2 {
		t.Fatal(err, done)
	}
	if len(done.Left) != 1 || done.Left[0].Line != 10 || !strings.Contains(done.Left.Error(), "not-tcp") {
		t.Error(done.Left)
	}
	if p := done.Result.Problems; len(p) < 2 || p[0].Line != 7 {
		t.Error(p)
	}
	path := writeFile(t, out.Bytes())
	all, err := capture.ReadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range all {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", f.Time.Sub(ScriptEpoch), f.Interface, f.Options.Direction, strings.Join(f.Options.Comments, "; ")))
	}
	want := []string{
		"0s queue0 in in halfopen forward reason=new state=NONE state_after=SYN_SENT flow=1 direction=to_server; => forward/new; line 3: +0      c > s S  0:0(0)",
		"1ms queue0 in in halfopen forward reason=syn-ack state=SYN_SENT state_after=SYN_RECV idle=0.001s flow=1 direction=to_client; => forward/syn-ack state=SYN_RECV; line 4: +1ms    s > c S. 0:0(0) ack 1",
		"2ms queue0 in in halfopen forward reason=handshake state=SYN_RECV state_after=ESTABLISHED idle=0.001s flow=1 direction=to_server; => forward/handshake state=ESTABLISHED; line 5: +1ms    c > s .  1:1(0) ack 1",
		"1.002s queue0 in in halfopen drop reason=syn-established reply=ack-tracked peer=rst-tracked state=ESTABLISHED idle=1s flow=1 direction=to_server; => drop/syn-established peer=rst-tracked; line 7: +1s     c > s S  900000:900000(0); before this packet: gap",
		"1.002s emitted out halfopen inject kind=rst-tracked to=server reason=syn-established flow=1 direction=to_server; because of line 7",
		"1.002s emitted out halfopen inject kind=ack-tracked to=client reason=syn-established flow=1 direction=to_client; because of line 7",
		"2.002s queue0 in in halfopen forward reason=in-window state=ESTABLISHED idle=1s flow=1 direction=to_server; => forward/adopted; line 9: +1s     c > s P. 1:1(0) ack 1",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if all[3].Options.PacketID != 7 || all[4].Options.PacketID != 7 {
		t.Errorf("packet ids %d and %d, want the line", all[3].Options.PacketID, all[4].Options.PacketID)
	}
	if r := all[4].Data; len(r) != 40 || r[33] != byte(conntrack.RST) || binary.BigEndian.Uint32(r[24:]) != 1_000_000_008 {
		t.Errorf("the RST is %x", r)
	}
	out.Reset()
	if done, err = WriteScript(&out, s, scenario.Config{Policy: "no-such"}); err != nil || done.Result.Played || out.Len() > 0 {
		t.Errorf("a policy that is not there: %v, %d bytes", err, out.Len())
	}
	if done, err = WriteScript(&out, parseScript(t, "+3650d sweep\n", false), scenario.Config{}); err != nil || out.Len() == 0 {
		t.Errorf("a script without segments is no capture: %v", err)
	}
	long := parseScript(t, strings.Repeat("+3650d c > s S 0:0(0)\n", 25), false)
	if _, err = WriteScript(&out, long, scenario.Config{}); err == nil || !strings.Contains(err.Error(), "2262") {
		t.Errorf("a script of 250 years: %v", err)
	}
}

// A sum that is left to a network card comes back as one, and the length of such a segment says nothing.
func TestScriptPartialSums(t *testing.T) {
	for _, six := range []bool{false, true} {
		s := parseScript(t, "+0 c > s S 0:0(0) <mss 1000>\n+0 s > c S. 0:0(0) ack 1 <mss 1000>\n+0 c > s . 1:1(0) ack 1 cksum partial\n"+
			"+0 c > s P. 1:3001(3000) ack 1 cksum partial\n+0 c > s P. 3001:5001(2000) ack 1\n+0 c > s P. 5001:72001(67000) ack 1 cksum partial\n", six)
		path, _ := writeScript(t, s)
		got := scriptOf(t, ReplayConfig{Capture: path, Policy: "openbsd-pf", Fresh: true}, "1")
		want := []string{"c > s . 1:1(0) ack 1 cksum partial => forward/handshake", "P. 1:3001(3000) ack 1 cksum partial => forward/in-window",
			"P. 3001:5001(2000) ack 1 => forward/mss-exceeded", "P. 5001:72001(67000) ack 1 cksum partial => forward/in-window"}
		for i, line := range body(got.Text)[4:] {
			if !strings.Contains(line, want[i]) {
				t.Errorf("%s, want %s", line, want[i])
			}
		}
	}
}

// What a hold's end sends quotes the packet that was held.
func TestScriptCaptureOfHold(t *testing.T) {
	path, _ := writeScript(t, readScript(t, "../policy/testdata/regressions/hold.scn"))
	all, err := capture.ReadAll(path)
	if err != nil || len(all) != 5 {
		t.Fatal(err, len(all))
	}
	for i, want := range []string{"queue0 in", "queue0 out", "emitted", "queue0 in", "queue0 in"} {
		if all[i].Interface != want {
			t.Errorf("frame %d is on %s, want %s", i+1, all[i].Interface, want)
		}
	}
	out, icmp := all[1], all[2]
	if out.Time.Sub(ScriptEpoch) != 6*time.Second || !bytes.Equal(out.Data, all[0].Data) || strings.Join(out.Options.Comments, "; ") != "line 7: the hold ends with drop" {
		t.Errorf("%v %x", out.Options, out.Data)
	}
	if icmp.Time.Sub(ScriptEpoch) != 6*time.Second || !bytes.Equal(icmp.Data[28:68], all[0].Data) || !strings.Contains(strings.Join(icmp.Options.Comments, "; "), "kind=icmp-port") {
		t.Errorf("%v %x", icmp.Options, icmp.Data)
	}
}

// What a rewrite left of a packet stands behind it, and is decided by nobody.
func TestScriptCaptureOfRewrite(t *testing.T) {
	s := readScript(t, "../policy/testdata/regressions/rewrite.scn")
	path, done := writeScript(t, s)
	all, err := capture.ReadAll(path)
	if err != nil || done.Packets != 10 || done.Made != 6 {
		t.Fatal(err, done)
	}
	was, left := all[0], all[1]
	if left.Interface != "queue0 out" || len(left.Data) != len(was.Data)-10 || strings.Join(left.Options.Comments, "; ") != "line 8: rewritten, without data, fastopen, timestamps, wscale, mss" {
		t.Errorf("%s %v: %d of %d bytes", left.Interface, left.Options, len(left.Data), len(was.Data))
	}
}

func FuzzWriteScript(f *testing.F) {
	for _, name := range []string{"openbsd-pf/malformed", "openbsd-pf/handshake", "regressions/hold", "regressions/11-probe-unanswered", "regressions/01-rst-in-syn-sent"} {
		data, err := os.ReadFile("../policy/testdata/" + name + ".scn")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("policy openbsd-pf\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+.5 c > s S. @5:-1(2) ack -7 <sack 1:2 -3:@4,ts 1:2,kind 9 len 40>\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _ := scenario.Parse("fuzz.scn", data)
		if s == nil {
			return
		}
		var out bytes.Buffer
		done, err := WriteScript(&out, s, scenario.Config{})
		if err != nil || !done.Result.Played || out.Len() > 1<<24 {
			return
		}
		r, err := capture.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			f, err := r.Next()
			if err != nil {
				break
			}
			if _, ok := f.IP(); !ok {
				t.Fatalf("frame %d is no IP packet: %x", f.N, f.Data)
			}
			n++
		}
		if n != done.Packets+done.Made {
			t.Fatalf("%d frames, %d packets and %d made", n, done.Packets, done.Made)
		}
	})
}
