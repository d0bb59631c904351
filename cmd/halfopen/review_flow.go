package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/ladder"
	"halfopen/proxy/review/story"
)

// oneFlow returns the connection whose story is asked for: --flow with one number and nothing else, as text or SVG.
func oneFlow(f index.Filter, opt reviewOptions) (flow uint64, ok bool) {
	if len(f.Flow) != 1 || opt.limit != 0 || opt.reverse || opt.follow || review.Format(opt.output) != review.Text {
		return 0, false
	}
	flow, f.Flow = f.Flow[0], nil
	return flow, f.Empty()
}

// tellFlow is `halfopen review LOGDIR --flow ID`.
func tellFlow(c *cobra.Command, path string, flow uint64, asSVG bool) error {
	records, err := flowRecords(c, path, flow)
	if err != nil {
		return err
	}
	s := story.Tell(records)
	out := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
	if asSVG {
		err = s.Ladder().WriteSVG(out, ladder.SVG{})
	} else {
		err = s.WriteText(out, story.Text{Width: storyWidth(c.OutOrStdout()), Color: colours(c.OutOrStdout())})
	}
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	return err
}

// Widths of a story in characters: on no terminal, and on one.
const (
	storyColumns    = 100
	storyColumnsMin = 60
	storyColumnsMax = 132
)

// storyWidth returns the characters in which a story is told.
func storyWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return storyColumns
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return storyColumns
	}
	return min(max(int(size.Col), storyColumnsMin), storyColumnsMax)
}

// flowRecords collects what a story is told from: by the index where the log is a directory, else by reading all of it.
func flowRecords(c *cobra.Command, path string, flow uint64) (story.Records, error) {
	if st, err := os.Stat(path); path != "-" && err == nil && st.IsDir() {
		records, err := flowIndexed(c, path, flow)
		if err == nil || errors.Is(err, index.ErrNoFlow) || errors.Is(err, index.ErrNoLog) || c.Context() != nil && c.Context().Err() != nil {
			return records, explainFlow(err, path, flow)
		}
		fmt.Fprintln(c.ErrOrStderr(), err)
		fmt.Fprintln(c.ErrOrStderr(), "review: reading the log itself, which takes longer")
	}
	if path == "-" {
		return story.Records{}, usagef("--flow wants a log that can be read twice, and stdin cannot: -o json lists its records")
	}
	records, bad, err := story.Read(path, flow)
	for _, b := range bad {
		fmt.Fprintln(c.ErrOrStderr(), b)
	}
	return records, err
}

// explainFlow says what is missing.
func explainFlow(err error, path string, flow uint64) error {
	switch {
	case errors.Is(err, index.ErrNoFlow):
		return fmt.Errorf("review: no record of flow %d in %s", flow, path)
	case errors.Is(err, index.ErrNoLog):
		return fmt.Errorf("review: no decision log in %s", path)
	}
	return err
}

// flowIndexed is flowRecords by the index of a directory.
func flowIndexed(c *cobra.Command, dir string, flow uint64) (story.Records, error) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	say := func(s string) { fmt.Fprintln(c.ErrOrStderr(), s) }
	x, err := index.Open(ctx, dir, index.Options{Warn: say, Progress: progress(c.ErrOrStderr())})
	if err != nil {
		if x != nil {
			err = errors.Join(err, x.Close())
		}
		return story.Records{}, err
	}
	defer x.Close()
	f, err := x.Flow(ctx, flow)
	if err != nil {
		return story.Records{}, err
	}
	around, err := neighbourhood(ctx, x, &f)
	if err != nil {
		return story.Records{}, err
	}
	k := story.NewCollector(flow, f.Client, f.Server, f.Predecessor)
	err = each(ctx, x, around, k.Add)
	return k.Records(), err
}

// each shows a function the records that a filter picks, in the order of the log.
func each(ctx context.Context, x *index.Index, f index.Filter, show func(*decisionlog.Event)) error {
	for after := (index.Cursor{}); ; {
		page, err := x.Page(ctx, f, after, listPage, index.OldestFirst)
		if err != nil {
			return err
		}
		at := make([]index.Cursor, len(page.Rows))
		for i := range page.Rows {
			at[i] = page.Rows[i].Cursor
		}
		for e, err := range x.Events(ctx, at) {
			if errors.Is(err, os.ErrNotExist) {
				continue // retention was faster
			}
			if err != nil {
				return err
			}
			show(e)
		}
		if !page.More {
			return nil
		}
		after = at[len(at)-1]
	}
}

// neighbourhood picks the records between a connection's ends from the beginning of the connection before it to the end of the one after.
func neighbourhood(ctx context.Context, x *index.Index, f *index.Flow) (index.Filter, error) {
	around := index.Filter{CommunityID: []string{f.CommunityID}}
	if f.CommunityID == "" {
		around = index.Filter{Flow: []uint64{f.FlowID}}
	}
	all, err := x.FlowsByTuple(ctx, f.CommunityID)
	if err != nil {
		return around, err
	}
	at := slices.IndexFunc(all, func(o index.Flow) bool { return o.ID == f.ID })
	if at < 0 {
		return around, nil
	}
	for i := at - 1; i >= 0; i-- {
		if all[i].FlowID == f.Predecessor {
			around.Since = all[i].FirstAt
			break
		}
	}
	if around.Since.IsZero() {
		around.Since = f.FirstAt.Add(-longBefore)
	}
	for _, o := range all[at+1:] {
		if o.Predecessor == f.FlowID {
			around.Until = o.LastAt.Add(1)
			break
		}
	}
	return around, nil
}

// longBefore is how far before a connection without predecessor segments on its ports still belong to its story.
const longBefore = 10 * time.Minute
