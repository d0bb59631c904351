package index

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Flow is a connection as the log tells of it: one for each flow id of a run. Counts are of what the log holds, or held before
// retention removed files.
type Flow struct {
	ID          int64  // of its row in table flow_rows; in the order of first records
	Run         string // the gateway's life
	FlowID      uint64
	CommunityID string
	Client      netip.AddrPort // who opened it
	Server      netip.AddrPort
	First, Last Cursor    // its first and last record; a zero Cursor: the file is gone
	FirstAt     time.Time // times of these
	LastAt      time.Time
	Started     time.Time // of the first and last segment, as flow records tell; zero: none does
	Seen        time.Time
	Ended       time.Time // when the table forgot it; zero: it lives, or nothing tells

	PktsToServer, PktsToClient           uint64 // of its last flow record
	BytesToServer, BytesToClient         uint64
	FastToServer, FastToClient           uint64 // of the packets, those that the fast path forwarded
	FastBytesToServer, FastBytesToClient uint64
	Counted                              uint64 // plain forwards without a record of their own
	State, ConnState, History            string
	Outcome, EndReason                   string // "" before its end
	Predecessor                          uint64 // flow id of the connection before it on the same ports; 0: none known
	Adopted                              bool
	Probes                               int
	ProbesAnswered                       string
	Rule, Preset, PolicyRev, Arm         string

	SynAt         time.Time     // first SYN of the client; zero: not in the log
	ServerTime    time.Duration // from it to the first SYN/ACK; 0: not known
	HandshakeTime time.Duration // from it to the ACK that completed the handshake; 0: not known
	ResponseTime  time.Duration // from the client's first data to the first that came back after it; 0: not known
	Stall         time.Duration // in which an end waited and nothing new came through
	Stalled       bool          // it ended so
	EndedBy       string        // who ended it

	SynRetransmits      int // the client's further SYNs before the handshake was complete
	RetransmitsToServer int // messages that repeat what was sent before
	RetransmitsToClient int
	OutOfWindowToServer int
	OutOfWindowToClient int

	Decisions      int // decision records, and of them by verdict
	Forwarded      int
	Dropped        int
	Rewritten      int
	Held           int
	Syns, SynAcks  int // decisions about such segments
	RstsFromClient int
	RstsFromServer int
	Injections     int // segments made in its name, and of them not sent
	InjectErrors   int
	RstsToClient   int // of them RSTs, by who got them
	RstsToServer   int
	FirstVerdict   string // of its first and last decision record
	FirstReason    string
	LastVerdict    string
	LastReason     string
	Reasons        []ReasonCount // in the order in which they were first met
}

// ReasonCount is how often a verdict met a reason.
type ReasonCount struct {
	Verdict, Reason string
	N               int
}

// ErrNoFlow is a flow that no record of the log names.
var ErrNoFlow = errors.New("no such flow in the log")

