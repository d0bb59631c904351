package scenario

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Config says how a script is played.
type Config struct {
	// Policy replaces the policy that the script names, "" for not: a preset's name or a file's, as Read knows it.
	Policy string
	// Read returns the files that the script names, and those that policies inherit from. Names are relative to where the
	// script's own name is. Nil: only presets and sections of the script are known.
	Read func(name string) ([]byte, error)
	// Presets keeps the presets that scripts named, for those that are played after them; nil: each is compiled anew.
	Presets map[string]*policy.Policy
	// Observe is told of each segment that the policy decided; nil for nobody. The outcome is valid during the call.
	Observe func(p *policy.Policy, s *conntrack.Segment, out *policy.Outcome)
	// Explain is told how each such decision came about, after Observe; nil for nobody.
	Explain func(*Explained)
	// Timed is told of what time alone caused under the policy; nil for nobody. The event is valid during the call.
	Timed func(p *policy.Policy, ev *policy.TimeEvent)
	// Played is told of each event of the script once it has been played, in order; nil for nobody.
	Played func(*Played)

	world world
}

// Explained is a segment of a script and how its decision came about.
type Explained struct {
	Line  int // of the script, from 1
	Trace *policy.Trace
	Base  [2]conntrack.Seq   // what relative numbers of the sender and of the receiver are relative to
	Time  []policy.TimeEvent // what time caused since the line before
}

// Played is an event of a script and what came of it.
type Played struct {
	Line    int               // of the script, from 1
	Text    string            // of the line, without what it expects
	Start   conntrack.Instant // of the script
	Now     conntrack.Instant
	Segment *conntrack.Segment // nil where only time passed
	Options []Option           // of the segment, as on the wire
	Want    string             // the decision that the script expects, "" for none
	Got     string             // the decision, with the facts that the script names or those worth telling
	Outcome *policy.Outcome    // of the segment, valid during the call
	Time    []policy.TimeEvent // what time caused since the event before
	Between []string           // lines since the event before that change what follows: reload, gap
}

// world is a way to play a script that must not change what is decided.
type world struct {
	start   conntrack.Instant
	shift   [2]uint32                                     // added to the numbers of each flow's first and second end
	turned  bool                                          // the ends exchange their addresses
	lazy    bool                                          // time causes nothing before a segment asks for it
	strange func(e *policy.Engine, now conntrack.Instant) // between lines
}

// Result is what a run gave.
type Result struct {
	// Problems are lines that came out otherwise than expected, or what is wrong with the policies.
	Problems policy.Problems
	// Played is false where a policy could not be loaded.
	Played bool
	// Decisions counts the lines that were played and compared.
	Decisions int
	edits     []edit
}

// Run plays the script. It may be called several times.
func (s *Script) Run(cfg Config) *Result {
	r := &run{s: s, cfg: cfg, res: &Result{}, now: cfg.world.start}
	if r.now == 0 {
		r.now = 1e15
	}
	if r.start = r.now; !r.load() {
		return r.res
	}
	r.res.Played = true
	for i := range s.stmts {
		r.statement(i)
	}
	slices.SortStableFunc(r.res.Problems, func(a, b policy.Problem) int { return cmp.Compare(a.Line, b.Line) })
	return r.res
}

// run is a script being played.
type run struct {
	s       *Script
	cfg     Config
	res     *Result
	now     conntrack.Instant
	main    player
	shadows []player
	over    []policy.Override // of the script's policy and of those that take its place
	between []string          // see Played
	start   conntrack.Instant
}

