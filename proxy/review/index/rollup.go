package index

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Dimension is what counts are split by.
type Dimension string

// Dimensions.
const (
	ByVerdict Dimension = "verdict"
	ByReason  Dimension = "reason"
	ByRule    Dimension = "rule"
	ByArm     Dimension = "arm"
	ByRev     Dimension = "rev"
	ByEvent   Dimension = "event"
)

// Dimensions lists them.
func Dimensions() []Dimension {
	return []Dimension{ByVerdict, ByReason, ByRule, ByArm, ByRev, ByEvent}
}

func (d Dimension) of(s *shape) uint32 {
	switch d {
	case ByReason:
		return s.reason
	case ByRule:
		return s.rule
	case ByArm:
		return s.arm
	case ByRev:
		return s.rev
	case ByEvent:
		return s.event
	}
	return s.verdict
}

// Rollup is a time strip: counts of the records that a filter picks.
type Rollup struct {
	From   time.Time     // start of the first bucket, a multiple of Bucket since the epoch
	Bucket time.Duration // length of a bucket
	Words  []string      // of the dimension; "" for records that have none
	Counts [][]uint64    // by bucket, then as Words; no bucket: nothing was picked
	Total  uint64
}

// maxBuckets bounds a rollup: beyond it the bucket is made longer.
const maxBuckets = 4096

// Rollup counts the records that the filter picks, by time and a dimension's words. The buckets reach from the first such record to the
// last; where that would be more than 4096 of them they are made longer than bucket, which is rounded up to a whole second.
func (x *Index) Rollup(ctx context.Context, f Filter, bucket time.Duration, by Dimension) (Rollup, error) {
	out := Rollup{Bucket: max(bucket, time.Second).Round(time.Second)}
	tx, v, err := x.look()
	if err != nil {
		return out, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	s, err := x.newScanner(tx, v, &f)
	if err != nil {
		return out, fmt.Errorf("index: %w", err)
	}
	t := tally{n: make(map[tallyKey]uint64), length: int64(out.Bucket)}
	if err := s.count(ctx, &t, by, out.Bucket); err != nil {
		return out, fmt.Errorf("index: %w", err)
	}
	t.lay(&out, v.words)
	return out, nil
}

// Count counts the records that the filter picks.
func (x *Index) Count(ctx context.Context, f Filter) (uint64, error) {
	tx, v, err := x.look()
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	s, err := x.newScanner(tx, v, &f)
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	var n uint64
	err = s.each(ctx, func(hits []int32) error {
		n += uint64(len(hits))
		return nil
	}, func(counts []minuteCount) error {
		for i := range counts {
			if s.shapeOK[counts[i].shape] {
				n += uint64(counts[i].n)
			}
		}
		return nil
	})
	if err != nil {
		return n, fmt.Errorf("index: %w", err)
	}
	return n, nil
}

// tally counts by bucket and word.
type tally struct {
	n      map[tallyKey]uint64
	length int64 // of a bucket, in nanoseconds
	// The bucket at hand: [lo, hi), its counts by word.
	lo, hi int64
	at     map[uint32]uint64
}

// tallyKey is a bucket's start in seconds and a word.
type tallyKey struct {
	second int64
	word   uint32
}

// bucket makes the bucket of a time the one at hand.
func (t *tally) bucket(ns int64) {
	t.flush()
	t.lo = floorDiv(ns, t.length) * t.length
	t.hi = t.lo + t.length
}

func (t *tally) flush() {
	for w, n := range t.at {
		t.n[tallyKey{floorDiv(t.lo, int64(time.Second)), w}] += n
	}
	clear(t.at)
}

// count counts the records that fit: from the counts by minute where they suffice.
func (s *scanner) count(ctx context.Context, t *tally, by Dimension, bucket time.Duration) error {
	t.at = make(map[uint32]uint64)
	var counted func([]minuteCount) error
	if bucket%time.Minute == 0 {
		counted = func(counts []minuteCount) error {
			for _, c := range counts {
				if !s.shapeOK[c.shape] {
					continue
				}
				if ns := c.minute * minuteNS; ns < t.lo || ns >= t.hi {
					t.bucket(ns)
				}
				t.at[by.of(&s.shapes[c.shape])] += uint64(c.n)
			}
			return nil
		}
	}
	var n []uint64 // by shape: what of the bucket at hand is not in the tally yet
	settle := func() {
		for i, k := range n {
			if k > 0 {
				t.at[by.of(&s.shapes[i])] += k
				n[i] = 0
			}
		}
	}
	err := s.each(ctx, func(hits []int32) error {
		if err := s.need(colShape); err != nil {
			return err
		}
		n = slices.Grow(n[:0], len(s.shapes))[:len(s.shapes)]
		clear(n)
		if floorDiv(s.blk.lo, t.length) == floorDiv(s.blk.hi, t.length) { // one bucket: no need to look at times
			t.bucket(s.blk.lo)
			for _, i := range hits {
				n[s.shapeOf[i]]++
			}
			settle()
			return nil
		}
		if err := s.need(colTime); err != nil {
			return err
		}
		for _, i := range hits {
			if ns := s.times[i]; ns < t.lo || ns >= t.hi {
				settle()
				t.bucket(ns)
			}
			n[s.shapeOf[i]]++
		}
		settle()
		return nil
	}, counted)
	t.flush()
	return err
}

// lay makes buckets of what was counted.
func (t *tally) lay(out *Rollup, w *words) {
	if len(t.n) == 0 {
		return
	}
	first, last := int64(1<<62), int64(-1<<62)
	at := make(map[uint32]int)
	for k := range t.n {
		first, last = min(first, k.second), max(last, k.second)
		if _, ok := at[k.word]; !ok {
			at[k.word] = 0
			out.Words = append(out.Words, w.word(k.word))
		}
	}
	slices.Sort(out.Words)
	for i, s := range out.Words {
		id, _ := w.find(s)
		at[id] = i
	}
	length := int64(out.Bucket / time.Second)
	for (last-first)/length >= maxBuckets-1 {
		length *= 2
	}
	from := floorDiv(first, length) * length
	out.From, out.Bucket = time.Unix(from, 0).UTC(), time.Duration(length)*time.Second
	out.Counts = make([][]uint64, (last-from)/length+1)
	for i := range out.Counts {
		out.Counts[i] = make([]uint64, len(out.Words))
	}
	for k, n := range t.n {
		out.Counts[(k.second-from)/length][at[k.word]] += n
		out.Total += n
	}
}

// floorDiv divides towards minus infinity.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
