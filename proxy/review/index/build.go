package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"

	"halfopen/proxy/decisionlog"
)

// ErrNoLog is a directory without log files.
var ErrNoLog = errors.New("no decision log")

// builder takes records in, batch by batch. A batch is a transaction: it holds the rows and how far the files are read, so that the
// index is whole whenever the process dies. It ends when a block is full: a process that dies has two blocks to do again, at most.
type builder struct {
	x       *Index
	words   *words
	flows   *flowBook
	tx      *sql.Tx
	pending int  // records and bad lines of this transaction
	touched bool // something was written since the index was opened for writing

	file    *fileState
	path    string
	block   *block
	lastRun int64 // of the block
	minutes map[minuteKey]int64
	revs    map[revKey]*revision
	stmts   stmts
	fields  decisionlog.Fields
	done    Progress
}

// minuteKey is a row of minute_rows but for its count.
type minuteKey struct {
	minute, file                           int64
	event, verdict, reason, rule, arm, rev uint32
}

type revKey struct {
	run int64
	rev uint32
}

// revision is a row of revisions.
type revision struct {
	preset         uint32
	first, last, n int64
}

// stmts are the statements of a transaction that run often.
type stmts struct{ minute, inject *sql.Stmt }

// Refresh brings the index up to the log's end. Records that are written meanwhile may or may not be in it.
func (x *Index) Refresh(ctx context.Context) error {
	x.building.Lock()
	defer x.building.Unlock()
	now, err := x.list()
	if err != nil {
		return err
	}
	if x.gen > 0 && x.unchanged(now) {
		return nil
	}
	if len(now) == 0 && len(x.files) == 0 {
		return fmt.Errorf("index: %w in %s", ErrNoLog, x.dir)
	}
	unlock, err := x.takeLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	b := &builder{x: x}
	err = b.run(ctx)
	if err != nil {
		if b.tx != nil {
			b.tx.Rollback()
		}
		x.forget()
	}
	return explain(err)
}

// forget drops what is known of the database, so that the next refresh reads it again.
func (x *Index) forget() {
	x.gen, x.files, x.words, x.flows, x.watch = 0, make(map[string]*fileState), newWords(), nil, nil
}

// explain adds what the user can do about an error of SQLite's.
func explain(err error) error {
	if code, ok := sqliteCode(err); ok && code == sqliteFull {
		return fmt.Errorf("%w; what is indexed so far can be asked", err)
	}
	return err
}

func (b *builder) run(ctx context.Context) error {
	if err := b.begin(); err != nil {
		return err
	}
	now, err := b.x.list()
	if err != nil {
		return err
	}
	if err := b.reconcile(now); err != nil {
		return err
	}
	for i := range now {
		b.done.Total += now[i].size
	}
	for i := range now {
		if err := b.indexFile(ctx, &now[i]); err != nil {
			at := int64(0)
			if f := b.x.files[now[i].stem]; f != nil {
				at = f.pos.Offset
			}
			return fmt.Errorf("index: %s: byte %d: %w", now[i].path, at, err)
		}
		b.done.Done += now[i].size
	}
	b.x.checked = true
	if !b.touched { // another process was faster
		b.tx.Rollback()
		b.tx = nil
		return nil
	}
	return b.commit(true)
}

// begin opens a transaction and makes sure that what is known is what the database holds.
func (b *builder) begin() (err error) {
	x := b.x
	if b.tx, err = x.write.Begin(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	var gen int64
	if err := b.tx.QueryRow("SELECT value FROM meta WHERE key = 'generation'").Scan(&gen); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if gen != x.gen || x.flows == nil {
		x.forget()
		if err := x.words.load(b.tx); err != nil {
			return err
		}
		if x.files, err = loadFiles(b.tx); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if x.flows, err = newFlowBook(b.tx); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		x.gen = gen
	}
	b.words, b.flows = x.words, x.flows
	b.minutes, b.revs = make(map[minuteKey]int64), make(map[revKey]*revision)
	if err := b.flows.begin(b.tx); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&b.stmts.minute, `INSERT INTO minute_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET n = n + excluded.n`},
		{&b.stmts.inject, `INSERT OR REPLACE INTO injections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`},
	} {
		if *s.to, err = b.tx.Prepare(s.sql); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	b.pending = 0
	return nil
}

