package index

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// reconcile drops what the log no longer holds, and everything if the log is not the one that was indexed.
func (b *builder) reconcile(now []listed) error {
	here := make(map[string]bool, len(now))
	newest := ""
	for _, f := range b.x.files {
		if f.pos.Offset > 0 {
			newest = max(newest, f.stem)
		}
	}
	for _, l := range now {
		here[l.stem] = true
		f := b.x.files[l.stem]
		if f == nil && l.stem < newest {
			b.x.opt.Warn(fmt.Sprintf("index: %s is older than what is indexed; the index is made anew", l.path))
			return b.rebuild()
		}
		if f == nil || f.size == l.size && f.mtime == l.mtime && f.name == l.name && b.x.checked {
			continue
		}
		why, err := f.matches(l)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if why != "" {
			b.x.opt.Warn(fmt.Sprintf("index: %s %s; the index is made anew", l.path, why))
			return b.rebuild()
		}
	}
	for _, stem := range slices.Sorted(maps.Keys(b.x.files)) {
		if !here[stem] {
			if err := b.remove(b.x.files[stem]); err != nil {
				return fmt.Errorf("index: %w", err)
			}
		}
	}
	return nil
}

// tablesByFile are the tables whose rows go with their file.
var tablesByFile = []string{"frames", "problems", "fast_jumps", "injections", "minute_rows", "reloads", "gaps", "blocks"}

// remove forgets a file that retention has removed. Flows of which no record is left go with it.
func (b *builder) remove(f *fileState) error {
	b.touched = true
	if _, err := b.tx.Exec(`DELETE FROM columns WHERE id IN (SELECT id << 3 | c.column1 FROM blocks,
		(VALUES (0), (1), (2), (3), (4), (5)) c WHERE file = ?)`, f.id); err != nil {
		return err
	}
	for _, t := range tablesByFile {
		if _, err := b.tx.Exec("DELETE FROM "+t+" WHERE file = ?", f.id); err != nil {
			return err
		}
	}
	if _, err := b.tx.Exec("DELETE FROM flow_rows WHERE last_file = ?", f.id); err != nil {
		return err
	}
	if _, err := b.tx.Exec("DELETE FROM files WHERE id = ?", f.id); err != nil {
		return err
	}
	if _, err := b.tx.Exec("DELETE FROM cases WHERE until < (SELECT ifnull(min(first_at), 0) FROM files)"); err != nil {
		return err
	}
	delete(b.x.files, f.stem)
	for k, row := range b.flows.rows {
		if row.lastFile == f.id {
			delete(b.flows.rows, k)
		}
	}
	return nil
}

// rebuild empties the index.
func (b *builder) rebuild() error {
	b.touched = true
	for _, t := range append([]string{"columns", "files", "flow_rows", "flow_chunks", "cases", "tracker", "revisions", "words", "runs"}, tablesByFile...) {
		if _, err := b.tx.Exec("DELETE FROM " + t); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	for _, q := range []string{"INSERT INTO words VALUES (0, '')", "INSERT INTO runs (id, run) VALUES (0, '')"} {
		if _, err := b.tx.Exec(q); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	gen := b.x.gen
	b.x.forget()
	b.x.gen = gen
	b.x.flows = &flowBook{rows: make(map[flowKey]*flowRow), next: 1}
	b.words, b.flows = b.x.words, b.x.flows
	return b.flows.begin(b.tx)
}
