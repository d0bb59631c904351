package index

import (
	"halfopen/proxy/decisionlog"
)

// bookBlock puts the record into the block being filled; row is its flow's.
func (b *builder) bookBlock(r *record, row *flowRow) error {
	if b.full() || b.block != nil && b.lastRun != b.file.run {
		if err := b.saveBlock(); err != nil {
			return err
		}
		b.block = nil
	}
	if b.block == nil {
		b.block, b.lastRun = newBlock(b.file.id, r.offset), b.file.run
	}
	n := b.block.add(&r.shape, &r.conn, r.hash, r.at, r.offset)
	if row != nil {
		b.block.conns[n].row = uint32(row.id)
	}
	return nil
}

// full says whether the block at hand takes no more.
func (b *builder) full() bool { return b.block != nil && len(b.block.times) >= b.x.opt.blockMax }

// bookMinute counts the record in its minute.
func (b *builder) bookMinute(r *record) {
	s := &r.shape
	b.minutes[minuteKey{floorDiv(r.at, minuteNS), b.file.id, s.event, s.verdict, s.reason, s.rule, s.arm, s.rev}]++
}

const minuteNS int64 = 60e9

// bookFlow adds the record to its flow's row, which is nil where it has no flow.
func (b *builder) bookFlow(r *record) (row *flowRow, err error) {
	f, s := r.fields, &slots
	if r.conn.flow != 0 {
		if row, err = b.flows.row(b.file.run, b.file.id, r); err != nil {
			return nil, err
		}
	}
	if f.Has(s.inject) {
		return row, b.bookInject(r, row)
	}
	if f.Has(s.decision) {
		b.bookRevision(r)
	}
	if row == nil {
		return nil, nil
	}
	switch {
	case string(f.Text(s.trigger)) == decisionlog.TriggerShadow:
	case f.Has(s.decision):
		sh := &r.shape
		row.decision(b.words.word(sh.verdict), b.words.word(sh.reason), sh.verdict, sh.reason, f.Text(s.flags), r.toServer, r.at)
		row.ruleW, row.presetW, row.revW = int64(sh.rule), int64(sh.preset), int64(sh.rev)
		if sh.arm != 0 {
			row.armW = int64(sh.arm)
		}
	case f.Has(s.flow):
		err = b.bookFast(r, row)
		b.bookFlowRecord(r, row)
	}
	return row, err
}

// bookTally adds what the record explains, as [decisionlog.Event.Tally] has it.
func (b *builder) bookTally(f *decisionlog.Fields) {
	t, s := &b.file.tally, &slots
	switch {
	case f.Has(s.decision) && len(f.Text(s.settles)) == 0 && len(f.Text(s.trigger)) == 0:
		t.Decisions++
	case f.Has(s.flow):
		t.Counted += f.Uint(s.counted)
		t.Fast.Packets += int64(f.Uint(s.fastCounted))
		t.Fast.Bytes += int64(f.Uint(s.fastCountedBytes))
	}
}

// bookFast holds what a flow record tells of the fast path as new against how far the flow's totals have moved.
func (b *builder) bookFast(r *record, row *flowRow) error {
	f, s := r.fields, &slots
	m := decisionlog.FastMove{Flow: r.conn.flow, Event: string(f.Text(s.flowEvent)),
		Before: decisionlog.FastTotals{Packets: row.fast[0] + row.fast[1], Bytes: row.fastBytes[0] + row.fastBytes[1]}, Known: row.fastKnown != 0,
		Now:  decisionlog.FastTotals{Packets: int64(f.Uint(s.fast0) + f.Uint(s.fast1)), Bytes: int64(f.Uint(s.fastBytes0) + f.Uint(s.fastBytes1))},
		Told: decisionlog.FastTotals{Packets: int64(f.Uint(s.fastCounted)), Bytes: int64(f.Uint(s.fastCountedBytes))}}
	why, known := m.Judge()
	row.fastKnown = 0
	if known {
		row.fastKnown = 1
	}
	if why == "" {
		return nil
	}
	_, err := b.tx.Exec("INSERT OR REPLACE INTO fast_jumps VALUES (?, ?, ?)", b.file.id, r.line, why)
	return err
}

