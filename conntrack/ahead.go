package conntrack

// aheadChunk is how many look-ups Ahead prepares at a time: as many reads of memory as a processor core has under way, twice over.
const aheadChunk = 64

// Ahead reads what the look-ups of these segments are about to need, so that the processor waits for the memory of many of them at once:
// with millions of flows each would wait for its own two or three times. It changes nothing.
//
// A processor looks only some hundred instructions ahead for reads that it can begin while others are under way. So addresses are worked
// out first, and then the reads follow one another with next to nothing between them.
func (t *Table) Ahead(segs []Segment) {
	var hashes [aheadChunk]uint64
	var buckets [aheadChunk]*bucket
	var records [aheadChunk]*record
	var name name
	sum := uint64(0)
	for len(segs) > 0 {
		n := min(len(segs), aheadChunk)
		for i := range n {
			t.index.naming(&segs[i].Tuple, &name)
			hashes[i] = name.hash
			buckets[i] = t.index.bucket(name.hash)
		}
		for _, b := range buckets[:n] {
			sum += b.tags
		}
		found := 0
		for i, h := range hashes[:n] {
			_, tag := home(h)
			b := buckets[i]
			set := b.match(tag)
			if set == 0 && b.over != 0 {
				b = t.index.after(h)
				set = b.match(tag)
			}
			if set != 0 {
				records[found] = t.record(b.place[slotOf(set)])
				found++
			}
		}
		for _, r := range records[:found] {
			sum += r.id + uint64(r.sides[1].isn)
		}
		segs = segs[n:]
	}
	t.sum += sum // so that the reads are not taken for useless
}
