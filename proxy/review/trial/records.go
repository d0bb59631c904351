package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// Found is an experiment that logs tell of.
type Found struct {
	Spec    *experiment.Spec // the latest
	Events  []experiment.Event
	Remarks []string
	Revs    map[string]string // by arm: the revision that the latest spec names
}

// found is what a first look at logs gives: their experiments, and how far they go.
type found struct {
	list       []*Found
	begin, end time.Time
}

// records looks through logs for experiment records. Lines of other records are not decoded, but for each file's first and last.
func records(ctx context.Context, logs []string) (*found, error) {
	f := &found{}
	for _, path := range logs {
		files := []string{path}
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("experiment: %w", err)
		}
		if st.IsDir() {
			if files, err = decisionlog.Files(path); err != nil {
				return nil, err
			}
		}
		for _, name := range files {
			if err := f.file(ctx, name, gatewayName(path, logs)); err != nil {
				return nil, err
			}
		}
	}
	for _, x := range f.list {
		slices.SortStableFunc(x.Events, func(a, b experiment.Event) int { return a.Time.Compare(b.Time) })
	}
	return f, nil
}

// gatewayName is what a log's gateway is called: the last part of its path, where that tells it from the others'.
func gatewayName(path string, logs []string) string {
	if len(logs) == 1 {
		return ""
	}
	base := filepath.Base(filepath.Clean(path))
	for _, other := range logs {
		if other != path && filepath.Base(filepath.Clean(other)) == base {
			return path
		}
	}
	return base
}

// mark is what a line of an experiment record holds.
var mark = []byte(`"experiment"`)

func (f *found) file(ctx context.Context, name, gateway string) error {
	l, err := decisionlog.OpenLines(name, decisionlog.Position{})
	if errors.Is(err, os.ErrNotExist) { // compressed since the directory was listed, or removed
		if l, err = decisionlog.OpenLines(name+".zst", decisionlog.Position{}); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer l.Close()
	var last []byte
	defer func() { f.goes(last) }()
	for n := 0; ; n++ {
		if n&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, at, err := l.Next()
		var bad *decisionlog.BadLine
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad): // package outcome counts it
			if bad.Cut {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		if last == nil {
			f.goes(raw)
		}
		last = append(last[:0], raw...)
		if bytes.Contains(raw, mark) {
			f.record(raw, gateway, fmt.Sprintf("%s:%d", filepath.Base(name), at.Line+1))
		}
	}
}

// goes notes the time of a file's first or last line.
func (f *found) goes(line []byte) {
	var e struct {
		Timestamp decisionlog.Time `json:"timestamp"`
	}
	if json.Unmarshal(line, &e) != nil || e.Timestamp.IsZero() {
		return
	}
	if f.begin.IsZero() || e.Timestamp.Before(f.begin) {
		f.begin = e.Timestamp.Time
	}
	if e.Timestamp.After(f.end) {
		f.end = e.Timestamp.Time
	}
}

// record takes an experiment record.
func (f *found) record(raw []byte, gateway, place string) {
	var e struct {
		Timestamp  decisionlog.Time `json:"timestamp"`
		EventType  string           `json:"event_type"`
		Experiment *struct {
			Name   string           `json:"name"`
			Event  string           `json:"event"`
			Arm    string           `json:"arm"`
			Since  decisionlog.Time `json:"since"`
			Detail string           `json:"detail"`
			Spec   json.RawMessage  `json:"spec"`
		} `json:"experiment"`
	}
	if json.Unmarshal(raw, &e) != nil || e.EventType != "experiment" || e.Experiment == nil || e.Experiment.Name == "" {
		return
	}
	x := f.of(e.Experiment.Name)
	ev := experiment.Event{Time: e.Timestamp.UTC(), Kind: experiment.EventKind(e.Experiment.Event), Arm: e.Experiment.Arm, Gateway: gateway, Detail: e.Experiment.Detail}
	if !e.Experiment.Since.IsZero() { // of a stop, which each file tells again
		ev.Time = e.Experiment.Since.UTC()
	}
	if len(e.Experiment.Spec) > 0 {
		x.spec(e.Experiment.Spec, &ev, place)
	}
	if len(x.Events) < maxEvents && !x.again(&ev) {
		x.Events = append(x.Events, ev)
	}
}

// again says whether an event is one that its gateway has told before: each file of a log begins with a start, and with the arms that were
// stopped by then.
func (x *Found) again(ev *experiment.Event) bool {
	halt := ev.Kind == experiment.EventStop || ev.Kind == experiment.EventGuardrail
	if !halt && ev.Kind != experiment.EventStart {
		return false
	}
	for i := len(x.Events) - 1; i >= 0; i-- {
		switch e := &x.Events[i]; {
		case e.Gateway != ev.Gateway:
		case halt && e.Kind == ev.Kind && e.Arm == ev.Arm && e.Time.Equal(ev.Time):
			return true
		case !halt && e.Kind != experiment.EventStop && e.Kind != experiment.EventGuardrail:
			return e.Kind == experiment.EventStart
		}
	}
	return false
}

// Bounds of what is kept of an experiment: its history, and records that cannot be read.
const (
	maxEvents  = 1000
	maxRemarks = 16
)

func (f *found) of(name string) *Found {
	for _, x := range f.list {
		if x.Name() == name {
			return x
		}
	}
	x := &Found{Spec: &experiment.Spec{Name: name}}
	f.list = append(f.list, x)
	return x
}

// Name is the experiment's.
func (x *Found) Name() string { return x.Spec.Name }

// spec takes the spec of a record; where its assignment is another than before, the event says so.
func (x *Found) spec(raw json.RawMessage, ev *experiment.Event, place string) {
	spec, err := experiment.FromJSON(raw)
	if err != nil {
		if len(x.Remarks) < maxRemarks {
			x.Remarks = append(x.Remarks, fmt.Sprintf("the experiment as %s has it cannot be read: %v", place, err))
		}
		return
	}
	if len(x.Spec.Arms) > 0 {
		for _, d := range spec.Differences(x.Spec) {
			if d.Assignment && len(x.Events) < maxEvents {
				x.Events = append(x.Events, experiment.Event{Time: ev.Time, Kind: experiment.EventReassigned, Gateway: ev.Gateway, Detail: d.String()})
			}
		}
	}
	x.Spec, x.Revs = spec, map[string]string{}
	for _, arm := range spec.Arms {
		x.Revs[arm.Name] = arm.Rev
	}
}
