package proxy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/disagree"
)

// maxPoints bounds each list of a report; what is beyond it is counted.
const maxPoints = 1000

// maxProblems bounds the problems that a report spells out.
const maxProblems = 20

// Replay is what a replay found. Packets is the sum of TCP and Skipped; TCP is the sum of Findings, and of Verdicts.
type Replay struct {
	Capture    string         `json:"capture"`
	Format     string         `json:"format"`     // pcap or pcapng, with ".gz"
	Interfaces map[string]int `json:"interfaces"` // frames by interface and link type
	First      string         `json:"first"`      // time of the first frame, RFC 3339
	Last       string         `json:"last"`       // the latest time
	Policy     PolicyName     `json:"policy"`
	Packets    int            `json:"packets"` // frames in the capture
	TCP        int            `json:"tcp"`     // of those, decided
	Skipped    map[string]int `json:"skipped"` // of those, what no gateway is asked about, by reason
	OutOfOrder int            `json:"out_of_order"`
	BackS      float64        `json:"out_of_order_by_s"` // how far the furthest of them was behind, in seconds
	Untimed    int            `json:"untimed"`           // frames without a time that makes sense
	Unfinished int            `json:"unfinished_checksums"`
	Flows      int            `json:"flows"`     // connections, tracked or not
	Tracked    int            `json:"tracked"`   // of those, taken up by the table
	Live       int            `json:"live"`      // of the tracked ones, remembered at the end
	Ended      map[string]int `json:"ended"`     // of the tracked ones, forgotten, by reason
	Stateless  int            `json:"stateless"` // TCP packets that met no entry and left none
	Findings   map[string]int `json:"findings"`
	Verdicts   map[string]int `json:"verdicts"`
	Decisions  map[string]int `json:"decisions"` // by verdict/finding
	Injected   int            `json:"injected"`  // segments that the policy would have sent
	// By kind; what an action asked for and could not be made, by why; and how holds ended.
	InjectedKinds map[string]int `json:"injected_kinds"`
	Omitted       map[string]int `json:"omitted"`
	Released      map[string]int `json:"released"`

	SeenBefore     int                `json:"seen_before"` // segments that another interface had shown already
	Recorded       Recorded           `json:"recorded"`
	Counterfactual Counterfactual     `json:"counterfactual"`
	Arms           []ReplayArm        `json:"arms,omitempty"` // of experiments
	Shadows        []*disagree.Policy `json:"shadows,omitempty"`
	Problems       []Problem          `json:"problems"`
	ProblemsInAll  int                `json:"problems_in_all"`

	unknown       map[capture.LinkType]bool // reported
	directionless bool                      // reported
	places        map[place]int
	latest        place // of the latest frames, whose count is latestSeen and not among places yet
	latestSeen    int
}

// PolicyName identifies a policy.
type PolicyName struct {
	Name   string `json:"name"`
	Preset string `json:"preset,omitempty"`
	Rev    string `json:"rev"`
}

func policyName(ref string, p *policy.Policy) PolicyName {
	return PolicyName{Name: ref, Preset: p.Preset(), Rev: p.Rev()}
}

// Problem is something wrong with the capture. Text tells the file and the byte.
type Problem struct {
	Frame int    `json:"frame"`
	Text  string `json:"text"`
}

// Counterfactual tells where a replay ceases to show what would have happened: the ends in the capture did not see what the policy
// would have dropped or sent.
type Counterfactual struct {
	Flows     int     `json:"flows"`  // connections with such a point
	Frames    int     `json:"frames"` // their frames behind it
	First     []Point `json:"first"`  // the points, up to 1000
	Forgotten int     `json:"forgotten"`
}

// Recorded compares the decisions with those that an annotated capture tells.
type Recorded struct {
	Frames int            `json:"frames"` // that tell one
	Same   int            `json:"same"`   // of those, with the same verdict, finding, rule and kinds of what is sent
	Pairs  map[string]int `json:"pairs"`  // the others, by both decisions
}

// Point is a decision in a connection.
type Point struct {
	N       int    `json:"n"` // frame
	Time    string `json:"time"`
	Flow    uint64 `json:"flow"` // 0 where the table remembers nothing
	Src     string `json:"src"`
	Dst     string `json:"dst"`
	Verdict string `json:"verdict,omitempty"` // "" where time alone did it
	Reason  string `json:"reason"`
	Reply   string `json:"reply,omitempty"`
	Peer    string `json:"peer,omitempty"`
	After   int    `json:"after"` // the connection's frames behind this one
}