// load makes the engines.
func (r *run) load() bool {
	ref, at, noAdopt := r.cfg.Policy, new(statement), true
	for i := range r.s.stmts {
		switch st := &r.s.stmts[i]; st.kind {
		case isPolicy:
			if r.cfg.Policy == "" {
				ref, at = st.name, st
			}
		case isTimeout:
			r.over = append(r.over, policy.Override{Path: "timeouts." + stateKey(st.state), Value: policy.FormatDuration(st.wait)})
		case isSet:
			o, _ := policy.ParseOverride(st.text) // Parse has looked at it
			r.over = append(r.over, o)
		case isAdopt:
			noAdopt = false
		}
	}
	if ref == "" {
		r.fault(0, 0, "no line policy NAME", "one, or a policy given to the test")
		return false
	}
	engine := func(p *policy.Policy) *policy.Engine {
		return policy.NewEngine(policy.EngineConfig{Policy: p, Start: r.now, NoAdopt: noAdopt})
	}
	p := r.open(ref, at, r.over)
	if p != nil {
		r.main = player{engine: engine(p)}
	}
	for i := range r.s.stmts {
		switch st := &r.s.stmts[i]; st.kind {
		case isShadow:
			if q := r.open(st.file, st, nil); q != nil {
				r.shadows = append(r.shadows, player{name: st.name, line: st.line, engine: engine(q)})
			}
		case isReload:
			r.open(st.name, st, r.over)
		}
	}
	return len(r.res.Problems) == 0
}

// fault enters a problem.
func (r *run) fault(line, col int, found, expected string) {
	r.res.Problems = append(r.res.Problems, r.s.problem(line, col, found, expected))
}

// open loads a policy by what a line calls it: a section of the script, a preset or a file.
func (r *run) open(ref string, at *statement, over []policy.Override) *policy.Policy {
	dir := path.Dir(r.s.name)
	read := func(name string) ([]byte, error) {
		for i := range r.s.sections {
			if sec := &r.s.sections[i]; path.Join(dir, sec.name) == name {
				return []byte(sec.data), nil
			}
		}
		if r.cfg.Read == nil {
			return nil, fmt.Errorf("no section of the scenario has this name")
		}
		return r.cfg.Read(name)
	}
	if sec := r.s.section(ref); sec != nil {
		return r.loaded(ref, []byte(sec.data), read, over)
	}
	key := fmt.Sprint(ref, over)
	if p := r.cfg.Presets[key]; p != nil {
		return p
	}
	if p, problems, ok := policy.OpenPreset(ref, over...); ok {
		preset, _, _ := policy.CutReference(ref)
		for i := range problems {
			if of := problems[i].File; of == ref || of == preset { // about the reference
				problems[i] = r.s.problem(at.line, at.col, problems[i].Found, problems[i].Expected)
			}
		}
		r.res.Problems = append(r.res.Problems, problems...)
		if p != nil && r.cfg.Presets != nil {
			r.cfg.Presets[key] = p
		}
		return p
	}
	name := ref
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	data, err := read(name)
	if err != nil {
		r.fault(at.line, at.col, "the policy "+policy.Quote(ref)+" cannot be read ("+err.Error()+")", "a section of this file, a file, or a preset: "+policy.OneOf(ref, policy.Presets()))
		return nil
	}
	return r.loaded(name, data, read, over)
}

// loaded parses and compiles a policy. Problems in a section are placed in the script's file.
func (r *run) loaded(ref string, data []byte, read func(string) ([]byte, error), over []policy.Override) *policy.Policy {
	name := ref
	if r.s.section(ref) != nil {
		name = path.Join(path.Dir(r.s.name), ref)
	}
	p, problems := policy.Load(name, data, read, over...)
	for _, problem := range problems {
		for i := range r.s.sections {
			if sec := &r.s.sections[i]; problem.File == path.Join(path.Dir(r.s.name), sec.name) {
				problem.File = r.s.name
				if problem.Line > 0 {
					problem.Line += sec.line - 1
				}
				break
			}
		}
		r.res.Problems = append(r.res.Problems, problem)
	}
	return p
}

// statement plays one line.
func (r *run) statement(i int) {
	switch st := &r.s.stmts[i]; st.kind {
	case isEvent:
		r.event(i)
	case isGap:
		r.between = append(r.between, r.s.statementText(st))
		r.main.engine.Gap(r.now)
		for j := range r.shadows {
			r.shadows[j].engine.Gap(r.now)
		}
	case isReload:
		r.between = append(r.between, r.s.statementText(st))
		p := r.open(st.name, st, r.over)
		mode := p.Reload()
		for m, w := range policy.ReloadWords() {
			if w == st.mode {
				mode = policy.Reload(m)
			}
		}
		r.main.engine.Swap(r.now, p, mode)
	case isFlows:
		r.flows(i)
	}
}

