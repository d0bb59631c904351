package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// strangers plays segments of connections that no scenario knows.
func strangers(e *policy.Engine, now conntrack.Instant) {
	for i := range 5 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(i)}), 7000)
		s := conntrack.Segment{Tuple: conntrack.MakeTuple(from, netip.MustParseAddrPort("198.51.100.7:80")), Bytes: 40,
			Flags: []conntrack.Flags{conntrack.SYN, conntrack.ACK, conntrack.RST | conntrack.ACK}[(int(now/1e6)+i)%3], Seq: conntrack.Seq(now), Window: 100}
		e.Step(now, &s)
	}
}

// differs reports whether a script names facts that a world changes by its nature, or numbers of the wire.
func differs(s *Script, facts ...string) bool {
	text := string(s.Format())
	for _, f := range facts {
		if strings.Contains(text, f) {
			return true
		}
	}
	return false
}

// Every scenario comes out the same in another epoch, with numbers that wrap, with the addresses of both ends exchanged, among
// strangers, and whether time is told between segments or not.
func TestWorlds(t *testing.T) {
	for offset, w := range []struct {
		name string
		world
		skip []string // scripts with these depend on what the world changes
	}{
		{"another epoch", world{start: 7e17 + 12345}, nil},
		{"the beginning of time", world{start: 3}, nil},
		{"the client's numbers wrap", world{shift: [2]uint32{1 << 31, 0}}, []string{"@"}},
		{"the server's numbers wrap", world{shift: [2]uint32{77, 0xffff0000}}, []string{"@"}},
		{"turned", world{turned: true}, []string{"src=", "limits.per_source", "rule="}},
		{"among strangers", world{strange: strangers}, []string{"flows", "flow=", "limits", "sweep", "ended=", "emit"}},
		{"untold", world{lazy: true}, []string{"emit", "ended="}},
	} {
		t.Run(w.name, func(t *testing.T) {
			played := 0
			for i, name := range files(t) {
				if (i+offset)%breadth != 0 {
					continue
				}
				s := parseFile(t, name)
				if differs(s, w.skip...) {
					continue
				}
				played++
				if r := s.Run(Config{Presets: presets, world: w.world}); len(r.Problems) > 0 {
					t.Errorf("%s\n%v", name, r.Problems.Error())
				}
			}
			if played < 15 {
				t.Errorf("only %d scenarios were played", played)
			}
		})
	}
}

// Numbers of a flow may begin anywhere, the edges of the number space included: a session with a challenge, a RST and a new
// connection is decided the same.
func TestEveryWrap(t *testing.T) {
	s := parsed(t, sample)
	for i := range 64 {
		for _, edge := range []uint32{0, 1 << 31} {
			n := edge - uint32(i*9)
			w := world{shift: [2]uint32{n - uint32(1_000_000_007), n - uint32(2_000_000_014) + 5}}
			if r := s.Run(Config{Presets: presets, world: w}); len(r.Problems) > 0 {
				t.Fatalf("shift %v\n%v", w.shift, r.Problems)
			}
		}
	}
}

// Waiting in pieces is waiting.
func TestTimeInPieces(t *testing.T) {
	for _, wait := range []time.Duration{time.Nanosecond, 7 * time.Millisecond, time.Second, 90 * time.Minute} {
		one := parsed(t, pieces(wait, 1))
		two := parsed(t, pieces(wait, 2))
		a, b := string(one.Run(Config{}).Update(one)), string(two.Run(Config{}).Update(two))
		last := func(s string) string { lines := strings.Split(strings.TrimSpace(s), "\n"); return lines[len(lines)-1] }
		if _, x, _ := strings.Cut(last(a), "=>"); !strings.HasSuffix(last(b), x) {
			t.Errorf("%s: %q, in pieces %q", wait, last(a), last(b))
		}
	}
}

// pieces is a handshake and data of the server's that comes later by wait.
func pieces(wait time.Duration, n int) string {
	var b strings.Builder
	b.WriteString("policy linux-default\ntimeout ESTABLISHED 1h\nflow c 10.0.0.1:1 s 10.0.0.2:2\n" +
		"+0 c > s S 0:0(0)\n+0 s > c S. 0:0(0) ack 1\n+0 c > s . 1:1(0) ack 1\n")
	for i := range n {
		part := wait / time.Duration(n)
		if i == 0 {
			part = wait - part*time.Duration(n-1)
		}
		if i < n-1 {
			fmt.Fprintf(&b, "+%s sweep\n", part)
			continue
		}
		fmt.Fprintf(&b, "+%s s > c P. 1:101(100) ack 1\n", part)
	}
	return b.String()
}
