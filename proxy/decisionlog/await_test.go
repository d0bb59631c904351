package decisionlog

import (
	"testing"
	"time"
)

// Await is for whoever may wait: until there is room, no longer than until the deadline, and not for a disk that refuses.
func TestAwait(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	p := w.producerFor(t, 8)
	never, far := time.Time{}, time.Now().Add(time.Minute)
	if !p.Await(p.Cap(), never) {
		t.Error("an empty ring has no room")
	}
	for range 5 {
		p.Put(decision(p, "r", 1))
	}
	if !p.Await(3, never) || p.Await(4, never) {
		t.Error("3 of 8 places are free")
	}
	if p.Await(4, time.Now().Add(2*lookEvery)) {
		t.Error("there is room at the deadline, and nobody made it")
	}
	go func() {
		time.Sleep(3 * lookEvery)
		p.ring.Release(1)
	}()
	if !p.Await(4, far) {
		t.Error("no room, and a place was given back")
	}
	w.isFailing.Store(true)
	if p.Await(5, far) || time.Now().After(far) {
		t.Error("waits for a disk that refuses")
	}
}
