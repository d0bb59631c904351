package nfqueue

import "math/bits"

// outstanding is the ring of received ids that have no verdict yet, oldest first. It decides two things: whether a
// verdict is due at all (each id gets exactly one), and whether everything below an id has been answered, which is the
// condition for a batch verdict. Ids ascend (modulo 2^32) because the kernel numbers them in the order of its messages.
type outstanding struct {
	ring []slot
	head int // index of the oldest
	n    int // slots in use, answered ones behind an unanswered one included
	open int // unanswered ones
}

type slot struct {
	id       uint32
	answered bool
}

// newOutstanding makes room for size ids; the ring doubles when it must, which a queue length of the kernel bounds.
func newOutstanding(size int) outstanding {
	return outstanding{ring: make([]slot, 1<<bits.Len(uint(max(size, 64)-1)))}
}

// add notes a received id.
func (o *outstanding) add(id uint32) {
	if o.n == len(o.ring) {
		grown := make([]slot, 2*len(o.ring))
		for i := range o.n {
			grown[i] = *o.at(i)
		}
		o.ring, o.head = grown, 0
	}
	*o.at(o.n) = slot{id: id}
	o.n++
	o.open++
}

// answer marks an id as answered. ok is false when no verdict is due for it. first is true when it was the oldest
// unanswered one, so that nothing below it is open.
func (o *outstanding) answer(id uint32) (first, ok bool) {
	if o.n == 0 {
		return false, false
	}
	if s := o.at(0); s.id == id { // the head is never an answered one
		o.open--
		o.pop()
		return true, true
	}
	lo, hi := 1, o.n
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if int32(o.at(mid).id-id) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == o.n || o.at(lo).id != id || o.at(lo).answered {
		return false, false
	}
	o.at(lo).answered = true
	o.open--
	return false, true
}

// pop removes the head and the answered ids behind it.
func (o *outstanding) pop() {
	for {
		o.head = (o.head + 1) & (len(o.ring) - 1)
		o.n--
		if o.n == 0 || !o.at(0).answered {
			return
		}
	}
}

// oldest returns the oldest id without a verdict.
func (o *outstanding) oldest() (id uint32, ok bool) {
	if o.n == 0 {
		return 0, false
	}
	return o.at(0).id, true
}

func (o *outstanding) at(i int) *slot { return &o.ring[(o.head+i)&(len(o.ring)-1)] }
