package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
)

// strip is the time strip: decisions over time, stacked by verdict.
type strip struct {
	From, To time.Time
	Bucket   time.Duration
	Bars     []bar
	Legend   []legend
	Ticks    []tick
	Total    uint64
	Width    int
	Height   int
	Late     bool   // it takes longer; Fetch gives it
	Fetch    string // address of it alone
	Query    string // the filter's text, for what a selection becomes
	Order    string
}

type bar struct {
	X, W     float64
	From, To string // RFC 3339
	Parts    []part
	Title    string
	Href     string
}

type part struct {
	Class string
	Y, H  float64
}

type legend struct {
	Verdict, Class, Sign string
	N                    uint64
	Href                 string
}

type tick struct {
	X     float64
	Text  string
	Inner bool
}

// Measures of the strip, in user units.
const (
	stripWidth  = 1000
	stripHeight = 110
	stripBars   = 100 // about so many
)

// verdictOrder is how verdicts are stacked: what stands at the bottom is seen best.
var verdictOrder = []string{decisionlog.VerdictDrop, decisionlog.VerdictRewrite, decisionlog.VerdictHold, decisionlog.VerdictForward}

// bucketSteps are lengths that people can read.
var bucketSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute,
	2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	48 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour}

// bucketFor is the length of a bar over a span.
func bucketFor(span time.Duration) time.Duration {
	for _, b := range bucketSteps {
		if span/b <= stripBars {
			return b
		}
	}
	return bucketSteps[len(bucketSteps)-1]
}

// stripTime is how long a page waits for its strip.
const stripTime = 400 * time.Millisecond

// strip counts decisions that the filter picks. With wait it takes its time.
func (s *Server) strip(ctx context.Context, q *query, wait bool) (*strip, error) {
	f := q.Filter
	if len(f.Event) > 0 && !slices.Contains(f.Event, "decision") {
		return nil, nil // records without verdict have no strip
	}
	f.Event = []string{"decision"}
	from, to, err := s.span(ctx, &f)
	if err != nil || from.IsZero() {
		return nil, err
	}
	out := &strip{Width: stripWidth, Height: stripHeight, Query: q.Text, Fetch: "/strip" + logURL(q.Text, q.Order)[len("/log"):], Order: "newest"}
	if q.Order == index.OldestFirst {
		out.Order = "oldest"
	}
	asked, err := s.src.asked(f)
	if err != nil {
		return nil, err
	}
	limited := ctx
	if !wait {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, stripTime)
		defer cancel()
	}
	roll, err := s.src.x.Rollup(limited, asked, bucketFor(to.Sub(from)), index.ByVerdict)
	if err != nil {
		if ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
			out.Late = true
			return out, nil
		}
		return nil, err
	}
	out.draw(&roll, from, to, q)
	return out, nil
}

// span is the time that a filter's strip reaches over: the log's, within the filter's bounds.
func (s *Server) span(ctx context.Context, f *index.Filter) (from, to time.Time, err error) {
	files, err := s.src.x.Files(ctx)
	for i := range files {
		if t := files[i].First; !t.IsZero() && (from.IsZero() || t.Before(from)) {
			from = t
		}
		if t := files[i].Last; t.After(to) {
			to = t
		}
	}
	if f.Since.After(from) && !from.IsZero() {
		from = f.Since
	}
	if !f.Until.IsZero() && f.Until.Before(to) {
		to = f.Until
	}
	return from, to, err
}

func (out *strip) draw(roll *index.Rollup, from, to time.Time, q *query) {
	out.Bucket = roll.Bucket
	totals := make(map[string]uint64)
	var top uint64
	for _, counts := range roll.Counts {
		var sum uint64
		for i, n := range counts {
			sum += n
			totals[roll.Words[i]] += n
		}
		top = max(top, sum)
	}
	for _, v := range verdictOrder {
		if n := totals[v]; n > 0 {
			l := looks[v]
			out.Legend = append(out.Legend, legend{v, l[0], l[1], n, logURL(with(q.Filter, "verdict", v, time.Time{}), q.Order)})
		}
	}
	out.Total = roll.Total
	from = from.Truncate(roll.Bucket)
	if roll.From.Before(from) {
		from = roll.From
	}
	end := roll.From.Add(time.Duration(len(roll.Counts)) * roll.Bucket)
	if end.After(to) {
		to = end
	}
	out.From, out.To = from, to
	scale := float64(stripWidth) / float64(max(to.Sub(from), roll.Bucket))
	x := func(t time.Time) float64 { return round(float64(t.Sub(from)) * scale) }
	for i, counts := range roll.Counts {
		at := roll.From.Add(time.Duration(i) * roll.Bucket)
		b := bar{X: x(at), From: at.Format(time.RFC3339), To: at.Add(roll.Bucket).Format(time.RFC3339)}
		b.W = max(round(x(at.Add(roll.Bucket))-b.X-1), 1)
		if !b.stack(roll.Words, counts, top) {
			continue
		}
		b.Title = stamp(at) + b.Title
		f := q.Filter
		f.Since, f.Until = at, at.Add(roll.Bucket)
		b.Href = logURL(f.String(), q.Order)
		out.Bars = append(out.Bars, b)
	}
	out.ticks(x)
}

// stack lays a bar's parts; it is false where there are none. A part is high enough to be seen.
func (b *bar) stack(words []string, counts []uint64, top uint64) bool {
	y := float64(stripHeight)
	for _, v := range verdictOrder {
		i := slices.Index(words, v)
		if i < 0 || counts[i] == 0 {
			continue
		}
		h := max(round(float64(counts[i])/float64(top)*(stripHeight-8)), 2)
		y = round(y - h)
		b.Parts = append(b.Parts, part{looks[v][0], y, h})
		b.Title += fmt.Sprintf(", %s %d", v, counts[i])
	}
	return len(b.Parts) > 0
}

func round(f float64) float64 { return float64(int64(f*10+0.5)) / 10 }

// ticks puts times below the strip, at most five.
func (out *strip) ticks(x func(time.Time) float64) {
	span := out.To.Sub(out.From)
	layout := "15:04"
	switch {
	case span < 10*time.Minute:
		layout = "15:04:05"
	case span > 36*time.Hour:
		layout = "01-02 15:04"
	}
	step := bucketSteps[len(bucketSteps)-1]
	for _, b := range bucketSteps {
		if span/b <= 5 {
			step = b
			break
		}
	}
	for t := out.From.Truncate(step); !t.After(out.To) && len(out.Ticks) < 10; t = t.Add(step) {
		if pos := x(t); !t.Before(out.From) && pos <= stripWidth-60 {
			out.Ticks = append(out.Ticks, tick{X: pos, Text: t.UTC().Format(layout)})
		}
	}
}

// stripOnly answers with the strip alone.
func (s *Server) stripOnly(w http.ResponseWriter, r *http.Request) error {
	q, err := s.readQuery(r)
	if err != nil {
		return err
	}
	st, err := s.strip(r.Context(), &q, true)
	if err != nil {
		return err
	}
	if st == nil {
		st = &strip{}
	}
	s.render(w, r, http.StatusOK, "strip", st)
	return nil
}
