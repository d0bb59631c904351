package index

import (
	"cmp"
	"database/sql"
	"slices"
)

// view is what questions need of the index, as of one generation.
type view struct {
	gen    int64
	words  *words
	files  []viewFile // in the log's order
	at     map[int64]int
	runs   map[int64]string
	blocks []blockMeta // in the log's order
	cached int         // shapes kept
}

// viewFile is a file as questions need it.
type viewFile struct {
	id         int64
	stem, name string
	bytes      int64 // of its text that are indexed
}

// blockMeta is a block without its columns.
type blockMeta struct {
	id     int64
	file   int // in view.files
	offset int64
	n      int
	lo, hi int64
	shapes []shape // nil: too many to keep, read when needed
}

// shapesKept bounds the shapes that a view keeps, some 60 octets each.
const shapesKept = 300_000

// look begins a read transaction and brings the view up to it. The view belongs to the caller's transaction: what it says does not
// change until the transaction ends.
func (x *Index) look() (*sql.Tx, *view, error) {
	x.viewing.Lock()
	defer x.viewing.Unlock()
	tx, err := x.read.Begin()
	if err != nil {
		return nil, nil, err
	}
	var gen int64
	if err = tx.QueryRow("SELECT value FROM meta WHERE key = 'generation'").Scan(&gen); err == nil && (x.view == nil || x.view.gen != gen) {
		var v *view
		if v, err = loadView(tx, x.view, gen); err == nil {
			x.view = v
		}
	}
	if err != nil {
		tx.Rollback()
		return nil, nil, err
	}
	return tx, x.view, nil
}

// end is a place behind all records and before those to come.
func (v *view) end() Cursor {
	if len(v.files) == 0 {
		return Cursor{}
	}
	f := &v.files[len(v.files)-1]
	return Cursor{f.stem, f.bytes - 1}
}

// loadView reads a view; what an older one holds of blocks that have not changed is taken over.
func loadView(tx *sql.Tx, old *view, gen int64) (*view, error) {
	v := &view{gen: gen, at: make(map[int64]int), runs: make(map[int64]string), words: newWords()}
	if err := v.words.load(tx); err != nil {
		return nil, err
	}
	if err := v.loadFiles(tx); err != nil {
		return nil, err
	}
	if err := v.loadRuns(tx); err != nil {
		return nil, err
	}
	known := make(map[int64]*blockMeta)
	if old != nil && old.gen < gen && sameWords(old.words, v.words) {
		for i := range old.blocks {
			known[old.blocks[i].id] = &old.blocks[i]
		}
	}
	return v, v.loadBlocks(tx, known)
}

// sameWords says whether b goes on where a ended: an index that was made anew numbers its words otherwise.
func sameWords(a, b *words) bool {
	return len(a.text) <= len(b.text) && slices.Equal(a.text, b.text[:len(a.text)])
}

func (v *view) loadFiles(tx *sql.Tx) error {
	rows, err := tx.Query("SELECT id, stem, name, bytes FROM files ORDER BY stem")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var f viewFile
		if err := rows.Scan(&f.id, &f.stem, &f.name, &f.bytes); err != nil {
			return err
		}
		v.at[f.id] = len(v.files)
		v.files = append(v.files, f)
	}
	return rows.Err()
}

func (v *view) loadRuns(tx *sql.Tx) error {
	rows, err := tx.Query("SELECT id, run FROM runs")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var run string
		if err := rows.Scan(&id, &run); err != nil {
			return err
		}
		v.runs[id] = run
	}
	return rows.Err()
}

func (v *view) loadBlocks(tx *sql.Tx, known map[int64]*blockMeta) error {
	rows, err := tx.Query("SELECT id, file, offset, n, first_at, last_at FROM blocks")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b blockMeta
		var file int64
		if err := rows.Scan(&b.id, &file, &b.offset, &b.n, &b.lo, &b.hi); err != nil {
			return err
		}
		b.file = v.at[file]
		if k := known[b.id]; k != nil && k.n == b.n && k.offset == b.offset && k.shapes != nil {
			b.shapes = k.shapes
			v.cached += len(k.shapes)
		}
		v.blocks = append(v.blocks, b)
	}
	slices.SortFunc(v.blocks, func(a, b blockMeta) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.offset, b.offset))
	})
	return rows.Err()
}

// shapesOf gives a block's shapes, kept or read anew.
func (x *Index) shapesOf(tx *sql.Tx, v *view, b *blockMeta) ([]shape, error) {
	x.viewing.Lock()
	shapes := b.shapes
	x.viewing.Unlock()
	if shapes != nil {
		return shapes, nil
	}
	var data []byte
	if err := tx.QueryRow("SELECT shapes FROM blocks WHERE id = ?", b.id).Scan(&data); err != nil {
		return nil, err
	}
	shapes, err := decodeShapes(data)
	if err != nil {
		return nil, err
	}
	x.viewing.Lock()
	defer x.viewing.Unlock()
	if b.shapes == nil && v.cached+len(shapes) <= shapesKept {
		b.shapes = shapes
		v.cached += len(shapes)
	}
	return shapes, nil
}
