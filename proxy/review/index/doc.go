// Package index keeps an SQLite index beside a decision log, so that a question about millions of records is answered from a few
// blocks and not from all lines. The JSON lines stay the truth: the index says where the records that fit a filter stand, and the
// lines are read there. docs/review.md describes the schema, which any SQLite tool may query.
//
// An Index is made by [Open] and brought up to the log's end by [Index.Refresh]. It never writes to the log, and several
// processes may use one index at once. If it does not match the log (a file was cut, replaced, or the index is another version's)
// it is made anew.
//
// # Layout
//
// Records are grouped into blocks of up to 32768 in the log's order, each of one file. A block keeps its records in columns: the
// record's shape (its combination of words: event, verdict, reason, rule, ...), its connection (flow id and the two ends), time and
// the offset of its line. A filter is evaluated once for each shape and each connection of a block and then looked up for each record.
package index

import _ "modernc.org/sqlite" // registers the driver "sqlite"
