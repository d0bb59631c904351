package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"math"
	"slices"
)

// plan is a filter made ready for one view: words are numbers, times are nanoseconds.
type plan struct {
	f            *Filter
	byConn       bool
	byShape      bool
	since, until int64 // since <= t < until
	// By dimension the words asked for; nil: any.
	event, verdict, reason, rule, arm, rev wordSet
	outcome, shadows                       wordSet
	outcomes                               [][]byte // of flow_chunks the first plane, nil where there is none
	none                                   bool     // nothing can fit
}

// wordSet is a set of word numbers.
type wordSet map[uint32]bool

func (s wordSet) has(w uint32) bool { return s == nil || s[w] }

func newPlan(tx *sql.Tx, v *view, f *Filter) (*plan, error) {
	p := &plan{f: f, byConn: f.byConn(), byShape: f.byShape()}
	p.since, p.until = f.bounds()
	p.none = p.since >= p.until
	for _, d := range []struct {
		to   *wordSet
		want []string
	}{{&p.event, f.Event}, {&p.verdict, f.Verdict}, {&p.reason, f.Reason}, {&p.rule, f.Rule}, {&p.arm, f.Arm}, {&p.outcome, f.Outcome}} {
		if len(d.want) == 0 {
			continue
		}
		set := wordSet{}
		for _, w := range d.want {
			if id, ok := v.words.find(w); ok && id != 0 {
				set[id] = true
			}
		}
		p.none = p.none || len(set) == 0
		*d.to = set
	}
	if len(f.Rev) > 0 {
		p.rev = wordSet{}
		for _, id := range v.words.matching(func(w string) bool { return w != "" && oneRev(f.Rev, w) }) {
			p.rev[id] = true
		}
		p.none = p.none || len(p.rev) == 0
	}
	if len(f.Disagrees) > 0 {
		p.shadows = wordSet{}
		for _, id := range v.words.matching(func(w string) bool { return oneShadow(f.Disagrees, w) }) {
			p.shadows[id] = true
		}
		p.none = p.none || len(p.shadows) == 0
	}
	if p.outcome != nil && !p.none {
		return p, p.loadOutcomes(tx)
	}
	return p, nil
}

func (p *plan) loadOutcomes(tx *sql.Tx) error {
	return eachPlane(tx, 0, func(n int64, data []byte) {
		for int64(len(p.outcomes)) <= n {
			p.outcomes = append(p.outcomes, nil)
		}
		p.outcomes[n] = append([]byte(nil), data...)
	})
}

// shape says whether records of this shape fit.
func (p *plan) shape(s *shape) bool {
	return p.event.has(s.event) && p.verdict.has(s.verdict) && p.reason.has(s.reason) && p.rule.has(s.rule) && p.arm.has(s.arm) && p.rev.has(s.rev) &&
		p.shadows.has(s.shadows)
}

// conn says which records of a connection fit, as Filter.conn does.
func (p *plan) conn(c *conn) uint8 {
	if p.outcome != nil {
		chunk := int(c.row / chunkFlows)
		if c.row == 0 || chunk >= len(p.outcomes) {
			return 0
		}
		data := p.outcomes[chunk]
		at := int(c.row%chunkFlows) * 4
		if at+4 > len(data) || !p.outcome[binary.LittleEndian.Uint32(data[at:])] {
			return 0
		}
	}
	return p.f.conn(c)
}

// scanner walks blocks and finds the records that fit a plan.
type scanner struct {
	x    *Index
	tx   *sql.Tx
	v    *view
	p    *plan
	get  *sql.Stmt
	bufs [numColumns][]byte

	blk     *blockMeta
	shapes  []shape
	shapeOK []bool
	conns   []conn
	connOK  []uint8
	mask    []uint8
	shapeOf []uint16
	connOf  []uint16
	times   []int64
	offsets []int64
	minutes []minuteCount
	loaded  [numColumns]bool
	hits    []int32
}

func (x *Index) newScanner(tx *sql.Tx, v *view, f *Filter) (*scanner, error) {
	p, err := newPlan(tx, v, f)
	if err != nil {
		return nil, err
	}
	s := &scanner{x: x, tx: tx, v: v, p: p}
	s.get, err = tx.Prepare("SELECT data FROM columns WHERE id = ?")
	return s, err
}

// raw reads a column's octets.
func (s *scanner) raw(column int) ([]byte, error) {
	rows, err := s.get.Query(s.blk.id<<columnBits | int64(column))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, errDamaged
	}
	var b sql.RawBytes
	if err := rows.Scan(&b); err != nil {
		return nil, err
	}
	s.bufs[column] = append(s.bufs[column][:0], b...)
	return s.bufs[column], nil
}

