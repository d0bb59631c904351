package index

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"halfopen/proxy/decisionlog"
)

// fileState is a row of files, and what a run through the file adds to it.
type fileState struct {
	id         int64
	stem, name string
	run        int64
	fileSeq    int64
	schema     int64
	compressed bool
	size       int64
	mtime      int64
	pos        decisionlog.Position
	bad        int64
	records    int64
	head, tail []byte
	headBytes  int64
	first      int64
	last       int64
	tally      decisionlog.Tally
	trailer    int64 // offset of its trailer's line, 0 for none
}

// headMax is how much of a file's text tells whether it is the one that was indexed.
const headMax = 4096

const fileColumns = "id, stem, name, run, file_seq, schema, compressed, size, mtime, bytes, lines, bad_lines, records, head, head_bytes, tail, " +
	"ifnull(first_at, 0), ifnull(last_at, 0), decisions, counted, suppressed, gaps, upper, " +
	"fast_pkts, fast_bytes, fast_lost, fast_lost_bytes, trailer"

// loadFiles reads table files.
func loadFiles(q querier) (map[string]*fileState, error) {
	rows, err := q.Query("SELECT " + fileColumns + " FROM files")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[string]*fileState)
	for rows.Next() {
		f := &fileState{}
		t := &f.tally
		if err := rows.Scan(&f.id, &f.stem, &f.name, &f.run, &f.fileSeq, &f.schema, &f.compressed, &f.size, &f.mtime, &f.pos.Offset, &f.pos.Line, &f.bad,
			&f.records, &f.head, &f.headBytes, &f.tail, &f.first, &f.last, &t.Decisions, &t.Counted, &t.Suppressed, &t.Gaps, &t.Upper,
			&t.Fast.Packets, &t.Fast.Bytes, &t.Fast.Lost, &t.Fast.LostBytes, &f.trailer); err != nil {
			return nil, err
		}
		t.Records = uint64(f.records)
		out[f.stem] = f
	}
	return out, rows.Err()
}

// save writes the row.
func (f *fileState) save(tx *sql.Tx) error {
	null := func(v int64) any {
		if f.records == 0 {
			return nil
		}
		return v
	}
	t := f.tally
	_, err := tx.Exec(`UPDATE files SET name = ?, run = ?, file_seq = ?, schema = ?, compressed = ?, size = ?, mtime = ?, bytes = ?, lines = ?, bad_lines = ?,
		records = ?, head = ?, head_bytes = ?, tail = ?, first_at = ?, last_at = ?, decisions = ?, counted = ?, suppressed = ?, gaps = ?,
		upper = ?, fast_pkts = ?, fast_bytes = ?, fast_lost = ?, fast_lost_bytes = ?, trailer = ? WHERE id = ?`, f.name, f.run, f.fileSeq, f.schema, f.compressed, f.size, f.mtime, f.pos.Offset, f.pos.Line, f.bad, f.records, f.head,
		f.headBytes, f.tail, null(f.first), null(f.last), number(t.Decisions), number(t.Counted), number(t.Suppressed), number(t.Gaps),
		number(t.Upper), t.Fast.Packets, t.Fast.Bytes, t.Fast.Lost, t.Fast.LostBytes, f.trailer, f.id)
	return err
}

// number is a count as SQLite sums it without overflow: no number of a log is above 2^53 - 1 (docs/log.md), unless somebody wrote it.
func number(n uint64) int64 { return int64(min(n, 1<<53-1)) }

func sortFiles(fs []*fileState) {
	slices.SortFunc(fs, func(a, b *fileState) int { return cmp.Compare(a.stem, b.stem) })
}

// listed is a log file as the directory has it.
type listed struct {
	path, name, stem string
	size, mtime      int64
}

// list looks at the directory.
func (x *Index) list() ([]listed, error) {
	paths, err := decisionlog.Files(x.dir)
	if err != nil {
		return nil, err
	}
	out := make([]listed, 0, len(paths))
	for _, p := range paths {
		st, err := os.Stat(p)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(p, ".jsonl") { // compressed since
			p += ".zst"
			st, err = os.Stat(p)
		}
		if errors.Is(err, os.ErrNotExist) {
			continue // retention was faster
		}
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		out = append(out, listed{p, st.Name(), decisionlog.Stem(p), st.Size(), st.ModTime().UnixNano()})
	}
	return out, nil
}

// unchanged says whether the directory is as the index knows it.
func (x *Index) unchanged(now []listed) bool {
	if len(now) != len(x.files) {
		return false
	}
	for i := range now {
		f := x.files[now[i].stem]
		if f == nil || f.name != now[i].name || f.size != now[i].size || f.mtime != now[i].mtime {
			return false
		}
	}
	return true
}

// matches says whether a file is still the one that was indexed; why not otherwise.
func (f *fileState) matches(now listed) (why string, err error) {
	if f.pos.Offset == 0 {
		return "", nil
	}
	compressed, err := decisionlog.Compressed(now.path)
	if err != nil {
		return "", err
	}
	switch plain := !compressed; {
	case plain && now.size < f.pos.Offset:
		return fmt.Sprintf("is %d bytes long and %d of it were indexed", now.size, f.pos.Offset), nil
	case plain && f.compressed:
		return "was compressed and is not any more", nil
	case !plain && f.compressed && now.size != f.size:
		return "was compressed and has another size", nil
	}
	head, err := textHash(now.path, 0, f.headBytes)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(head, f.head) {
		return "begins with other text", nil
	}
	if f.tail != nil && !compressed {
		tail, err := textHash(now.path, f.pos.Offset-f.headBytes, f.headBytes)
		if err != nil {
			return "", err
		}
		if !bytes.Equal(tail, f.tail) {
			return "holds other text", nil
		}
	}
	return "", nil
}

// sign notes what the indexed text begins and ends with.
func (f *fileState) sign(path string) error {
	n := min(f.pos.Offset, headMax)
	var err error
	if n != f.headBytes {
		if f.head, err = textHash(path, 0, n); err != nil {
			return err
		}
		f.headBytes = n
	}
	f.tail = nil
	if !f.compressed {
		f.tail, err = textHash(path, f.pos.Offset-n, n)
	}
	return err
}

// textHash is the SHA-256 of n octets of a file's text; of a compressed one from the beginning only.
func textHash(path string, from, n int64) ([]byte, error) {
	text, err := decisionlog.ReadText(path, decisionlog.Position{Offset: from}, n)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}
