package conntrack

// Config bounds a Table.
type Config struct {
	Max          int // entries in all; below 1 it is 1
	MaxEmbryonic int // entries whose handshake is not complete, at most Max; below 1 it is half of Max
	Tombstones   int // forgotten connections remembered; 0 means none
	MaxPerSource int // entries whose originator has the same address; 0 means no such bound
	// Ended is called once for each entry that ends, just before it is freed. It must not call the table. At is the deadline
	// where the timer ended it, so it does not depend on when the table was swept. Nil: nobody is told.
	Ended func(e *Entry, why EndReason, at Instant)
	// Fast is asked before the table does anything by the timer of an entry with a FastSlot, or ends it. Nil: the table sees everything.
	Fast FastPath
	// Woken is called by Advance for an entry whose Wake has come, with that instant, and returns when to call again: later,
	// or [Never]; or with a reason that the entry ends. It may write the entry's Probe and nothing else, and must not call the
	// table. A probe whose Until has come is forgotten after the call. Nil: no entry wakes.
	Woken func(e *Entry, at Instant) (next Instant, end EndReason)
	// Memory is where the table's large arrays come from. It is this table's alone. Nil: Go's heap.
	Memory Memory
	// FirstID is the first flow id; 51 bits are used. A random one keeps the ids of two runs apart. 0 means 1.
	FirstID uint64
	// Seed keys the hash by which entries are found. Who can choose tuples and knows it can make look-ups slow, so a gateway's is
	// random.
	Seed uint64
}

// idMask keeps flow ids within 51 bits, so that a JSON reader that holds numbers as doubles can still tell them apart.
const idMask = 1<<51 - 1

// Table is the bounded set of remembered connections. It belongs to one goroutine.
type Table struct {
	cfg       Config
	n         int
	index     index
	chunks    []*FlowPiece
	wide      []*PrefixPiece // by chunk; nil for one of IPv4 flows
	fresh     [2]int32       // the next place that was never taken, by family; none if the last chunk is full
	free      [2]int32       // free places, chained by link.next, by family
	top       int            // places below it were taken at some time
	desk      desk
	profiles  profiles
	histories histories
	extras    pool[extras]
	whole     pool[Entry]
	lists     [numLists]list
	counts    [NumStates]int
	wheel     wheel
	tombs     graveyard
	lastID    uint64
	gap       uint32 // how many times Relax was called
	// sources counts entries by their originator's address; nil without a bound on them.
	sources map[[16]byte]int32
	sum     uint64 // of what was read ahead
	// foreseen is what it was read for.
	foreseen foreseen
	// absorbed counts the times that something was taken over from a fast path.
	absorbed uint64
	plain    Fast // Follow's working copy
}

// NewTable returns an empty table.
func NewTable(cfg Config) *Table {
	cfg.normalise()
	t := &Table{cfg: cfg, free: [2]int32{none, none}, fresh: [2]int32{none, none}, lastID: (cfg.FirstID - 1) & idMask}
	if cfg.FirstID == 0 {
		t.lastID = 0
	}
	for i := range t.lists {
		t.lists[i] = list{none, none}
	}
	t.index.init(cfg.Seed, cfg.Memory)
	t.wheel.blocks.piece = cfg.Memory.Timers
	t.extras.piece = cfg.Memory.Extras
	t.desk.init(cfg.Max)
	t.profiles.init()
	t.histories.init()
	t.wheel.init()
	t.countSources()
	t.tombs.resize(cfg.Tombstones)
	return t
}

// normalise puts the bounds on entries into their ranges, and the heap where no other memory is.
func (c *Config) normalise() {
	c.Max = min(max(c.Max, 1), 1<<30)
	if c.MaxEmbryonic < 1 {
		c.MaxEmbryonic = max(c.Max/2, 1)
	}
	c.MaxEmbryonic = min(c.MaxEmbryonic, c.Max)
	if c.Memory == nil {
		c.Memory = heap{}
	}
}

// Len returns the number of entries, expired ones that were not swept yet included.
func (t *Table) Len() int { return t.n }

// Count returns the number of entries in state s.
func (t *Table) Count(s State) int { return t.counts[s] }

// Embryonic returns the number of entries whose handshake is not complete.
func (t *Table) Embryonic() int {
	return t.counts[SynSent] + t.counts[SynRecv] + t.counts[SynSent2] + t.counts[Denied]
}

// Limits returns the bounds that the table works with.
func (t *Table) Limits() (entries, embryonic int) { return t.cfg.Max, t.cfg.MaxEmbryonic }

