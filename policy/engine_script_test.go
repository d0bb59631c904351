package policy

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"halfopen/conntrack"
)

// A script is lines of
//
//	+TIME END FLAGS SEQ[:LEN] [ACK] [win=N] [ws=N] [=> VERDICT/FINDING KEY=VALUE...]
//	+TIME - [=> EVENT...]
//
// TIME is since the line before. END is c or s, the sender. Of the outcome only what is named is compared. A line with "-" lets
// time pass: Advance, whose events must be exactly those named.
type script struct {
	e     *Engine
	now   conntrack.Instant
	seq   [2]uint32         // added to every number of c, of s
	ends  [2]netip.AddrPort // c, s
	world world
}

// world is a way to see a script that must not change its outcomes.
type world struct {
	start    conntrack.Instant
	seq      [2]uint32
	ends     [2]string
	interval func(e *Engine, now conntrack.Instant) // between lines
}

var plainWorld = world{start: 1e15, ends: [2]string{"10.2.0.5:721", "192.0.2.1:515"}}

func newScript(p *Policy, cfg EngineConfig, w world) *script {
	cfg.Policy, cfg.Start = p, cfg.Start+w.start
	x := &script{e: NewEngine(cfg), now: w.start, seq: w.seq, world: w}
	for i := range x.ends {
		x.ends[i] = netip.MustParseAddrPort(w.ends[i])
	}
	return x
}

// run plays a script and reports lines that came out otherwise.
func (x *script) run(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		do, want, _ := strings.Cut(line, "=>")
		got := x.line(t, do)
		want = strings.TrimSpace(want)
		if !holds1(got, want, strings.Contains(do, " -")) {
			t.Errorf("line %d: %s\n got %s", i+1, line, got)
		}
	}
}

// holds1 compares an outcome with what was expected.
func holds1(got, want string, exact bool) bool {
	if exact {
		return got == want
	}
	have := strings.Fields(got)
	for _, w := range strings.Fields(want) {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// line plays one line and returns its outcome.
func (x *script) line(t *testing.T, text string) string {
	t.Helper()
	f := strings.Fields(text)
	d := 0.0
	if n, err := strconv.ParseFloat(f[0][1:], 64); err == nil {
		d = n
	} else if p, err := time.ParseDuration(f[0][1:]); err == nil {
		d = p.Seconds()
	} else {
		t.Fatalf("time %q", f[0])
	}
	x.now = x.now.Add(time.Duration(d * 1e9))
	if x.world.interval != nil {
		x.world.interval(x.e, x.now)
	}
	if f[1] == "-" {
		return x.advance()
	}
	s := x.segment(t, f[1:])
	return x.describe(x.e.Step(x.now, &s), f[1] == "s")
}

func (x *script) segment(t *testing.T, f []string) conntrack.Segment {
	t.Helper()
	from := 0
	if f[0] == "s" {
		from = 1
	}
	s := conntrack.Segment{Tuple: conntrack.MakeTuple(x.ends[from], x.ends[1-from]), Flags: flagsOf(t, f[1]), Window: 1000}
	num := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("number %q: %v", text, err)
		}
		return uint32(n)
	}
	seq, n, ok := strings.Cut(f[2], ":")
	s.Seq = conntrack.Seq(num(seq) + x.seq[from])
	if ok {
		s.Len = num(n)
	}
	s.Bytes = 40 + s.Len
	for _, w := range f[3:] {
		switch k, v, pair := strings.Cut(w, "="); {
		case !pair:
			s.Ack = conntrack.Seq(num(w) + x.seq[1-from])
		case k == "win":
			s.Window = uint16(num(v))
		case k == "ts":
			s.Options.Has |= conntrack.OptTimestamp
			s.Options.TSVal = num(v)
		case k == "ws":
			s.Options.Has |= conntrack.OptWScale
			s.Options.WScale = uint8(num(v))
		case k == "bad":
			s.Defect = conntrack.DefectOptions
		case k == "sum":
			s.Checksum = conntrack.ChecksumBad
		default:
			t.Fatalf("word %q", w)
		}
	}
	return s
}

func flagsOf(t *testing.T, text string) (f conntrack.Flags) {
	for _, c := range text {
		i := strings.IndexRune("FSRP.U", c)
		if i < 0 {
			t.Fatalf("flags %q", text)
		}
		f |= 1 << i
	}
	return f
}