// bookFlowRecord takes over what a flow record says of its flow as a whole.
func (b *builder) bookFlowRecord(r *record, row *flowRow) {
	f, s, w := r.fields, &slots, b.words
	word := func(at decisionlog.Slot) int64 { return int64(w.id(f.Text(at))) }
	row.pkts = [2]int64{int64(f.Uint(s.pkts0)), int64(f.Uint(s.pkts1))}
	row.bytes = [2]int64{int64(f.Uint(s.bytes0)), int64(f.Uint(s.bytes1))}
	row.fast = [2]int64{int64(f.Uint(s.fast0)), int64(f.Uint(s.fast1))}
	row.fastBytes = [2]int64{int64(f.Uint(s.fastBytes0)), int64(f.Uint(s.fastBytes1))}
	row.counted += int64(f.Uint(s.counted))
	row.stateW, row.connStateW = word(s.state), word(s.connState)
	row.letters = string(f.Text(s.history))
	if t := f.Nanos(s.start); t != 0 {
		row.started = t
	}
	if t := f.Nanos(s.end); t != 0 {
		row.seen = t
	}
	if p := f.Uint(s.predecessor); p != 0 {
		row.predecessor = int64(p)
	}
	row.adopted = int64(f.Uint(s.adopted))
	row.probes, row.answeredW = int64(f.Uint(s.probes)), word(s.answered)
	row.ruleW, row.presetW, row.revW = int64(r.shape.rule), int64(r.shape.preset), int64(r.shape.rev)
	if r.shape.arm != 0 {
		row.armW = int64(r.shape.arm)
	}
	if t := f.Seconds(s.handshake); t != 0 { // counts what a rate limit held back, too
		row.handshakeNS = t
	}
	row.responseNS, row.stallNS, row.stalled, row.endedByW = f.Seconds(s.response), f.Seconds(s.stall), int64(f.Uint(s.stalled)), word(s.endedBy)
	row.synRetransmits = int64(f.Uint(s.synRetransmits))
	row.retransmits = [2]int64{int64(f.Uint(s.retransmits0)), int64(f.Uint(s.retransmits1))}
	row.outOfWindow = [2]int64{int64(f.Uint(s.outside0)), int64(f.Uint(s.outside1))}
	if string(f.Text(s.flowEvent)) == "end" {
		row.ended = r.at
		row.outcomeW, row.endW = word(s.outcome), word(s.endReason)
	}
}

// bookInject writes the row of a segment that halfopen made.
func (b *builder) bookInject(r *record, row *flowRow) error {
	f, s := r.fields, &slots
	failed := string(f.Text(s.injectError))
	var flow any
	if row != nil {
		flow = row.id
		row.injected(string(f.Text(s.kind)), string(f.Text(s.to)), failed != "")
	}
	_, err := b.stmts.inject.Exec(b.file.id, r.offset, r.at, flow, r.shape.kind, r.shape.replyP, string(f.Text(s.cause)),
		b.words.id(f.Text(s.injectTrigger)), failed)
	return err
}

// bookRevision notes when a policy revision decided.
func (b *builder) bookRevision(r *record) {
	if r.shape.rev == 0 {
		return
	}
	key := revKey{b.file.run, r.shape.rev}
	v := b.revs[key]
	if v == nil {
		v = &revision{preset: r.shape.preset, first: r.at, last: r.at}
		b.revs[key] = v
	}
	v.first, v.last = min(v.first, r.at), max(v.last, r.at)
	v.n++
}

// bookRare takes in the rare types of records, which are decoded as a whole.
func (b *builder) bookRare(r *record) error {
	f, s := r.fields, &slots
	if !f.Has(s.stats) && !f.Has(s.gap) && !f.Has(s.reload) {
		b.bookTally(f)
		return nil
	}
	e, err := f.Event()
	if err != nil {
		return err
	}
	b.file.tally.Add(e.Tally())
	b.rare(r, e)
	switch {
	case e.Stats != nil && e.Stats.Final:
		_, err = b.tx.Exec("UPDATE runs SET final = 1 WHERE id = ?", b.file.run)
	case e.Reload != nil:
		l := e.Reload
		_, err = b.tx.Exec("INSERT OR REPLACE INTO reloads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", b.file.id, r.offset, r.at, b.file.run,
			l.OK, l.Preset, l.PolicyRev, l.PreviousRev, l.Flows, int64(l.FlowsTouched), l.Error)
	case e.Gap != nil:
		g := e.Gap
		run := g.Run
		if run == "" {
			if err = b.tx.QueryRow("SELECT run FROM runs WHERE id = ?", b.file.run).Scan(&run); err != nil {
				return err
			}
		}
		_, err = b.tx.Exec("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", b.file.id, r.offset, r.at, run, g.Where,
			int64(g.Count), g.Bound, nullTime(g.From), nullTime(g.To), g.Detail)
	}
	return err
}
