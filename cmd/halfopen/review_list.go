package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
)

// listRecords prints what the filter picks of the log at path.
func listRecords(c *cobra.Command, path string, f index.Filter, opt reviewOptions) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
	p := review.NewPrinter(out, review.Format(opt.output), colours(c.OutOrStdout()))
	err := listOf(c, path, f, opt, p, out)
	if err == nil {
		err = p.End()
	}
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return err
}

func listOf(c *cobra.Command, path string, f index.Filter, opt reviewOptions, p *review.Printer, out *bufio.Writer) error {
	if path != "-" {
		st, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("review: %w", err)
		}
		if st.IsDir() {
			return listIndexed(c, path, f, opt, p, out)
		}
		if opt.reverse || opt.follow {
			return usagef("--reverse and -f want a directory, and %s is a file", path)
		}
	}
	return listStream(c, path, f, opt, p)
}

// listStream reads a log from its beginning, without an index.
func listStream(c *cobra.Command, path string, f index.Filter, opt reviewOptions, p *review.Printer) error {
	done, err := review.List(p, path, f, opt.limit)
	for _, b := range done.Bad {
		fmt.Fprintln(c.ErrOrStderr(), b)
	}
	return err
}

// listIndexed asks the index of a log directory.
func listIndexed(c *cobra.Command, dir string, f index.Filter, opt reviewOptions, p *review.Printer, out *bufio.Writer) error {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	say := func(s string) { fmt.Fprintln(c.ErrOrStderr(), s) }
	x, err := index.Open(ctx, dir, index.Options{Warn: say, Progress: progress(c.ErrOrStderr())})
	if x != nil {
		defer x.Close()
	}
	switch {
	case errors.Is(err, index.ErrNoLog) && opt.follow:
		say("review: no decision log in " + dir + " yet")
	case errors.Is(err, index.ErrNoLog):
		return fmt.Errorf("review: no decision log in %s", dir)
	case err != nil && ctx.Err() == nil && !opt.reverse && !opt.follow:
		say(err.Error())
		say("review: reading the log itself, which takes longer")
		return listStream(c, dir, f, opt, p)
	case err != nil:
		return err
	}
	l := &listing{ctx: ctx, x: x, f: f, p: p, out: out, say: say, told: make(map[string]bool)}
	remarks, err := x.Check(ctx, f)
	var bad *index.FilterError
	if errors.As(err, &bad) {
		return usagef("%v", bad)
	}
	if err != nil {
		return err
	}
	for _, r := range remarks {
		say("review: " + r)
	}
	if opt.follow {
		return l.follow(opt.limit)
	}
	if err := l.all(opt); err != nil {
		return err
	}
	return l.problems()
}

// listing prints records that an index finds.
type listing struct {
	ctx  context.Context
	x    *index.Index
	f    index.Filter
	p    *review.Printer
	out  *bufio.Writer
	say  func(string)
	told map[string]bool // problems
	gone int             // records whose file retention has removed meanwhile
}

// listPage is how many records are looked up at once.
const listPage = 1000

// all prints everything that is there.
func (l *listing) all(opt reviewOptions) error {
	order := index.Order(opt.reverse)
	var after index.Cursor
	for left := opt.limit; ; {
		n := listPage
		if opt.limit > 0 {
			n = min(n, left)
		}
		page, err := l.x.Page(l.ctx, l.f, after, n, order)
		if err != nil {
			return err
		}
		if err := l.print(page.Rows); err != nil {
			return err
		}
		left -= len(page.Rows)
		if !page.More || opt.limit > 0 && left == 0 {
			break
		}
		after = page.Rows[len(page.Rows)-1].Cursor
	}
	if l.gone > 0 {
		l.say(fmt.Sprintf("review: %d records were removed while they were being listed", l.gone))
	}
	return nil
}

// print prints the records of rows, read from the log.
func (l *listing) print(rows []index.Row) error {
	at := make([]index.Cursor, len(rows))
	for i := range rows {
		at[i] = rows[i].Cursor
	}
	for e, err := range l.x.Events(l.ctx, at) {
		if errors.Is(err, os.ErrNotExist) {
			l.gone++
			continue
		}
		if err != nil {
			return err
		}
		if err := l.p.Print(e); err != nil {
			return err
		}
	}
	return nil
}

// problems tells of lines that are no records, each once.
func (l *listing) problems() error {
	all, err := l.x.Problems(l.ctx)
	for _, p := range all {
		if s := p.String(); !l.told[s] {
			l.told[s] = true
			l.say(s)
		}
	}
	return err
}

// followDefault is how many of the records that are there -f begins with, as tail has it.
const followDefault = 10

// follow prints the last records, or with since all from then on, and then those that come.
func (l *listing) follow(limit int) error {
	if limit == 0 {
		limit = followDefault
	}
	var after index.Cursor
	if l.f.Since.IsZero() {
		page, err := l.x.Page(l.ctx, l.f, index.Cursor{}, limit+1, index.NewestFirst)
		if err != nil {
			return err
		}
		after = page.End
		switch n := len(page.Rows); {
		case n > limit:
			after = page.Rows[limit].Cursor
		case n > 0:
			after = index.Cursor{}
		}
	}
	if err := l.problems(); err != nil {
		return err
	}
	var last string
	for row, err := range l.x.Tail(l.ctx, l.f, after, 0) {
		if err != nil {
			if s := err.Error(); s != last {
				last = s
				l.say(s)
			}
			continue
		}
		if err := l.print([]index.Row{row}); err != nil {
			return err
		}
		if err := l.out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// colours says whether text may be coloured: on a terminal, unless NO_COLOR (no-color.org) or a dumb one forbids it.
func colours(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// progress tells on a terminal how far indexing is, once that takes longer than a second.
func progress(w io.Writer) func(index.Progress) {
	if !isTerminal(w) {
		return nil
	}
	start := time.Now()
	return func(p index.Progress) {
		if time.Since(start) < time.Second || p.Total == 0 {
			return
		}
		end := "\r"
		if p.Done >= p.Total {
			end = "\n"
		}
		fmt.Fprintf(w, "indexing %s: %d%% of %d MiB\x1b[K%s", p.File, p.Done*100/p.Total, p.Total>>20, end)
	}
}
