package conntrack

// aheadChunk is how many look-ups Ahead prepares at a time: about as many reads of memory as a processor core has under way.
const aheadChunk = 32

// Ahead reads what the look-ups of these segments are about to need, so that the processor waits for the memory of many of them at once:
// with millions of flows each would wait for its own two or three times. It changes nothing.
func (t *Table) Ahead(segs []Segment) {
	var hashes [aheadChunk]uint64
	var name name
	sum := uint64(0)
	for len(segs) > 0 {
		n := min(len(segs), aheadChunk)
		for i := range n {
			t.index.naming(&segs[i].Tuple, &name)
			hashes[i] = name.hash
		}
		for _, h := range hashes[:n] {
			sum += t.index.near(h)
		}
		for _, h := range hashes[:n] {
			sum += t.aheadRecord(h)
		}
		segs = segs[n:]
	}
	t.sum += sum // so that the reads are not taken for useless
}

// aheadRecord reads the first record that may be that of a hash.
func (t *Table) aheadRecord(hash uint64) uint64 {
	at, tag := home(hash)
	b := &t.index.segment(t.index.number(hash))[at]
	i, ok := b.first(tag)
	if !ok {
		return 0
	}
	r := t.record(i)
	return r.id + uint64(r.sides[1].isn)
}
