package conntrack

import (
	"encoding/binary"
	"math/bits"
)

// The index finds an entry's place by its tuple, in either direction. It is extensible hashing (Fagin, Nievergelt, Pippenger and
// Strong, "Extendible hashing", 1979): a directory by the first bits of the hash, of segments that split one at a time when they are
// full, so that no insertion waits for more than one segment. A segment consists of buckets of one cache line, each with a byte of
// the hash for each of its slots; what does not fit its bucket is in the next, and the bucket counts how many passed it. The hash is keyed:
// who does not know the seed cannot choose tuples that meet.

const (
	bucketSlots    = 12
	segmentBuckets = 32
	segmentFull    = segmentBuckets * bucketSlots * 85 / 100 // entries; above that it splits
	blockSegments  = 32
)

type bucket struct {
	tags  uint64 // of slots 0 to 7, a byte each, 0 for a free slot
	more  uint32 // of slots 8 to 11
	over  uint32 // entries that belong here and are in a later bucket
	place [bucketSlots]int32
}

type segment [segmentBuckets]bucket

type segmentInfo struct {
	entries uint16
	depth   uint8 // bits of the hash that its entries have in common
}

type index struct {
	key       [4]uint64
	depth     uint8    // bits of the hash that the directory goes by
	directory []uint32 // number of the segment
	blocks    []*IndexPiece
	memory    Memory
	info      []segmentInfo // by number
}

func (x *index) init(seed uint64, m Memory) {
	x.memory = m
	for i := range x.key { // splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		x.key[i] = z ^ z>>31
	}
	x.directory = []uint32{x.newSegment(0)}
}

func (x *index) newSegment(depth uint8) uint32 {
	n := uint32(len(x.info))
	if n%blockSegments == 0 {
		x.blocks = append(x.blocks, orHeap(x.memory.Index()))
	}
	x.info = append(x.info, segmentInfo{depth: depth})
	return n
}

// name is a tuple as the index compares it.
type name struct {
	hash     uint64
	src, dst uint32 // the last bytes of the addresses
	there    uint32 // ports as in a record
	back     uint32 // the same of the other direction
	v4       bool
}

// naming makes n the name of a tuple.
func (x *index) naming(tu *Tuple, n *name) {
	x.ends(tu, n)
	if n.v4 {
		n.hash = x.hash4(n.src, n.dst, n.there)
	} else {
		n.hash = x.hash6(tu)
	}
}

// ends is naming without the hash.
func (x *index) ends(tu *Tuple, n *name) {
	n.src, n.dst = binary.LittleEndian.Uint32(tu.Src[12:]), binary.LittleEndian.Uint32(tu.Dst[12:])
	n.there, n.back = uint32(tu.SrcPort)<<16|uint32(tu.DstPort), uint32(tu.DstPort)<<16|uint32(tu.SrcPort)
	n.v4 = tu.mapped()
}

// mapped reports whether both addresses are IPv4-mapped.
func (t *Tuple) mapped() bool {
	const ffff = 0xffff0000 // bytes 8 to 11 of a mapped address
	return binary.LittleEndian.Uint64(t.Src[:])|binary.LittleEndian.Uint64(t.Dst[:]) == 0 &&
		binary.LittleEndian.Uint32(t.Src[8:]) == ffff && binary.LittleEndian.Uint32(t.Dst[8:]) == ffff
}

// fold is the multiplication of wyhash (Wang Yi): both halves of the product, mixed.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// join mixes the hashes of both ends, in either order.
func (x *index) join(a, b uint64) uint64 { return fold(a+b^x.key[2], a^b^x.key[3]) }

func (x *index) hash4(src, dst, ports uint32) uint64 {
	a := fold(uint64(src)<<16^uint64(ports>>16)^x.key[0], x.key[1])
	b := fold(uint64(dst)<<16^uint64(ports&0xffff)^x.key[0], x.key[1])
	return x.join(a, b)
}

func (x *index) hash6(tu *Tuple) uint64 {
	return x.join(x.end6(&tu.Src, tu.SrcPort), x.end6(&tu.Dst, tu.DstPort))
}

func (x *index) end6(a *[16]byte, port uint16) uint64 {
	h := fold(binary.LittleEndian.Uint64(a[:])^x.key[0], binary.LittleEndian.Uint64(a[8:])^x.key[1])
	return fold(h^uint64(port)^x.key[2], x.key[3])
}

// hashOf returns the hash of a filed or open entry's tuple.
func (t *Table) hashOf(i int32) uint64 {
	if t.wide[i>>chunkBits] == nil {
		r := t.record(i)
		return t.index.hash4(r.src, r.dst, r.ports)
	}
	var tu Tuple
	t.tuple(i, &tu)
	return t.index.hash6(&tu)
}

func (x *index) number(hash uint64) uint32 { return x.directory[hash>>(64-x.depth)] }

func (x *index) segment(n uint32) *segment {
	return &x.blocks[n/blockSegments][n%blockSegments]
}

// home returns the bucket and the tag of a hash. Their bits are not those that the directory goes by.
func home(hash uint64) (bucket int, tag uint8) {
	return int(hash>>8) & (segmentBuckets - 1), max(uint8(hash), 1)
}

const (
	ones  = 0x0101010101010101
	lows  = 0x7f7f7f7f7f7f7f7f
	ones4 = 0x01010101
	lows4 = 0x7f7f7f7f
)

