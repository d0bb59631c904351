package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// FileName is the index's name in the log's directory.
const FileName = "index.sqlite"

// SchemaVersion is the version of the index's schema. An index of another one is made anew.
const SchemaVersion = 4

// applicationID marks our SQLite files ("hoix"), so that nobody else's is ever overwritten.
const applicationID = 0x686f6978

//go:embed schema.sql
var schemaSQL string

// Options of Open. The zero value is good.
type Options struct {
	// CacheDir is where the index of a log goes whose directory cannot be written; "" is the user's cache directory.
	CacheDir string
	// Warn is told, in a sentence, what the user should know: an index elsewhere, made anew, in memory only. Nil: nobody is.
	Warn func(string)
	// Progress is called now and then while records are being indexed. Nil: nobody is told.
	Progress func(Progress)

	maxPages int // of the database, for tests of a full disk; 0: no bound
	blockMax int // records of a block, for tests; 0: the constant
}

// Progress is how far indexing is.
type Progress struct {
	File  string
	Done  int64 // bytes of text of the whole log; of compressed files, of the file
	Total int64
}

// Index is the index of a log directory. Its methods may be called from several goroutines.
type Index struct {
	dir  string
	path string // of the database; "" in memory
	opt  Options

	write *sql.DB
	read  *sql.DB
	lock  *os.File // taken while indexing; nil in memory

	building sync.Mutex // held while indexing
	files    map[string]*fileState
	words    *words // the builder's own
	flows    *flowBook
	gen      int64  // of the database that files, words and flows know
	watch    *watch // nil: not needed yet
	checked  bool   // the files were held against the index since it was opened

	viewing sync.Mutex // held while the view is brought up to date
	view    *view
}

// Open opens the index of a log directory, making it if needed, and brings it up to the log's end unless ctx ends before. Where
// the directory cannot be written the index is kept in the user's cache directory, or else in memory; Options.Warn is told.
//
// With an error that is no problem of the index as a whole (a full disk while indexing, ctx) the Index is returned beside it, and
// answers for what is indexed.
func Open(ctx context.Context, dir string, opt Options) (*Index, error) {
	x, err := OpenOnly(dir, opt)
	if err != nil {
		return nil, err
	}
	return x, x.Refresh(ctx)
}

// OpenOnly is Open without bringing the index up to date.
func OpenOnly(dir string, opt Options) (*Index, error) {
	if opt.Warn == nil {
		opt.Warn = func(string) {}
	}
	if opt.Progress == nil {
		opt.Progress = func(Progress) {}
	}
	if opt.blockMax == 0 {
		opt.blockMax = blockMax
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("index: %s is no directory", dir)
	}
	x := &Index{dir: dir, opt: opt, files: make(map[string]*fileState), words: newWords()}
	var reasons []error
	for _, path := range x.places() {
		err := x.openAt(path)
		if err == nil {
			if len(reasons) > 0 {
				opt.Warn(fmt.Sprintf("%v; the index is kept in %s", errors.Join(reasons...), path))
			}
			return x, nil
		}
		reasons = append(reasons, err)
	}
	if err := x.openMemory(); err != nil {
		return nil, err
	}
	opt.Warn(fmt.Sprintf("%v; the index is kept in memory and lost at the end", errors.Join(reasons...)))
	return x, nil
}

// places lists where the index may be, best first.
func (x *Index) places() []string {
	places := []string{filepath.Join(x.dir, FileName)}
	cache := x.opt.CacheDir
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return places
		}
		cache = filepath.Join(user, "halfopen")
	}
	abs, err := filepath.Abs(x.dir)
	if err != nil {
		return places
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	return append(places, filepath.Join(cache, "index-"+hex.EncodeToString(sum[:8])+".sqlite"))
}

// openAt opens or makes the database at path.
func (x *Index) openAt(path string) error {
	dir := filepath.Dir(path)
	if dir != x.dir {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("index: %s cannot be written (%v)", dir, err)
	}
	ours, err := inspect(path)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(path+"-lock", os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.lock, x.path = lock, path
	if err = x.openFile(path, ours); err != nil {
		x.closeAll()
		x.lock, x.path = nil, ""
	}
	return err
}

// inspect looks at a file that may be an index: whether it is ours, and an error if it is somebody else's.
func inspect(path string) (ours bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("index: %w", err)
	}
	defer f.Close()
	var head [72]byte // SQLite's header: the application id is at 68
	n, _ := f.ReadAt(head[:], 0)
	if n == 0 {
		return false, nil // made and not written yet
	}
	id := []byte{applicationID >> 24, applicationID >> 16 & 0xff, applicationID >> 8 & 0xff, applicationID & 0xff}
	if n == len(head) && bytes.Equal(head[68:], id) {
		return true, nil
	}
	// A database of one page holds nothing: it was made, and the process died, or has not come to fill it.
	st, err := f.Stat()
	if err == nil && bytes.HasPrefix(head[:], []byte("SQLite format 3\x00")) && bytes.Equal(head[68:], make([]byte, 4)) && st.Size() <= pageSize {
		return false, nil
	}
	return false, fmt.Errorf("index: %s is no index of halfopen's and is left alone", path)
}

