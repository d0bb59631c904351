package decisionlog

import (
	"sync"
	"sync/atomic"
	"time"

	"halfopen/proxy/spool"
)

// Producer is one worker's bounded ring to the Writer. Put and NextID belong to
// one goroutine; they take no lock, allocate nothing and never wait.
type Producer struct {
	ring *spool.Ring[Record]
	hi   uint64 // upper half of the run's ids
	seq  uint64 // lower half of the last id given
	side uint64 // the same of the last side id

	refusing *atomic.Bool // the Writer's: the disk refuses to write

	lossMu sync.Mutex // taken only when a record is lost, and by the Writer
	loss   loss
}

// newProducer makes a ring of at least size records.
func newProducer(size int, runHi uint64, worker uint16, wake chan<- struct{}, refusing *atomic.Bool) *Producer {
	ring := spool.NewRing[Record](size, wake)
	ring.Touch()
	return &Producer{ring: ring, refusing: refusing, hi: runHi, seq: uint64(worker) << 48,
		side: uint64(worker)<<48 | sideIDs}
}

// NextID gives the next id of this producer.
func (p *Producer) NextID() ID {
	p.seq++
	return ID{Hi: p.hi, Lo: p.seq}
}

// sideIDs is the bit of an id's sequence number that sets side ids apart.
const sideIDs = 1 << 47

// NextSideID gives an id to a record that stands beside a worker's own, so that theirs are numbered as if it were not there.
func (p *Producer) NextSideID() ID {
	p.side++
	return ID{Hi: p.hi, Lo: p.side}
}

// Spare is how many records may be put until half of the ring is taken. It costs as much as reading two numbers.
func (p *Producer) Spare() int { return max(p.ring.Cap()/2-p.ring.Len(), 0) }

// Room reports whether less than half of the ring is taken: what a record that is no part of the books must ask first.
func (p *Producer) Room() bool { return p.Spare() > 0 }

// Cap is how many records the ring holds.
func (p *Producer) Cap() int { return p.ring.Cap() }

// lookEvery is how often Await looks: the Writer takes some hundred records meanwhile, a small part of a ring.
const lookEvery = time.Millisecond

// Await waits until the ring has room for n records, at most Cap, and reports whether it has. It waits no longer than until the deadline, and not for a
// disk that refuses to write. It is for whoever has a great many records at a time and no packet that waits meanwhile: the
// Writer takes longer over a record than it takes to make one, so however large, a ring would overflow. Any goroutine may call it.
func (p *Producer) Await(n int, deadline time.Time) bool {
	for {
		if p.ring.Cap()-p.ring.Len() >= n {
			return true
		}
		if p.refusing.Load() || !time.Now().Before(deadline) {
			return false
		}
		time.Sleep(lookEvery)
	}
}

// Put copies the record into the ring. A full ring loses it: Put then returns
// false and the loss shows up as a gap record, with what the record would have
// explained.
func (p *Producer) Put(r *Record) bool {
	slot := p.ring.Slot()
	if slot == nil {
		p.lossMu.Lock()
		p.loss.add(r)
		p.lossMu.Unlock()
		return false
	}
	slot.copy(r)
	p.ring.Push()
	return true
}

// takeLoss hands over what was lost since the last call.
func (p *Producer) takeLoss() loss {
	p.lossMu.Lock()
	defer p.lossMu.Unlock()
	l := p.loss
	p.loss = loss{}
	return l
}

// loss is what lost records would have said.
type loss struct {
	records  [numEvents]uint64
	reasons  map[string]uint64 // decisions
	exact    uint64            // messages that they explained
	upper    uint64            // messages that lost gap records with an upper bound explained
	fast     [2]int64          // packets and bytes of a fast path that they told of
	from, to int64
}

func (l *loss) add(r *Record) {
	l.records[min(r.Event, numEvents-1)]++
	if l.from == 0 || r.Time < l.from {
		l.from = r.Time
	}
	l.to = max(l.to, r.Time)
	switch {
	case r.Event == EventFlow:
		l.addFast(r.Flow.FastCounted)
	case r.Event == EventGap && r.Gap != nil:
		l.addFast(r.Gap.Fast)
	}
	if r.Event == EventDecision {
		if l.reasons == nil {
			l.reasons = make(map[string]uint64)
		}
		l.reasons[r.Decision.Reason]++
	}
	if r.Event == EventGap && r.Gap != nil && r.Gap.Bound != BoundExact {
		l.upper += r.Explains()
		return
	}
	l.exact += r.Explains()
}

func (l *loss) addFast(n [2]int64) {
	l.fast[0] += n[0]
	l.fast[1] += n[1]
}

// total is the number of records lost.
func (l *loss) total() (n uint64) {
	for _, c := range l.records {
		n += c
	}
	return n
}

// merge adds another loss.
func (l *loss) merge(o loss) {
	if o.total() == 0 {
		return
	}
	for i, n := range o.records {
		l.records[i] += n
	}
	if l.reasons == nil {
		l.reasons = make(map[string]uint64, len(o.reasons))
	}
	for w, n := range o.reasons {
		l.reasons[w] += n
	}
	l.exact += o.exact
	l.upper += o.upper
	l.addFast(o.fast)
	if l.from == 0 || o.from < l.from {
		l.from = o.from
	}
	l.to = max(l.to, o.to)
}

// gaps are the records that admit the loss: one exact, and one more where a
// lost record was itself only a bound.
func (l *loss) gaps(where string, now int64) []Record {
	if l.total() == 0 {
		return nil
	}
	exact := &Gap{Where: where, Count: l.exact, Bound: BoundExact, Fast: l.fast, From: l.from, To: l.to}
	for e, n := range l.records {
		if n > 0 {
			exact.Records = append(exact.Records, Count{EventType(e).String(), n})
		}
	}
	exact.Reasons = sortedCounts(l.reasons)
	out := []Record{{Time: now, Event: EventGap, Gap: exact}}
	if l.upper > 0 {
		out = append(out, Record{Time: now, Event: EventGap, Gap: &Gap{Where: where, Count: l.upper, Bound: BoundUpper,
			From: l.from, To: l.to, Detail: "lost gap records with an upper bound"}})
	}
	return out
}
