package outcome

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// reader reads logs one after another.
type reader struct {
	ctx   context.Context
	opt   Options
	each  func(*experiment.Outcome) error
	words *words
	data  *Data

	// Of the log at hand.
	gateway *Gateway
	gaps    spans // of it
	join    *joiner
	clocks  []clock // by run
	runs    map[string]int
	run     int
	file    string
	line    int
	f       decisionlog.Fields
}

// log reads one log.
func (r *reader) log(path string) error {
	files := []string{path}
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("outcome: %w", err)
	}
	if st.IsDir() {
		if files, err = decisionlog.Files(path); err != nil {
			return err
		}
	}
	r.data.Gateways = append(r.data.Gateways, Gateway{Name: path})
	r.gateway = &r.data.Gateways[len(r.data.Gateways)-1]
	r.gaps, r.clocks, r.runs = spans{}, nil, map[string]int{}
	r.join = newJoiner(r)
	r.enter("")
	r.gateway.Runs = nil
	for _, name := range files {
		if err := r.readFile(name); err != nil {
			return err
		}
	}
	return r.join.settle()
}

// enter makes a run the one that records belong to.
func (r *reader) enter(run string) {
	i, ok := r.runs[run]
	if !ok {
		i = len(r.clocks)
		r.runs[run] = i
		c := clock{name: run}
		if len(r.clocks) > 0 { // what has stepped back stays so
			c.shift = r.clocks[r.run].shift
			c.previous = c.shift
		}
		r.clocks = append(r.clocks, c)
		r.gateway.Runs = append(r.gateway.Runs, run)
	}
	r.run = i
}