// flow makes a Flow of a row.
func (v *view) flow(r *flowRow) Flow {
	word := func(id int64) string { return v.words.word(uint32(id)) }
	f := Flow{ID: r.id, FlowID: uint64(r.flowID), CommunityID: r.communityID, First: v.cursor(r.firstFile, r.firstOffset),
		Last: v.cursor(r.lastFile, r.lastOffset), FirstAt: instant(r.firstAt), LastAt: instant(r.lastAt), Started: instant(r.started),
		Seen: instant(r.seen), Ended: instant(r.ended), PktsToServer: uint64(r.pkts[0]), PktsToClient: uint64(r.pkts[1]),
		BytesToServer: uint64(r.bytes[0]), BytesToClient: uint64(r.bytes[1]), FastToServer: uint64(r.fast[0]), FastToClient: uint64(r.fast[1]), FastBytesToServer: uint64(r.fastBytes[0]), FastBytesToClient: uint64(r.fastBytes[1]),
		Counted: uint64(r.counted), State: word(r.stateW), ConnState: word(r.connStateW), History: r.letters, Outcome: word(r.outcomeW),
		EndReason: word(r.endW), Predecessor: uint64(r.predecessor), Adopted: r.adopted != 0, Probes: int(r.probes),
		ProbesAnswered: word(r.answeredW), Rule: word(r.ruleW), Preset: word(r.presetW), PolicyRev: word(r.revW), Arm: word(r.armW),
		SynAt: instant(r.synAt), ServerTime: time.Duration(r.serverNS), HandshakeTime: time.Duration(r.handshakeNS),
		Decisions: int(r.decisions), Forwarded: int(r.forward), Dropped: int(r.drop), Rewritten: int(r.rewrite), Held: int(r.hold),
		Syns: int(r.syns), SynAcks: int(r.synacks), RstsFromClient: int(r.rstsClient), RstsFromServer: int(r.rstsServer),
		ResponseTime: time.Duration(r.responseNS), Stall: time.Duration(r.stallNS), Stalled: r.stalled != 0, EndedBy: word(r.endedByW),
		SynRetransmits: int(r.synRetransmits), RetransmitsToServer: int(r.retransmits[0]), RetransmitsToClient: int(r.retransmits[1]),
		OutOfWindowToServer: int(r.outOfWindow[0]), OutOfWindowToClient: int(r.outOfWindow[1]), Injections: int(r.injections), InjectErrors: int(r.injectErrors),
		RstsToClient: int(r.rstsToClient), RstsToServer: int(r.rstsToServer), FirstVerdict: word(r.firstVerdictW),
		FirstReason: word(r.firstReasonW), LastVerdict: word(r.lastVerdictW), LastReason: word(r.lastReasonW)}
	f.Client, f.Server = r.ends()
	for _, c := range r.reasons {
		f.Reasons = append(f.Reasons, ReasonCount{c.verdict, c.reason, int(c.n)})
	}
	f.Run = v.runs[r.run]
	return f
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func (v *view) cursor(file, offset int64) Cursor {
	if i, ok := v.at[file]; ok {
		return Cursor{v.files[i].stem, offset}
	}
	return Cursor{}
}

// flowsWhere reads rows of flow_rows.
func (v *view) flowsWhere(tx *sql.Tx, where string, args ...any) ([]Flow, error) {
	rows, err := tx.Query(flowSQL.selectBy+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Flow
	for rows.Next() {
		var r flowRow
		if err := r.scan(rows); err != nil {
			return nil, err
		}
		out = append(out, v.flow(&r))
	}
	return out, rows.Err()
}

// Flow returns the connection of a flow id: where several runs had it, the newest. The error may be ErrNoFlow.
func (x *Index) Flow(ctx context.Context, flowID uint64) (Flow, error) {
	fs, err := x.flowsBy(ctx, "WHERE flow_id = ? ORDER BY id DESC LIMIT 1", int64(flowID))
	if err == nil && len(fs) == 0 {
		err = fmt.Errorf("index: flow %d: %w", flowID, ErrNoFlow)
	}
	if err != nil {
		return Flow{}, err
	}
	return fs[0], nil
}

// FlowsByID returns the connections of a flow id, oldest first: one for each run that had it.
func (x *Index) FlowsByID(ctx context.Context, flowID uint64) ([]Flow, error) {
	return x.flowsBy(ctx, "WHERE flow_id = ? ORDER BY id", int64(flowID))
}

// FlowsByTuple returns all connections between the same two ends, oldest first: a connection's lineage, whichever end opened it.
func (x *Index) FlowsByTuple(ctx context.Context, communityID string) ([]Flow, error) {
	return x.flowsBy(ctx, "WHERE community_id = ? ORDER BY id", communityID)
}

func (x *Index) flowsBy(ctx context.Context, where string, args ...any) ([]Flow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tx, v, err := x.look()
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	fs, err := v.flowsWhere(tx, where, args...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return fs, nil
}

// FlowSort is what flows are ordered by, the most first.
type FlowSort string

// Orders of flows. The words are those of view flows.
const (
	SortStart           FlowSort = "first_at" // newest first
	SortDropped         FlowSort = "n_drop"
	SortRetransmissions FlowSort = "retransmits_toserver + retransmits_toclient"
	SortStall           FlowSort = "stall_ns"
	SortInjections      FlowSort = "injections"
	SortHandshake       FlowSort = "handshake_ns"
	SortSyns            FlowSort = "syns"
	SortBytes           FlowSort = "bytes_toserver + bytes_toclient"
)

// FlowSorts lists them.
func FlowSorts() []FlowSort {
	return []FlowSort{SortStart, SortDropped, SortRetransmissions, SortStall, SortInjections, SortHandshake, SortSyns, SortBytes}
}

// FlowPage is one page of connections.
type FlowPage struct {
	Flows []Flow
	Total int // that the filter picks
}

// Flows returns connections of which the filter picks a record, in the order wanted, limit of them from the one at offset on.
func (x *Index) Flows(ctx context.Context, f Filter, sort FlowSort, offset, limit int) (FlowPage, error) {
	var page FlowPage
	if !slices.Contains(FlowSorts(), sort) {
		return page, fmt.Errorf("index: flows have no order %q", string(sort))
	}
	tx, v, err := x.look()
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	set, err := x.flowSet(ctx, tx, v, &f)
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	page.Total = set.count()
	ids, err := set.page(ctx, tx, sort, max(offset, 0), max(limit, 0))
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	for _, id := range ids {
		fs, err := v.flowsWhere(tx, "WHERE id = ?", id)
		if err != nil {
			return page, fmt.Errorf("index: %w", err)
		}
		page.Flows = append(page.Flows, fs...)
	}
	return page, nil
}

// bitSet is a set of ids of flow_rows.
type bitSet []uint64

func (s *bitSet) add(id uint32) {
	for int(id>>6) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[id>>6] |= 1 << (id & 63)
}

func (s bitSet) has(id int64) bool { return int(id>>6) < len(s) && s[id>>6]&(1<<(id&63)) != 0 }

func (s bitSet) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// flowSet finds the flows of which a record fits.
func (x *Index) flowSet(ctx context.Context, tx *sql.Tx, v *view, f *Filter) (bitSet, error) {
	s, err := x.newScanner(tx, v, f)
	if err != nil {
		return nil, err
	}
	var set bitSet
	err = s.each(ctx, func(hits []int32) error {
		if err := s.need(colConn); err != nil {
			return err
		}
		if len(hits) == s.blk.n {
			for i := range s.conns {
				set.add(s.conns[i].row)
			}
			return nil
		}
		for _, i := range hits {
			set.add(s.conns[s.connOf[i]].row)
		}
		return nil
	}, nil)
	if len(set) > 0 {
		set[0] &^= 1 // row 0: records without flow
	}
	return set, err
}

// page picks ids of the set in order.
func (s bitSet) page(ctx context.Context, tx *sql.Tx, sort FlowSort, offset, limit int) ([]int64, error) {
	var out []int64
	if sort == SortStart { // ids grow in the order of first records
		for w := len(s) - 1; w >= 0 && len(out) < limit; w-- {
			if n := bits.OnesCount64(s[w]); n <= offset {
				offset -= n
				continue
			}
			for b := 63; b >= 0 && len(out) < limit; b-- {
				if s[w]&(1<<b) == 0 {
					continue
				}
				if offset > 0 {
					offset--
					continue
				}
				out = append(out, int64(w*64+b))
			}
		}
		return out, nil
	}
	type ranked struct {
		id    int64
		value float32
	}
	var all []ranked
	plane := slices.IndexFunc(planes, func(p struct {
		sort  FlowSort
		value func(*flowRow) int64
	}) bool {
		return p.sort == sort
	})
	err := eachPlane(tx, plane+1, func(chunk int64, data []byte) {
		for i := range int64(chunkFlows) {
			if id := chunk*chunkFlows + i; s.has(id) {
				all = append(all, ranked{id, math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(b.id, a.id)) })
	for _, r := range all[min(offset, len(all)):min(offset+limit, len(all))] {
		out = append(out, r.id)
	}
	return out, nil
}
