package index

import (
	"database/sql"
	"encoding/json"
	"strconv"
	"strings"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// flowRow is a row of flow_rows. Fields that end in W are word numbers; times are 0 where the table has NULL.
type flowRow struct {
	id, run, flowID                          int64
	firstFile, firstOffset                   int64
	lastFile, lastOffset                     int64
	firstAt, lastAt                          int64
	started, seen, ended                     int64
	pkts, bytes, fast, fastBytes             [2]int64 // to the server, to the client
	fastKnown, counted                       int64
	stateW, connStateW, outcomeW, endW       int64
	predecessor, adopted, probes, answeredW  int64
	ruleW, presetW, revW, armW               int64
	synAt, serverNS, handshakeNS             int64
	responseNS, stallNS, stalled, endedByW   int64
	decisions, forward, drop, rewrite, hold  int64
	syns, synacks, rstsClient, rstsServer    int64
	synRetransmits                           int64
	retransmits, outOfWindow                 [2]int64 // to the server, to the client
	injections, injectErrors                 int64
	rstsToClient, rstsToServer               int64
	firstVerdictW, firstReasonW              int64
	lastVerdictW, lastReasonW                int64
	clientPort, serverPort                   int64
	clientIP, serverIP, communityID, letters string
	reasons                                  []reasonCount

	dirty  bool
	stored bool // the table has it
}

// reasonCount is how often a verdict met a reason.
type reasonCount struct {
	verdict, reason string
	n               int64
}

// flowColumns are the columns of flow_rows, in the order of flowRow.pointers. Those with a ? may be NULL.
const flowColumns = "id run flow_id first_file first_offset last_file last_offset first_at last_at started? seen? ended? " +
	"pkts_toserver pkts_toclient bytes_toserver bytes_toclient fastpath_pkts_toserver fastpath_pkts_toclient fastpath_bytes_toserver fastpath_bytes_toclient fast_known counted " +
	"state_w conn_state_w outcome_w end_reason_w predecessor adopted probes probes_answered_w rule_w preset_w policy_rev_w arm_w " +
	"syn_at? server_ns? handshake_ns? response_ns? stall_ns? stalled ended_by_w n_decisions n_forward n_drop n_rewrite n_hold syns synacks rsts_client rsts_server " +
	"syn_retransmits retransmits_toserver retransmits_toclient out_of_window_toserver out_of_window_toclient injections inject_errors rsts_to_client rsts_to_server " +
	"first_verdict_w first_reason_w last_verdict_w last_reason_w client_port server_port " +
	"client_ip server_ip community_id history"

// numbers are the places of flowColumns that hold numbers, and texts of those behind them.
func (r *flowRow) numbers() [65]*int64 {
	return [...]*int64{&r.id, &r.run, &r.flowID, &r.firstFile, &r.firstOffset, &r.lastFile, &r.lastOffset, &r.firstAt, &r.lastAt,
		&r.started, &r.seen, &r.ended, &r.pkts[0], &r.pkts[1], &r.bytes[0], &r.bytes[1], &r.fast[0], &r.fast[1], &r.fastBytes[0], &r.fastBytes[1], &r.fastKnown, &r.counted,
		&r.stateW, &r.connStateW, &r.outcomeW, &r.endW, &r.predecessor, &r.adopted, &r.probes, &r.answeredW,
		&r.ruleW, &r.presetW, &r.revW, &r.armW, &r.synAt, &r.serverNS, &r.handshakeNS, &r.responseNS, &r.stallNS, &r.stalled, &r.endedByW,
		&r.decisions, &r.forward, &r.drop, &r.rewrite, &r.hold, &r.syns, &r.synacks, &r.rstsClient, &r.rstsServer,
		&r.synRetransmits, &r.retransmits[0], &r.retransmits[1], &r.outOfWindow[0], &r.outOfWindow[1], &r.injections, &r.injectErrors, &r.rstsToClient, &r.rstsToServer,
		&r.firstVerdictW, &r.firstReasonW, &r.lastVerdictW, &r.lastReasonW, &r.clientPort, &r.serverPort}
}

func (r *flowRow) texts() [4]*string {
	return [...]*string{&r.clientIP, &r.serverIP, &r.communityID, &r.letters}
}

// flowSQL holds the statements about flow rows.
var flowSQL = func() (s struct{ insert, update, selectBy string }) {
	var names, sets, reads []string
	for _, c := range strings.Fields(flowColumns) {
		name, nullable := strings.CutSuffix(c, "?")
		names = append(names, name)
		if nullable {
			reads = append(reads, "ifnull("+name+", 0)")
		} else {
			reads = append(reads, name)
		}
		if name != "id" {
			sets = append(sets, name+" = ?")
		}
	}
	s.insert = "INSERT INTO flow_rows (" + strings.Join(names, ", ") + ", reasons) VALUES (" + placeholders(len(names)+1) + ")"
	s.update = "UPDATE flow_rows SET " + strings.Join(sets, ", ") + ", reasons = ? WHERE id = ?"
	s.selectBy = "SELECT " + strings.Join(reads, ", ") + ", reasons FROM flow_rows "
	return s
}()

// nullable marks the numbers whose 0 is NULL.
var nullable = func() (at [65]bool) {
	for i, c := range strings.Fields(flowColumns)[:65] {
		at[i] = strings.HasSuffix(c, "?")
	}
	return at
}()

// args are the values of a row's columns.
func (r *flowRow) args(buf []any) []any {
	buf = buf[:0]
	for i, p := range r.numbers() {
		if nullable[i] && *p == 0 {
			buf = append(buf, nil)
			continue
		}
		buf = append(buf, *p)
	}
	for _, p := range r.texts() {
		buf = append(buf, *p)
	}
	return append(buf, string(r.appendReasons(nil)))
}

// scan reads a row of selectBy.
func (r *flowRow) scan(rows interface{ Scan(...any) error }) error {
	var dest [70]any
	for i, p := range r.numbers() {
		dest[i] = p
	}
	for i, p := range r.texts() {
		dest[65+i] = p
	}
	var reasons string
	dest[69] = &reasons
	if err := rows.Scan(dest[:]...); err != nil {
		return err
	}
	r.stored = true
	var err error
	r.reasons, err = parseReasons(reasons)
	return err
}

// store writes the row: buf is for its values.
func (r *flowRow) store(insert, update *sql.Stmt, buf []any) ([]any, error) {
	buf = r.args(buf)
	if r.stored {
		id := buf[0]
		_, err := update.Exec(append(buf, id)[1:]...)
		return buf, err
	}
	_, err := insert.Exec(buf...)
	r.stored = err == nil
	return buf, err
}

// appendReasons writes {"drop/syn-established": 3, ...} in the order in which they were first met.
func (r *flowRow) appendReasons(b []byte) []byte {
	b = append(b, '{')
	for i, c := range r.reasons {
		if i > 0 {
			b = append(b, ',')
		}
		key := c.verdict + "/" + c.reason
		if c.verdict == "" {
			key = c.reason
		}
		b = appendJSONString(b, key)
		b = strconv.AppendInt(append(b, ':'), c.n, 10)
	}
	return append(b, '}')
}

func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a text has no error
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// parseReasons reads what appendReasons wrote, in its order.
func parseReasons(s string) ([]reasonCount, error) {
	dec := json.NewDecoder(strings.NewReader(s))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	var out []reasonCount
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var n int64
		if err := dec.Decode(&n); err != nil {
			return nil, err
		}
		word, _ := key.(string)
		verdict, reason, ok := strings.Cut(word, "/")
		if !ok {
			verdict, reason = "", word
		}
		out = append(out, reasonCount{verdict, reason, n})
	}
	return out, nil
}

