package decisionlog

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// differ holds the scanner against encoding/json on one line: what it takes apart, encoding/json must take, and see the same in
// it. It returns whether the scanner took the line.
func differ(t *testing.T, line []byte) bool {
	t.Helper()
	var fast, slow Fields
	took := fast.scan(line)
	var e Event
	err := json.Unmarshal(line, &e)
	if took && err != nil {
		t.Fatalf("the scanner takes what encoding/json does not (%v):\n%s", err, line)
	}
	if derr := slow.Decode(line); (derr == nil) != (err == nil) {
		t.Fatalf("Decode says %v, encoding/json %v:\n%s", derr, err, line)
	}
	if !took || err != nil {
		return false
	}
	slow.take(&e)
	slow.decoded = true
	for path, n := range slotPaths {
		s := n.slot
		if n.kind == kindObject && n.pointer && fast.Has(s) != slow.Has(s) {
			t.Fatalf("%s: there %v, want %v:\n%s", path, fast.Has(s), slow.Has(s), line)
		}
		if n.kind == kindText && string(fast.Text(s)) != string(slow.Text(s)) {
			t.Fatalf("%s: %q, want %q:\n%s", path, fast.Text(s), slow.Text(s), line)
		}
		if n.kind == kindFloat && fast.Seconds(s) != slow.Seconds(s) {
			t.Fatalf("%s: %d ns, want %d:\n%s", path, fast.Seconds(s), slow.Seconds(s), line)
		}
		if n.kind != kindFloat && n.kind != kindObject && fast.Uint(s) != slow.Uint(s) {
			t.Fatalf("%s: %d, want %d:\n%s", path, fast.Uint(s), slow.Uint(s), line)
		}
	}
	return true
}

// The scanner takes every line that the encoder writes but those with maps or JSON as it stands, and sees in it what encoding/json does.
func TestScanAgainstEncodingJSON(t *testing.T) {
	for _, r := range fullRecords() {
		line := r.AppendJSON(nil)
		if took := differ(t, line); took != (r.Event != EventStats && r.Event != EventGap && r.Event != EventExperiment) {
			t.Errorf("%s: taken %v", r.Event, took)
		}
		short := Record{Time: r.Time, Event: r.Event}
		differ(t, short.AppendJSON(nil))
	}
}

// Lines that are nearly ours: one octet, field or value other, taken away or twice.
func TestScanNearMisses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	values := []string{`null`, `""`, `"x"`, `0`, `-0`, `-1`, `1.0`, `1e3`, `01`, `1.`, `.5`, `-`, `+1`, `65536`, `4294967296`, `18446744073709551615`,
		`18446744073709551616`, `99999999999999999999`, `9223372036854775808`, `-9223372036854775808`, `true`, `false`, `tru`, `{}`, `[]`, `[1,{"a":[]}]`, `{"a":1,}`, `"a\u0062"`,
		`"\ud800"`, "\"\xff\"", "\"\x7f\"", "\"a\tb\"", `"2026-11-23T18:01:36.5+0000"`, `"2026-02-29T00:00:00.000000000+0000"`, `"2024-02-29T23:59:59.999999999+0000"`,
		`"2024-02-29T23:59:60.999999999+0000"`, `"2024-13-01T00:00:00.000000000+0000"`, `"2024-00-01T00:00:00.000000000+0000"`, `"2024-01-01T24:00:00.000000000+0000"`,
		`"2024-01-01T00:00:00.000000000+0100"`, `"2024-01-01T00:00:00,000000000+0000"`, `"0001-01-01T00:00:00.000000000+0000"`, `"2024-01-01T0a:00:00.0000000b0+0000"`,
		`" 2024-01-01T00:00:00.00000000+0000"`, `1` + strings.Repeat("0", 400), ` 1`, "1 ", "\n2"}
	names := []string{"timestamp", "Timestamp", "event_type", "future", "Future", "flow_id", "ſrc_ip", "src_ip", "tcp", "TCP", "decision", "flow", "a\\u0062", "K", "\u212a"}
	took, lines := 0, 0
	for _, r := range fullRecords() {
		line := r.AppendJSON(nil)
		for j, n := range names {
			for i, v := range values {
				if (i+j)%breadth != 0 {
					continue
				}
				for _, with := range []string{`{"` + n + `":` + v + `}`, string(line[:len(line)-1]) + `,"` + n + `":` + v + `}`, `{"` + n + `":` + v + `,` + string(line[1:])} {
					lines++
					if differ(t, []byte(with)) {
						took++
					}
				}
			}
		}
		// each value of the line replaced by each other value
		for at := range line {
			if line[at] != ':' || line[at-1] != '"' {
				continue
			}
			end, ok := skip(line, at+1, 0)
			if !ok {
				continue
			}
			for i, v := range values {
				if (i+at)%breadth != 0 {
					continue
				}
				lines++
				if differ(t, slices.Concat(line[:at+1], []byte(v), line[end:])) {
					took++
				}
			}
		}
		for range 2000 / breadth {
			m := slices.Clone(line)
			switch i := rng.IntN(len(m)); rng.IntN(4) {
			case 0:
				m[i] = byte(rng.Uint32())
			case 1:
				m[i] = `{}[]",:0123456789.-eE\ntf `[rng.IntN(26)]
			case 2:
				m = slices.Delete(m, i, i+1)
			case 3:
				j := i + rng.IntN(len(m)-i)
				m = slices.Concat(m[:j], m[i:])
			}
			lines++
			if differ(t, m) {
				took++
			}
		}
	}
	if took < lines/20 {
		t.Errorf("the scanner took %d of %d lines: the test shows little", took, lines)
	}
}

