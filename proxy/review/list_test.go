package review

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	w := writer(t, dir)
	traffic(w, 0, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    Filter
		want int
	}{
		{"all", Filter{}, 20*4 + 3},
		{"flow", Filter{Flow: 105}, 4},
		{"reason", Filter{Reason: "syn-established"}, 20},
		{"verdict", Filter{Verdict: "drop"}, 20},
		{"other verdict", Filter{Verdict: "forward"}, 0},
		{"both", Filter{Verdict: "drop", Reason: "ack-for-syn"}, 0},
		{"flow and reason", Filter{Flow: 105, Reason: "syn-established"}, 1},
		{"arm", Filter{Arm: "B"}, 0},
		{"since", Filter{Since: time.Now().Add(-time.Hour)}, 20*4 + 3},
		{"since later", Filter{Since: time.Now().Add(time.Hour)}, 0},
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			done, err := List(&out, dir, c.f, asJSON)
			if err != nil || done.Records != c.want || strings.Count(out.String(), "\n") != c.want {
				t.Errorf("%s: %d records, want %d (%v)", c.name, done.Records, c.want, err)
			}
			for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
				if asJSON && line != "" && !json.Valid([]byte(line)) {
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
