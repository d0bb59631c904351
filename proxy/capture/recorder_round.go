package capture

import "time"

const (
	// batchBytes is how much is encoded before it is written at once.
	batchBytes = 256 << 10
	// tickEvery is the time between looks at the files' age, and warnEvery between words about losses.
	tickEvery = time.Minute
	warnEvery = time.Minute
	// ripe is how old a packet must be before it is written where several workers record: by then an older one of another worker, which
	// was under way when this one was pushed, has come. So the packets of all workers stand in the order of time.
	ripe = 50 * time.Millisecond
)

// round moves packets from the rings to the disk. While the disk refuses they stay in the rings, and the next attempt comes after Retry,
// unless forced; what overflows meanwhile is the disk's loss, not the ring's.
func (r *Recorder) round(force bool) {
	now := r.opt.Now()
	r.mu.Lock()
	producers := r.producers
	r.mu.Unlock()
	r.collect(producers, now)
	if r.failing && !force && now.Before(r.retryAt) {
		return
	}
	limit := int64(1<<63 - 1)
	if len(producers) > 1 && !force {
		limit = now.Add(-ripe).UnixNano()
	}
	// What is pushed meanwhile waits for the next round, so that a round ends.
	r.waiting = r.waiting[:0]
	for _, p := range producers {
		r.waiting = append(r.waiting, p.ring.Len())
	}
	for {
		more, err := r.write(producers, r.waiting, limit)
		if !r.note(err) {
			return
		}
		if !more {
			break
		}
	}
	if now.Sub(r.tickedAt) >= tickEvery {
		r.tickedAt = now
		r.log.dir.Tick(now)
	}
}

// write writes one batch of the packets that wait and are old enough, and takes them out of waiting. It reports whether there may be more.
func (r *Recorder) write(producers []*Producer, waiting []int, limit int64) (more bool, err error) {
	r.taken = append(r.taken[:0], make([]int, len(producers))...)
	r.batch = r.batch[:0]
	for {
		p := r.oldest(producers, waiting, limit)
		if p == nil {
			break
		}
		item := p.ring.At(r.taken[p.number])
		if len(r.batch) == 0 {
			if err := r.log.begin(item.By); err != nil {
				return false, err
			}
		}
		r.log.add(&item.Packet, item.data[:item.size], item.drops)
		r.batch = append(r.batch, p)
		r.taken[p.number]++
		if len(r.log.blocks.b) >= batchBytes {
			more = true
			break
		}
	}
	if len(r.batch) == 0 {
		return false, nil
	}
	packets, bytes, err := r.log.put()
	r.packets.Add(uint64(packets))
	r.bytes.Add(uint64(bytes))
	for _, p := range r.batch[:packets] {
		p.ring.Release(1)
		waiting[p.number]--
	}
	return more, err
}

// oldest is the producer whose next packet is the oldest of all, nil where none is old enough. A ring that is half full does not wait.
func (r *Recorder) oldest(producers []*Producer, waiting []int, limit int64) (found *Producer) {
	var first int64
	for i, p := range producers {
		n := waiting[i] - r.taken[i]
		if n <= 0 {
			continue
		}
		at := p.ring.At(r.taken[i]).Time
		if at > limit && p.ring.Len() <= p.ring.Cap()/2 {
			continue
		}
		if found == nil || at < first {
			found, first = p, at
		}
	}
	return found
}

// collect takes over what the producers lost, and says so, but not all the time.
func (r *Recorder) collect(producers []*Producer, now time.Time) {
	for _, p := range producers {
		lost := p.lost.Load()
		n := lost - p.seen
		p.seen = lost
		if r.failing {
			r.diskDropped.Add(n)
		} else {
			r.ringDropped.Add(n)
			r.unsaid += n
		}
	}
	if r.unsaid > 0 && !now.Before(r.warnAt) {
		r.opt.Logger.Warn(packetNoun+": packets were decided but not captured, the writer is too slow for them", "count", r.unsaid)
		r.unsaid, r.warnAt = 0, now.Add(warnEvery)
	}
}

// note remembers whether the disk takes packets, and says so once.
func (r *Recorder) note(err error) bool {
	if err != nil {
		if !r.failing {
			r.opt.Logger.Error(packetNoun+": cannot write; packets wait and will be counted when lost, and the gateway goes on", "error", err)
		}
		r.failing = true
		r.isFailing.Store(true)
		r.retryAt = r.opt.Now().Add(r.opt.Retry)
		return false
	}
	if r.failing {
		r.failing = false
		r.isFailing.Store(false)
		r.opt.Logger.Info(packetNoun+": the disk takes packets again", "lost", r.diskDropped.Load())
	}
	return true
}
