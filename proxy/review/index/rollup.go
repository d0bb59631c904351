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

// column is the dimension's column of minute_rows.
func (d Dimension) column() string {
	if d == ByRev {
		return "policy_rev_w"
	}
	return string(d) + "_w"
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
	t := tally{n: make(map[tallyKey]uint64)}
	if s.p.minutes() && out.Bucket%time.Minute == 0 {
		err = s.countMinutes(&t, by)
	} else {
		err = s.countBlocks(ctx, &t, by)
	}
	if err != nil {
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
	if err := s.each(ctx, func(hits []int32) error { n += uint64(len(hits)); return nil }); err != nil {
		return n, fmt.Errorf("index: %w", err)
	}
	return n, nil
}

// tally counts by second (or minute) and word.
type tally struct {
	n map[tallyKey]uint64
}

type tallyKey struct {
	second int64
	word   uint32
}

// minutes says whether the minute roll-up can answer: words and whole minutes only.
func (p *plan) minutes() bool {
	return !p.byConn && !p.none && wholeMinute(p.f.Since) && wholeMinute(p.f.Until)
}

func wholeMinute(t time.Time) bool { return t.IsZero() || t.UnixNano()%minuteNS == 0 }

func (s *scanner) countMinutes(t *tally, by Dimension) error {
	p := s.p
	q, args := "SELECT minute, event_w, verdict_w, reason_w, rule_w, arm_w, policy_rev_w, sum(n) FROM minute_rows", []any{}
	where := " WHERE"
	if !p.f.Since.IsZero() {
		q, where, args = q+where+" minute >= ?", " AND", append(args, floorDiv(p.since, minuteNS))
	}
	if !p.f.Until.IsZero() {
		q, args = q+where+" minute < ?", append(args, floorDiv(p.until, minuteNS))
	}
	rows, err := s.tx.Query(q+" GROUP BY 1, 2, 3, 4, 5, 6, 7", args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var minute int64
		var n uint64
		var sh shape
		if err := rows.Scan(&minute, &sh.event, &sh.verdict, &sh.reason, &sh.rule, &sh.arm, &sh.rev, &n); err != nil {
			return err
		}
		if p.shape(&sh) {
			t.n[tallyKey{minute * 60, by.of(&sh)}] += n
		}
	}
	return rows.Err()
}

func (s *scanner) countBlocks(ctx context.Context, t *tally, by Dimension) error {
	var word []uint32
	last, lastN := tallyKey{}, uint64(0)
	err := s.each(ctx, func(hits []int32) error {
		if err := s.need(colShape, colTime); err != nil {
			return err
		}
		word = slices.Grow(word[:0], len(s.shapes))[:len(s.shapes)]
		for i := range s.shapes {
			word[i] = by.of(&s.shapes[i])
		}
		for _, i := range hits {
			k := tallyKey{floorDiv(s.times[i], int64(time.Second)), word[s.shapeOf[i]]}
			if k != last {
				if lastN > 0 {
					t.n[last] += lastN
				}
				last, lastN = k, 0
			}
			lastN++
		}
		return nil
	})
	if lastN > 0 {
		t.n[last] += lastN
	}
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