// need makes columns of the block at hand ready.
func (s *scanner) need(columns ...int) (err error) {
	for _, c := range columns {
		if s.loaded[c] {
			continue
		}
		data, err := s.raw(c)
		if err != nil {
			return err
		}
		switch c {
		case colShape:
			s.shapeOf, err = decodeNumbers(data, s.blk.n, len(s.shapes), s.shapeOf)
		case colConns:
			s.conns, err = decodeConns(data, s.conns)
		case colConn:
			if err = s.need(colConns); err == nil {
				s.connOf, err = decodeNumbers(data, s.blk.n, len(s.conns), s.connOf)
			}
		case colTime:
			s.times, err = decodeDeltas(data, s.blk.n, s.blk.lo, s.times)
		case colOffset:
			s.offsets, err = decodeDeltas(data, s.blk.n, s.blk.offset, s.offsets)
		case colMinutes:
			s.minutes, err = decodeMinutes(data, floorDiv(s.blk.lo, minuteNS), len(s.shapes), s.minutes)
		}
		if err != nil {
			return err
		}
		s.loaded[c] = true
	}
	return nil
}

// enter makes a block the one at hand and says whether any of its records may fit.
func (s *scanner) enter(b *blockMeta) (bool, error) {
	p := s.p
	s.blk, s.loaded = b, [numColumns]bool{}
	if p.none || b.hi < p.since || b.lo >= p.until && p.until != math.MaxInt64 {
		return false, nil
	}
	var err error
	if s.shapes, err = s.x.shapesOf(s.tx, s.v, b); err != nil {
		return false, err
	}
	s.shapeOK = slices.Grow(s.shapeOK[:0], len(s.shapes))[:len(s.shapes)]
	some := false
	for i := range s.shapes {
		s.shapeOK[i] = !p.byShape || p.shape(&s.shapes[i])
		some = some || s.shapeOK[i]
	}
	if !some || !p.byConn {
		return some, nil
	}
	if err := s.need(colConns); err != nil {
		return false, err
	}
	s.connOK = slices.Grow(s.connOK[:0], len(s.conns))[:len(s.conns)]
	some = false
	for i := range s.conns {
		s.connOK[i] = p.conn(&s.conns[i])
		some = some || s.connOK[i] != 0
	}
	return some, nil
}

// inside says whether all of the block at hand lies within the filter's time.
func (s *scanner) inside() bool {
	return s.blk.lo >= s.p.since && (s.blk.hi < s.p.until || s.p.until == math.MaxInt64)
}

// find lists the records of the block at hand that fit, in order.
func (s *scanner) find() ([]int32, error) {
	p, n := s.p, s.blk.n
	s.hits = s.hits[:0]
	timed := !s.inside()
	if !p.byShape && !p.byConn && !timed {
		for i := range n {
			s.hits = append(s.hits, int32(i))
		}
		return s.hits, nil
	}
	if err := s.need(colShape); err != nil {
		return nil, err
	}
	switch {
	case p.byConn:
		if err := s.need(colConn); err != nil {
			return nil, err
		}
		s.mask = slices.Grow(s.mask[:0], len(s.shapes))[:len(s.shapes)] // which of a connection's two bits a shape asks for
		for i := range s.shapes {
			s.mask[i] = 0
			if s.shapeOK[i] {
				s.mask[i] = 1 + uint8(s.shapes[i].bits&bitSwapped)
			}
		}
		connOf := s.connOf[:len(s.shapeOf)]
		for i, sh := range s.shapeOf {
			if s.connOK[connOf[i]]&s.mask[sh] != 0 {
				s.hits = append(s.hits, int32(i))
			}
		}
	default:
		for i, sh := range s.shapeOf {
			if s.shapeOK[sh] {
				s.hits = append(s.hits, int32(i))
			}
		}
	}
	if timed && len(s.hits) > 0 {
		if err := s.need(colTime); err != nil {
			return nil, err
		}
		s.hits = slices.DeleteFunc(s.hits, func(i int32) bool { return s.times[i] < p.since || s.times[i] >= p.until && p.until != math.MaxInt64 })
	}
	return s.hits, nil
}

// each calls fn for every block in which records fit, in the log's order. Where a block lies within the filter's time and the filter
// asks for words only, counted is called instead if it is not nil: the block's counts by minute tell, without its records.
func (s *scanner) each(ctx context.Context, fn func(hits []int32) error, counted func([]minuteCount) error) error {
	for i := range s.v.blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		some, err := s.enter(&s.v.blocks[i])
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		if counted != nil && !s.p.byConn && s.inside() {
			if err := s.need(colMinutes); err != nil {
				return err
			}
			if err := counted(s.minutes); err != nil {
				return err
			}
			continue
		}
		hits, err := s.find()
		if err != nil {
			return err
		}
		if len(hits) > 0 {
			if err := fn(hits); err != nil {
				return err
			}
		}
	}
	return nil
}
