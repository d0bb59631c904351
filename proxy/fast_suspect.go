package proxy

import (
	"net/netip"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// fastLoss is why the connections between two hosts stay on the queue; a closed set of words, for metrics.
type fastLoss uint8

const (
	fastLossNone        fastLoss = iota
	fastLossOverwritten          // the program's marks do not come to the queue
	fastLossNotExempt            // segments that it let pass came by the queue with their mark
	numFastLosses
)

var fastLossWords = [numFastLosses]string{"", "overwritten", "not-exempt"}

// String returns the reason's word.
func (w fastLoss) String() string { return fastLossWords[w] }

// trust takes note of a connection that was given to the fast path.
func (f *fastGate) trust() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trusted++; f.trusted == 4096 {
		f.trusted, f.suspects = f.trusted/2, f.suspects/2
	}
}

// suspect takes note of a connection whose segments come without their marks. The connections between these hosts stay on the queue from now
// on, which takes nothing from anybody else and is right whatever the reason is. So there is time until it is clear that it is no exception,
// when the fast path is given up: a host counts once, whatever it does and with whomever, and the first pair of hosts never suffices, so
// that nobody who knows how to lose marks takes it from all others, not even on a gateway that has met nobody else yet.
func (f *fastGate) suspect(ends hosts, detail string) {
	f.mu.Lock()
	if f.accused == nil {
		f.accused, _ = simplelru.NewLRU[[16]byte, struct{}](fastUnfit, nil)
	}
	known := false
	for _, h := range ends {
		known = known || f.accused.Contains(h)
		f.accused.Add(h, struct{}{})
	}
	if !known {
		f.suspects++
	}
	enough := f.suspects >= fastWitnesses && f.suspects*fastLossy >= f.trusted
	named := !known && f.suspects <= fastNamed
	f.mu.Unlock()
	switch {
	case enough:
		f.standDown(fastOffMarks, detail)
	case named && !f.down.Load():
		f.log.Warn("the connections between two hosts stay on the queue", "one", netip.AddrFrom16(ends[0]).Unmap(), "other", netip.AddrFrom16(ends[1]).Unmap(),
			"because", detail)
	}
}
