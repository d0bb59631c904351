// Package outcome turns decision logs into [experiment.Outcome]s: for each connection how it went for its users, joined with what the
// gateway did about it and with what came after it. docs/experiments.md says what each field means.
//
// A log is read once, as a stream, by the scanner of package decisionlog. Of each connection a few hundred bytes are kept until the
// log's end, because what tells about it may come late: another attempt of its client, or a segment hours after its timer ran out.
// Beyond [Options.Held] connections those that ended first are told early.
//
// The SQLite index of package index is not used: it has neither tombstones nor numbers of segments by connection, it wants to write
// beside the log, and one pass over the lines takes less time than making it does.
//
// Figures come from flow records as far as these have them, for they are exact whatever a rate limit held back and whether a fast
// path forwarded what the queue never saw. Of decisions only those are looked at that have a record at every level of detail.
package outcome

import (
	"context"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/trouble"
)

// Options say how logs are read. Their zero value is good.
type Options struct {
	// Held bounds the connections that are kept in memory; 0 means [DefaultHeld]. Of a connection that was told early for want of
	// room, retries within [RetryWindow] are known all the same; a segment that comes after its end by a timer may be missed
	// ([Loss.Missed]).
	Held int
	// Unit names the unit of a connection; nil: by the specs that the log's experiment records have, "" where they have none.
	Unit func(o *experiment.Outcome) string
}

// RetryWindow is how long after the last segment of a failed connection another one of the same client to the same server and port
// counts as its retry. It is package trouble's.
const RetryWindow = trouble.RetryWindow

// DefaultHeld is how many connections are kept in memory, at about 500 bytes each.
const DefaultHeld = 1 << 19

// Read reads logs, each of one gateway (a directory, or one of its files), and returns the outcomes in the order in which the connections
// of each began.
func Read(ctx context.Context, logs []string, opt Options) (*Data, error) {
	var all []experiment.Outcome
	d, err := Each(ctx, logs, opt, func(o *experiment.Outcome) error {
		all = append(all, *o)
		return nil
	})
	if d != nil {
		d.Outcomes = all
	}
	return d, err
}

// Each is Read, but hands each outcome to a function, which must not keep it, instead of keeping all. An error of the function ends reading.
func Each(ctx context.Context, logs []string, opt Options, each func(*experiment.Outcome) error) (*Data, error) {
	if opt.Held <= 0 {
		opt.Held = DefaultHeld
	}
	r := &reader{ctx: ctx, opt: opt, each: each, words: newWords(), data: newData()}
	for _, path := range logs {
		if err := r.log(path); err != nil {
			return r.data, err
		}
	}
	return r.data, r.data.check(logs)
}
