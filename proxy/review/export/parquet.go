package export

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"halfopen/proxy/decisionlog"
)

// groupRows is how many rows a row group has at most: what is kept in memory before it is written.
const groupRows = 64 << 10

// Done says what was exported.
type Done struct {
	Records int
	Bad     []*decisionlog.BadLine // lines that are no records, at most maxBad
	MoreBad int                    // beyond those
}

const maxBad = 100

// Parquet writes the records of a log that pick takes (nil: every one but the files' headers and trailers) as one Parquet
// file, in their order, compressed with zstd. path is as for [decisionlog.Read]. Lines that are no records are left out and told.
// Where an error is returned the file is not whole.
func Parquet(w io.Writer, path string, pick func(*decisionlog.Event) bool) (Done, error) {
	var done Done
	typ, fill := layout(reflect.TypeFor[row]())
	schema := parquet.SchemaOf(reflect.New(typ).Interface())
	out := parquet.NewWriter(w, schema, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy("halfopen", "", ""), parquet.KeyValueMetadata("halfopen.schema_version", fmt.Sprint(decisionlog.SchemaVersion)))
	to := reflect.New(typ)
	for e, err := range decisionlog.Read(path) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			if len(done.Bad) < maxBad {
				done.Bad = append(done.Bad, bad)
			} else {
				done.MoreBad++
			}
			continue
		}
		if err != nil {
			return done, err
		}
		if e.Header != nil || e.Trailer != nil || pick != nil && !pick(e) {
			continue
		}
		r := row{File: filepath.Base(e.File), Line: e.Line, Run: e.Run, Event: *e}
		to.Elem().SetZero()
		fill(to.Elem(), reflect.ValueOf(r))
		if err := out.Write(to.Interface()); err != nil {
			return done, fmt.Errorf("parquet: %w", err)
		}
		done.Records++
	}
	if err := out.Close(); err != nil {
		return done, fmt.Errorf("parquet: %w", err)
	}
	return done, nil
}