// commit writes everything that is pending; last: no more is to come soon.
func (b *builder) commit(last bool) error {
	if err := b.saveCases(last); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	gen := b.x.gen + 1
	if _, err := b.tx.Exec("UPDATE meta SET value = ? WHERE key = 'generation'", gen); err != nil {
		return err
	}
	if err := b.tx.Commit(); err != nil {
		return err
	}
	b.tx = nil
	b.x.gen = gen
	return nil
}

func (b *builder) flush() error {
	if err := b.flows.flush(b.tx); err != nil {
		return err
	}
	if err := b.saveBlock(); err != nil {
		return err
	}
	if b.file != nil {
		if err := b.file.sign(b.path); err != nil {
			return err
		}
		if err := b.file.save(b.tx); err != nil {
			return err
		}
	}
	for k, n := range b.minutes {
		if _, err := b.stmts.minute.Exec(k.minute, k.file, k.event, k.verdict, k.reason, k.rule, k.arm, k.rev, n); err != nil {
			return err
		}
	}
	for k, r := range b.revs {
		if _, err := b.tx.Exec(`INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
			first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at), decisions = decisions + excluded.decisions`,
			k.run, b.words.word(k.rev), b.words.word(r.preset), r.first, r.last, r.n); err != nil {
			return err
		}
	}
	return b.words.save(b.tx)
}

// indexFile takes in what is new in a file.
func (b *builder) indexFile(ctx context.Context, l *listed) error {
	f := b.x.files[l.stem]
	if f == nil {
		f = &fileState{stem: l.stem, name: l.name}
		res, err := b.tx.Exec("INSERT INTO files (stem, name) VALUES (?, ?)", f.stem, f.name)
		if err != nil {
			return err
		}
		if f.id, err = res.LastInsertId(); err != nil {
			return err
		}
		b.x.files[f.stem] = f
	} else if f.name == l.name && f.size == l.size && f.mtime == l.mtime {
		return nil
	}
	b.touched = true
	if err := b.watching(); err != nil {
		return err
	}
	if err := b.enter(f, l); err != nil {
		return err
	}
	err := b.readFile(ctx, l)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	f.size, f.mtime = l.size, l.mtime
	return b.leave()
}

// readFile reads the lines.
func (b *builder) readFile(ctx context.Context, l *listed) error {
	from := b.file.pos
	if b.file.compressed {
		if err := b.frameBefore(&from); err != nil {
			return err
		}
	}
	lines, err := decisionlog.OpenLines(l.path, from)
	if err != nil {
		return err
	}
	defer lines.Close()
	for n := 0; ; n++ {
		raw, at, err := lines.Next()
		var bad *decisionlog.BadLine
		switch {
		case err == io.EOF:
			return b.noteFrames(lines)
		case errors.As(err, &bad):
			if err := b.badLine(bad, lines.Position()); err != nil {
				return err
			}
			if bad.Cut {
				return b.noteFrames(lines)
			}
		case err != nil:
			return err
		default:
			if err := b.line(raw, at, lines.Position()); err != nil {
				return err
			}
		}
		if b.pending >= 2*b.x.opt.blockMax || b.full() || n%4096 == 4095 && ctx.Err() != nil {
			if err := b.noteFrames(lines); err != nil {
				return err
			}
			if err := b.turn(ctx, l); err != nil {
				return err
			}
		}
	}
}

// turn ends a transaction and begins the next.
func (b *builder) turn(ctx context.Context, l *listed) error {
	if err := b.commit(false); err != nil {
		return err
	}
	if b.full() {
		b.block = nil
	}
	b.x.opt.Progress(Progress{l.name, b.done.Done + min(b.file.pos.Offset, l.size), b.done.Total})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return b.begin()
}
