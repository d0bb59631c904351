package web

import (
	"context"
	"sync"
	"time"

	"halfopen/proxy/review/trouble"
)

// cases gives what trouble the log tells of. The report is kept for a moment: all of the log's cases are in it.
type cases struct {
	src *source

	mu    sync.Mutex
	at    time.Time
	rep   *trouble.Report // nil: none yet
	err   error
	doing chan struct{} // closed when the report being made is there; nil: none is being made
}

// Times of reports.
const (
	casesKept = 2 * time.Second        // how old one may be
	casesWait = 500 * time.Millisecond // how long a page waits for one: while a log is being indexed for the first time it takes long
)

// report is the trouble that is known now, that of connections which go on included; nil where that takes longer. It must not be changed.
func (c *cases) report(ctx context.Context, now time.Time) (*trouble.Report, error) {
	done := c.begin(ctx, now)
	t := time.NewTimer(casesWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rep, c.err
}

// begin starts making a report unless the last one is new enough, or one is being made.
func (c *cases) begin(ctx context.Context, now time.Time) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doing != nil {
		return c.doing
	}
	done := make(chan struct{})
	if c.rep != nil && now.Sub(c.at) < casesKept {
		close(done)
		return done
	}
	c.doing = done
	go func() {
		rep, err := c.make(context.WithoutCancel(ctx)) // who asks next has use of it
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
		if err == nil {
			c.rep, c.at = rep, now
		}
		c.doing = nil
		close(done)
	}()
	return done
}

// wait returns once no report is being made.
func (c *cases) wait() {
	c.mu.Lock()
	doing := c.doing
	c.mu.Unlock()
	if doing != nil {
		<-doing
	}
}

func (c *cases) make(ctx context.Context) (*trouble.Report, error) {
	rep, err := c.src.x.Trouble(ctx, trouble.Filter{})
	if err != nil {
		return nil, err
	}
	for _, group := range rep.Groups {
		for i := range group.Examples {
			group.Examples[i] = c.src.aCase(group.Examples[i])
		}
		for i := range group.Servers {
			group.Servers[i].Server = c.src.end(group.Servers[i].Server)
		}
	}
	return rep, nil
}

// of lists cases of a kind, the latest first, and says how many there are in all.
func (c *cases) of(ctx context.Context, g *trouble.Group, from, limit int) (list []trouble.Case, total int, err error) {
	p, err := c.src.x.Cases(ctx, g.Kind, trouble.Filter{}, from, limit)
	if err != nil {
		return nil, 0, err
	}
	for i := range p.Cases {
		list = append(list, c.src.aCase(p.Cases[i]))
	}
	if from > 0 {
		return list, p.Total, nil
	}
	var open []trouble.Case // those of connections that are not over stand in the examples only
	for i := range g.Examples {
		e := &g.Examples[i]
		there := false
		for j := range list {
			there = there || list[j].FlowID == e.FlowID && list[j].At.Equal(e.At.Time) && list[j].Client == e.Client
		}
		if !there {
			open = append(open, *e)
		}
	}
	return append(open, list...), p.Total, nil
}
