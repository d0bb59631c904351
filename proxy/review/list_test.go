package review

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
)

// print lists a log into a string.
func print(t *testing.T, path string, f index.Filter, format Format) (string, Listed) {
	t.Helper()
	var out bytes.Buffer
	p := NewPrinter(&out, format, false)
	done, err := List(p, path, f, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	return out.String(), done
}

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	w := writer(t, dir)
	traffic(w, 0, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    string
		want int
	}{
		{"all", "", 20*4 + 3},
		{"flow", "flow:105", 4},
		{"reason", "reason:syn-established", 20},
		{"verdict", "verdict:drop", 20},
		{"other verdict", "verdict:forward", 0},
		{"both", "verdict:drop reason:ack-for-syn", 0},
		{"flow and reason", "flow:105 reason:syn-established", 1},
		{"arm", "arm:B", 0},
		{"since", "since:1h", 20*4 + 3},
		{"since later", "since:-1h", 0},
		{"until", "until:1h", 0},
		{"outcome", "outcome:closed", 0},
	} {
		f, err := index.ParseFilter(c.f, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []Format{Text, JSON, CSV} {
			out, done := print(t, dir, f, format)
			lines := strings.Count(out, "\n")
			if format == CSV {
				lines--
			}
			if done.Records != c.want || lines != c.want {
				t.Errorf("%s: %d records, %d lines, want %d", c.name, done.Records, lines, c.want)
			}
			for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
				if format == JSON && line != "" && !json.Valid([]byte(line)) {
					t.Errorf("%s: %s", c.name, line)
				}
			}
		}
	}
}

func TestAppendLine(t *testing.T) {
	for in, want := range map[string]string{
		`{"timestamp":"2026-11-23T18:01:36.123456789+0000","event_type":"decision","flow_id":7,"src_ip":"10.2.0.7","src_port":721,` +
			`"dest_ip":"2001:db8::9","dest_port":515,"tcp":{"flags":"S","seq":5,"len":0},"decision":{"id":"X","verdict":"drop",` +
			`"reason":"syn-established","rule":"print servers\u001b","state_before":"ESTABLISHED","state_after":"SYN_SENT","idle_s":1800.25,` +
			`"expected":{"seq_lo":1,"seq_hi":9},"reply":{"kind":"ack-tracked"},"tombstone":{"forgotten":"2026-11-23T18:00:00.0+0000","why":"idle","age_s":60}}}`: `2026-11-23T18:01:36.123456Z  drop     syn-established         10.2.0.7:721 > [2001:db8::9]:515             S   seq 5 len 0` +
			` state=ESTABLISHED>SYN_SENT idle=30m0.25s reply=ack-tracked rule="print servers\x1b" expected_seq=1..9` +
			` forgotten=2026-11-23T18:00:00Z why=idle after=1m0s id=X flow=7`,
		`{"timestamp":"2026-11-23T18:01:36.5+0000","event_type":"gap","gap":{"where":"crash","count":3,"bound":"upper"}}`: `2026-11-23T18:01:36.500000Z  gap      crash                   -                                           count=3 bound=upper`,
	} {
		var e decisionlog.Event
		if err := json.Unmarshal([]byte(in), &e); err != nil {
			t.Fatal(err)
		}
		if got := string(AppendLine(nil, &e)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
