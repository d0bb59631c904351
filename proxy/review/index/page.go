package index

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is a record as the index knows it: enough for a line of a table. [Index.Event] reads the rest from the log.
type Row struct {
	Cursor      Cursor
	Time        time.Time
	Event       string // event_type
	Kind        string // flow: new, update, end; inject: kind; gap: where; reload: ok, refused; experiment: event; decision: trigger
	FlowID      uint64 // 0: none
	Flow        int64  // id of its row in table flow_rows, 0: none
	Src, Dst    netip.AddrPort
	Direction   string // to_server, to_client or ""
	Flags       string // tcpdump's letters
	Verdict     string
	Reason      string
	Rule        string
	Preset      string
	PolicyRev   string
	Arm         string
	StateBefore string
	StateAfter  string // of a flow record: its state
	Reply       string // kind of what was made for the sender
	Peer        string // for the other end; inject: to whom
}

// Cursor is a record's place in the log: the name of its file without .jsonl and .zst, and the offset of its line. It outlives the
// index. The zero Cursor is no place.
type Cursor struct {
	Stem   string
	Offset int64
}

// String is the cursor as ParseCursor reads it.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return c.Stem + "@" + strconv.FormatInt(c.Offset, 10)
}

// ParseCursor reads a cursor's text; "" is the zero Cursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	stem, offset, ok := strings.Cut(s, "@")
	n, err := strconv.ParseInt(offset, 10, 64)
	if !ok || err != nil || n < -1 || stem == "" || strings.ContainsAny(stem, "/\\\x00") {
		return Cursor{}, fmt.Errorf("index: cursor %q is none", s)
	}
	return Cursor{stem, n}, nil
}

// compare orders cursors as the log does.
func (c Cursor) compare(o Cursor) int {
	return cmp.Or(cmp.Compare(c.Stem, o.Stem), cmp.Compare(c.Offset, o.Offset))
}

// Order is the direction of a page: the log's order or against it. The log's order is that of its files' names and of the lines in
// them. Times follow it but for the moment that records of several workers take to be written.
type Order bool

// Orders.
const (
	OldestFirst Order = false
	NewestFirst Order = true
)

// Page is one page of records.
type Page struct {
	Rows []Row
	More bool   // there are more behind the last one
	End  Cursor // behind all records known now: a page after it, oldest first, gives what has come since
}

// Page returns up to limit records that the filter picks, in the order wanted, behind the record at after (the zero Cursor: from
// the beginning). The next page begins after the last row's Cursor; the page before, in the other order, after the first row's.
func (x *Index) Page(ctx context.Context, f Filter, after Cursor, limit int, order Order) (Page, error) {
	var page Page
	tx, v, err := x.look()
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	page.End = v.end()
	s, err := x.newScanner(tx, v, &f)
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	err = s.page(ctx, &page, after, limit, order)
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	return page, nil
}

func (s *scanner) page(ctx context.Context, page *Page, after Cursor, limit int, order Order) error {
	n := len(s.v.blocks)
	for i := range n {
		if order == NewestFirst {
			i = n - 1 - i
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b := &s.v.blocks[i]
		if s.beyond(i, after, order) {
			continue
		}
		some, err := s.enter(b)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		hits, err := s.find()
		if err != nil {
			return err
		}
		if len(hits) == 0 {
			continue
		}
		if err := s.need(colShape, colConn, colTime, colOffset); err != nil {
			return err
		}
		if order == NewestFirst {
			slices.Reverse(hits)
		}
		for _, h := range hits {
			at := Cursor{s.v.files[b.file].stem, s.offsets[h]}
			if after != (Cursor{}) && (order == OldestFirst && at.compare(after) <= 0 || order == NewestFirst && at.compare(after) >= 0) {
				continue
			}
			if len(page.Rows) == limit {
				page.More = true
				return nil
			}
			page.Rows = append(page.Rows, s.row(int(h)))
		}
	}
	return nil
}

// beyond says whether a whole block lies on the wrong side of the cursor.
func (s *scanner) beyond(i int, after Cursor, order Order) bool {
	if after == (Cursor{}) {
		return false
	}
	b := &s.v.blocks[i]
	if order == NewestFirst {
		return Cursor{s.v.files[b.file].stem, b.offset}.compare(after) >= 0
	}
	if i+1 == len(s.v.blocks) {
		return false
	}
	next := &s.v.blocks[i+1]
	return Cursor{s.v.files[next.file].stem, next.offset}.compare(after) <= 0
}

// row tells of record i of the block at hand.
func (s *scanner) row(i int) Row {
	sh, c, w := &s.shapes[s.shapeOf[i]], &s.conns[s.connOf[i]], s.v.words
	r := Row{Cursor: Cursor{s.v.files[s.blk.file].stem, s.offsets[i]}, Time: time.Unix(0, s.times[i]).UTC(),
		Event: w.word(sh.event), Kind: w.word(sh.kind), FlowID: c.flow, Flow: int64(c.row), Flags: w.word(sh.flags),
		Verdict: w.word(sh.verdict), Reason: w.word(sh.reason), Rule: w.word(sh.rule), Preset: w.word(sh.preset), PolicyRev: w.word(sh.rev),
		Arm: w.word(sh.arm), StateBefore: w.word(sh.before), StateAfter: w.word(sh.after), Reply: w.word(sh.reply), Peer: w.word(sh.replyP)}
	r.Src, r.Dst = c.pair(sh.bits&bitSwapped != 0)
	switch {
	case sh.bits&bitToServer != 0:
		r.Direction = "to_server"
	case sh.bits&bitToClient != 0:
		r.Direction = "to_client"
	}
	return r
}
