package capture

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"halfopen/proxy/spool"
)

// SnapLen is how many bytes of a packet a [Recorder] keeps: what a gateway's queue copies.
const SnapLen = 256

// RecorderOptions say how to record. Zero values mean the defaults named.
type RecorderOptions struct {
	PacketLogOptions
	RingSize int           // packets per producer, rounded up to a power of two; 8192, each about 1 KiB
	Flush    time.Duration // longest wait before a packet is written; 100 ms, at most 200 ms
	Retry    time.Duration // between attempts while the disk refuses; 500 ms
}

func (o *RecorderOptions) defaults() {
	o.SnapLen = SnapLen
	if o.RingSize <= 0 {
		o.RingSize = 8192
	}
	if o.Flush <= 0 {
		o.Flush = 100 * time.Millisecond
	}
	o.Flush = min(o.Flush, 200*time.Millisecond)
	if o.Retry <= 0 {
		o.Retry = 500 * time.Millisecond
	}
}

// RecorderCounters are a Recorder's own numbers since its start.
type RecorderCounters struct {
	Packets     uint64 // written
	Bytes       uint64 // written, but for the beginnings and ends of files
	RingDropped uint64 // packets lost because a ring was full
	DiskDropped uint64 // packets lost while the disk refused to write
	Failing     bool   // the last write was refused
}

// Recorder takes packets from workers into a [PacketLog]: one goroutine behind the workers' rings, as behind a decision log. What a ring
// cannot take is lost, and counted: in the counters, before the next packet of the same place (epb_dropcount), and at the end of each file
// (isb_ifdrop).
type Recorder struct {
	opt RecorderOptions
	log *PacketLog

	mu        sync.Mutex // producers
	producers []*Producer

	wake    chan struct{}
	flush   chan chan struct{}
	quit    chan struct{}
	stopped chan struct{}
	close   sync.Once
	closed  error

	// Of the writing goroutine alone.
	batch    []*Producer // whose packets the buffer holds, in order
	taken    []int       // by producer: how many of its packets the buffer holds
	waiting  []int       // by producer: how many of its packets this round is to write
	failing  bool
	retryAt  time.Time
	tickedAt time.Time
	warnAt   time.Time // before it nobody is told again that packets are lost
	unsaid   uint64    // lost packets that nobody was told of

	packets, bytes, ringDropped, diskDropped atomic.Uint64
	isFailing                                atomic.Bool
}

// Producer is one worker's ring to the Recorder. Its methods belong to one goroutine; they take no lock, allocate nothing and never wait.
type Producer struct {
	ring   *spool.Ring[recorded]
	number int // in the Recorder's list

	owed [numPlaces]uint64 // lost since the last packet of that place
	lost atomic.Uint64     // in all; any goroutine reads
	last [numPlaces]struct {
		by    *Decider
		queue uint16
	} // of the packets lost

	seen uint64 // of lost; the Recorder's
}

// recorded is a packet on its way to the disk.
type recorded struct {
	Packet
	drops uint64
	size  uint16
	data  [SnapLen]byte
}

// StartRecorder opens the directory and starts the goroutine.
func StartRecorder(opt RecorderOptions) (*Recorder, error) {
	opt.defaults()
	log, err := OpenPacketLog(opt.PacketLogOptions)
	if err != nil {
		return nil, err
	}
	opt.PacketLogOptions = log.opt
	r := &Recorder{opt: opt, log: log, tickedAt: opt.Now(), wake: make(chan struct{}, 1), flush: make(chan chan struct{}), quit: make(chan struct{}),
		stopped: make(chan struct{})}
	go r.loop()
	return r, nil
}

// Producer makes a ring for one worker.
func (r *Recorder) Producer() *Producer {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Producer{ring: spool.NewRing[recorded](r.opt.RingSize, r.wake), number: len(r.producers)}
	r.producers = append(r.producers, p)
	return p
}

// Record returns the place of a packet in the ring, with its bytes copied (the first SnapLen of them), to be filled and then pushed; nil
// where the ring is full: the packet is then lost, and counted. Note is empty, everything else is set.
func (p *Producer) Record(place Place, queue uint16, by *Decider, data []byte) *Packet {
	slot := p.ring.Slot()
	if slot == nil {
		p.owed[place]++
		p.last[place].by, p.last[place].queue = by, queue
		p.lost.Add(1)
		return nil
	}
	slot.Packet = Packet{Place: place, Queue: queue, By: by, OrigLen: uint32(len(data))}
	slot.size = uint16(copy(slot.data[:], data))
	slot.drops, p.owed[place] = p.owed[place], 0
	return &slot.Packet
}

// Push hands over the packet that Record returned last, with all that were staged.
func (p *Producer) Push() { p.ring.Push() }

// Stage keeps the packet that Record returned last in its place, to be handed over by the next Push or Publish. Until then it may be
// changed.
func (p *Producer) Stage() { p.ring.Stage() }

// Publish hands over what is staged.
func (p *Producer) Publish() { p.ring.Publish() }

// Counters reads the Recorder's numbers; safe from any goroutine.
func (r *Recorder) Counters() RecorderCounters {
	return RecorderCounters{Packets: r.packets.Load(), Bytes: r.bytes.Load(), RingDropped: r.ringDropped.Load(), DiskDropped: r.diskDropped.Load(),
		Failing: r.isFailing.Load()}
}

// Flush returns when everything that was pushed before has been written, or was refused by the disk, or the Recorder is closed.
func (r *Recorder) Flush() {
	done := make(chan struct{})
	select {
	case r.flush <- done:
		<-done
	case <-r.stopped:
	}
}

// Close writes what is left and ends the goroutine. Producers must be silent by then. The error says how many packets the disk refused at the
// end.
func (r *Recorder) Close() error {
	r.close.Do(func() {
		close(r.quit)
		<-r.stopped
		r.closed = errors.Join(r.leftover(), r.log.Close())
	})
	return r.closed
}

// leftover books what was lost behind the last packet, and says what cannot be written any more.
func (r *Recorder) leftover() error {
	var left uint64
	for _, p := range r.producers {
		left += uint64(p.ring.Len())
		for place, n := range p.owed {
			if n > 0 && !r.failing {
				if err := r.log.missing(Place(place), p.last[place].queue, p.last[place].by, n); err != nil {
					r.opt.Logger.Warn(packetNoun+": the end of a file is missing", "error", err)
				}
			}
		}
	}
	r.diskDropped.Add(left)
	if left > 0 {
		return fmt.Errorf("%s: %d packets were not written", packetNoun, left)
	}
	return nil
}

// goOn makes the next round follow at once where a ring filled up during the last one: its producer has told that already.
func (r *Recorder) goOn() {
	if r.failing {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.producers {
		if p.ring.Due() {
			select {
			case r.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

func (r *Recorder) loop() {
	defer close(r.stopped)
	t := time.NewTicker(r.opt.Flush)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.round(false)
			r.goOn()
		case <-r.wake:
			r.round(false)
			r.goOn()
		case done := <-r.flush:
			r.round(true)
			close(done)
		case <-r.quit:
			r.round(true)
			return
		}
	}
}
