package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// nasty is what a field of a log may hold: markup, quotes, what ends an attribute, what steers a terminal or the direction of writing.
const nasty = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202egnp.exe \u2066\x1b[31mred\x07 \x00 {{.}} ]]> &lt;b&gt; \u2028\ufeff`${1}`"

// hostile writes a log in each of whose texts stands something nasty.
func hostile(t *testing.T, dir string) {
	t.Helper()
	n, at := 0, time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	put := func(o map[string]any) {
		at = at.Add(time.Second)
		o["timestamp"] = decisionlog.Time{Time: at}
		line, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
		n++
	}
	run := "01M83K8NC0J1R"
	put(map[string]any{"event_type": "header", "header": map[string]any{"schema_version": 1, "program": nasty, "version": nasty, "run": run, "boot_id": nasty, "file_seq": 1,
		"started": decisionlog.Time{Time: at}, "kernel": map[string]any{"base": 0, "now": 0}, "before": map[string]any{}}})
	segment := func(kind string, more map[string]any) map[string]any {
		o := map[string]any{"event_type": kind, "flow_id": 4711, "community_id": nasty, "src_ip": "10.2.0.7", "src_port": 721, "dest_ip": "192.0.2.9", "dest_port": 515,
			"proto": nasty, "direction": "to_server", "in_iface": nasty, "out_iface": nasty,
			"tcp": map[string]any{"flags": nasty, "seq": 1, "ack": 2, "options": nasty, "state": nasty, "history": nasty}}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	made := map[string]any{"kind": nasty, "flags": nasty, "seq": 1, "ack": 1}
	decision := func(id string) map[string]any {
		return map[string]any{"id": id, "verdict": nasty, "reason": nasty, "rule": nasty, "preset": nasty, "policy_rev": "sha256:" + nasty, "arm": nasty, "state_before": nasty,
			"state_after": nasty, "idle_s": 1.5, "action": map[string]any{"packet": nasty, "reply": nasty, "peer": nasty, "state": nasty, "timer": nasty}, "effect": nasty, "reply": made,
			"peer": made, "stripped": []string{nasty}, "unmet": nasty, "defect": nasty, "checksum": nasty, "tombstone": map[string]any{"why": nasty, "state": nasty, "flow_id": 1},
			"would": map[string]any{"verdict": nasty, "reason": nasty, "rule": nasty}}
	}
	flow := func(event string) map[string]any {
		return map[string]any{"event": event, "state": nasty, "conn_state": nasty, "history": nasty, "reason": nasty, "outcome": nasty, "ended_by": nasty, "rule": nasty, "preset": nasty,
			"policy_rev": "sha256:" + nasty, "arm": nasty, "probes_answered": nasty}
	}
	put(segment("flow", map[string]any{"flow": flow("new")}))
	for i := range 5 {
		d := decision(fmt.Sprintf("%s%013d", run, i))
		if i > 2 { // words that the program knows, so that it goes on to tell what it makes of them
			d["verdict"], d["reason"] = "drop", "syn-established"
		}
		put(segment("decision", map[string]any{"decision": d}))
		put(segment("inject", map[string]any{"inject": map[string]any{"id": nasty, "cause": d["id"], "kind": nasty, "to": "client", "error": nasty,
			"wire": map[string]any{"src_ip": nasty, "dest_ip": nasty}}}))
	}
	put(segment("flow", map[string]any{"flow": flow("end")}))
	put(map[string]any{"event_type": "reload", "reload": map[string]any{"ok": true, "preset": nasty, "policy_rev": "sha256:00", "previous_rev": "sha256:" + nasty, "flows": nasty}})
	put(map[string]any{"event_type": "reload", "reload": map[string]any{"ok": false, "preset": nasty, "policy_rev": "sha256:00", "previous_rev": "sha256:00", "error": nasty}})
	put(map[string]any{"event_type": "gap", "gap": map[string]any{"where": nasty, "count": 1, "bound": nasty, "detail": nasty, "run": nasty}})
	put(map[string]any{"event_type": "experiment", "experiment": map[string]any{"name": nasty, "event": nasty, "arm": nasty, "unit": nasty, "detail": nasty}})
	put(map[string]any{"event_type": nasty, "other": nasty})
	put(map[string]any{"event_type": "stats", "stats": map[string]any{"run": run, "verdicts": map[string]any{nasty: 1}, "reasons": map[string]any{nasty: 1}}})
	b.WriteString("{\"timestamp\":\"" + strings.ReplaceAll(nasty, "\"", "'") + "\n")
	if err := os.WriteFile(filepath.Join(dir, "decisions-20261123T070000.000Z-000001.jsonl"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, decisionlog.PolicyDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, decisionlog.PolicyDir, "00.yaml"), []byte("# "+nasty+"\n"+nasty), 0o600); err != nil {
		t.Fatal(err)
	}
}

var (
	tags     = regexp.MustCompile(`<(/?[a-zA-Z!][a-zA-Z0-9]*)`)
	ourTags  = strings.Fields("!doctype html head meta title link script body a header svg path span nav button kbd p main h1 h2 h3 section ul li b form div label input select option datalist details summary code table caption thead tbody tr th td br footer dialog dl dt dd time pre ol article i line rect g circle text tspan defs pattern desc marker polygon polyline use style del ins small strong em")
	steering = regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
	values   = regexp.MustCompile(`="[^"]*"`)
	attrs    = regexp.MustCompile(`<[a-zA-Z][^<>]*?\son[a-z]+\s*=`)
)

func TestHostileStrings(t *testing.T) {
	known := map[string]bool{}
	for _, tag := range ourTags {
		known[tag] = true
	}
	dir := t.TempDir()
	hostile(t, dir)
	for _, masked := range []bool{false, true} {
		s := serve(t, dir, func(c *Config) {
			if masked {
				c.Anonymizer = anonymizer(t, "0123456789abcdef")
			}
		})
		pages, escaped := 0, 0
		look := func(target, body string) {
			pages++
			escaped += strings.Count(body, "alert(1)")
			body = values.ReplaceAllString(body, `=""`) // what stands in quotes is seen by nobody, and ends with them
			for _, m := range tags.FindAllStringSubmatch(body, -1) {
				if !known[strings.ToLower(strings.TrimPrefix(m[1], "/"))] {
					t.Errorf("%s: <%s> is none of ours", target, m[1])
				}
			}
			for _, m := range []string{"<script>", "<img", "alert(1)</script>"} {
				if strings.Contains(body, m) {
					t.Errorf("%s: %s is markup", target, m)
				}
			}
			if m := attrs.FindString(body); m != "" {
				t.Errorf("%s: %q", target, m)
			}
			if m := steering.FindString(body); m != "" {
				t.Errorf("%s: holds %q", target, m)
			}
		}
		crawl(t, s, 60/breadth, func(target string, res *http.Response, body string) {
			if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
				look(target, body)
			}
		})
		look("/log", page(t, s, "/log?limit=500", http.StatusOK))
		for _, q := range []string{nasty, "rule:" + nasty, "verdict:" + nasty} { // what the asker writes comes back as text too
			look("query", page(t, s, "/log?q="+escape(q), http.StatusBadRequest))
		}
		if pages < 10 || escaped < 50/breadth {
			t.Errorf("%d pages, %d of the texts: too little was seen", pages, escaped)
		}
	}
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}