// match returns the set of the slots whose tag is tag, for slotOf: bit 8n for slot n up to 7, bit 8n+1 for slot 8+n.
func (b *bucket) match(tag uint8) (set uint64) {
	x, y := b.tags^ones*uint64(tag), b.more^ones4*uint32(tag)
	return ^(x&lows+lows|x|lows)>>7 | uint64(^(y&lows4+lows4|y|lows4))>>6
}

// slotOf returns the first slot of a set that is not empty.
func slotOf(set uint64) int {
	at := bits.TrailingZeros64(set)
	return at>>3 | at&1<<3
}

// setTag sets the tag of a slot whose tag is 0.
func (b *bucket) setTag(slot int, tag uint8) {
	if slot < 8 {
		b.tags |= uint64(tag) << (8 * slot)
	} else {
		b.more |= uint32(tag) << (8 * (slot - 8))
	}
}

// free makes a slot a free one.
func (b *bucket) free(slot int) {
	if slot < 8 {
		b.tags &^= 0xff << (8 * slot)
	} else {
		b.more &^= 0xff << (8 * (slot - 8))
	}
}

// find returns the place of the entry of a tuple, whose name is n; none for none.
func (t *Table) find(tu *Tuple, n *name) int32 {
	x := &t.index
	seg := x.segment(x.number(n.hash))
	at, tag := home(n.hash)
	for range segmentBuckets {
		b := &seg[at]
		for set := b.match(tag); set != 0; set &= set - 1 {
			if i := b.place[slotOf(set)]; t.is(i, tu, n) {
				return i
			}
		}
		if b.over == 0 {
			break
		}
		at = (at + 1) % segmentBuckets
	}
	return none
}

// is reports whether entry i is that of a tuple, in either direction.
func (t *Table) is(i int32, tu *Tuple, n *name) bool {
	r := t.record(i)
	there := r.src == n.src && r.dst == n.dst && r.ports == n.there
	back := r.src == n.dst && r.dst == n.src && r.ports == n.back
	w := t.wide[i>>chunkBits]
	switch {
	case !there && !back || n.v4 != (w == nil):
		return false
	case n.v4:
		return true
	}
	p := &w[i&(chunkSize-1)]
	src, dst := [12]byte(tu.Src[:12]), [12]byte(tu.Dst[:12])
	return there && p.src == src && p.dst == dst || back && p.src == dst && p.dst == src
}

// bucket returns the bucket of a hash.
func (x *index) bucket(hash uint64) *bucket {
	at, _ := home(hash)
	return &x.segment(x.number(hash))[at]
}

// after returns the bucket in which what does not fit the bucket of a hash is looked for first.
func (x *index) after(hash uint64) *bucket {
	at, _ := home(hash)
	return &x.segment(x.number(hash))[(at+1)%segmentBuckets]
}

// enter makes the index find entry i, whose tuple is not in it.
func (t *Table) enter(i int32) {
	x, hash := &t.index, t.hashOf(i)
	n := x.number(hash)
	for x.info[n].entries >= segmentFull {
		t.split(n)
		n = x.number(hash)
	}
	x.put(n, hash, i)
}

// put enters an entry into segment n, which has room.
func (x *index) put(n uint32, hash uint64, i int32) {
	seg := x.segment(n)
	x.info[n].entries++
	at, tag := home(hash)
	for {
		b := &seg[at]
		if set := b.match(0); set != 0 {
			slot := slotOf(set)
			b.setTag(slot, tag)
			b.place[slot] = i
			return
		}
		b.over++
		at = (at + 1) % segmentBuckets
	}
}

// withdraw makes the index forget entry i, which is in it.
func (t *Table) withdraw(i int32) {
	x, hash := &t.index, t.hashOf(i)
	n := x.number(hash)
	seg := x.segment(n)
	x.info[n].entries--
	at, tag := home(hash)
	for range segmentBuckets {
		b := &seg[at]
		for set := b.match(tag); set != 0; set &= set - 1 {
			if slot := slotOf(set); b.place[slot] == i {
				b.free(slot)
				return
			}
		}
		b.over--
		at = (at + 1) % segmentBuckets
	}
}

// split moves half of a segment's entries to a new one: those whose next bit of the hash is set.
func (t *Table) split(n uint32) {
	x := &t.index
	depth := x.info[n].depth
	if depth == x.depth {
		wider := make([]uint32, 2*len(x.directory))
		for i, s := range x.directory {
			wider[2*i], wider[2*i+1] = s, s
		}
		x.directory = wider
		x.depth++
	}
	var places [segmentBuckets * bucketSlots]int32
	var hashes [segmentBuckets * bucketSlots]uint64
	count := 0
	seg := x.segment(n)
	for i := range seg {
		b := &seg[i]
		for slot := range b.place {
			if slot < 8 && b.tags>>(8*slot)&0xff != 0 || slot >= 8 && b.more>>(8*(slot-8))&0xff != 0 {
				places[count] = b.place[slot]
				count++
			}
		}
	}
	for _, i := range places[:count] { // so that the processor waits for many of them at a time
		t.sum += uint64(t.record(i).ports)
	}
	for i := range count {
		hashes[i] = t.hashOf(places[i])
	}
	*seg = segment{}
	x.info[n] = segmentInfo{depth: depth + 1}
	twin := x.newSegment(depth + 1)
	// The directory's entries of this segment stand together; the latter half of them is the new one's.
	span := len(x.directory) >> depth
	from := int(hashes[0]>>(64-x.depth)) &^ (span - 1)
	for i := from + span/2; i < from+span; i++ {
		x.directory[i] = twin
	}
	for i := range count {
		x.put(x.number(hashes[i]), hashes[i], places[i])
	}
}
