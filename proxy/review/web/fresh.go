package web

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"halfopen/proxy/review/index"
)

// keeper brings the index up to the log's end: now and then while pages are asked for or followed, never because of each request.
type keeper struct {
	x      *index.Index
	now    func() time.Time
	base   context.Context
	wanted atomic.Int64 // Unix nanoseconds of the latest question

	mu      sync.Mutex
	doing   chan struct{} // closed when the run in progress ends; nil: none is
	at      time.Time     // when the last one ended
	percent int
	problem string
}

// Times of the keeper.
const (
	freshEvery = time.Second            // how old the index may be while somebody looks
	freshWait  = 300 * time.Millisecond // how long a page waits for it
	freshLook  = 250 * time.Millisecond
	freshIdle  = 10 * time.Second // after the last question nobody looks any more
)

// run works until ctx ends; then nothing of it goes on.
func (k *keeper) run(ctx context.Context) {
	k.mu.Lock()
	k.base = ctx
	k.mu.Unlock()
	k.begin()
	defer func() { <-k.begin() }()
	t := time.NewTicker(freshLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if k.now().UnixNano()-k.wanted.Load() < int64(freshIdle) {
				k.begin()
			}
		}
	}
}

// begin starts bringing the index up to date unless that is being done or was just done, and returns what ends with it.
func (k *keeper) begin() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doing != nil {
		return k.doing
	}
	done := make(chan struct{})
	if k.now().Sub(k.at) < freshEvery || k.base.Err() != nil {
		close(done)
		return done
	}
	k.doing = done
	base := k.base
	go func() {
		err := k.x.Refresh(base)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.problem = ""
		if err != nil && !errors.Is(err, context.Canceled) {
			k.problem = problemText(err)
		}
		k.doing, k.at, k.percent = nil, k.now(), 100
		close(done)
	}()
	return done
}

// problemText says why the index is not at the log's end.
func problemText(err error) string {
	switch {
	case errors.Is(err, index.ErrNoLog):
		return "There is no decision log in this directory yet."
	case index.Full(err):
		return "The disk of the index is full: what is shown ends before the log does."
	}
	return "The index could not be brought up to date: " + err.Error()
}

// catchUp waits a little for the index to be at the log's end.
func (k *keeper) catchUp(ctx context.Context) {
	k.wanted.Store(k.now().UnixNano())
	t := time.NewTimer(freshWait)
	defer t.Stop()
	select {
	case <-k.begin():
	case <-t.C:
	case <-ctx.Done():
	}
}

func (k *keeper) progress(p index.Progress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Total > 0 {
		k.percent = int(min(p.Done*100/p.Total, 100))
	}
}

// state says how far indexing is, in per cent, and what is wrong with it.
func (k *keeper) state() (percent int, problem string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doing == nil || !k.at.IsZero() { // what comes is taken in at once
		return 100, k.problem
	}
	return k.percent, k.problem
}

// ended says whether the server ends.
func (k *keeper) ended() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.base.Err() != nil
}
