package web

import (
	"context"
	"errors"
	"sync"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/trial"
)

// trials gives what the log's experiments show. All of the log is read for it, so that a report is kept for as long as ten times what it
// took, and who asks meanwhile sees the one before.
type trials struct {
	src *source

	mu    sync.Mutex
	at    time.Time
	took  time.Duration
	list  []*experiment.Report // nil: none yet
	err   error
	doing chan struct{} // closed when what is being made is there; nil: nothing is being made
}

// Times of reports on experiments.
const (
	trialsKept = 10 * time.Second // how old one may be at least
	trialsWait = 2 * time.Second  // how long a page waits for one
)

// reports are those that are known now; ready is false where there are none yet. They must not be changed.
func (t *trials) reports(ctx context.Context, now time.Time) (list []*experiment.Report, ready bool, err error) {
	done := t.begin(ctx, now)
	timer := time.NewTimer(trialsWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list, t.list != nil || t.err != nil, t.err
}

// begin starts making reports unless the last ones are new enough, or some are being made.
func (t *trials) begin(ctx context.Context, now time.Time) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doing != nil {
		return t.doing
	}
	done := make(chan struct{})
	if !t.at.IsZero() && now.Sub(t.at) < max(trialsKept, 10*t.took) {
		close(done)
		return done
	}
	t.doing = done
	go func() {
		begun := time.Now()
		list, err := t.make(context.WithoutCancel(ctx)) // who asks next has use of it
		t.mu.Lock()
		defer t.mu.Unlock()
		t.list, t.err, t.at, t.took = list, err, now, time.Since(begun)
		t.doing = nil
		close(done)
	}()
	return done
}

// wait returns once nothing is being made.
func (t *trials) wait() {
	t.mu.Lock()
	doing := t.doing
	t.mu.Unlock()
	if doing != nil {
		<-doing
	}
}

func (t *trials) make(ctx context.Context) ([]*experiment.Report, error) {
	list, err := trial.Load(ctx, []string{t.src.dir}, trial.Ask{})
	if errors.Is(err, trial.ErrNone) {
		return []*experiment.Report{}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		r.Map(t.src.end, t.src.text)
	}
	return list, nil
}