// Lookup fills v with what is remembered of tu at now. It changes nothing. An entry whose deadline is now or earlier is
// seen as expired, swept or not.
func (t *Table) Lookup(now Instant, tu *Tuple, v *View) {
	var name name
	t.index.naming(tu, &name)
	t.view(now, tu, t.find(tu, &name), v)
}

// view is Lookup where the place of the tuple's entry is known, none for none.
func (t *Table) view(now Instant, tu *Tuple, i int32, v *View) {
	if i == none {
		*v = View{}
		v.Tombstone, v.HasTomb = t.tombstone(tu)
		return
	}
	e := t.take(i)
	v.Dir = Original
	if e.Tuple != *tu {
		v.Dir = Reply
	}
	if e.Deadline <= now {
		v.Entry, v.Expired, v.Relaxed = nil, e, false
		v.Tombstone, v.HasTomb = t.epitaph(e, e.expiry(), e.Deadline)
		return
	}
	v.Entry, v.Expired, v.HasTomb = e, nil, false
	v.Relaxed = e.gap != t.gap
	// A handshake on a tuple that was forgotten lately: its surprises are explained by what was forgotten.
	if e.Previous != 0 && e.State.Embryonic() {
		v.Tombstone, v.HasTomb = t.tombstone(tu)
	}
}

func (t *Table) record(i int32) *record { return &t.chunks[i>>chunkBits].record[i&(chunkSize-1)] }

func (t *Table) link(i int32) *link { return &t.chunks[i>>chunkBits].link[i&(chunkSize-1)] }

// places returns how many places there are, free ones included.
func (t *Table) places() int { return len(t.chunks) * chunkSize }

// alloc returns a zeroed entry for a tuple, not yet in the index, the wheel or a list. The caller has checked the bound.
func (t *Table) alloc(tu *Tuple) *Entry {
	family := 0
	if !tu.mapped() {
		family = 1
	}
	i := t.free[family]
	if i != none {
		t.free[family] = t.link(i).next
	} else {
		if i = t.fresh[family]; i == none {
			i = int32(t.places())
			t.grow(family)
		}
		t.top = max(t.top, int(i)+1)
		if t.fresh[family] = i + 1; (i+1)%chunkSize == 0 {
			t.fresh[family] = none
		}
	}
	*t.link(i) = link{timer: unqueued}
	e, place := t.place()
	*e = Entry{index: i, list: none, queued: Never}
	t.record(i).lay(place)
	return e
}

// grow adds a chunk. What is there stays where it is.
func (t *Table) grow(family int) {
	t.chunks = append(t.chunks, orHeap(t.cfg.Memory.Flows()))
	var w *PrefixPiece
	if family == 1 {
		w = orHeap(t.cfg.Memory.Prefixes())
	}
	t.wide = append(t.wide, w)
}

// insert puts a filled entry (tuple, state, deadline) into index, wheel and list.
func (t *Table) insert(e *Entry) {
	t.n++
	t.name(e.index, &e.Tuple)
	t.enter(e.index)
	t.counts[e.State]++
	if t.sources != nil && e.State != Denied {
		t.sources[e.Tuple.Src]++
	}
	t.enlist(e)
	t.queue(e)
}

// bury ends e: tells the owner, leaves a tombstone, frees the place.
func (t *Table) bury(e *Entry, why EndReason, at Instant) {
	t.TakeOver(e)
	if t.cfg.Ended != nil {
		t.cfg.Ended(e, why, at)
	}
	if tomb, ok := t.epitaph(e, why, at); ok && tomb.ID == e.ID {
		t.tombs.put(t.hashOf(e.index), &tomb)
	}
	t.withdraw(e.index)
	t.n--
	t.counts[e.State]--
	t.leaveSource(e)
	t.unlist(e)
	t.unqueue(e.index)
	t.release(e.index)
	*e = Entry{index: none}
}

// release frees a place.
func (t *Table) release(i int32) {
	r := t.record(i)
	switch r.form() {
	case formExtras:
		t.extras.put(uint32(r.born))
	case formWhole:
		t.whole.put(uint32(r.born))
	}
	t.dropProfile(r)
	*r = record{}
	family := 0
	if t.wide[i>>chunkBits] != nil {
		family = 1
	}
	t.link(i).next = t.free[family]
	t.free[family] = i
}

// setState moves e to state s, in the counts and lists too.
func (t *Table) setState(e *Entry, s State) {
	if e.State == s {
		return
	}
	t.counts[e.State]--
	t.counts[s]++
	e.State = s
	t.relist(e)
}

func (t *Table) newID() uint64 {
	t.lastID = (t.lastID + 1) & idMask
	if t.lastID == 0 {
		t.lastID = 1
	}
	return t.lastID
}
