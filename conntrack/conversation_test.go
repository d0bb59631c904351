package conntrack

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A conversation is a test in lines of
//
//	[+TIME] DIR FLAGS SEQ[+LEN] [ack N] [win N] [ws N] [mss N] [ts VAL ECR] [sackok] [tfo] [gso] [sack L-R] [bad]
//	[defect] => FINDING STATE [!EFFECT] [=TIMEOUT]
//
// DIR is > for the first end, < for the other. Numbers are relative to each end's base. STATE is the state afterwards
// ("-" for no entry), !EFFECT overrides the finding's natural effect, and a line "+TIME gap" is Relax. A line "DIR ask N TIME"
// is a probe to the end that DIR names, which acknowledges N of it and is given up after TIME.
type conversation struct {
	name, text string
	rules      Rules
	long       bool // established connections do not expire
}

// ends are the variations that every conversation runs under: nothing may depend on where the numbers start or on which
// address sorts first.
type ends struct {
	a, b         string
	baseA, baseB Seq
}

func variations() []ends {
	return []ends{
		{"10.0.0.1:721", "192.0.2.9:515", 0, 0},
		{"192.0.2.9:721", "10.0.0.1:515", 0x7fffff80, 0xffffffc0},
		{"10.0.0.1:515", "10.0.0.1:514", 0xfffffff0, 0x80000000},
		{"[2001:db8::9]:721", "[2001:db8::1]:515", 0xfffffffc, 0xffff8000},
		{"[2001:db8::1]:721", "[2001:db8::9]:515", 0x80000000 - 600, 0xffffffff - 10000},
	}
}

func testTimeouts() *Timeouts {
	return &Timeouts{SynSent: 120 * time.Second, SynRecv: 60 * time.Second, Established: time.Hour, FinWait: 120 * time.Second,
		CloseWait: 60 * time.Second, LastAck: 30 * time.Second, TimeWait: 120 * time.Second, Close: 10 * time.Second,
		SynSent2: 120 * time.Second, Denied: 90 * time.Second}
}

// rig is a table in a test, with its clock.
type rig struct {
	t     testing.TB
	table *Table
	now   Instant
	p     Params
	ended []string
	live  map[uint64]bool
}

func newRig(t testing.TB, cfg Config) *rig {
	r := &rig{t: t, now: Instant(time.Hour), p: Params{Timeouts: testTimeouts(), Rule: -1}, live: map[uint64]bool{}}
	cfg.Ended = func(e *Entry, why EndReason, at Instant) {
		if !r.live[e.ID] {
			t.Errorf("flow %d ended twice, or was never seen", e.ID)
		}
		delete(r.live, e.ID)
		r.ended = append(r.ended, fmt.Sprintf("%s %s", why, e.State))
	}
	r.table = NewTable(cfg)
	return r
}

// step takes s through the table. An effect of NumEffects means the finding's own.
func (r *rig) step(s *Segment, rules *Rules, e Effect) (Class, Change, View) {
	var v View
	r.table.Lookup(r.now, &s.Tuple, &v)
	r.p.Check = rules.Check
	c := Classify(r.now, &v, s, rules)
	info := c.Finding.Info()
	if e == NumEffects {
		e = info.Effect
	}
	ch := r.table.Commit(r.now, &v, s, c.Finding, e, Timer{Op: info.Timer}, &r.p)
	if ch.Entry != nil {
		r.live[ch.Entry.ID] = true
	}
	return c, ch, v
}

func (r *rig) look(tu Tuple) View {
	var v View
	r.table.Lookup(r.now, &tu, &v)
	return v
}

func parseFlags(t testing.TB, s string) (f Flags) {
	for _, c := range s {
		bit, ok := map[rune]Flags{'S': SYN, 'F': FIN, 'R': RST, 'P': PSH, 'U': URG, 'E': ECE, 'W': CWR, '.': ACK, '-': 0}[c]
		if !ok {
			t.Fatalf("flags %q", s)
		}
		f |= bit
	}
	return f
}