// Texts of lines that the scanner leaves to encoding/json are as good as those that it took.
func TestDecodeSlow(t *testing.T) {
	var f Fields
	line := []byte(`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","flow_id":7,"decision":{"rule":"a\u0007b","reason":"r","queue":3}}`)
	if err := f.Decode(line); err != nil || f.Slow != 1 {
		t.Fatalf("%v, %d slow", err, f.Slow)
	}
	if string(f.Text(SlotOf("decision.rule"))) != "a\x07b" || f.Uint(SlotOf("flow_id")) != 7 || f.Uint(SlotOf("decision.queue")) != 3 ||
		f.Nanos(SlotOf("timestamp")) != 1795456896500000000 || !f.Has(SlotOf("decision")) || f.Has(SlotOf("flow")) || f.Text(SlotOf("src_ip")) != nil {
		t.Errorf("%+v", f)
	}
	r := fullDecision()
	if err := f.Decode(r.AppendJSON(nil)); err != nil || f.Slow != 1 {
		t.Fatalf("%v, %d slow", err, f.Slow)
	}
	if e, err := f.Event(); err != nil || e.Decision.Rule != "print-servers" || len(e.Raw) == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if err := f.Decode([]byte(`{"flow_id":"seven"}`)); err == nil {
		t.Error("no error for a text in place of a number")
	}
}

func FuzzScan(f *testing.F) {
	for _, r := range fullRecords() {
		f.Add(r.AppendJSON(nil))
	}
	f.Add([]byte(`{"timestamp":"2024-02-29T23:59:59.999999999+0000","x":[{"a":-1.5},true,null,"s"],"flow":{},"decision":{"latency_ns":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) { differ(t, b) })
}

// BenchmarkDecode is what an index pays for taking a line apart, against encoding/json's way.
func BenchmarkDecode(b *testing.B) {
	r := fullDecision()
	r.Decision.Would, r.Decision.Tombstone = Would{}, Tombstone{}
	line := r.AppendJSON(nil)
	for name, decode := range map[string]func() error{
		"fields": func() func() error { f := new(Fields); return func() error { return f.Decode(line) } }(),
		"json":   func() error { return json.Unmarshal(line, new(Event)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if err := decode(); err != nil {
					b.Fatal(fmt.Errorf("%s: %w", line, err))
				}
			}
		})
	}
}