// openFile opens the database and makes it ours; one that is damaged or another version's is made anew.
func (x *Index) openFile(path string, ours bool) error {
	unlock, err := x.takeLock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	if err := touch(path); err != nil {
		return err
	}
	if err := x.connect(path); err != nil {
		return err
	}
	why := ""
	if ours {
		version := 0
		switch err := x.write.QueryRow("PRAGMA user_version").Scan(&version); {
		case err != nil:
			why = fmt.Sprintf("is damaged (%v)", err)
		case version == SchemaVersion:
			return nil
		case version != 0:
			why = fmt.Sprintf("is of version %d and this program writes version %d", version, SchemaVersion)
		}
	}
	if why != "" {
		x.opt.Warn(fmt.Sprintf("index: %s %s; it is made anew", path, why))
		x.closeDBs()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("index: %w", err)
			}
		}
		if err := touch(path); err != nil {
			return err
		}
		if err := x.connect(path); err != nil {
			return err
		}
	}
	return x.create()
}

// touch makes the file, for the same readers as the log: addresses are in both. SQLite gives its other files the same mode.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return f.Close()
}

// create makes the tables if they are not there.
func (x *Index) create() error {
	version := 0
	if err := x.write.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if version == SchemaVersion {
		return nil
	}
	tx, err := x.write.Begin()
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(schemaSQL); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	for _, q := range []string{"INSERT INTO meta VALUES ('generation', 0)", "INSERT INTO words VALUES (0, '')",
		"INSERT INTO runs (id, run) VALUES (0, '')",
		"PRAGMA user_version = " + strconv.Itoa(SchemaVersion), "PRAGMA application_id = " + strconv.Itoa(applicationID)} {
		if _, err := tx.Exec(q); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	// Into the file itself, where inspect looks for the application id.
	if _, err := x.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// pageSize suits blobs of some ten thousand octets; cacheKiB bounds the memory of each connection.
const (
	pageSize   = 8192
	cacheKiB   = 8192
	readers    = 4
	busyMillis = 10000
	walPages   = 2000
)

func (x *Index) connect(path string) error {
	dsn := func(pragmas ...string) string {
		u := url.URL{Scheme: "file", Path: path, OmitHost: true}
		q := url.Values{}
		for _, p := range append([]string{fmt.Sprintf("busy_timeout(%d)", busyMillis), fmt.Sprintf("page_size(%d)", pageSize),
			fmt.Sprintf("cache_size(-%d)", cacheKiB), "journal_mode(WAL)", "synchronous(NORMAL)"}, pragmas...) {
			q.Add("_pragma", p)
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	var err error
	more := []string{fmt.Sprintf("wal_autocheckpoint(%d)", walPages)}
	if x.opt.maxPages > 0 {
		more = append(more, fmt.Sprintf("max_page_count(%d)", x.opt.maxPages))
	}
	if x.write, err = sql.Open("sqlite", dsn(more...)+"&_txlock=immediate"); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.write.SetMaxOpenConns(1)
	if x.read, err = sql.Open("sqlite", dsn("query_only(1)")); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.read.SetMaxOpenConns(readers)
	x.read.SetMaxIdleConns(readers)
	return nil
}

// openMemory keeps the index in memory: one connection for all.
func (x *Index) openMemory() error {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	db.SetMaxOpenConns(1)
	db.SetConnMaxLifetime(0)
	x.write, x.read = db, db
	if err := x.create(); err != nil {
		x.closeAll()
		return err
	}
	return nil
}

// Path is the database's file, "" if it is in memory.
func (x *Index) Path() string { return x.path }

// Dir is the log's directory.
func (x *Index) Dir() string { return x.dir }

// SQL is the database for queries of one's own (docs/review.md describes the schema). It cannot be written through this handle
// unless it is in memory, where nothing holds the caller back from harm.
func (x *Index) SQL() *sql.DB { return x.read }

// Close gives up the index. It must not be in use.
func (x *Index) Close() error { return x.closeAll() }

func (x *Index) closeDBs() error {
	var errs []error
	if x.read != nil && x.read != x.write {
		errs = append(errs, x.read.Close())
	}
	if x.write != nil {
		errs = append(errs, x.write.Close())
	}
	x.read, x.write = nil, nil
	return errors.Join(errs...)
}

func (x *Index) closeAll() error {
	err := x.closeDBs()
	if x.lock != nil {
		err = errors.Join(err, x.lock.Close())
	}
	return err
}
