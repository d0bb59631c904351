package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

func TestPolicies(t *testing.T) {
	dir := t.TempDir()
	w := beginLog(t, dir)
	load := func(text string) *policy.Policy {
		p, problems := policy.Load("test.yaml", []byte(text), nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return p
	}
	a, b, gone := load("preset: openbsd-pf\n"), load("preset: openbsd-pf\ntimeouts: {established: 2h}\n"), load("preset: observe\n")
	decide := func(p *policy.Policy) {
		r := decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, TCP: decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN}}
		r.Decision = decisionlog.Decision{ID: w.p.NextID(), Verdict: "drop", Reason: "syn-established", Preset: p.Preset(), PolicyRev: p.Rev()}
		w.p.Put(&r)
		w.Flush()
	}
	reload := func(l decisionlog.Reload) {
		w.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventReload, Reload: &l})
		w.Flush()
	}
	decide(a)
	reload(decisionlog.Reload{Preset: a.Preset(), PolicyRev: a.Rev(), PreviousRev: a.Rev(), Error: "edge.yaml:3: unknown word \"<b>\""})
	reload(decisionlog.Reload{OK: true, Preset: b.Preset(), PolicyRev: b.Rev(), PreviousRev: a.Rev(), Flows: "keep", FlowsTouched: 12})
	decide(b)
	decide(b)
	decide(gone)
	for _, p := range []*policy.Policy{a, b} {
		if err := decisionlog.KeepPolicy(dir, p.Rev(), p.YAML()); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, dir, nil)
	body := page(t, s, "/policies", http.StatusOK)
	for _, want := range []string{"edge.yaml:3: unknown word &#34;&lt;b&gt;&#34;", "refused", "live connections: keep (12 touched)", "2 decisions</a>", "not kept", shortRev(a.Rev()), shortRev(b.Rev())} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	body = page(t, s, "/policies/"+url.PathEscape(b.Rev()), http.StatusOK)
	if !strings.Contains(body, "established: 2h") {
		t.Error("the text is not shown")
	}
	body = page(t, s, diffURL(a.Rev(), b.Rev()), http.StatusOK)
	want := policy.Diff(a, b)
	if len(want) == 0 || !strings.Contains(body, "timeouts.established") || !strings.Contains(body, "<ins>"+want[0].B+"</ins>") || strings.Count(body, "<ins>") != len(want) {
		t.Errorf("%v is not what the page says: %s", want, body)
	}
	if body := page(t, s, diffURL(a.Rev(), a.Rev()), http.StatusOK); !strings.Contains(body, "Nothing: both mean the same") {
		t.Error("a policy differs from itself")
	}
	if body := page(t, s, diffURL(a.Rev(), gone.Rev()), http.StatusOK); !strings.Contains(body, "The text of "+shortRev(gone.Rev())+" is not kept beside the log") {
		t.Error("a missing text is not told")
	}
	if body := page(t, s, "/policies/"+url.PathEscape(gone.Rev()), http.StatusOK); !strings.Contains(body, "not kept beside the log") {
		t.Error("a missing text is not told")
	}
}
