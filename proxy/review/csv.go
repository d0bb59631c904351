package review

import (
	"bytes"
	"encoding/csv"
	"strconv"

	"halfopen/proxy/decisionlog"
)

// csvColumns are the columns of CSV, named as the log's fields.
var csvColumns = []string{"timestamp", "event_type", "kind", "verdict", "reason", "flow_id", "community_id", "src_ip", "src_port", "dest_ip",
	"dest_port", "direction", "flags", "seq", "ack", "len", "state_before", "state_after", "idle_s", "rule", "preset", "policy_rev", "arm",
	"reply", "peer", "outcome", "id"}

func appendHeader(b []byte) []byte { return appendRow(b, csvColumns) }

// appendRow appends a row as RFC 4180 has it.
func appendRow(b []byte, row []string) []byte {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	w.Write(row) // a buffer takes everything
	w.Flush()
	return append(b, out.Bytes()...)
}

func appendCSV(b []byte, e *decisionlog.Event) []byte {
	num := func(n uint64) string { return strconv.FormatUint(n, 10) }
	numIf := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return num(n)
	}
	row := map[string]string{
		"timestamp": e.Timestamp.UTC().Format("2006-01-02T15:04:05.000000000Z"), "event_type": e.EventType, "flow_id": numIf(e.FlowID),
		"community_id": e.CommunityID, "src_ip": e.SrcIP, "dest_ip": e.DestIP, "direction": e.Direction,
	}
	if e.SrcIP != "" {
		row["src_port"], row["dest_port"] = num(uint64(e.SrcPort)), num(uint64(e.DestPort))
	}
	if t := e.TCP; t != nil {
		row["flags"], row["seq"], row["ack"], row["len"] = t.Flags, num(uint64(t.Seq)), num(uint64(t.Ack)), num(uint64(t.Len))
	}
	_, kind := kinds(e)
	switch {
	case e.Decision != nil:
		decisionColumns(row, e.Decision)
	case e.Flow != nil:
		f := e.Flow
		row["kind"], row["state_after"], row["outcome"] = kind, f.State, f.Outcome
		row["rule"], row["preset"], row["policy_rev"], row["arm"] = f.Rule, f.Preset, f.PolicyRev, f.Arm
	case e.Inject != nil:
		row["kind"], row["id"] = kind, e.Inject.ID
	case e.Reload != nil:
		row["kind"], row["preset"], row["policy_rev"] = kind, e.Reload.Preset, e.Reload.PolicyRev
	case e.Experiment != nil:
		row["kind"], row["arm"] = kind, e.Experiment.Arm
	default:
		row["kind"] = kind
	}
	cells := make([]string, len(csvColumns))
	for i, c := range csvColumns {
		cells[i] = row[c]
	}
	return appendRow(b, cells)
}

func decisionColumns(row map[string]string, d *decisionlog.DecisionEvent) {
	row["kind"], row["verdict"], row["reason"], row["id"] = d.Trigger, d.Verdict, d.Reason, d.ID
	row["rule"], row["preset"], row["policy_rev"], row["arm"] = d.Rule, d.Preset, d.PolicyRev, d.Arm
	row["state_before"], row["state_after"] = d.StateBefore, d.StateAfter
	if d.IdleS != nil {
		row["idle_s"] = strconv.FormatFloat(*d.IdleS, 'f', -1, 64)
	}
	if d.Reply != nil {
		row["reply"] = d.Reply.Kind
	}
	if d.Peer != nil {
		row["peer"] = d.Peer.Kind
	}
}
