package decisionlog

import (
	"bytes"
	"time"
)

// batchBytes is how much is encoded before it is written at once.
const batchBytes = 256 << 10

// retention by age is looked at this often.
const tickEvery = time.Minute

// round moves everything from the rings to the sink. While the sink refuses,
// records stay in the rings and the next attempt comes after Retry, unless
// forced; what overflows meanwhile is the disk's loss, not the ring's.
func (w *Writer) round(force bool) {
	now := w.opt.Now()
	w.mu.Lock()
	producers := w.producers
	pending := w.pending
	w.mu.Unlock()
	w.collect(producers)
	if w.failing && !force && now.Before(w.retryAt) {
		return
	}
	if !w.putPending(pending) || !w.putGaps(now) {
		return
	}
	for _, p := range producers {
		if !w.drain(p) {
			return
		}
	}
	if w.failing {
		w.failing = false
		w.isFailing.Store(false)
		w.opt.Logger.Info("decision log: the disk takes records again")
	}
	if now.Sub(w.tickedAt) >= tickEvery {
		w.tickedAt = now
		w.sink.tick(now)
	}
}

// collect takes over what the producers lost.
func (w *Writer) collect(producers []*Producer) {
	for _, p := range producers {
		l := p.takeLoss()
		n := l.total()
		if n == 0 {
			continue
		}
		if w.failing {
			w.disk.merge(l)
			w.diskDropped.Add(n)
		} else {
			w.ring.merge(l)
			w.ringDropped.Add(n)
		}
	}
}

// putPending writes the records that must not be lost.
func (w *Writer) putPending(pending []Record) bool {
	for i := range pending {
		if !w.putOne(&pending[i]) {
			return false
		}
		w.mu.Lock()
		w.pending = w.pending[1:]
		w.mu.Unlock()
	}
	return true
}

// putGaps admits losses; each stays due until its line is written.
func (w *Writer) putGaps(now time.Time) bool {
	for _, l := range []struct {
		loss  *loss
		where string
	}{{&w.disk, GapDisk}, {&w.ring, GapRing}} {
		gaps := l.loss.gaps(l.where, now.UnixNano())
		for i := range gaps {
			if !w.putOne(&gaps[i]) {
				return false
			}
			if i == 0 { // the second gap has only the bound left to admit
				*l.loss = loss{upper: l.loss.upper, records: [numEvents]uint64{EventGap: min(l.loss.upper, 1)}, from: l.loss.from, to: l.loss.to}
			}
		}
		*l.loss = loss{}
	}
	return true
}

// putOne writes a single record now.
func (w *Writer) putOne(r *Record) bool {
	w.buf = append(r.AppendJSON(w.buf[:0]), '\n')
	n, err := w.sink.append(w.buf)
	if n == len(w.buf) {
		w.wrote(r)
		w.bytes.Add(uint64(n))
	}
	return w.note(err)
}

// drain writes what a producer's ring holds. A record leaves the ring only when
// its whole line is in place, so a refused batch loses nothing by itself. What is
// put meanwhile waits for the next round, so that no producer starves another.
func (w *Writer) drain(p *Producer) bool {
	for left := p.ring.Len(); left > 0; {
		w.buf = w.buf[:0]
		for i := 0; i < left && len(w.buf) < batchBytes; i++ {
			w.buf = append(p.ring.At(i).AppendJSON(w.buf), '\n')
		}
		n, err := w.sink.append(w.buf)
		w.bytes.Add(uint64(n))
		lines := bytes.Count(w.buf[:n], []byte{'\n'})
		for i := range lines {
			r := p.ring.At(i)
			w.wrote(r)
			r.Reload, r.Stats, r.Gap, r.Experiment = nil, nil, nil, nil
		}
		p.ring.Release(lines)
		left -= lines
		if !w.note(err) {
			return false
		}
	}
	return true
}

// wrote books a record whose line is in place.
func (w *Writer) wrote(r *Record) {
	w.total.Count(r)
	w.records.Add(1)
	if r.Event == EventStats && r.Stats != nil && r.Stats.Kernel.Set {
		w.kernel = r.Stats.Kernel
	}
}

// note remembers whether the sink works, and says so once.
func (w *Writer) note(err error) bool {
	if err == nil {
		return true
	}
	if !w.failing {
		w.opt.Logger.Error("decision log: cannot write, records wait and will be counted when lost", "error", err)
	}
	w.failing = true
	w.isFailing.Store(true)
	w.retryAt = w.opt.Now().Add(w.opt.Retry)
	return false
}

// headerLine is the first line of the run's file number fileSeq.
func (w *Writer) headerLine(fileSeq uint64) []byte {
	w.fileSeq = fileSeq
	w.files.Store(fileSeq)
	r := w.header(EventHeader)
	return append(r.AppendJSON(nil), '\n')
}

// header sums up what the run wrote so far.
func (w *Writer) header(event EventType) Record {
	return Record{Time: w.opt.Now().UnixNano(), Event: event, header: &Header{
		Schema: SchemaVersion, Version: w.opt.Version, Run: w.run, BootID: w.opt.BootID, FileSeq: w.fileSeq,
		Kernel: w.kernel, Before: w.total, Started: w.started}}
}

// trailer ends the run's last file, if there is one and the sink works.
func (w *Writer) trailer() {
	if w.failing || w.fileSeq == 0 {
		return
	}
	r := w.header(EventTrailer)
	w.sink.append(append(r.AppendJSON(w.buf[:0]), '\n'))
}
