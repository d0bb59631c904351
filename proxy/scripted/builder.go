package scripted

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/decisionlog"
)

// Options say what a script is made for.
type Options struct {
	Log       string   // what the log is called in the script's prose
	Policy    string   // NAME|FILE that the script names; "": the preset of the records
	Overrides []string // PATH=VALUE of it
}

// Script is a scenario made of records.
type Script struct {
	Text     []byte
	Segments int    // that have records
	Counted  uint64 // segments that the log only counts
	// Otherwise counts the lines that come out otherwise when the script is played; -1 where the policy is not at hand.
	Otherwise int
}

// maxSegments bounds the segments of a script. Their lines stay far below the size that the language allows.
const maxSegments = 20000

// Builder makes a script of the records of one connection, given in the log's order. The zero Builder is not usable; call [New].
type Builder struct {
	opt    Options
	flow   conntrack.Tuple // from the end that opened the connection, as far as that is told
	sure   int             // see opener
	begun  bool
	events []decisionlog.Event
	held   uint64 // records that a rate limit held back meanwhile
	gaps   uint64 // messages that gap records admit meanwhile
}

// New returns a builder.
func New(o Options) *Builder { return &Builder{opt: o} }

// Add takes a record: of the connection, or one of the whole log (its gaps and what a rate limit held back make the script say that
// records may be missing). A connection is what passed between two ends; records of other ends are not looked at.
func (b *Builder) Add(e *decisionlog.Event) {
	switch {
	case e.Stats != nil:
		for _, n := range e.Stats.Suppressed {
			b.held += n
		}
		return
	case e.Gap != nil:
		b.gaps += e.Gap.Count
		return
	case e.Decision == nil && e.Flow == nil && e.Inject == nil:
		return
	}
	tu, ok := ends(e)
	if !ok {
		return
	}
	key, _ := tu.Canonical()
	if old, _ := b.flow.Canonical(); b.begun && key != old {
		return
	}
	if tu, sure := opener(e, tu); !b.begun || sure > b.sure {
		b.flow, b.begun, b.sure = tu, true, sure
	}
	kept := *e
	kept.Raw = nil
	b.events = append(b.events, kept)
}

// ends returns the tuple that a record tells.
func ends(e *decisionlog.Event) (conntrack.Tuple, bool) {
	src, err1 := netip.ParseAddr(e.SrcIP)
	dst, err2 := netip.ParseAddr(e.DestIP)
	if err1 != nil || err2 != nil || src.Unmap().Is4() != dst.Unmap().Is4() {
		return conntrack.Tuple{}, false
	}
	return conntrack.MakeTuple(netip.AddrPortFrom(src, e.SrcPort), netip.AddrPortFrom(dst, e.DestPort)), true
}

// opener turns a record's tuple so that it is from the end that opened the connection, and says how sure that is: 3 where the gateway knew
// the connection, 2 where the end sent a SYN, 1 where it sent anything.
func opener(e *decisionlog.Event, tu conntrack.Tuple) (conntrack.Tuple, int) {
	switch {
	case e.Flow != nil || e.Direction == "to_server":
		return tu, 3
	case e.Direction == "to_client":
		return tu.Reverse(), 3
	case e.Inject != nil: // made in the name of the end that did not send what caused it
		return tu.Reverse(), 0
	case e.TCP != nil && strings.Contains(e.TCP.Flags, "S") && !strings.Contains(e.TCP.Flags, "."):
		return tu, 2
	}
	return tu, 1
}

// Script makes the script of what was added.
func (b *Builder) Script() (*Script, error) {
	if len(b.events) == 0 {
		return nil, fmt.Errorf("scenario: no record tells of a connection")
	}
	w := &writer{b: b, made: map[string][]*decisionlog.Event{}, seen: map[uint64]time.Time{}, whole: map[uint64]bool{}, rec: &scenario.Recording{
		Flows: []scenario.RecordedFlow{{Names: [2]string{"c", "s"}, Ends: [2]netip.AddrPort{b.flow.From(), b.flow.To()}}}}}
	if err := w.choosePolicy(); err != nil {
		return nil, err
	}
	n := map[uint64]uint64{}
	for i := range b.events {
		switch e := &b.events[i]; {
		case e.Inject != nil && e.Inject.Cause != "":
			w.made[e.Inject.Cause] = append(w.made[e.Inject.Cause], e)
		case e.Flow != nil:
			n[e.FlowID] += e.Flow.Counted
			if e.Flow.Event == "end" {
				w.seen[e.FlowID], w.whole[e.FlowID] = e.Flow.End.Time, n[e.FlowID] == 0
			}
		}
	}
	for i := range b.events {
		w.event(i)
	}
	if len(w.rec.Events) == 0 {
		return nil, fmt.Errorf("scenario: no record tells a segment between %s and %s", b.flow.From(), b.flow.To())
	}
	if n := len(w.rec.Events); n > maxSegments {
		return nil, fmt.Errorf("scenario: %d segments and events between %s and %s; a scenario holds %d", n, b.flow.From(), b.flow.To(), maxSegments)
	}
	out := &Script{Segments: w.segments, Counted: w.counted, Otherwise: -1}
	w.rec.Prose = w.prose()
	if w.atHand {
		otherwise, err := w.play()
		if err != nil {
			return nil, err
		}
		if out.Otherwise = otherwise; otherwise > 0 {
			w.rec.Prose = append(w.rec.Prose, fmt.Sprintf("Played under %s, %s otherwise than the log says: halfopen test tells which.",
				w.rec.Policy, counted(uint64(otherwise), "line comes out", "lines come out")))
		}
	}
	s, err := w.rec.Script("scenario")
	if err != nil {
		return nil, err
	}
	out.Text = s.Format()
	return out, nil
}

