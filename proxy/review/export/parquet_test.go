package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"halfopen/proxy/decisionlog"
)

const log = `{"timestamp":"2026-11-23T18:00:00.000000001+0000","event_type":"header","header":{"schema_version":1,"program":"halfopen","version":"dev","run":"01K","file_seq":1,"started":"2026-11-23T18:00:00.000000001+0000","before":{}}}
{"timestamp":"2026-11-23T18:00:01.123456789+0000","event_type":"decision","flow_id":1234567890123,"community_id":"1:LQU9qZlK+B5F3KDmev6m5PMibrg=","src_ip":"192.0.2.10","src_port":721,"dest_ip":"198.51.100.10","dest_port":515,"proto":"TCP","direction":"to_server","tcp":{"flags":"S","seq":4294967295,"ack":0,"win":64240,"len":0},"decision":{"id":"01KA","verdict":"drop","reason":"syn-established","preset":"lpd-case-2015","policy_rev":"sha256:12","queue":0,"state_before":"ESTABLISHED","state_after":"ESTABLISHED","idle_s":25.5,"remaining_s":0,"age_s":30,"action":{"packet":"drop","reply":"ack-tracked","peer":"none","state":"keep","timer":"leave"},"reply":{"kind":"ack-tracked","flags":".","seq":5051,"ack":1101},"stripped":["urgent","md5"],"expected":{"seq":0,"seq_lo":1101},"latency_ns":12000}}
no record
{"timestamp":"2026-11-23T18:00:02.000000000+0000","event_type":"flow","flow_id":1234567890123,"src_ip":"2001:db8::1","src_port":1,"dest_ip":"2001:db8::2","dest_port":2,"proto":"TCP","flow":{"event":"end","pkts_toserver":9007199254740991,"pkts_toclient":0,"start":"2026-11-23T18:00:00.500000000+0000","end":"2026-11-23T18:00:02.000000000+0000","reason":"idle","handshake_s":0.01}}
{"timestamp":"2026-11-23T18:00:03.000000000+0000","event_type":"stats","stats":{"run":"01K","received":5,"verdicts":{"drop":1,"forward":4}}}
`

// read exports a log and returns the file's rows as the JSON that its own names and values make.
func read(t *testing.T, text string, pick func(*decisionlog.Event) bool) (rows []map[string]any, done Done) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "decisions-20261123T180000.000Z-000001.jsonl")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	done, err := Parquet(&buf, filepath.Dir(name), pick)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	r := parquet.NewReader(f)
	defer r.Close()
	for range f.NumRows() {
		m := map[string]any{}
		if err := r.Read(&m); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, m)
	}
	return rows, done
}

// at follows a path of names.
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func TestParquet(t *testing.T) {
	rows, done := read(t, log, nil)
	if done.Records != 3 || len(rows) != 3 || len(done.Bad) != 1 || done.Bad[0].Line != 3 {
		t.Fatalf("%+v, %d rows", done, len(rows))
	}
	for _, c := range []struct {
		row  int
		path string
		want string
	}{
		{0, "file", "decisions-20261123T180000.000Z-000001.jsonl"}, {0, "line", "2"}, {0, "run", "01K"}, {0, "event_type", "decision"},
		{0, "timestamp", "1795456801123456789"}, {0, "flow_id", "1234567890123"}, {0, "src_port", "721"}, {0, "in_iface", "<nil>"},
		{0, "tcp.seq", "4294967295"}, {0, "tcp.ack", "0"}, {0, "decision.reason", "syn-established"}, {0, "decision.idle_s", "25.5"},
		{0, "decision.remaining_s", "0"}, {0, "decision.reply.ack", "1101"}, {0, "decision.peer", "<nil>"}, {0, "decision.rule", "<nil>"},
		{0, "decision.expected.seq", "0"}, {0, "decision.expected.seq_hi", "<nil>"}, {0, "decision.latency_ns", "12000"}, {0, "flow", "<nil>"},
		{1, "flow.pkts_toserver", "9007199254740991"}, {1, "flow.pkts_toclient", "0"}, {1, "flow.handshake_s", "0.01"},
		{1, "flow.response_s", "<nil>"}, {1, "line", "4"}, {1, "decision", "<nil>"}, {2, "stats.received", "5"},
	} {
		if got := fmt.Sprint(at(t, rows[c.row], c.path)); got != c.want {
			t.Errorf("row %d: %s is %s, want %s", c.row, c.path, got, c.want)
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"urgent"`, `"md5"`, `"forward"`} { // a list, and a map
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is nowhere in %s", want, text)
		}
	}
}

func TestParquetPicks(t *testing.T) {
	rows, done := read(t, log, func(e *decisionlog.Event) bool { return e.Flow != nil })
	if len(rows) != 1 || done.Records != 1 || at(t, rows[0], "flow.reason") != "idle" {
		t.Errorf("%+v: %v", done, rows)
	}
	if rows, done := read(t, "", nil); len(rows) != 0 || done.Records != 0 { // a file with no rows is still one
		t.Errorf("%+v: %v", done, rows)
	}
}

// The columns are those of the record: each field of it that has a name in the line, at the same place.
func TestColumnsAreTheRecord(t *testing.T) {
	typ, _ := layout(reflect.TypeFor[row]())
	have := map[string]bool{}
	for _, path := range parquet.SchemaOf(reflect.New(typ).Interface()).Columns() {
		have[strings.Join(path, ".")] = true
	}
	for _, want := range []string{"timestamp", "src_ip", "tcp.flags", "decision.action.packet", "decision.would.reply.seq", "decision.tombstone.forgotten",
		"flow.probes_answered", "inject.wire.dest_port", "gap.kernel.now", "reload.error", "experiment.unit", "experiment.spec", "stats.kernel.base", "decision.expected.seen_end"} {
		if !have[want] {
			t.Errorf("no column %s", want)
		}
	}
	if len(have) < 150 {
		t.Errorf("%d columns", len(have))
	}
}
