package scenario

import (
	"os"
	"strings"
	"testing"
)

// parsed parses a script that must have no problems.
func parsed(t testing.TB, text string) *Script {
	t.Helper()
	s, problems := Parse("test.scn", []byte(text))
	if s == nil {
		t.Fatalf("%v\nin\n%s", problems, text)
	}
	return s
}

const sample = `# A client reboots and dials the same server from the same port while the
# gateway still holds the old connection. It answers with a challenge ACK
# (RFC 5961 4.2), and the rebooted client's RST then clears the entry.

policy   openbsd-pf
shadow   candidate file candidate.yaml
timeout  ESTABLISHED 1h
flow     c 10.0.0.1:40000 s 192.0.2.9:443

+0      c > s S  0:0(0) win 64240 <mss 1460,sackOK,wscale 7>   => forward/new state=SYN_SENT
+10ms   s > c S. 0:0(0) ack 1 win 65160 <mss 1460>             => forward/syn-ack state=SYN_RECV
+10ms   c > s .  1:1(0) ack 1                                  => forward/handshake state=ESTABLISHED
+5s     c > s P. 1:101(100) ack 1                              => forward/in-window

# Half an hour of silence, then the reboot.
+30m    c > s S  500000:500000(0) win 64240 <mss 1460>         => drop/syn-established reply=ack-tracked idle=30m remaining=30m
  emit  s > c .  1:1(0) ack 101
  would candidate forward/syn-established effect=annotate
+10ms   c > s R  101:101(0)                                    => forward/rst state=CLOSE
+1s     c > s S  500000:500000(0) win 64240 <mss 1460>         => forward/syn-after-rst state=SYN_SENT ended=replaced
flows
  tcp      6 120 SYN_SENT src=10.0.0.1 dst=192.0.2.9 sport=40000 dport=443 [UNREPLIED] src=192.0.2.9 dst=10.0.0.1 sport=443 dport=40000
+2m     sweep                                                  => idle-embryonic
flows    none
-- candidate.yaml --
preset: observe
`

func TestSample(t *testing.T) {
	s := parsed(t, sample)
	if got := string(s.Format()); got != sample {
		t.Errorf("printed\n%s", got)
	}
	if r := s.Run(Config{}); len(r.Problems) > 0 || r.Decisions != 11 {
		t.Errorf("%d decisions\n%v", r.Decisions, r.Problems)
	}
	if p := s.Prose(); !strings.HasPrefix(p, "A client reboots") || !strings.HasSuffix(p, "clears the entry.") {
		t.Errorf("prose %q", p)
	}
}

// An update of a script without right-hand sides gives those that a run holds true, and changes nothing else.
func TestUpdate(t *testing.T) {
	var bare []string
	for _, line := range strings.Split(sample, "\n") {
		left, _, _ := strings.Cut(line, "=>")
		if strings.HasPrefix(line, "  ") {
			continue
		}
		bare = append(bare, strings.TrimRight(left, " "))
	}
	s := parsed(t, strings.Join(bare, "\n"))
	text := s.Run(Config{}).Update(s)
	again := parsed(t, string(text))
	r := again.Run(Config{})
	if len(r.Problems) > 0 || r.Decisions < 10 {
		t.Errorf("%d decisions\n%v\n%s", r.Decisions, r.Problems, text)
	}
	if got := string(r.Update(again)); got != string(text) {
		t.Errorf("a second update changed\n%s\nto\n%s", text, got)
	}
	same := parsed(t, sample)
	if got := string(same.Run(Config{}).Update(same)); got != sample {
		t.Errorf("an update of what is right gave\n%s", got)
	}
	for _, line := range bare {
		if !strings.Contains(string(text), line) {
			t.Errorf("the update lost %q", line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	for _, name := range []string{"regressions/01-rst-in-syn-sent", "regressions/hold", "regressions/reload", "openbsd-pf/malformed", "linux-default/adopted"} {
		data, err := os.ReadFile("../testdata/" + name + ".scn")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("flow c 10.0.0.1:1 s 10.0.0.2:2\n+.5 c > s S. @5:-1(2) ack -7 <sack 1:2 -3:@4,ts 1:2>\n+1us sweep=>ended=idle,fin rule=\"a b\"\nflows\n tcp  6\n"))
	f.Add([]byte(" "))
	f.Add([]byte("gap\n\n \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, problems := Parse("fuzz.scn", data)
		if (s == nil) != (len(problems) > 0) {
			t.Fatalf("script %v, problems %v", s != nil, problems)
		}
		if s == nil {
			_ = problems.Error()
			return
		}
		once := s.Format()
		again, problems := Parse("fuzz.scn", once)
		if again == nil {
			t.Fatalf("%v in the printed\n%s", problems, once)
		}
		if twice := again.Format(); string(twice) != string(once) {
			t.Fatalf("printed\n%s\nthen\n%s", once, twice)
		}
	})
}