// readFile reads one file. Lines that are no records are noted, and reading goes on.
func (r *reader) readFile(name string) error {
	l, err := decisionlog.OpenLines(name, decisionlog.Position{})
	if errors.Is(err, os.ErrNotExist) { // retention was faster, or it was compressed since
		if l, err = decisionlog.OpenLines(name+".zst", decisionlog.Position{}); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer l.Close()
	r.file = name
	for n := 0; ; n++ {
		if n&0xfff == 0 && r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		raw, at, err := l.Next()
		r.line = at.Line + 1
		var bad *decisionlog.BadLine
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad):
			r.bad(bad)
			if bad.Cut {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		r.gateway.Bytes += int64(len(raw)) + 1
		if err := r.f.Decode(raw); err != nil {
			r.bad(&decisionlog.BadLine{File: name, Line: r.line, Offset: at.Offset, Err: err})
			continue
		}
		known, err := r.record()
		if err != nil || !known {
			return err
		}
	}
}

func (r *reader) bad(b *decisionlog.BadLine) {
	l := &r.data.Loss
	l.BadLines++
	if b.Cut {
		l.Cut++
	}
	if len(l.BadSample) < maxBadSample {
		l.BadSample = append(l.BadSample, b)
	}
}

// record takes the line at hand; known is false where its file is of a shape that is not.
func (r *reader) record() (known bool, err error) {
	f := &r.f
	if f.Has(slots.header) {
		if v := int(f.Uint(slots.schema)); v > decisionlog.SchemaVersion {
			r.data.Loss.Schemas = append(r.data.Loss.Schemas, Schema{Gateway: r.gateway.Name, File: r.file, Version: v})
			return false, nil
		}
		r.enter(string(f.Text(slots.headerRun)))
		return true, nil
	}
	if f.Has(slots.trailer) {
		return true, nil
	}
	if len(r.gateway.Runs) == 0 {
		r.gateway.Runs = append(r.gateway.Runs, r.clocks[r.run].name) // a file without header
	}
	r.gateway.Records++
	switch { // other records than workers' do not come in the order of their times
	case f.Has(slots.decision):
		r.join.decision(r.tick(f.Nanos(slots.timestamp)))
	case f.Has(slots.flow):
		r.join.flow(r.tick(f.Nanos(slots.timestamp)))
	case f.Has(slots.inject):
		r.join.inject(r.tick(f.Nanos(slots.timestamp)))
	case f.Has(slots.gap), f.Has(slots.stats), f.Has(slots.reload), f.Has(slots.experiment):
		r.rare()
	}
	return true, r.join.err
}

// tick notes the time of a record, and returns it by a clock that does not step back.
func (r *reader) tick(ns int64) int64 {
	c := &r.clocks[r.run]
	if ns == 0 {
		return c.now
	}
	at := time.Unix(0, ns).UTC()
	if g := r.gateway; g.From.IsZero() || at.Before(g.From) {
		g.From = at
	}
	if r.gateway.To.Before(at) {
		r.gateway.To = at
	}
	mono, back := c.tick(ns)
	if back > 0 {
		l := &r.data.Loss
		if l.StepCount++; len(l.Steps) < maxSteps {
			l.Steps = append(l.Steps, Step{Gateway: r.gateway.Name, Run: c.name, At: time.Unix(0, ns+back).UTC(), Back: time.Duration(back)})
		}
	}
	return mono
}

// clock makes a time that does not step back of a run's timestamps. Records of several workers reach the log up to 200 ms late; what goes
// back by more than slack is a step.
type clock struct {
	name     string
	now      int64 // the latest, mono
	shift    int64 // what makes a timestamp mono
	previous int64 // shift before the last step, for what was written late
}

const slack = int64(10 * time.Second)

// tick takes a timestamp; back is by how much the clock has stepped back just before it, 0 for not.
func (c *clock) tick(ns int64) (mono, back int64) {
	mono = ns + c.shift
	switch {
	case c.now == 0:
		c.now = mono
	case mono < c.now-slack:
		back = c.now - mono
		c.previous = c.shift
		c.shift += back
		mono = c.now
	case mono > c.now+slack && c.previous != c.shift:
		if old := ns + c.previous; old >= c.now-slack && old <= c.now+slack {
			mono = old // a record from before the step
		}
	}
	c.now = max(c.now, mono)
	return mono, back
}

// rare takes a record that few lines are.
func (r *reader) rare() {
	e, err := r.f.Event()
	if err != nil {
		return // the scanner has taken it, so that cannot be
	}
	l := &r.data.Loss
	switch {
	case e.Gap != nil:
		r.gap(e.Gap)
	case e.Stats != nil:
		for w, n := range e.Stats.Suppressed {
			l.Suppressed[w] += n
		}
	case e.Reload != nil:
		r.data.Reloads = append(r.data.Reloads, Reload{At: e.Timestamp.Time, Gateway: r.gateway.Name, OK: e.Reload.OK, Rev: e.Reload.PolicyRev,
			PreviousRev: e.Reload.PreviousRev, Flows: e.Reload.Flows})
	case e.Experiment != nil:
		r.experiment(e)
	}
}

func (r *reader) gap(g *decisionlog.GapEvent) {
	l := &r.data.Loss
	run := g.Run
	if run == "" {
		run = r.clocks[r.run].name
	}
	l.GapRecords++
	if g.Bound == decisionlog.BoundExact {
		l.GapMessages += g.Count
	} else {
		l.GapAtMost += g.Count
	}
	for w, n := range g.Records {
		l.Omitted[w] += n
	}
	if g.Where == decisionlog.GapCrash {
		r.gateway.Crashed = append(r.gateway.Crashed, run)
	}
	if len(l.Gaps) < maxGaps {
		l.Gaps = append(l.Gaps, Gap{Gateway: r.gateway.Name, Run: run, Where: g.Where, Bound: g.Bound, Count: g.Count, From: g.From.Time, To: g.To.Time,
			Detail: g.Detail})
	}
	if from, to := g.From.Nanos(), g.To.Nanos(); from <= to {
		r.gaps.add(from, to)
	}
}