// Deed is what a decision does.
type Deed struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Reply   string `json:"reply,omitempty"`
	Peer    string `json:"peer,omitempty"`
	// Stripped is what a rewritten segment loses, with commas between.
	Stripped string `json:"stripped,omitempty"`
}

// String returns verdict/reason, what is sent, and what is stripped.
func (d Deed) String() string {
	s := deedText(d.Verdict, d.Reason, d.Reply, d.Peer)
	if d.Stripped != "" {
		s += " stripped=" + d.Stripped
	}
	return s
}

func deedText(verdict, reason, reply, peer string) string {
	s := strings.TrimPrefix(verdict+"/"+reason, "/")
	if reply != "" {
		s += " reply=" + reply
	}
	if peer != "" {
		s += " peer=" + peer
	}
	return s
}

func deedOf(out *policy.Outcome) (d Deed) {
	d = Deed{Verdict: out.Verdict.String(), Reason: out.Finding.String(), Stripped: strings.Join(out.Strip.Words(), ",")}
	if out.HasReply {
		d.Reply = out.Reply.Kind
	}
	if out.HasPeer {
		d.Peer = out.Peer.Kind
	}
	return d
}

// ReplayFrame is what became of a frame.
type ReplayFrame struct {
	N       int    `json:"n"`
	Verdict string `json:"verdict"` // forward, drop, hold, rewrite; skip where no gateway is asked
	Reason  string `json:"reason"`  // finding, or why it is skipped
	Flow    uint64 `json:"flow"`    // 0 for none
	Arm     string `json:"arm,omitempty"`
	Reply   string `json:"reply,omitempty"`
	Peer    string `json:"peer,omitempty"`
	// The connection's course was changed before this frame.
	Counterfactual bool `json:"counterfactual,omitempty"`

	Time    conntrack.Instant  `json:"-"`
	Segment *conntrack.Segment `json:"-"` // nil where skipped

	options []scenario.Option // of the segment, as on the wire; filled where ReplayConfig.options asks for it
}

func newReplayReport(cfg *ReplayConfig) *Replay {
	return &Replay{Capture: cfg.Capture, Interfaces: map[string]int{}, Recorded: Recorded{Pairs: map[string]int{}}, Skipped: map[string]int{}, Ended: map[string]int{}, Findings: map[string]int{},
		Verdicts: map[string]int{}, Decisions: map[string]int{}, InjectedKinds: map[string]int{}, Omitted: map[string]int{},
		Released: map[string]int{}, Counterfactual: Counterfactual{First: []Point{}}, Problems: []Problem{},
		unknown: map[capture.LinkType]bool{}, places: map[place]int{}}
}

func (r *Replay) problem(n int, text string) {
	r.ProblemsInAll++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{n, text})
	}
}

// place is where frames were captured.
type place struct {
	iface string
	link  capture.LinkType
}

// seen counts a frame.
func (r *Replay) seen(f *capture.Frame) {
	r.Packets++
	if at := (place{f.Interface, f.LinkType}); at != r.latest {
		r.settleLatest()
		r.latest = at
	}
	r.latestSeen++
}

// settleLatest enters the count of the place at which the latest frames were seen.
func (r *Replay) settleLatest() {
	if r.latestSeen == 0 {
		return
	}
	at := r.latest
	if _, ok := r.places[at]; !ok && len(r.places) >= maxPoints {
		at = place{"others", at.link}
	}
	r.places[at] += r.latestSeen
	r.latestSeen = 0
}

// interfaces names the places.
func (r *Replay) interfaces() {
	r.settleLatest()
	for at, n := range r.places {
		r.Interfaces[strings.TrimSpace(at.iface+" "+at.link.String())] += n
	}
}

func (r *Replay) counterfactual(c *course, p Point) {
	cf := &r.Counterfactual
	cf.Flows++
	if len(cf.First) < maxPoints {
		c.listed = len(cf.First)
		cf.First = append(cf.First, p)
	}
}

// point describes the decision at hand.
func point(r *replay, s *conntrack.Segment, out *policy.Outcome) Point {
	d := deedOf(out)
	return Point{N: r.at.n, Time: stamp(r.now), Flow: out.Flow, Src: s.Tuple.From().String(), Dst: s.Tuple.To().String(),
		Verdict: d.Verdict, Reason: d.Reason, Reply: d.Reply, Peer: d.Peer}
}