// describe returns an outcome as words.
func (x *script) describe(out *Outcome, fromServer bool) string {
	w := []string{out.Verdict.String() + "/" + out.Finding.String()}
	add := func(k string, v any) { w = append(w, fmt.Sprintf("%s=%v", k, v)) }
	add("before", out.Before)
	add("state", out.After)
	add("effect", out.Effect)
	add("rule", out.Rule)
	add("dir", out.Dir)
	add("idle", out.Idle)
	add("remaining", out.Remaining)
	add("age", out.Age)
	if out.HasReply {
		add("reply", x.emit(&out.Reply))
	} else {
		add("reply", "none")
	}
	if out.HasPeer {
		add("peer", x.emit(&out.Peer))
	} else {
		add("peer", "none")
	}
	if s := out.ReplyOmitted + out.PeerOmitted; s != "" {
		add("omitted", s)
	}
	if out.Unmet != "" {
		add("unmet", out.Unmet)
	}
	if out.HasTomb {
		add("tomb", out.Tombstone.Reason)
	}
	if out.Hold != 0 {
		add("hold", out.Hold)
	}
	add("counted", out.Counted)
	for i := range out.Flows {
		w = append(w, flowWord(&out.Flows[i]))
	}
	return strings.Join(w, " ")
}

func flowWord(ev *FlowEvent) string {
	switch ev.Kind {
	case FlowNew:
		return "+new"
	case FlowUpdate:
		return fmt.Sprintf("+update:%d", ev.Entry.Counted)
	}
	return "+end:" + ev.Why.String()
}

// emit returns what the gateway makes: kind:to:flags,seq,ack with numbers as in the script.
func (x *script) emit(em *Emit) string {
	to := 0
	if em.Segment.Tuple.To() == x.ends[1] {
		to = 1
	}
	if em.Segment.Tuple.To() != x.ends[to] || em.Segment.Tuple.From() != x.ends[1-to] {
		return "wrong-addresses"
	}
	if em.ICMP != ReplyNone {
		return em.Kind + ":" + "cs"[to:to+1]
	}
	s := &em.Segment
	text := fmt.Sprintf("%s:%s:%s,", em.Kind, "cs"[to:to+1], s.Flags)
	if s.Seq == 0 {
		text += "0"
	} else {
		text += fmt.Sprint(uint32(s.Seq) - x.seq[1-to])
	}
	if em.Twice {
		text += fmt.Sprintf("+%d", uint32(em.Also)-x.seq[1-to])
	}
	if s.Flags.Has(conntrack.ACK) {
		text += fmt.Sprintf(",%d", uint32(s.Ack)-x.seq[to])
	}
	if s.Window != 0 {
		text += fmt.Sprintf(",win=%d", s.Window)
	}
	return text
}

// advance lets time pass and returns the events.
func (x *script) advance() string {
	var w []string
	for more, n := true, 0; more && n < 1000; n++ {
		more = x.e.Advance(x.now, 16, func(ev *TimeEvent) {
			switch ev.Kind {
			case TimeFlow:
				w = append(w, flowWord(&ev.Flow))
			case TimeUnanswered:
				w = append(w, ev.Finding.String())
			case TimeRelease:
				w = append(w, fmt.Sprintf("%d:%s", ev.Hold, ev.Verdict))
			}
			for i := range ev.Emit {
				if ev.HasEmit[i] {
					w = append(w, x.emit(&ev.Emit[i]))
				}
			}
		})
	}
	return strings.Join(w, " ")
}

// policyOf compiles the text of a policy file.
func policyOf(t testing.TB, text string) *Policy {
	t.Helper()
	return once(t, text, func() (*Policy, error) {
		p, problems := Load("test.yaml", []byte(text), os.ReadFile)
		if p == nil {
			return nil, fmt.Errorf("%v in\n%s", problems, text)
		}
		return p, nil
	})
}

// compiled are the policies that tests have asked for by name or text. Nothing changes a policy once it is made.
var compiled sync.Map

// once compiles what a test asks for, unless another did already.
func once(t testing.TB, what string, compile func() (*Policy, error)) *Policy {
	t.Helper()
	if p, ok := compiled.Load(what); ok {
		return p.(*Policy)
	}
	p, err := compile()
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(what, p)
	return p
}

// handshake opens a connection: afterwards c's next number is 1001 and s's is 5001.
const handshake = `
	+0    c S  1000           => forward/new state=SYN_SENT effect=create +new
	+10ms s S. 5000 1001      => forward/syn-ack state=SYN_RECV
	+10ms c .  1001 5001      => forward/handshake state=ESTABLISHED
`
