package index

import (
	"context"
	"errors"
	"iter"
	"time"
)

// tailPage is how many records are read at once while following.
const tailPage = 1000

// TailEvery is how often a log is looked at while it is followed, where nothing else is said.
const TailEvery = 250 * time.Millisecond

// Tail yields the records that the filter picks behind a place, oldest first, and then those that come, across files, until ctx ends:
// it looks at the log every so often (0: TailEvery) and brings the index up to it. The end of ctx is no error. After another error it
// may go on: a full disk, say, may be emptied.
func (x *Index) Tail(ctx context.Context, f Filter, after Cursor, every time.Duration) iter.Seq2[Row, error] {
	if every <= 0 {
		every = TailEvery
	}
	return func(yield func(Row, error) bool) {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			err := x.Refresh(ctx)
			if errors.Is(err, ErrNoLog) {
				err = nil // the gateway has written nothing yet
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil && !yield(Row{}, err) {
				return
			}
			for more := true; more; {
				p, err := x.Page(ctx, f, after, tailPage, OldestFirst)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					if !yield(Row{}, err) {
						return
					}
					break
				}
				for _, r := range p.Rows {
					if !yield(r, nil) {
						return
					}
					after = r.Cursor
				}
				if more = p.More; !more && p.End.compare(after) > 0 {
					after = p.End
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	}
}
