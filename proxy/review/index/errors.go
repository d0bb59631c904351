package index

import (
	"errors"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

const sqliteFull = lib.SQLITE_FULL

// sqliteCode is the primary result code of an error of SQLite's.
func sqliteCode(err error) (code int, ok bool) {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff, true
	}
	return 0, false
}

// Full reports whether an error means that the disk of the index is full.
func Full(err error) bool {
	code, ok := sqliteCode(err)
	return ok && code == sqliteFull
}
