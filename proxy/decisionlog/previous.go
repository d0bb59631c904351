package decisionlog

import (
	"errors"
	"fmt"
	"time"
)

// Previous is what a directory says about its newest run.
type Previous struct {
	Run      string
	BootID   string
	File     string            // its last file
	Kernel   Kernel            // base, and the last value seen in the log
	Explains Tally             // by all its records
	Last     time.Time         // of its last record
	Final    bool              // it ended well
	BadLines int               // in its last file, the one cut short included
	Stops    []ExperimentEvent // arms of experiments that its last files say are stopped, with Since set

	stats  bool      // its last file holds a stats record, which Final is from
	starts bool      // the files read say which experiments there are
	began  time.Time // of their first record
}

// findPrevious sums up the newest run of a directory. One file is read: its header
// holds the sum of the run's earlier ones. Where it has no stats record (the final
// one filled a file, and the trailer began the next) those before it tell the end;
// and where it is so young that nobody may have said yet which experiments there
// are, those before it tell which arms were stopped.
func findPrevious(dir string) (*Previous, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for i := len(files) - 1; i >= 0; i-- {
		p, err := sumFile(files[i])
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		for i--; i >= 0 && (!p.stats || p.young()); i-- {
			before, err := sumFile(files[i])
			if err != nil {
				return nil, err
			}
			if before == nil || before.Run != p.Run {
				break
			}
			if !p.stats {
				p.stats, p.Final = before.stats, before.Final
			}
			if !p.starts {
				p.starts, p.Stops, p.began = before.starts, append(before.Stops, p.Stops...), before.began
			}
		}
		return p, nil
	}
	return nil, nil
}

// startsWithin is how long after a file has begun its experiments are in it, if
// there are any: a second, or where the run ended first, as long as that took.
const startsWithin = time.Minute

// young reports whether a run that has experiments might not have said so in the
// files read.
func (p *Previous) young() bool { return !p.starts && p.Last.Sub(p.began) < startsWithin }

// sumFile sums up a run from its last file; nil if that has no header.
func sumFile(path string) (*Previous, error) {
	var p *Previous
	bad := 0
	for e, err := range Read(path) {
		var b *BadLine
		if errors.As(err, &b) {
			bad++
			continue
		}
		if err != nil {
			return nil, err
		}
		if e.Header != nil {
			p = &Previous{Run: e.Header.Run, BootID: e.Header.BootID, File: path, Explains: e.Header.Before, began: e.Timestamp.Time}
			p.see(e.Header.Kernel)
		}
		if p == nil {
			return nil, nil
		}
		p.Explains.Add(e.Tally())
		if e.Timestamp.After(p.Last) {
			p.Last = e.Timestamp.Time
		}
		if e.Experiment != nil && e.Experiment.Event == ExperimentStart {
			p.starts = true
		}
		if x := e.Experiment; x != nil && (x.Event == ExperimentStop || x.Event == ExperimentGuardrail) {
			stop := ExperimentEvent{Name: x.Name, Event: x.Event, Arm: x.Arm, Detail: x.Detail, Since: x.Since}
			if stop.Since.IsZero() {
				stop.Since = e.Timestamp
			}
			p.Stops = append(p.Stops, stop)
		}
		if e.Stats != nil {
			p.see(e.Stats.Kernel)
			p.stats, p.Final = true, e.Stats.Final
		}
	}
	if p != nil {
		p.BadLines = bad
	}
	return p, nil
}

func (p *Previous) see(k *KernelEvent) {
	if k != nil {
		p.Kernel = Kernel{Set: true, Base: k.Base, Now: k.Now}
	}
}

// Recover writes the gap that a crashed previous run left, if there is one, and
// returns it (nil: the previous run ended well, or there was none). counter is
// the kernel counter read from the leftover rules, and present says whether they
// were there. Call it before anything else is put, and with present take counter
// as this run's base. The gap is never dropped: it waits until the disk takes it.
func (w *Writer) Recover(counter uint64, present bool) *Gap {
	if w.previous == nil || w.previous.Final {
		return nil
	}
	now := w.opt.Now()
	g := w.previous.crashGap(counter, present, w.opt.BootID)
	g.To = now.UnixNano()
	w.mu.Lock()
	w.pending = append(w.pending, Record{Time: now.UnixNano(), Event: EventGap, Gap: g})
	w.mu.Unlock()
	return g
}

// crashGap is the algorithm that the package comment describes.
func (p *Previous) crashGap(counter uint64, present bool, bootID string) *Gap {
	g := &Gap{Where: GapCrash, Run: p.Run, From: p.Last.UnixNano(), Known: p.Explains.Sum(), Kernel: p.Kernel, Bound: BoundUnknown}
	switch {
	case !p.Kernel.Set:
		g.Detail = "the log holds no kernel counter of that run"
	case bootID != "" && p.BootID != "" && bootID != p.BootID:
		g.Detail = "the machine was rebooted: counted up to the last stats record"
	case !present:
		g.Detail = "the rules and their counter are gone: counted up to the last stats record"
	case counter < p.Kernel.Now:
		g.Detail = fmt.Sprintf("the kernel counter went back from %d to %d: counted up to the last stats record", p.Kernel.Now, counter)
	default:
		g.Bound, g.Kernel.Now = BoundUpper, counter
	}
	if delta := g.Kernel.Now - min(g.Kernel.Base, g.Kernel.Now); g.Kernel.Set && delta > g.Known {
		g.Count = delta - g.Known
	}
	if p.BadLines > 0 {
		if g.Detail != "" {
			g.Detail += "; "
		}
		g.Detail += fmt.Sprintf("%d lines of its last file are cut or damaged", p.BadLines)
	}
	return g
}