func stamp(i conntrack.Instant) string { return time.Unix(0, int64(i)).UTC().Format(time.RFC3339Nano) }

// show tells what became of the segment at hand.
func (r *replay) show(s *conntrack.Segment, out *policy.Outcome, c *course) {
	d := deedOf(out)
	r.shown = ReplayFrame{N: r.at.n, Time: r.now}
	v := &r.shown
	v.Verdict, v.Reason, v.Reply, v.Peer, v.Flow, v.Segment = d.Verdict, d.Reason, d.Reply, d.Peer, out.Flow, s
	v.Arm = r.journal.arm(out.Arm)
	if r.cfg.options && s.Defect == conntrack.DefectNone {
		v.options = takenOptions(r.decoder.options())
	}
	v.Counterfactual = c != nil && c.changed != 0 && c.changed != v.N
}

// openLog opens the decision log, which must be a directory of its own: beside a gateway's it would hide how that ended.
func (r *replay) openLog() error {
	opt := decisionlog.Options{Dir: r.cfg.LogDir, MaxTotalBytes: -1, RingSize: logRing, Version: r.cfg.Version, Stdout: r.cfg.Stdout, Logger: r.cfg.Logger}
	switch {
	case r.cfg.LogDir == "" && r.cfg.PcapDir == "":
		return nil
	case r.cfg.LogDir == "": // the capture has its ids from a log that nobody reads
		opt.Dir, opt.Stdout = "-", discard{}
	}
	log, err := decisionlog.Open(opt)
	if err != nil {
		return err
	}
	if log.Previous() != nil {
		return errors.Join(fmt.Errorf("replay: %s holds a decision log already; a replay wants a directory of its own", r.cfg.LogDir), log.Close())
	}
	r.log = log
	if opt.Dir != "-" {
		for _, p := range append(r.exps.policies(), r.pol) {
			if err := decisionlog.KeepPolicy(opt.Dir, p.Rev(), p.YAML()); err != nil {
				return errors.Join(err, log.Close())
			}
		}
	}
	r.journal.producer = log.Producer(0)
	r.journal.limiter = decisionlog.NewLimiter(r.pol.Log().Rate[:])
	return nil
}

// close completes the report and the log.
func (r *replay) close(src *capture.Reader) {
	rep := r.report
	rep.interfaces()
	rep.Arms = r.arms()
	rep.Format, rep.Policy = src.Format(), policyName(r.cfg.Policy, r.pol)
	if r.clock.started {
		rep.First, rep.Last = stamp(r.clock.first), stamp(r.clock.now)
	}
	rep.OutOfOrder, rep.BackS, rep.Untimed = r.clock.outOfOrder, r.clock.back.Seconds(), r.clock.untimed
	rep.Counterfactual.Forgotten = r.courses.forgotten
	rep.Findings, rep.Verdicts, rep.Decisions = r.journal.counts.words()
	r.tellStats()
	if err := r.closeLog(); err != nil {
		rep.problem(0, fmt.Sprintf("log %s: %v", r.cfg.LogDir, err))
	}
	if err := r.closeTap(); err != nil {
		rep.problem(0, fmt.Sprintf("capture %s: %v", r.cfg.PcapDir, err))
	}
}

// closeLog completes the log, if there is one.
func (r *replay) closeLog() error {
	if r.log == nil {
		return nil
	}
	err := r.log.Close()
	if lost := r.log.Counters(); lost.RingDropped+lost.DiskDropped > 0 {
		err = errors.Join(err, fmt.Errorf("%d records could not be written", lost.RingDropped+lost.DiskDropped))
	}
	return err
}

// words returns the decisions by finding, by verdict, and by both.
func (c *Counts) words() (findings, verdictWords, both map[string]int) {
	findings, verdictWords, both = map[string]int{}, map[string]int{}, map[string]int{}
	for f := range c.Decided {
		for v, n := range c.Decided[f] {
			if n > 0 {
				finding, verdict := conntrack.Finding(f).String(), policy.PacketAction(v).String()
				findings[finding] += int(n)
				verdictWords[verdict] += int(n)
				both[verdict+"/"+finding] += int(n)
			}
		}
	}
	return findings, verdictWords, both
}
