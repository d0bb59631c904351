package decisionlog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where and how to log. Zero values mean the defaults named.
type Options struct {
	Dir           string           // a directory, made if missing; "-" is Stdout
	MaxFileBytes  int64            // a file is followed by the next at this size; 64 MiB, at most a quarter of MaxTotalBytes
	MaxTotalBytes int64            // oldest files beyond this are removed; 1 GiB; negative: no limit
	MaxAge        time.Duration    // files not written to for longer are removed; no limit
	Compress      bool             // finished files are replaced by zstd-compressed ones (.jsonl.zst), those of earlier runs too
	Grace         time.Duration    // a plain file stays so long beside its whole compressed one; 2 s
	RingSize      int              // records per producer, rounded up to a power of two; 4096
	Flush         time.Duration    // longest wait before a record is written; 100 ms, at most 200 ms
	Retry         time.Duration    // between attempts while the disk refuses; 500 ms
	Version       string           // of the program, for the header
	BootID        string           // /proc/sys/kernel/random/boot_id, for crash accounting
	Stdout        io.Writer        // os.Stdout
	Now           func() time.Time // time.Now
	Logger        *slog.Logger     // slog.Default()
}

func (o *Options) defaults() {
	if o.RingSize <= 0 {
		o.RingSize = 4096
	}
	if o.Flush <= 0 {
		o.Flush = 100 * time.Millisecond
	}
	o.Flush = min(o.Flush, 200*time.Millisecond)
	if o.Retry <= 0 {
		o.Retry = 500 * time.Millisecond
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Counters are the Writer's own numbers since Open.
type Counters struct {
	Records     uint64 // written
	Bytes       uint64 // written
	RingDropped uint64 // records lost because a ring was full
	DiskDropped uint64 // records lost while the disk refused to write
	Failing     bool   // the last write was refused
}

// Writer turns records into files: one goroutine behind the producers' rings.
type Writer struct {
	opt      Options
	sink     sink
	previous *Previous
	runHi    uint64
	run      string
	started  int64

	mu        sync.Mutex // producers, control's Put, pending
	producers []*Producer
	control   *Producer
	pending   []Record // must not be lost: written before anything else

	wake    chan struct{}
	flush   chan chan struct{}
	quit    chan struct{}
	stopped chan struct{}
	close   sync.Once
	closed  error

	// Of the writing goroutine alone.
	buf      []byte
	total    Tally
	fileSeq  uint64 // of the run's newest file
	kernel   Kernel
	ring     loss
	disk     loss
	failing  bool
	retryAt  time.Time
	tickedAt time.Time

	files, records, bytes, ringDropped, diskDropped atomic.Uint64
	isFailing                                       atomic.Bool
}

// Open starts a run's log. It fails when the directory cannot be made, written
// to or locked; a full disk is no error (records are then lost and counted). No
// file exists until the first record is written.
func Open(opt Options) (*Writer, error) {
	opt.defaults()
	now := opt.Now()
	w := &Writer{
		opt: opt, runHi: newRunBits(now.UnixMilli()), started: now.UnixNano(), tickedAt: now,
		wake: make(chan struct{}, 1), flush: make(chan chan struct{}), quit: make(chan struct{}), stopped: make(chan struct{}),
		buf: make([]byte, 0, batchBytes+8192),
	}
	w.run = ID{Hi: w.runHi}.Run()
	if opt.Dir == "-" {
		s, err := openStream(opt.Stdout)
		if err != nil {
			return nil, err
		}
		s.header = w.headerLine
		w.sink = s
	} else {
		d, err := openDir(&w.opt, w.headerLine)
		if err != nil {
			return nil, err
		}
		if w.previous, err = findPrevious(opt.Dir); err != nil {
			d.close()
			return nil, err
		}
		w.sink = d
	}
	w.control = w.Producer(0xffff)
	go w.loop()
	return w, nil
}

// Run is the run's id, as the headers and stats records carry it.
func (w *Writer) Run() string { return w.run }

// Files is how many files the run has begun; safe from any goroutine.
func (w *Writer) Files() uint64 { return w.files.Load() }

// Previous is the last run that this directory holds, or nil.
func (w *Writer) Previous() *Previous { return w.previous }

// Producer makes a ring for one worker. The worker's number is part of its ids
// and must differ from that of every other producer (0xffff is taken).
func (w *Writer) Producer(worker uint16) *Producer {
	p := newProducer(w.opt.RingSize, w.runHi, worker, w.wake, &w.isFailing)
	w.mu.Lock()
	w.producers = append(w.producers, p)
	w.mu.Unlock()
	return p
}

// Put hands over a record from any goroutine that is no worker. Like a
// producer's Put it does not wait for the disk, and false means lost and counted.
func (w *Writer) Put(r *Record) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.control.Put(r)
}

// NextID gives an id to records that no worker makes.
func (w *Writer) NextID() ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.control.NextID()
}

// Counters reads the Writer's numbers; safe from any goroutine.
func (w *Writer) Counters() Counters {
	c := Counters{Records: w.records.Load(), Bytes: w.bytes.Load(), RingDropped: w.ringDropped.Load(),
		DiskDropped: w.diskDropped.Load(), Failing: w.isFailing.Load()}
	return c
}

// Flush returns when everything that was put before has been written, or was
// refused by the disk, or the Writer is closed.
func (w *Writer) Flush() {
	done := make(chan struct{})
	select {
	case w.flush <- done:
		<-done
	case <-w.stopped:
	}
}

// Close writes what is left and ends the goroutine. Producers must be silent by
// then. The error says how many records the disk refused at the end.
func (w *Writer) Close() error {
	w.close.Do(func() {
		close(w.quit)
		<-w.stopped
		w.mu.Lock()
		left := uint64(len(w.pending))
		for _, p := range w.producers {
			left += uint64(p.ring.Len())
		}
		w.mu.Unlock()
		left += w.ring.total() + w.disk.total()
		if left > 0 {
			w.closed = fmt.Errorf("decision log: %d records were not written", left)
		}
		w.closed = errors.Join(w.closed, w.sink.close())
	})
	return w.closed
}

// goOn makes the next round follow at once where the rings filled up during the last one.
func (w *Writer) goOn() {
	if w.failing {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.producers {
		if p.ring.Due() {
			select {
			case w.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

func (w *Writer) loop() {
	defer close(w.stopped)
	t := time.NewTicker(w.opt.Flush)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.round(false)
			w.goOn()
		case <-w.wake:
			w.round(false)
			w.goOn()
		case done := <-w.flush:
			w.round(true)
			close(done)
		case <-w.quit:
			w.round(true)
			w.trailer()
			return
		}
	}
}