// counted is a number with its noun.
func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// play counts the lines that come out otherwise.
func (w *writer) play() (int, error) {
	s, err := w.rec.Script("scenario")
	if err != nil {
		return 0, err
	}
	res := s.Run(scenario.Config{Read: os.ReadFile})
	if !res.Played {
		return 0, res.Problems
	}
	lines := map[int]bool{}
	for _, p := range res.Problems {
		lines[p.Line] = true
	}
	return len(lines), nil
}

// writer turns records into a recording.
type writer struct {
	b     *Builder
	rec   *scenario.Recording
	made  map[string][]*decisionlog.Event // what decisions had injected, by their ids
	seen  map[uint64]time.Time            // when flows that ended had their last segment
	whole map[uint64]bool                 // flows of which each segment has a record
	at    time.Time                       // of the last event
	ends  [2]endState                     // c and s
	state string                          // of the connection
	fin   int                             // who sent the last FIN: 1 for c, 2 for s, 0 for nobody

	segments int
	counted  uint64
	flows    []uint64 // ids, in order
	revs     []string // policy revisions, in order
	preset   string   // that the last decision's policy is built on
	atHand   bool     // the policy of the script can be played
	unbegun  bool     // the first record is of a connection that began before
	sack     bool     // a segment carried SACK blocks
	swept    []string // findings of the sweep at the end, nil where the last event is none
}

// endState is what is known of an end.
type endState struct {
	next   conntrack.Seq // the number after the last that was tracked
	said   conntrack.Seq // the number after the last that a record shows, tracked or not
	known  bool
	heard  bool // a record shows a segment of it
	window uint16
	scale  uint8
}

// choosePolicy finds the policy that the script names: the one that was asked for, or the preset that decided.
func (w *writer) choosePolicy() (err error) {
	for i := range w.b.events {
		if d := w.b.events[i].Decision; d != nil && d.PolicyRev != "" {
			w.preset = d.Preset
			if !slices.Contains(w.revs, d.PolicyRev) {
				w.revs = append(w.revs, d.PolicyRev)
			}
		}
		if f := w.b.events[i].Flow; f != nil && w.preset == "" {
			w.preset = f.Preset
		}
	}
	if w.b.opt.Policy != "" {
		w.rec.Policy, w.rec.Files, err = Along(w.b.opt.Policy)
		w.rec.Sets, w.atHand = w.b.opt.Overrides, true
		return err
	}
	if _, known := policy.Preset(w.preset); known {
		w.rec.Policy = w.preset
		w.atHand = len(w.revs) == 1 && w.revs[0] == presetRev(w.preset)
	}
	return nil
}

// presetRev returns the revision of an embedded preset, "" for none.
func presetRev(name string) string {
	data, ok := policy.Preset(name)
	if !ok {
		return ""
	}
	p, _ := policy.Load(name, data, nil)
	if p == nil {
		return ""
	}
	return p.Rev()
}

// prose says where the script is from, and what it lacks.
func (w *writer) prose() []string {
	b := w.b
	lines := []string{fmt.Sprintf("From %s: what passed between %s and %s.", cmp.Or(b.opt.Log, "a decision log"), b.flow.From(), b.flow.To())}
	about := "Records"
	if len(w.flows) > 0 {
		about = "Flow"
		if len(w.flows) > 1 {
			about = "Flows"
		}
		for i, id := range w.flows[:min(len(w.flows), 5)] {
			about += strings.Repeat(",", min(i, 1)) + fmt.Sprintf(" %d", id)
		}
	}
	lines = append(lines, fmt.Sprintf("%s from %s on. Community ID %s.", about, b.events[0].Timestamp.UTC().Format(time.RFC3339Nano),
		decisionlog.AppendCommunityID(nil, b.flow.From(), b.flow.To())))
	add := func(ok bool, format string, args ...any) {
		if ok {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	add(w.counted > 0, "The log only counts %s more. Where numbers show that some went by, lines without a decision stand for them.", counted(w.counted, "segment", "segments"))
	add(w.unbegun, "The log does not tell how the connection began.")
	add(w.sack, "SACK blocks are left out: a record does not tell their numbers.")
	add(b.held > 0, "A rate limit held back %s of the whole log; some may be of this connection.", counted(b.held, "record", "records"))
	add(b.gaps > 0, "Gap records of the log admit %s; some may be of this connection.", counted(b.gaps, "message", "messages"))
	add(len(w.revs) > 1, "The policy changed meanwhile: %d revisions decided.", len(w.revs))
	if !w.atHand && len(w.revs) > 0 {
		built := ""
		if w.preset != "" {
			built = " built on " + w.preset
		}
		add(true, "Decided by a policy%s that is not at hand, revision %s: put its file in the place of the policy named here.", built, w.revs[len(w.revs)-1])
	}
	return lines
}
