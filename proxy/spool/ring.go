package spool

import "sync/atomic"

// Ring is a bounded queue between two goroutines. Slot, Stage and Push belong to the producer; they take no lock, allocate nothing and
// never wait. Len, At and Release belong to the consumer.
type Ring[T any] struct {
	slots  []T
	mask   uint64
	wake   chan<- struct{}
	staged uint64 // the producer's own: values in place, those included that the consumer does not see yet
	_      [64]byte
	tail   atomic.Uint64 // written by the producer
	_      [64]byte
	head   atomic.Uint64 // written by the consumer
}

// NewRing makes a ring of at least size values (rounded up to a power of two, at least 2). On wake the consumer is told, without
// waiting for it, when a quarter is taken: early enough that a burst finds it awake. It is told once: a consumer that stops while more
// than that is left must look at Due. Nil tells nobody.
func NewRing[T any](size int, wake chan<- struct{}) *Ring[T] {
	n := uint64(1)
	for n < uint64(max(size, 2)) {
		n <<= 1
	}
	return &Ring[T]{slots: make([]T, n), mask: n - 1, wake: wake}
}

// Touch has the kernel lay out the ring's memory, while nobody uses it, so that the producer need not wait for that at the first use of a place.
func (r *Ring[T]) Touch() { clear(r.slots) }

// Slot returns the place of the next value, nil where the ring is full. It holds an old value, to be overwritten as a whole. Without a
// Stage or Push the next Slot is the same.
func (r *Ring[T]) Slot() *T {
	if r.staged-r.head.Load() > r.mask {
		return nil
	}
	return &r.slots[r.staged&r.mask]
}

// Stage keeps what the last Slot returned, which must not have been nil, and does not hand it over yet: it may still be changed.
func (r *Ring[T]) Stage() { r.staged++ }

// Push hands over what the last Slot returned, which must not have been nil, with everything staged before it.
func (r *Ring[T]) Push() {
	r.staged++
	r.Publish()
}

// Publish hands over everything that is staged.
func (r *Ring[T]) Publish() {
	before := r.tail.Load()
	r.tail.Store(r.staged)
	if quarter, head := r.mask/4, r.head.Load(); before-head <= quarter && r.staged-head > quarter {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Due reports whether more than a quarter is taken. After its last Release the consumer must not sleep where it is: the producer has
// told it already, and would not again.
func (r *Ring[T]) Due() bool { return uint64(r.Len()) > r.mask/4 }

// Len is how many values wait. For any goroutine but the consumer it is a moment's.
func (r *Ring[T]) Len() int { return int(r.tail.Load() - r.head.Load()) }

// Cap is how many values fit.
func (r *Ring[T]) Cap() int { return len(r.slots) }

// At returns the i-th oldest value that waits, 0 <= i < Len. It is the consumer's until Release.
func (r *Ring[T]) At(i int) *T { return &r.slots[(r.head.Load()+uint64(i))&r.mask] }

// Release gives the n oldest places back, n <= Len.
func (r *Ring[T]) Release(n int) { r.head.Store(r.head.Load() + uint64(n)) }