func number(t testing.TB, s string) uint32 {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// parseSegment reads the part before "=>", without the time.
func parseSegment(t testing.TB, words []string, en ends) *Segment {
	a, b := netip.MustParseAddrPort(en.a), netip.MustParseAddrPort(en.b)
	s := &Segment{Tuple: MakeTuple(a, b), Window: 1000, TTL: 64}
	mine, other := en.baseA, en.baseB
	if words[0] == "<" {
		s.Tuple = s.Tuple.Reverse()
		mine, other = other, mine
	}
	s.Flags = parseFlags(t, words[1])
	seq, length, _ := strings.Cut(words[2], "+")
	s.Seq = mine.Add(number(t, seq))
	if length != "" {
		s.Len = number(t, length)
	}
	s.Bytes = 40 + s.Len
	for w := words[3:]; len(w) > 0; w = w[1:] {
		switch w[0] {
		case "sackok":
			s.Options.Has |= OptSACKPermitted
			continue
		case "tfo":
			s.Options.Has |= OptFastOpen
			continue
		case "gso":
			s.GSO = true
			continue
		case "bad":
			s.Checksum = ChecksumBad
			continue
		case "defect":
			s.Defect = DefectOptions
			continue
		}
		switch w[0] {
		case "ack":
			s.Ack = other.Add(number(t, w[1]))
		case "rawack":
			s.Ack = Seq(number(t, w[1]))
		case "win":
			s.Window = uint16(number(t, w[1]))
		case "ws":
			s.Options.Has |= OptWScale
			s.Options.WScale = uint8(number(t, w[1]))
		case "mss":
			s.Options.Has |= OptMSS
			s.Options.MSS = uint16(number(t, w[1]))
		case "ts":
			s.Options.Has |= OptTimestamp
			s.Options.TSVal, s.Options.TSEcr = number(t, w[1]), number(t, w[2])
			w = w[1:]
		case "sack":
			l, right, _ := strings.Cut(w[1], "-")
			s.Options.Has |= OptSACK
			s.Options.SACK[s.Options.NSACK] = SACKBlock{other.Add(number(t, l)), other.Add(number(t, right))}
			s.Options.NSACK++
		default:
			t.Fatalf("word %q", w[0])
		}
		w = w[1:]
	}
	return s
}

// run plays the conversation and calls each after each line.
func (c *conversation) run(t *testing.T, en ends, each func(Class, Change)) *rig {
	r := newRig(t, Config{Max: 100, MaxEmbryonic: 50, Tombstones: 10})
	if c.long {
		r.p.Timeouts[Established] = 10000 * time.Hour
	}
	for _, line := range strings.Split(strings.TrimSpace(c.text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		left, right, _ := strings.Cut(line, "=>")
		words, want := strings.Fields(left), strings.Fields(right)
		if len(words) == 0 {
			continue
		}
		r.now += Instant(time.Millisecond)
		if d, ok := strings.CutPrefix(words[0], "+"); ok {
			pause, err := time.ParseDuration(d)
			if err != nil {
				t.Fatal(err)
			}
			r.now = r.now.Add(pause)
			words = words[1:]
		}
		switch {
		case len(words) == 0:
			continue
		case words[0] == "gap":
			r.table.Relax()
			continue
		case words[0] == "sweep":
			for r.table.Next() <= r.now {
				r.table.Advance(r.now, 10)
			}
			continue
		}
		if words[1] == "ask" {
			r.ask(words, en)
			continue
		}
		effect := NumEffects
		for _, w := range want[2:] {
			if e, ok := strings.CutPrefix(w, "!"); ok {
				effect = effectByWord(t, e)
			}
		}
		s := parseSegment(t, words, en)
		class, change, _ := r.step(s, &c.rules, effect)
		state := "-"
		if change.Entry != nil {
			state = change.After.String()
			if change.Entry.State != change.After {
				t.Errorf("%s: entry is in %v, change says %v", strings.TrimSpace(line), change.Entry.State, change.After)
			}
		}
		if class.Finding.String() != want[0] || state != want[1] {
			t.Errorf("%s\n\tgot %v %s, expect %+v", strings.TrimSpace(line), class.Finding, state, class.Expect)
		}
		if each != nil {
			each(class, change)
		}
	}
	return r
}

// ask notes a probe.
func (r *rig) ask(words []string, en ends) {
	tu := MakeTuple(netip.MustParseAddrPort(en.a), netip.MustParseAddrPort(en.b))
	base := en.baseA
	if words[0] == "<" {
		tu, base = tu.Reverse(), en.baseB
	}
	d, err := time.ParseDuration(words[3])
	v := r.look(tu)
	if v.Entry == nil || err != nil {
		r.t.Fatalf("%v: %v", words, err)
	}
	r.table.Await(v.Entry, v.Dir, base.Add(number(r.t, words[2])), r.now.Add(d))
}

func effectByWord(t testing.TB, w string) Effect {
	for e := Keep; e < NumEffects; e++ {
		if e.String() == w {
			return e
		}
	}
	t.Fatalf("effect %q", w)
	return Keep
}

const open3 = `
> S 0               => new SYN_SENT
< S. 0 ack 1        => syn-ack SYN_RECV
> . 1 ack 1         => handshake ESTABLISHED
`
