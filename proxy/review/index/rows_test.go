package index

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

// TestRowsAgainstBlocks measures what docs/review.md says of the other layout: a row a record, with an index for each dimension of
// filters, dictionary-coded as the blocks are. It runs on the log of TestScale only:
//
//	go test ./proxy/review/index -run TestRowsAgainstBlocks -v -timeout 60m -args -rows -scale-log /tmp/log
func TestRowsAgainstBlocks(t *testing.T) {
	if !*scaleRows {
		// The small form shows that the measurement measures what it says: the rows answer as the blocks do.
		dir, _ := generate(t, loggen.Config{Seed: 13, Decisions: 3000})
		x := open(t, dir)
		n, picked := rowsAgainst(t, dir, filepath.Join(t.TempDir(), "rows.sqlite"), 0)
		all, err1 := x.Count(ctx, Filter{})
		some, err2 := x.Count(ctx, Filter{Reason: []string{"syn-established"}})
		if err1 != nil || err2 != nil || uint64(n) != all || uint64(picked) != min(some, 100) || some == 0 {
			t.Errorf("%d rows, %d picked; blocks %d and %d (%v, %v)", n, picked, all, some, err1, err2)
		}
		return
	}
	name := filepath.Join(*scaleLog, "rows.sqlite")
	defer os.Remove(name)
	rowsAgainst(t, *scaleLog, name, 1_000_000)
}

// rowsAgainst makes a table of rows of the first limit records (0: all) and asks it.
func rowsAgainst(t *testing.T, dir, name string, limit int) (n, picked int) {
	db, err := sql.Open("sqlite", "file:"+name+"?_pragma=page_size(8192)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=cache_size(-8192)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(q string, args ...any) {
		if _, err := db.Exec(q, args...); err != nil {
			t.Fatal(q, err)
		}
	}
	exec(`CREATE TABLE records (id INTEGER PRIMARY KEY, file INTEGER, offset INTEGER, at INTEGER, event INTEGER, verdict INTEGER, reason INTEGER,
		rule INTEGER, arm INTEGER, rev INTEGER, flow INTEGER, src BLOB, src_port INTEGER, dst BLOB, dst_port INTEGER)`)
	for _, c := range []string{"at", "reason", "verdict", "rule", "arm", "rev", "flow", "src", "dst", "src_port", "dst_port"} {
		exec("CREATE INDEX records_" + c + " ON records (" + c + ")")
	}
	b := &builder{words: newWords()}
	start, cpu := time.Now(), processorTime()
	var tx *sql.Tx
	var ins *sql.Stmt
	files, err := decisionlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for number, file := range files {
		l, err := decisionlog.OpenLines(file, decisionlog.Position{})
		if err != nil {
			t.Fatal(err)
		}
		for limit == 0 || n < limit {
			raw, at, err := l.Next()
			if err != nil {
				break
			}
			if b.fields.Decode(raw) != nil || b.fields.Has(slots.header) || b.fields.Has(slots.trailer) {
				continue
			}
			if n%blockMax == 0 {
				if tx != nil {
					if err := tx.Commit(); err != nil {
						t.Fatal(err)
					}
				}
				if tx, err = db.Begin(); err == nil {
					ins, err = tx.Prepare("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			n++
			r := b.takeRecord(&b.fields, at)
			src, dst, sport, dport := r.conn.lo[:], r.conn.hi[:], r.conn.loPort, r.conn.hiPort
			if r.swapped {
				src, dst, sport, dport = dst, src, dport, sport
			}
			s := &r.shape
			if _, err := ins.Exec(n, number, r.offset, r.at, s.event, s.verdict, s.reason, s.rule, s.arm, s.rev, int64(r.conn.flow), src, sport, dst, dport); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
	}
	if tx != nil {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	exec("PRAGMA wal_checkpoint(TRUNCATE)")
	used, wall := (processorTime() - cpu).Seconds(), time.Since(start).Seconds()
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("rows: %d records in %.1f s of processor time (%.0f records/s), %.1f s of the clock; %.0f MiB, %.0f octets a record", n, used,
		float64(n)/used, wall, float64(st.Size())/(1<<20), float64(st.Size())/float64(n))
	for i, q := range []struct{ name, where string }{
		{"reason:syn-established", "reason = " + b.number("syn-established")},
		{"src:10.0.0.0/8 reason:late-after-expiry", "reason = " + b.number("late-after-expiry") + " AND src BETWEEN x'00000000000000000000ffff0a000000' AND x'00000000000000000000ffff0affffff'"},
		{"src:10.0.0.0/8 verdict:rewrite reason:fin", "verdict = " + b.number("rewrite") + " AND reason = " + b.number("fin") + " AND src BETWEEN x'00000000000000000000ffff0a000000' AND x'00000000000000000000ffff0affffff'"},
		{"count by minute and verdict", ""},
	} {
		start, cpu := time.Now(), processorTime()
		query := "SELECT id, file, offset FROM records WHERE " + q.where + " ORDER BY id DESC LIMIT 100"
		if q.where == "" {
			query = "SELECT at / 60000000000, verdict, count(*) FROM records GROUP BY 1, 2"
		}
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		k := 0
		for rows.Next() {
			k++
		}
		rows.Close()
		if i == 0 {
			picked = k
		}
		t.Logf("rows: %8.1f ms of processor time (%8.1f ms of the clock) %6d  %s", (processorTime()-cpu).Seconds()*1000, ms(start), k, q.name)
		if q.where == "" && n > 0 && k == 0 {
			t.Error("no row was counted")
		}
	}
	return n, picked
}

// number is a word's number as SQL has it.
func (b *builder) number(word string) string {
	id := b.words.id([]byte(word))
	var out []byte
	for id > 0 || len(out) == 0 {
		out = append([]byte{byte('0' + id%10)}, out...)
		id /= 10
	}
	return string(out)
}
