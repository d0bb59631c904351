package index

import (
	"cmp"
	"database/sql"
	"errors"
	"net/netip"
	"slices"
)

// flowBook holds the rows of flows that records are being booked on. Rows that are no longer needed are forgotten after they
// were stored, so its size is bounded by what a batch touches and flowsKept.
type flowBook struct {
	rows                    map[flowKey]*flowRow
	next                    int64 // id of the next new row
	select1, insert, update *sql.Stmt
	chunks                  map[int64][]byte // changed rows of flow_chunks
	changed                 []*flowRow
	args                    []any
}

type flowKey struct {
	run  int64
	flow uint64
}

// flowsKept bounds the rows that are kept from one batch to the next.
const flowsKept = 40000

func newFlowBook(tx *sql.Tx) (*flowBook, error) {
	b := &flowBook{rows: make(map[flowKey]*flowRow)}
	var last sql.NullInt64
	if err := tx.QueryRow("SELECT max(id) FROM flow_rows").Scan(&last); err != nil {
		return nil, err
	}
	b.next = last.Int64 + 1
	return b, nil
}

// begin prepares the book's statements for a transaction.
func (b *flowBook) begin(tx *sql.Tx) (err error) {
	b.chunks = make(map[int64][]byte)
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{{&b.select1, flowSQL.selectBy + "WHERE flow_id = ? AND run = ?"}, {&b.insert, flowSQL.insert}, {&b.update, flowSQL.update}} {
		if *p.to, err = tx.Prepare(p.sql); err != nil {
			return err
		}
	}
	return nil
}

// row finds the row of a flow, or makes one for which r is the first record.
func (b *flowBook) row(run, file int64, r *record) (*flowRow, error) {
	key := flowKey{run, r.conn.flow}
	row := b.rows[key]
	if row == nil {
		row = &flowRow{}
		err := row.scan(b.select1.QueryRow(int64(key.flow), run))
		if errors.Is(err, sql.ErrNoRows) {
			*row = flowRow{id: b.next, run: run, flowID: int64(key.flow), firstFile: file, firstOffset: r.offset, firstAt: r.at}
			b.next++
		} else if err != nil {
			return nil, err
		}
		b.rows[key] = row
	}
	row.lastFile, row.lastOffset, row.lastAt = file, r.offset, r.at
	row.dirty = true
	if row.clientIP == "" && r.conn.known {
		row.setEnds(r)
	}
	return row, nil
}

// setEnds notes which end opened the connection.
func (row *flowRow) setEnds(r *record) {
	client, server := r.conn.pair(r.swapped != !r.toServer)
	row.clientIP, row.clientPort = client.Addr().String(), int64(client.Port())
	row.serverIP, row.serverPort = server.Addr().String(), int64(server.Port())
	row.communityID = string(r.fields.Text(slots.communityID))
	if row.communityID == "" {
		row.communityID = r.conn.communityID()
	}
}

// client and server of a row; zero values where they are not known.
func (row *flowRow) ends() (client, server netip.AddrPort) {
	c, err1 := netip.ParseAddr(row.clientIP)
	s, err2 := netip.ParseAddr(row.serverIP)
	if err1 != nil || err2 != nil {
		return client, server
	}
	return netip.AddrPortFrom(c, uint16(row.clientPort)), netip.AddrPortFrom(s, uint16(row.serverPort))
}

// flush stores what has changed and forgets what is not needed soon.
func (b *flowBook) flush(tx *sql.Tx) error {
	b.changed = b.changed[:0]
	for key, row := range b.rows {
		if row.dirty {
			b.changed = append(b.changed, row)
		}
		if row.ended != 0 || len(b.rows) > flowsKept {
			delete(b.rows, key)
		}
	}
	slices.SortFunc(b.changed, func(a, b *flowRow) int { return cmp.Compare(a.id, b.id) }) // appended to the table's end, not strewn
	var err error
	for _, row := range b.changed {
		if b.args, err = row.store(b.insert, b.update, b.args); err != nil {
			return err
		}
		row.dirty = false
		if err := b.plane(tx, row); err != nil {
			return err
		}
	}
	for chunk, data := range b.chunks {
		if _, err := tx.Exec("INSERT OR REPLACE INTO flow_chunks (chunk, data) VALUES (?, ?)", chunk, data); err != nil {
			return err
		}
	}
	return nil
}