// decision books a decision about a segment of the flow.
func (r *flowRow) decision(verdict, reason string, verdictW, reasonW uint32, flags []byte, toServer bool, at int64) {
	r.decisions++
	switch verdict {
	case decisionlog.VerdictForward:
		r.forward++
	case decisionlog.VerdictDrop:
		r.drop++
	case decisionlog.VerdictRewrite:
		r.rewrite++
	case decisionlog.VerdictHold:
		r.hold++
	}
	if r.decisions == 1 {
		r.firstVerdictW, r.firstReasonW = int64(verdictW), int64(reasonW)
	}
	r.lastVerdictW, r.lastReasonW = int64(verdictW), int64(reasonW)
	r.segment(flags, toServer, at)
	if reason == conntrack.Handshake.String() && r.synAt != 0 && r.handshakeNS == 0 {
		r.handshakeNS = max(at-r.synAt, 1)
	}
	for i := range r.reasons {
		if c := &r.reasons[i]; c.reason == reason && c.verdict == verdict {
			c.n++
			return
		}
	}
	r.reasons = append(r.reasons, reasonCount{verdict, reason, 1})
}

// segment books what a segment's flags say.
func (r *flowRow) segment(flags []byte, toServer bool, at int64) {
	var syn, ack, rst bool
	for _, c := range flags {
		switch c {
		case 'S':
			syn = true
		case '.':
			ack = true
		case 'R':
			rst = true
		}
	}
	switch {
	case rst && toServer:
		r.rstsClient++
	case rst:
		r.rstsServer++
	case syn && ack:
		r.synacks++
		if r.synAt != 0 && r.serverNS == 0 {
			r.serverNS = max(at-r.synAt, 1)
		}
	case syn:
		r.syns++
		if r.synAt == 0 && toServer {
			r.synAt = at
		}
	}
}

// injected books a segment that halfopen made.
func (r *flowRow) injected(kind, to string, failed bool) {
	r.injections++
	if failed {
		r.injectErrors++
	}
	if strings.HasPrefix(kind, "rst") {
		if to == "client" {
			r.rstsToClient++
		} else {
			r.rstsToServer++
		}
	}
}
