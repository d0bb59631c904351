package proxy

import (
	"errors"
	"fmt"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/scripted"
)

// afterRecord is how many records behind a decision are searched for what it had injected.
const afterRecord = 4096

// findRecord reads a log up to a decision, and on to what it had injected.
func findRecord(log, id string) (*recorded, error) {
	want, ok := decisionlog.ParseID(id)
	if !ok {
		return nil, fmt.Errorf("explain: %s is no id of a decision, expected 26 letters and digits as in the log's decision.id", policy.Quote(id))
	}
	r := &recorded{}
	after := 0
	for e, err := range decisionlog.Read(log) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			r.bad++
			continue
		}
		if err != nil {
			return nil, err
		}
		switch {
		case r.ev.Decision == nil && e.Decision != nil && same(e.Decision.ID, want):
			r.ev = *e
			r.ev.Raw = nil
		case e.Inject != nil && same(e.Inject.ID, want):
			return nil, fmt.Errorf("explain: %s is a segment that the gateway made; the decision that caused it is %s", id, orUnknown(e.Inject.Cause))
		case e.Inject != nil && same(e.Inject.Cause, want):
			r.sent = append(r.sent, sentText(e))
		}
		if r.ev.Decision != nil {
			if after++; after > afterRecord {
				break
			}
		}
	}
	if r.ev.Decision == nil {
		damaged := ""
		if r.bad > 0 {
			damaged = fmt.Sprintf(" (%d lines of it cannot be read)", r.bad)
		}
		return nil, fmt.Errorf("explain: %s holds no decision %s%s: plain forwards and records beyond a finding's rate have none of their own", log, id, damaged)
	}
	if d := r.ev.Decision; d.Trigger == decisionlog.TriggerShadow {
		if r.ev.TCP == nil || d.Action == nil {
			return nil, fmt.Errorf("explain: %s tells what time made a shadow policy do, or not do; no segment was decided then", id)
		}
		whole := *d
		whole.Verdict = d.Action.Packet
		r.ev.Decision = &whole
	}
	r.find, r.know = conntrack.FindingByWord(r.ev.Decision.Reason)
	r.seg = scripted.Segment(&r.ev)
	return r, nil
}

func same(text string, id decisionlog.ID) bool {
	got, ok := decisionlog.ParseID(text)
	return ok && got == id
}

func orUnknown(s string) string {
	if s == "" {
		return "not recorded"
	}
	return s
}

// sentText tells of a segment that was injected.
func sentText(e *decisionlog.Event) string {
	text := e.Inject.Kind + " to the " + e.Inject.To
	if e.TCP != nil {
		text += fmt.Sprintf(": %s seq %d ack %d", e.TCP.Flags, e.TCP.Seq, e.TCP.Ack)
	}
	if e.Inject.Error != "" {
		return text + ", which failed: " + e.Inject.Error
	}
	return text
}
