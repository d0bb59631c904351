package review

import (
	"errors"
	"fmt"
	"io"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
)

// Listed says what List did.
type Listed struct {
	Records int                    // printed
	Bad     []*decisionlog.BadLine // lines that are no records
}

// List prints the records of a log that the filter picks, oldest first, by reading all of it; limit bounds how many (0: no bound).
// path is a directory, a file, or - for stdin. A filter for outcomes, which a connection's end tells, reads the log twice and so does not
// work on stdin.
func List(p *Printer, path string, f index.Filter, limit int) (Listed, error) {
	var done Listed
	match, err := matcher(path, f)
	if err != nil {
		return done, err
	}
	for e, err := range decisionlog.Read(path) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			done.Bad = append(done.Bad, bad)
			continue
		}
		if err != nil {
			return done, err
		}
		if !match(e) {
			continue
		}
		if limit > 0 && done.Records == limit {
			break
		}
		if err := p.Print(e); err != nil {
			return done, err
		}
		done.Records++
	}
	return done, nil
}

// flowKey is a connection of a run.
type flowKey struct {
	run  string
	flow uint64
}

// matcher makes the filter's test, with what it has to know of the log's connections.
func matcher(path string, f index.Filter) (func(*decisionlog.Event) bool, error) {
	if len(f.Outcome) == 0 {
		return f.Match, nil
	}
	if path == "-" {
		return nil, errors.New("review: outcome asks how connections ended, which a stream tells too late: give a file or a directory")
	}
	wanted := make(map[flowKey]bool)
	for e, err := range decisionlog.Read(path) {
		var bad *decisionlog.BadLine
		if err != nil && !errors.As(err, &bad) {
			return nil, err
		}
		if err != nil || e.Decision != nil || e.Flow == nil || e.Flow.Event != "end" || e.FlowID == 0 {
			continue
		}
		key := flowKey{e.Run, e.FlowID}
		delete(wanted, key)
		for _, o := range f.Outcome {
			if o == e.Flow.Outcome {
				wanted[key] = true
			}
		}
	}
	return func(e *decisionlog.Event) bool { return wanted[flowKey{e.Run, e.FlowID}] && f.Match(e) }, nil
}

// Format is how records are printed.
type Format string

// Formats.
const (
	Text Format = "text" // one aligned line a record
	JSON Format = "json" // the log's own lines
	CSV  Format = "csv"  // one row a record, with a header row
)

// Printer prints records.
type Printer struct {
	w      io.Writer
	format Format
	color  bool
	begun  bool
	buf    []byte
}

// NewPrinter makes a printer. With color, text carries colours as terminals understand them.
func NewPrinter(w io.Writer, format Format, color bool) *Printer {
	return &Printer{w: w, format: format, color: color}
}

// Print prints a record.
func (p *Printer) Print(e *decisionlog.Event) error {
	p.buf = p.buf[:0]
	switch p.format {
	case JSON:
		p.buf = append(append(p.buf, e.Raw...), '\n')
	case CSV:
		if !p.begun {
			p.buf = appendHeader(p.buf)
		}
		p.buf = appendCSV(p.buf, e)
	default:
		p.buf = append(appendLine(p.buf, e, p.color), '\n')
	}
	p.begun = true
	return p.flush()
}

// End prints what is due where no record was: the header row of CSV.
func (p *Printer) End() error {
	if p.begun || p.format != CSV {
		return nil
	}
	p.begun = true
	p.buf = appendHeader(p.buf[:0])
	return p.flush()
}

func (p *Printer) flush() error {
	if _, err := p.w.Write(p.buf); err != nil {
		return fmt.Errorf("review: %w", err)
	}
	return nil
}
