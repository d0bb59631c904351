//go:build netns

package main

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// course is what a log says of one pair of ends, line by line. What time has caused is a course beside that of the segments: a worker
// comes to it between two batches, wherever in its batch a segment stood.
type course []string

// clocks says which of a log's times are compared.
type clocks int

const (
	sameClock  clocks = iota // all but the timestamps of records that segments have not caused
	otherClock               // none, and nothing that is reckoned from them
)

// What is not compared, and why: docs/replay.md.
var (
	ownMembers = regexp.MustCompile(`,"(?:latency_ns|queue|pcap_cnt|in_iface|out_iface)":(?:\d+|"[^"]*")|,"checksum":"unverified"|,"wire":\{[^}]*\}|,"error":"(?:[^"\\]|\\.)*"`)
	stamps     = regexp.MustCompile(`"timestamp":"[^"]*",`)
	times      = regexp.MustCompile(`("(?:idle_s|remaining_s|age_s|handshake_s|response_s|start|end|forgotten)"):(?:[0-9.-]+|"[^"]*")`)
	newID      = regexp.MustCompile(`"id":"[^"]*"`)
	ids        = regexp.MustCompile(`"(id|settles|cause|flow_id|predecessor)":(\d+|"[^"]*")`)
)

// courses reads the records of decisions, flows and injected segments from a log.
func courses(t *testing.T, log string, c clocks) map[string]course {
	t.Helper()
	var all []decisionlog.Event
	settled := map[string]bool{} // ids of records that end a hold
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision == nil && e.Flow == nil && e.Inject == nil {
			continue
		}
		one := *e
		one.Raw = slices.Clone(e.Raw)
		all = append(all, one)
		if e.Decision != nil && e.Decision.Settles != "" {
			settled[e.Decision.ID] = true
		}
	}
	var last time.Time // of the segments
	for i := range all {
		if d := all[i].Decision; d != nil && d.Trigger == "" && d.Settles == "" {
			last = all[i].Timestamp.Time
		}
	}
	out := map[string]course{}
	names := map[string]map[string]string{}
	for i := range all {
		e := &all[i]
		if c == otherClock && e.Decision == nil && e.Flow != nil && e.Flow.EndedBy == "idle" && e.Timestamp.Time.After(last) {
			continue // how long a gateway ran on after the last segment no capture tells
		}
		ends := endsOf(e)
		if names[ends] == nil {
			names[ends] = map[string]string{}
		}
		line := ownMembers.ReplaceAllString(string(e.Raw), "")
		byTime := e.Decision != nil && (e.Decision.Trigger != "" || e.Decision.Settles != "") ||
			e.Inject != nil && (e.Inject.Trigger != "" || settled[e.Inject.Cause]) || e.Flow != nil && e.Flow.Event != "new"
		if c == otherClock || byTime || e.Decision == nil {
			line = stamps.ReplaceAllString(line, "")
		}
		if c == otherClock {
			line = times.ReplaceAllString(line, `$1:"-"`)
		}
		at := ends
		if byTime {
			at += byTimeToo
			line = newID.ReplaceAllString(line, `"id":"-"`)
		}
		out[at] = append(out[at], ids.ReplaceAllStringFunc(line, func(member string) string { return place(names[ends], member) }))
	}
	return out
}

// byTimeToo stands behind the ends of what time has caused between them.
const byTimeToo = ", by time"

// endsOf names a record's pair of ends, in whichever direction.
func endsOf(e *decisionlog.Event) string {
	from, to := fmt.Sprint(e.SrcIP, " ", e.SrcPort), fmt.Sprint(e.DestIP, " ", e.DestPort)
	return min(from, to) + " - " + max(from, to)
}

// place puts in place of an id, which is each run's own, its place among those of the course.
func place(known map[string]string, member string) string {
	m := ids.FindStringSubmatch(member)
	if m[2] == `"-"` {
		return member // a record of time's: where it stands among the others says nothing
	}
	if known[m[2]] == "" {
		known[m[2]] = fmt.Sprintf("%q", fmt.Sprint("#", len(known)+1))
	}
	return fmt.Sprintf("%q:%s", m[1], known[m[2]])
}

// sameCourses compares what two logs say, and reports the first line of each pair of ends at which they part.
func sameCourses(t *testing.T, live, replay map[string]course) {
	t.Helper()
	for ends, want := range live {
		got := replay[ends]
		for i := range max(len(want), len(got)) {
			w, g := "nothing more", "nothing more"
			if i < len(want) {
				w = want[i]
			}
			if i < len(got) {
				g = got[i]
			}
			if w != g {
				t.Errorf("%s, record %d\ngateway %s\nreplay  %s", ends, i+1, w, g)
				break
			}
		}
	}
	for ends := range replay {
		if live[ends] == nil {
			t.Errorf("the replay tells of %s, the gateway does not", ends)
		}
	}
}
