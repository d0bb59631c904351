package conntrack

// foreseen is what Ahead has found out about the tuples of segments, for the look-ups that follow in the same order. It is no more than a guess at
// the place, which the record itself confirms, and the hash. It decides nothing: a look-up of another tuple than the next one ends it.
type foreseen struct {
	n    int // of list, those that count
	next int // of these
	list [maxForeseen]foresight
}

type foresight struct {
	hash            uint64 // 0 for unknown
	src, dst, ports uint32 // as in a name
	place           int32  // none for unknown
}

// maxForeseen is how many segments are foreseen: as many as a worker's batch holds.
const maxForeseen = 256

// findForeseen is naming and find where a look-up is foreseen; the hash is left out of the name where it was not needed.
func (t *Table) findForeseen(tu *Tuple, n *name) int32 {
	t.index.ends(tu, n)
	f := &t.foreseen
	at := &f.list[f.next]
	if at.src != n.src || at.dst != n.dst || at.ports != n.there {
		f.n = 0
		t.index.naming(tu, n)
		return t.find(tu, n)
	}
	f.next++
	if i := at.place; i != none && t.lives(i) && t.is(i, tu, n) {
		return i
	}
	if n.hash = at.hash; n.hash == 0 || !n.v4 {
		t.index.naming(tu, n)
	}
	return t.find(tu, n)
}

// lives reports whether a place that was taken at some time has an entry: a free one's record is empty.
func (t *Table) lives(i int32) bool {
	r := t.record(i)
	return r.id|uint64(r.profile) != 0
}

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
	f := &t.foreseen
	f.n, f.next = 0, 0
	for len(segs) > 0 {
		n := min(len(segs), aheadChunk)
		saw := f.list[min(f.n, maxForeseen):min(f.n+n, maxForeseen)]
		for i := range n {
			t.index.naming(&segs[i].Tuple, &name)
			hashes[i] = name.hash
			buckets[i] = t.index.bucket(name.hash)
			if i < len(saw) {
				saw[i] = foresight{src: name.src, dst: name.dst, ports: name.there, place: none}
				if name.v4 {
					saw[i].hash = name.hash
				}
			}
		}
		f.n += len(saw)
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
				place := b.place[slotOf(set)]
				records[found] = t.record(place)
				found++
				if i < len(saw) {
					saw[i].place = place
				}
			}
		}
		for _, r := range records[:found] {
			sum += r.id + uint64(r.sides[1].isn)
		}
		segs = segs[n:]
	}
	t.sum += sum // so that the reads are not taken for useless
}
