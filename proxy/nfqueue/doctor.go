package nfqueue

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Level says how bad a finding is.
type Level uint8

// Levels, in ascending order.
const (
	OK   Level = iota
	Warn       // halfopen runs; what Means says is missing or different
	Fail       // halfopen cannot run inline
)

// String returns ok, warn or fail.
func (l Level) String() string { return [...]string{"ok", "warn", "fail"}[l%3] }

// MarshalText writes the word of String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Check is one question that the doctor asked.
type Check struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Found string `json:"found"`
	Means string `json:"means,omitempty"` // what follows; empty where nothing does
}

// Report is what the kernel, the privileges and the host's own rules offer and lack.
type Report struct {
	Checks []Check `json:"checks"`
}

// Worst returns the highest level among the findings.
func (r *Report) Worst() Level {
	var worst Level
	for _, c := range r.Checks {
		worst = max(worst, c.Level)
	}
	return worst
}

// WriteTo prints a line per finding, with what follows from it below.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", c.Level, width, c.Name, c.Found)
		if c.Means != "" {
			fmt.Fprintf(&b, "%*s  -> %s\n", width+6, "", c.Means)
		}
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// JSON returns the report as one indented object.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

func (r *Report) add(name string, level Level, found, means string) {
	r.Checks = append(r.Checks, Check{name, level, found, means})
}

// Add adds what another package found; without it halfopen runs all the same.
func (r *Report) Add(name string, ok bool, found, means string) {
	r.yes(name, ok, Warn, found, found, means)
}

// yes adds a finding of two possible outcomes; means counts only for the bad one.
func (r *Report) yes(name string, ok bool, bad Level, good, lack, means string) {
	if ok {
		r.add(name, OK, good, "")
		return
	}
	r.add(name, bad, lack, means)
}

// Probe asks the kernel in the calling thread's network namespace. It changes nothing that lasts: it binds a free queue
// number for a moment, to which no rule leads, and offers rules in transactions that end with their own removal.
func Probe() Report {
	var r Report
	r.privileges()
	r.queue()
	r.rules()
	r.host()
	r.forwarding()
	return r
}
