package index

import (
	"database/sql"
	"errors"
	"fmt"
	"os"

	"halfopen/proxy/decisionlog"
)

// enter makes a file the one that records are taken from.
func (b *builder) enter(f *fileState, l *listed) error {
	b.file, b.path, b.block = f, l.path, nil
	f.name = l.name
	var err error
	if f.compressed, err = decisionlog.Compressed(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := b.tx.Exec("DELETE FROM problems WHERE file = ? AND kind = 'cut'", f.id); err != nil {
		return err
	}
	return b.loadBlock()
}

// leave writes what is left of a file's records.
func (b *builder) leave() error {
	if err := b.saveBlock(); err != nil {
		return err
	}
	if err := b.file.sign(b.path); err != nil {
		return err
	}
	err := b.file.save(b.tx)
	b.block, b.file = nil, nil
	return err
}

// loadBlock takes up the file's last block, if there is room in it.
func (b *builder) loadBlock() error {
	bl := newBlock(b.file.id, 0)
	var n int
	var shapes []byte
	err := b.tx.QueryRow("SELECT id, offset, n, first_at, last_at, shapes FROM blocks WHERE file = ? ORDER BY offset DESC LIMIT 1", b.file.id).
		Scan(&bl.id, &bl.offset, &n, &bl.lo, &bl.hi, &shapes)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if n >= b.x.opt.blockMax {
		return nil
	}
	var data [numColumns][]byte
	for i := range data {
		if err := b.tx.QueryRow("SELECT data FROM columns WHERE id = ?", bl.id<<columnBits|int64(i)).Scan(&data[i]); err != nil {
			return err
		}
	}
	if err := bl.decode(shapes, data, n); err != nil {
		return err
	}
	b.block, b.lastRun = bl, b.file.run
	return nil
}

// decode fills a block from its columns.
func (bl *block) decode(shapes []byte, data [numColumns][]byte, n int) (err error) {
	if bl.shapes, err = decodeShapes(shapes); err != nil {
		return err
	}
	if bl.conns, err = decodeConns(data[colConns], nil); err != nil {
		return err
	}
	if bl.shapeOf, err = decodeNumbers(data[colShape], n, len(bl.shapes), nil); err != nil {
		return err
	}
	if bl.connOf, err = decodeNumbers(data[colConn], n, len(bl.conns), nil); err != nil {
		return err
	}
	if bl.times, err = decodeDeltas(data[colTime], n, bl.lo, nil); err != nil {
		return err
	}
	if bl.offsets, err = decodeDeltas(data[colOffset], n, bl.offset, nil); err != nil {
		return err
	}
	for i := range bl.shapes {
		bl.shapeAt[bl.shapes[i]] = uint16(i)
	}
	for i := range bl.conns {
		bl.connAt[bl.conns[i].connKey] = uint16(i)
	}
	return nil
}

// saveBlock writes the block being filled.
func (b *builder) saveBlock() error {
	bl := b.block
	if bl == nil || !bl.changed {
		return nil
	}
	if bl.id == 0 {
		res, err := b.tx.Exec("INSERT INTO blocks (file, offset, n, first_at, last_at, shapes) VALUES (?, ?, ?, ?, ?, ?)",
			bl.file, bl.offset, len(bl.times), bl.lo, bl.hi, encodeShapes(bl.shapes))
		if err != nil {
			return err
		}
		if bl.id, err = res.LastInsertId(); err != nil {
			return err
		}
	} else if _, err := b.tx.Exec("UPDATE blocks SET n = ?, first_at = ?, last_at = ?, shapes = ? WHERE id = ?",
		len(bl.times), bl.lo, bl.hi, encodeShapes(bl.shapes), bl.id); err != nil {
		return err
	}
	for i := range numColumns {
		if _, err := b.tx.Exec("INSERT OR REPLACE INTO columns VALUES (?, ?)", bl.id<<columnBits|int64(i), bl.column(i)); err != nil {
			return err
		}
	}
	bl.changed = false
	return nil
}

// frameBefore finds the last frame known that begins before a position.
func (b *builder) frameBefore(p *decisionlog.Position) error {
	err := b.tx.QueryRow("SELECT text, at FROM frames WHERE file = ? AND text <= ? ORDER BY text DESC LIMIT 1", b.file.id, p.Offset).
		Scan(&p.Frame.Text, &p.Frame.File)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// noteFrames writes where the frames of a compressed file begin.
func (b *builder) noteFrames(l *decisionlog.Lines) error {
	for _, f := range l.Frames() {
		if _, err := b.tx.Exec("INSERT OR REPLACE INTO frames VALUES (?, ?, ?)", b.file.id, f.Text, f.File); err != nil {
			return err
		}
	}
	return nil
}

// Kinds of problems.
const (
	ProblemBadLine = "bad-line"     // a line that is no record, or a damaged part of a compressed file
	ProblemCut     = "cut"          // the last line has no end
	ProblemNewer   = "newer-schema" // written by a later version: read as far as it is understood
)

func (b *builder) badLine(bad *decisionlog.BadLine, next decisionlog.Position) error {
	b.pending++
	kind := ProblemBadLine
	if bad.Cut {
		kind = ProblemCut
	} else {
		b.file.bad++
		b.file.pos = next
	}
	return b.problem(bad.Line, bad.Offset, kind, bad.Err.Error())
}

func (b *builder) problem(line int, offset int64, kind, detail string) error {
	_, err := b.tx.Exec("INSERT INTO problems VALUES (?, ?, ?, ?, ?)", b.file.id, line, offset, kind, detail)
	return err
}

// line takes in one line.
func (b *builder) line(raw []byte, at, next decisionlog.Position) error {
	f := &b.fields
	if err := f.Decode(raw); err != nil {
		return b.badLine(&decisionlog.BadLine{Line: at.Line + 1, Offset: at.Offset, Err: err}, next)
	}
	b.pending++
	b.file.pos = next
	if err := b.show(f); err != nil {
		return err
	}
	switch {
	case f.Has(slots.header):
		return b.header(at)
	case f.Has(slots.trailer):
		b.file.trailer = at.Offset
		return nil
	}
	r := b.takeRecord(f, at)
	if err := b.bookRare(&r); err != nil {
		return err
	}
	row, err := b.bookFlow(&r)
	if err != nil {
		return err
	}
	b.bookMinute(&r)
	if err := b.bookBlock(&r, row); err != nil {
		return err
	}
	fs := b.file
	if fs.records == 0 {
		fs.first, fs.last = r.at, r.at
	}
	fs.first, fs.last = min(fs.first, r.at), max(fs.last, r.at)
	fs.records++
	return nil
}

// header takes in a file's first line.
func (b *builder) header(at decisionlog.Position) error {
	e, err := b.fields.Event()
	if err != nil {
		return err
	}
	h, f := e.Header, b.file
	if _, err := b.tx.Exec(`INSERT INTO runs (run, version, boot_id, started) VALUES (?, ?, ?, ?)
		ON CONFLICT (run) DO UPDATE SET version = excluded.version, boot_id = excluded.boot_id, started = excluded.started`,
		h.Run, h.Version, h.BootID, nullTime(h.Started)); err != nil {
		return err
	}
	if err := b.tx.QueryRow("SELECT id FROM runs WHERE run = ?", h.Run).Scan(&f.run); err != nil {
		return err
	}
	f.fileSeq, f.schema = int64(h.FileSeq), int64(h.SchemaVersion)
	if h.SchemaVersion > decisionlog.SchemaVersion {
		return b.problem(at.Line+1, at.Offset, ProblemNewer, fmt.Sprintf(
			"records of schema version %d, and this program knows version %d: what it does not know is left out", h.SchemaVersion, decisionlog.SchemaVersion))
	}
	return nil
}

func nullTime(t decisionlog.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Nanos()
}
