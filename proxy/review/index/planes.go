package index

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
)

// A row of flow_chunks holds planes of chunkFlows numbers of four octets each, little-endian, in the order of flow ids: the flow's
// outcome (a word's number), and then what flows are ordered by, as floats of 32 bits. Reading one plane of half a million flows
// takes some ten milliseconds, where reading their rows takes a second.
const chunkFlows = 1024

// planes are the orders of flows, by their plane from 1 on, and the numbers of a row that they hold.
var planes = []struct {
	sort  FlowSort
	value func(*flowRow) int64
}{
	{SortDropped, func(r *flowRow) int64 { return r.drop }},
	{SortRetransmissions, func(r *flowRow) int64 { return r.retransmits[0] + r.retransmits[1] }},
	{SortStall, func(r *flowRow) int64 { return r.stallNS }},
	{SortInjections, func(r *flowRow) int64 { return r.injections }},
	{SortHandshake, func(r *flowRow) int64 { return r.handshakeNS }},
	{SortSyns, func(r *flowRow) int64 { return r.syns }},
	{SortBytes, func(r *flowRow) int64 { return r.bytes[0] + r.bytes[1] }},
}

var chunkBytes = (1 + len(planes)) * chunkFlows * 4

// plane notes what the planes hold of a flow.
func (b *flowBook) plane(tx *sql.Tx, row *flowRow) error {
	n := row.id / chunkFlows
	chunk := b.chunks[n]
	if chunk == nil {
		err := tx.QueryRow("SELECT data FROM flow_chunks WHERE chunk = ?", n).Scan(&chunk)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if len(chunk) != chunkBytes {
			chunk = make([]byte, chunkBytes)
		}
		b.chunks[n] = chunk
	}
	at := row.id % chunkFlows * 4
	binary.LittleEndian.PutUint32(chunk[at:], uint32(row.outcomeW))
	for i := range planes {
		at += chunkFlows * 4
		binary.LittleEndian.PutUint32(chunk[at:], math.Float32bits(float32(planes[i].value(row))))
	}
	return nil
}

// eachPlane reads a plane of all chunks, in order. The octets are valid during the call.
func eachPlane(tx *sql.Tx, plane int, fn func(chunk int64, data []byte)) error {
	rows, err := tx.Query("SELECT chunk, data FROM flow_chunks ORDER BY chunk")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		var data sql.RawBytes
		if err := rows.Scan(&n, &data); err != nil {
			return err
		}
		if len(data) != chunkBytes {
			return errDamaged
		}
		fn(n, data[plane*chunkFlows*4:(plane+1)*chunkFlows*4])
	}
	return rows.Err()
}
