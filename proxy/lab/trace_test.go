package lab

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// story builds a trace by hand: each step is one segment at one link.
type story struct {
	packets []packet
	now     time.Time
}

var (
	testClient = netip.MustParseAddrPort("192.0.2.10:721")
	testServer = netip.MustParseAddrPort("198.51.100.10:515")
)

func newStory() *story { return &story{now: time.Unix(1000, 0)} }

// see adds a segment at the given links, one microsecond apart, in that order.
func (s *story) see(toServer bool, flags uint8, seq, ack uint32, size int, links ...int) *story {
	for _, l := range links {
		p := packet{at: s.now, link: l, flags: flags, seq: seq, ack: ack, size: size, toServer: toServer, src: testServer, dst: testClient}
		if toServer {
			p.src, p.dst = testClient, testServer
		}
		s.packets = append(s.packets, p)
		s.now = s.now.Add(time.Microsecond)
	}
	s.now = s.now.Add(time.Millisecond)
	return s
}

func (s *story) wait(d time.Duration) *story { s.now = s.now.Add(d); return s }

// fates writes each passage as "first>last", "+g" if gateway g injected it and "-g" if it dropped it.
func fates(trace []*passage) string {
	var out []string
	for _, p := range trace {
		text := string(rune('0'+p.link)) + ">" + string(rune('0'+p.last))
		if g := p.injectedBy(); g >= 0 {
			text += "+" + string(rune('0'+g))
		}
		if g := p.droppedBy(); g >= 0 {
			text += "-" + string(rune('0'+g))
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestFollow(t *testing.T) {
	const syn, ack, rst = flagSYN, flagACK, flagRST
	for _, c := range []struct {
		name  string
		links int
		story *story
		want  string
	}{
		{"forwarded both ways", 2, newStory().see(true, syn, 1, 0, 0, 0, 1).see(false, syn|ack, 9, 2, 0, 1, 0), "0>1 1>0"},
		{"dropped", 2, newStory().see(true, syn, 1, 0, 0, 0), "0>0-0"},
		{"server's dropped", 2, newStory().see(false, ack, 9, 2, 0, 1), "1>1-0"},
		{"answered by the gateway", 2, newStory().see(true, syn, 1, 0, 0, 0).see(false, ack, 9, 2, 0, 0), "0>0-0 0>0+0"},
		{"reset towards the server", 2, newStory().see(true, rst, 5, 0, 0, 1), "1>1+0"},
		{
			"a dropped SYN's retransmission passes", 2,
			newStory().see(true, syn, 1, 0, 0, 0).wait(time.Second).see(true, syn, 1, 0, 0, 0, 1), "0>0-0 0>1",
		},
		{
			"a SYN passes, its retransmission is dropped", 2,
			newStory().see(true, syn, 1, 0, 0, 0, 1).wait(time.Second).see(true, syn, 1, 0, 0, 0), "0>1 0>0-0",
		},
		{"two retransmissions interleave", 2, newStory().see(true, ack, 1, 5, 9, 0, 0, 1, 1), "0>1 0>1"},
		{"through two gateways", 3, newStory().see(true, syn, 1, 0, 0, 0, 1, 2).see(false, ack, 9, 2, 0, 2, 1, 0), "0>2 2>0"},
		{"second gateway answers, first drops the answer", 3,
			newStory().see(true, syn, 1, 0, 0, 0, 1).see(false, ack, 9, 2, 0, 1), "0>1-1 1>1+1-0"},
		{"second gateway resets", 3, newStory().see(true, rst, 9, 0, 0, 2), "2>2+1"},
		{"first gateway answers", 3, newStory().see(true, syn, 1, 0, 0, 0).see(false, ack, 9, 2, 0, 0), "0>0-0 0>0+0"},
		{"other numbers are another segment", 2, newStory().see(true, syn, 1, 0, 0, 0).see(true, syn, 2, 0, 0, 1), "0>0-0 1>1+0"},
		{"too late to be the same", 2, newStory().see(true, syn, 1, 0, 0, 0).wait(2*holdLimit).see(true, syn, 1, 0, 0, 1), "0>0-0 1>1+0"},
	} {
		if got := fates(follow(c.story.packets, c.links)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// incident is the case itself in front of one gateway that answers: an old connection, silence, two SYNs answered by the gateway.
func incident() *Phase {
	s := newStory().
		see(true, flagSYN, 1000, 0, 0, 0, 1).
		see(false, flagSYN|flagACK, 7000, 1001, 0, 1, 0).
		see(true, flagACK, 1001, 7001, 0, 0, 1).
		see(true, flagACK|flagPSH, 1001, 7001, 12, 0, 1).
		see(false, flagACK, 7001, 1013, 0, 1, 0).
		wait(25 * time.Second)
	mark := s.now
	for range 2 {
		s.see(true, flagSYN, 900_000_000, 0, 0, 0).
			see(false, flagACK, 7001, 1013, 0, 0).
			see(true, flagRST, 1013, 0, 0, 0).wait(time.Second)
	}
	p := &Phase{Name: "remembered", Facts: map[string]any{}, incident: mark, title: "a test"}
	log := []entry{decision(mark, "syn-established", "drop", "S", 900_000_000, 0), decision(mark.Add(time.Hour), "new", "forward", "S", 1, 0)}
	log[0].Decision.Reply = &made{Kind: "ack-tracked"}
	p.fill(window{phase: p, from: time.Unix(0, 0), until: s.now.Add(time.Minute)}, s.packets, 2, log, nil)
	return p
}

func decision(at time.Time, reason, verdict, flags string, seq, ack uint32) entry {
	e := entry{EventType: "decision"}
	e.Timestamp.Time = at.Add(300 * time.Microsecond)
	e.TCP.Flags, e.TCP.Seq, e.TCP.Ack = flags, seq, ack
	e.Decision.Reason, e.Decision.Verdict = reason, verdict
	return e
}

func TestPhaseCounts(t *testing.T) {
	p := incident()
	want := ClientView{SYNSent: 2, BareACKsReceived: 2, RSTSent: 2}
	if p.Client != want {
		t.Errorf("client %+v, want %+v", p.Client, want)
	}
	if p.Server != (ServerView{}) {
		t.Errorf("server %+v saw nothing", p.Server)
	}
	if diff := cmp.Diff(GatewayView{Decisions: map[string]int{"syn-established": 1}, Injected: 2, Dropped: 4}, p.Gateway); diff != "" {
		t.Errorf("gateway (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]uint32{"client_next": 1013, "server_next": 7001}, p.Facts["old_connection"]); diff != "" {
		t.Errorf("old connection:\n%s", diff)
	}
	if p.Facts["bare_acks_with_old_numbers"] != 2 {
		t.Errorf("facts %v", p.Facts)
	}
	why, _ := p.Facts["why"].(string)
	if !strings.Contains(why, "answered the client's SYNs itself (2 ACKs)") || !strings.Contains(why, "RST") {
		t.Errorf("why: %s", why)
	}
}

// TestRecordsGoToTheirSegments: a record that is written late belongs to the segment that waited, not to its retransmission, and
// to no segment that this gateway never had.
func TestRecordsGoToTheirSegments(t *testing.T) {
	s := newStory()
	start := s.now
	s.see(true, flagSYN, 5000, 0, 0, 0).
		wait(500*time.Millisecond).see(true, flagSYN, 5000, 0, 0, 0, 1).
		wait(10*time.Millisecond).see(true, flagSYN, 5000, 0, 0, 0, 1, 2)
	log := []entry{
		decision(start.Add(502*time.Millisecond), "new", "drop", "S", 5000, 0),
		decision(start.Add(520*time.Millisecond), "syn-retransmit", "forward", "S", 5000, 0),
	}
	p := &Phase{FarGateway: &GatewayView{}, Facts: map[string]any{}, incident: start}
	p.fill(window{phase: p, from: start, until: s.now.Add(time.Second)}, s.packets, 3, log, nil)
	var got []string
	for _, x := range p.trace {
		got = append(got, strings.Join(x.notes, ";"))
	}
	if want := []string{"", "[gateway] new: drop", "[gateway] syn-retransmit: forward"}; !cmp.Equal(want, got) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// TestLadder compares the drawing with testdata/ladder.txt; UPDATE=1 rewrites it.
func TestLadder(t *testing.T) {
	var got bytes.Buffer
	drawLadder(&got, incident(), 0)
	const golden = "testdata/ladder.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("ladder (-want +got):\n%s", diff)
	}
}

// TestLadderKeepsToTheTerminal: on 80 columns nothing is wider, and no note is lost.
func TestLadderKeepsToTheTerminal(t *testing.T) {
	for _, far := range []*GatewayView{nil, {}} {
		p := incident()
		p.FarGateway = far
		var got bytes.Buffer
		drawLadder(&got, p, 80)
		for line := range strings.Lines(got.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		if !strings.Contains(got.String(), "╰ syn-established: drop, reply ack-tracked") {
			t.Errorf("the note is missing:\n%s", got.String())
		}
	}
}

func TestLadderCompressesRuns(t *testing.T) {
	s := newStory().see(true, flagSYN, 1, 0, 0, 0, 1)
	for i := range uint32(100) {
		s.see(true, flagACK, 2+i, 9, 1, 0, 1)
	}
	p := &Phase{trace: follow(s.packets, 2)}
	var got bytes.Buffer
	drawLadder(&got, p, 0)
	if n := strings.Count(got.String(), "\n"); n != 6 || !strings.Contains(got.String(), "97 more segments") {
		t.Errorf("%d lines:\n%s", n, got.String())
	}
}

func TestNumbersFallBackToPlain(t *testing.T) {
	n := newNumbers(nil)
	p := packet{flags: flagACK, seq: 42, ack: 4_000_000_000, toServer: true}
	if got := label(n, &p); got != "ACK 42 ack 4000000000" {
		t.Errorf("label %q", got)
	}
}

func TestOwner(t *testing.T) {
	for name, want := range map[string]bool{
		"ho123.4x.0000beef-client": true, "ho123.4x.0000beef": false, "ho123.4x.beef-client": false, "house-client": false,
		"ho.4x.0000beef-client": false, "": false, "ho123.4x.0000beef-client/..": false,
	} {
		pid, start, ok := owner(name)
		if ok != want || ok && (pid != 123 || start != 4*36+33) {
			t.Errorf("owner(%q) = %d, %d, %v", name, pid, start, ok)
		}
	}
	name, err := uniqueName()
	if err != nil {
		t.Fatal(err)
	}
	if pid, start, ok := owner(name + "-far"); !ok || pid != os.Getpid() || start == 0 {
		t.Errorf("own name %q: %d, %d, %v", name, pid, start, ok)
	}
}

// TestCountsEndWithTheConnection: what an end acknowledges or resets on a connection that stands is no part of the incident.
func TestCountsEndWithTheConnection(t *testing.T) {
	s := newStory().
		see(true, flagSYN, 5000, 0, 0, 0, 1, 2).
		see(false, flagACK, 7001, 1013, 0, 2, 1). // the server's challenge ACK, dropped by the far gateway
		see(true, flagSYN, 5000, 0, 0, 0, 1, 2).
		see(false, flagACK, 7001, 1013, 0, 2, 1, 0). // and one that arrives
		see(true, flagRST, 1013, 0, 0, 0, 1, 2).
		see(true, flagSYN, 5000, 0, 0, 0, 1, 2).
		see(false, flagSYN|flagACK, 9000, 5001, 0, 2, 1, 0).
		see(true, flagACK, 5001, 9001, 0, 0, 1, 2).
		see(false, flagACK, 9001, 5001, 0, 2, 1, 0).
		see(true, flagRST, 5001, 0, 0, 0, 1, 2)
	p := &Phase{FarGateway: &GatewayView{}, fromTrace: true, Facts: map[string]any{}, incident: time.Unix(0, 0)}
	p.fill(window{phase: p, from: time.Unix(0, 0), until: s.now}, s.packets, 3, nil, nil)
	want := ClientView{Connected: true, SYNSent: 3, BareACKsReceived: 1, RSTSent: 1, Seconds: 0.006}
	if p.Client != want {
		t.Errorf("client %+v, want %+v", p.Client, want)
	}
	if (p.Server != ServerView{SYNReceived: 3, BareACKsSent: 2}) {
		t.Errorf("server %+v", p.Server)
	}
	if p.FarGateway.Dropped != 1 || p.FarGateway.Forwarded != 9 || p.Gateway.Forwarded != 10 || p.Gateway.Dropped != 0 {
		t.Errorf("far gateway %+v, gateway %+v", p.FarGateway, p.Gateway)
	}
}
