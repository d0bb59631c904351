package trouble

import (
	"errors"
	"fmt"

	"halfopen/proxy/decisionlog"
)

// Read finds the trouble in the log at path: a directory, a file, or - for stdin. Lines that are no records are returned, and what
// can be read is read.
func Read(path string, f Filter) (*Report, []*decisionlog.BadLine, error) {
	var groups Groups
	var bad []*decisionlog.BadLine
	t := NewTracker(func(c *Case) {
		if f.Match(c) {
			groups.Add(c)
		}
	})
	lines := 0
	for e, err := range decisionlog.Read(path) {
		lines++
		var b *decisionlog.BadLine
		switch {
		case errors.As(err, &b):
			bad = append(bad, b)
		case err != nil:
			return nil, bad, err
		default:
			t.Add(e)
		}
	}
	if lines == 0 {
		return nil, nil, fmt.Errorf("review: no decision log in %s", path)
	}
	t.Settle()
	r := groups.Report()
	r.Path, r.Connections = path, t.Connections()
	r.From.Time, r.To.Time = t.Span()
	return r, bad, nil
}
