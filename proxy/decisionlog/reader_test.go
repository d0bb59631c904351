package decisionlog

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestReaderTolerates(t *testing.T) {
	dir := t.TempDir()
	good := `{"timestamp":"2026-11-23T18:01:36.5+0000","event_type":"decision","decision":{"id":"x","verdict":"drop","reason":"r","future":{"a":[1]}},"more":1}`
	lines := strings.Join([]string{
		`{"timestamp":"2026-11-23T18:01:36.123456789+0000","event_type":"header","header":{"run":"R","file_seq":1}}`,
		good,
		`{"timestamp":"2026-11-23T18:01:36.5+01:00","event_type":"some_day"}`,
		`not json`,
		`{"timestamp":"yesterday"}`,
		`{"x":"` + strings.Repeat("y", MaxLine) + `"}`,
		good,
		`{"cut":`}, "\n")
	name := filepath.Join(dir, "decisions-20261123T180136.000Z-000001.jsonl")
	if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	events, bad := readAll(t, dir)
	if len(events) != 4 || events[1].Decision.Reason != "r" || events[3].Run != "R" || events[3].Line != 7 {
		t.Errorf("events %+v", events)
	}
	if len(bad) != 4 || !bad[3].Cut || bad[2].Cut {
		t.Fatalf("bad %v", bad)
	}
	for i, want := range []string{name + ":4: bad line: ", name + ":5: bad line: ", name + ":6: bad line: longer than", name + ":8: last line cut short"} {
		if !strings.HasPrefix(bad[i].Error(), want) {
			t.Errorf("%v, want %s", bad[i], want)
		}
	}
	if off := int64(len(lines) - len(`{"cut":`)); bad[3].Offset != off || events[3].Offset != off-int64(len(good))-1 {
		t.Errorf("offsets %d and %d, the last line is at %d", events[3].Offset, bad[3].Offset, off)
	}
	for _, path := range []string{filepath.Join(dir, "none"), "/proc/self/mem"} {
		n := 0
		for _, err := range Read(path) {
			var b *BadLine
			if err == nil || errors.As(err, &b) {
				t.Errorf("%s: %v", path, err)
			}
			if n++; n > 10 {
				t.Fatal("reading does not end")
			}
		}
	}
}

// What a flow record says comes back, all of it.
func TestFlowComesBack(t *testing.T) {
	for _, r := range fullRecords() {
		if r.Event != EventFlow {
			continue
		}
		var e Event
		if err := json.Unmarshal(r.AppendJSON(nil), &e); err != nil {
			t.Fatal(err)
		}
		f := e.Flow
		for v, i := reflect.ValueOf(*f), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%s did not come back", v.Type().Field(i).Name)
			}
		}
		if *f.HandshakeS != 0.0015 || *f.ResponseS != 2 || f.SYNRetransmits != 255 || f.RetransmitsToServer != 8 || f.RetransmitsToClient != 1<<32-1 ||
			f.OutOfWindowToServer != 10 || f.OutOfWindowToClient != 11 || f.StallS != 4294.967295 || f.Interventions != 3 || f.Resets != 2 || !f.Stalled || f.EndedBy != "client-fin" {
			t.Errorf("%+v", f)
		}
	}
}

// Reading stops where the caller stops, also among bad lines.
func TestReaderStops(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1", "2"} {
		name := filepath.Join(dir, "decisions-20261123T180136.000Z-00000"+n+".jsonl")
		if err := os.WriteFile(name, []byte("{}\nbad\n{}\ncut"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for stop := 1; stop <= 8; stop++ {
		n := 0
		for range Read(dir) {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("%d of %d", n, stop)
		}
	}
}

func TestID(t *testing.T) {
	id := ID{Hi: newRunBits(1<<47 + 12345), Lo: 0xabcd<<48 | 1<<47}
	back, ok := ParseID(strings.ToLower(id.String()))
	if !ok || back != id || id.Worker() != 0xabcd || id.Seq() != 1<<47 || id.Run() != id.String()[:13] {
		t.Errorf("%s came back as %v, %v", id, back, ok)
	}
	p := newProducer(2, id.Hi, 7, nil, nil)
	a, b := p.NextID(), p.NextID()
	if a.Seq() != 1 || b.Seq() != 2 || a.String() >= b.String() || a.Worker() != 7 {
		t.Errorf("ids %s, %s", a, b)
	}
	for _, bad := range []string{"", "x", strings.Repeat("U", 26), strings.Repeat("Z", 26)} {
		if _, ok := ParseID(bad); ok {
			t.Errorf("%q is an id", bad)
		}
	}
}

func FuzzReader(f *testing.F) {
	r := fullDecision()
	f.Add(append(r.AppendJSON(nil), '\n'))
	f.Add([]byte("{\"gap\":null}\n{\"stats\":{\"suppressed\":{\"a\":1}}}\n\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		readLines("f", strings.NewReader(string(b)), func(e *Event, err error) bool {
			if n++; n > len(b)+1 {
				t.Fatal("more lines than bytes")
			}
			if err == nil {
				e.Tally()
			}
			return true
		})
	})
}
