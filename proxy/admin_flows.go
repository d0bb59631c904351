package proxy

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

const (
	listChunk      = 1000             // table places that one turn of a worker looks at for a listing
	eventsBuffer   = 4096             // flow events that wait for one slow reader
	clientPatience = 30 * time.Second // for a reader that takes nothing
)

// flowStream writes flows as lines of JSON.
type flowStream struct {
	control *http.ResponseController
	out     *bufio.Writer
	enc     *json.Encoder
}

func newFlowStream(w http.ResponseWriter) *flowStream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &flowStream{control: http.NewResponseController(w), out: bufio.NewWriterSize(w, 1<<16)}
	s.enc = json.NewEncoder(s.out)
	s.enc.SetEscapeHTML(false)
	return s
}

// flush hands over what was written. A reader that takes nothing for a while is cut off.
func (s *flowStream) flush() error {
	if err := s.control.SetWriteDeadline(time.Now().Add(clientPatience)); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	return s.control.Flush()
}

// filter reads a request's filter.
func (a *Admin) filter(r *http.Request) (*FlowFilter, error) {
	f, err := ParseFlowFilter(r.URL.Query().Get("filter"))
	if err == nil {
		err = f.resolve(a.cfg.Host.Arms())
	}
	return f, err
}

// listed is one flow picked up on a worker's thread, to be described on the server's.
type listed struct {
	entry conntrack.Entry
	rule  string
	queue int
	now   conntrack.Instant
}

// flows lists. A turn of a worker looks at listChunk places of its table and copies what the filter picks; words are made
// of it here, and a slow client makes this goroutine wait, not the worker.
func (a *Admin) flows(w http.ResponseWriter, r *http.Request) {
	f, err := a.filter(r)
	if err != nil {
		reply(w, http.StatusBadRequest, &adminError{Error: err.Error()})
		return
	}
	ctx, s := r.Context(), newFlowStream(w)
	cursors := map[int]int{} // by queue: where its walk goes on, below 0 at its end
	var chunk []listed
	for more := true; more; {
		more, chunk = false, chunk[:0]
		err := a.cfg.Host.Each(ctx, func(queue int, now conntrack.Instant, e *policy.Engine) {
			if cursors[queue] < 0 {
				return
			}
			cursors[queue] = e.Walk(cursors[queue], listChunk, func(ent *conntrack.Entry) bool {
				if ent.Deadline > now && f.Match(ent) {
					chunk = append(chunk, listed{*ent, e.RuleOf(ent), queue, now})
				}
				return true
			})
			more = more || cursors[queue] >= 0
		})
		arms := a.cfg.Host.Arms()
		for i := range chunk {
			l := &chunk[i]
			flow := newFlow(&l.entry, l.rule, l.now)
			flow.Queue, flow.Arm = &l.queue, armName(arms, l.entry.Arm)
			if err := s.enc.Encode(&flow); err != nil {
				return
			}
		}
		if err != nil {
			a.cut(s, "listing flows", err)
		}
		if s.flush() != nil {
			return
		}
	}
	a.restored(s, f)
}

// cut ends an answer that has begun: the client sees a stream without an end, not a short listing.
func (a *Admin) cut(s *flowStream, what string, err error) {
	a.cfg.Logger.Warn(what, "err", err)
	_ = s.out.Flush()
	panic(http.ErrAbortHandler)
}

// restored lists the flows that wait for a worker to meet them.
func (a *Admin) restored(s *flowStream, f *FlowFilter) {
	if a.cfg.Pending == nil {
		return
	}
	arms := a.cfg.Host.Arms()
	for saved := range a.cfg.Pending.Left(a.cfg.Clock.Now()) {
		if !f.Match(&saved.Entry) {
			continue
		}
		flow := newFlow(&saved.Entry, "", 0) // its instants are relative to now
		flow.Restored, flow.Arm = true, armName(arms, saved.Entry.Arm)
		if s.enc.Encode(&flow) != nil {
			return
		}
	}
	_ = s.flush()
}

// events streams flow events until the client goes or the gateway stops.
func (a *Admin) events(w http.ResponseWriter, r *http.Request) {
	f, err := a.filter(r)
	if err != nil {
		reply(w, http.StatusBadRequest, &adminError{Error: err.Error()})
		return
	}
	lines, cancel := a.cfg.Host.Subscribe(eventsBuffer)
	defer cancel()
	s := newFlowStream(w)
	if s.flush() != nil { // the client knows from here on that nothing is missed
		return
	}
	var dropped uint64 // lost before events that the filter did not pick
	for {
		select {
		case <-r.Context().Done():
			return
		case l, ok := <-lines:
			if !ok {
				return
			}
			dropped += l.Dropped
			if !f.Match(&l.Entry) {
				continue
			}
			flow := newFlowEvent(&l, a.cfg.Clock.Offset())
			flow.Dropped, dropped = dropped, 0
			flow.Arm = armName(a.cfg.Host.Arms(), l.Entry.Arm)
			if s.enc.Encode(&flow) != nil {
				return
			}
			if len(lines) == 0 && s.flush() != nil {
				return
			}
		}
	}
}