// event plays a segment or a sweep.
func (r *run) event(i int) {
	st := &r.s.stmts[i]
	r.now = r.now.Add(st.wait)
	if r.cfg.world.strange != nil {
		r.cfg.world.strange(r.main.engine, r.now)
	}
	r.main.told = told{}
	if st.seg == nil || !r.cfg.world.lazy {
		r.main.advance(r.now, r.cfg.Timed)
	}
	if st.seg == nil {
		for j := range r.shadows {
			r.shadows[j].advance(r.now, nil)
		}
		facts := r.sweepFacts()
		r.compare(i, facts)
		r.played(st, facts, &Played{})
		return
	}
	seg := r.segment(st.seg)
	out := r.step(st, &seg)
	if r.cfg.Observe != nil {
		r.cfg.Observe(r.main.engine.Policy(), &seg, out)
	}
	facts := r.stepFacts(&r.main, out, st.seg)
	r.compare(i, facts)
	r.played(st, facts, &Played{Segment: &seg, Outcome: out})
	for j := range r.shadows {
		sh := &r.shadows[j]
		sh.told = told{}
		sh.advance(r.now, nil)
		r.would(i, sh, r.stepFacts(sh, sh.engine.Step(r.now, &seg), st.seg))
	}
}

// played tells of an event that was played.
func (r *run) played(st *statement, f *facts, p *Played) {
	between := r.between
	r.between = nil
	if r.cfg.Played == nil {
		return
	}
	p.Line, p.Start, p.Now, p.Between = st.line, r.start, r.now, between
	p.Text = r.s.eventText(&statement{wait: st.wait, seg: st.seg})
	p.Time, p.Got = r.main.told.events, f.text(st.want)
	if st.want != nil {
		p.Want = st.want.text()
	}
	if st.seg != nil {
		p.Options = wire(st.seg, r.base(st.seg.to))
	}
	r.cfg.Played(p)
}

// step decides a segment by the script's policy.
func (r *run) step(st *statement, seg *conntrack.Segment) *policy.Outcome {
	if r.cfg.Explain == nil {
		return r.main.engine.Step(r.now, seg)
	}
	out, trace := r.main.engine.Explain(r.now, seg)
	r.cfg.Explain(&Explained{Line: st.line, Trace: trace, Base: [2]conntrack.Seq{r.base(st.seg.from), r.base(st.seg.to)}, Time: r.main.told.events})
	return out
}

// base is the number on the wire that the relative number 0 of an end stands for: apart for all ends, and near no wrap.
func (r *run) base(end int) conntrack.Seq {
	return conntrack.Seq(uint32(end+1) * 1_000_000_007).Add(r.cfg.world.shift[end%2])
}

func (r *run) addr(end int) int {
	if r.cfg.world.turned {
		return end ^ 1
	}
	return end
}

// tuple returns the tuple of segments from one end to another.
func (r *run) tuple(from, to int) conntrack.Tuple {
	return conntrack.MakeTuple(r.s.ends[r.addr(from)].addr, r.s.ends[r.addr(to)].addr)
}

// segment makes the segment that a line describes.
func (r *run) segment(w *segment) conntrack.Segment {
	s := conntrack.Segment{Tuple: r.tuple(w.from, w.to), Flags: w.flags, Len: w.length, Seq: w.seq.seq(r.base(w.from)),
		Window: defaultWin, TTL: 64, Options: optionsOf(w, r.base(w.to))}
	if w.ack != nil {
		s.Ack = w.ack.seq(r.base(w.to))
	}
	for _, f := range w.fields {
		switch f.key {
		case "win":
			s.Window = uint16(f.n)
		case "urg":
			s.Urgent = uint16(f.n)
		case "reserved":
			s.Reserved = uint8(f.n)
		case "cksum":
			if s.GSO = f.value == checksumPartial; !s.GSO {
				s.Checksum = conntrack.Checksum(f.n)
			}
		case "defect":
			s.Defect = conntrack.Defect(f.n)
		}
	}
	ip := 20
	if r.s.ends[w.from].addr.Addr().Is6() {
		ip = 40
	}
	s.Bytes = uint32(ip+headerLen(w)) + w.length
	return s
}
