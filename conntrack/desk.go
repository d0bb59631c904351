package conntrack

// How many entries lie open at a time: a quarter of those that the table may hold, within these bounds, so that a small table costs little. deskKept of
// those that were taken last stay open for certain.
const (
	minDesk  = 16
	maxDesk  = 256
	deskKept = 8
)

// desk holds the entries that are being worked on. Others are filed as records. An entry that a look-up takes stays open, and may be written,
// until others need its place; then it is filed again. One that lies open lies there once.
type desk struct {
	entries []Entry  // the last place is the tray
	taken   []uint64 // by place: at which of the takes it was taken last
	takes   uint64
	next    int
}

func (d *desk) init(limit int) {
	n := min(max(limit/4, minDesk), maxDesk) + 1
	d.entries, d.taken = make([]Entry, n), make([]uint64, n)
	for i := range d.entries {
		d.entries[i].index = none
	}
}

// tray is where an entry lies that is looked at in passing, so that a sweep through thousands does not clear the desk.
func (d *desk) tray() int { return len(d.entries) - 1 }

// desk returns the place on the desk where the record's entry lies, plus one; 0 for a filed one.
func (r *record) desk() uint32 { return r.profile >> 20 }

// lay notes the place on the desk.
func (r *record) lay(place int) { r.profile = r.profile&low20 | uint32(place+1)<<20 }

// lift notes that the entry does not lie open.
func (r *record) lift() { r.profile &= low20 }

// after returns the place behind a place.
func (d *desk) after(place int) int {
	if place++; place < d.tray() {
		return place
	}
	return 0
}

// take returns entry i, open.
func (t *Table) take(i int32) *Entry {
	r, d := t.record(i), &t.desk
	if at := int(r.desk()) - 1; at == d.tray() {
		t.close(&d.entries[at]) // it must not go with the next glance
	} else if at >= 0 {
		d.takes++
		d.taken[at] = d.takes
		return &d.entries[at]
	}
	e, place := t.place()
	t.unfile(i, e)
	t.opened(e)
	r.lay(place)
	return e
}

// place clears a place on the desk.
func (t *Table) place() (*Entry, int) {
	d := &t.desk
	place := d.next
	d.takes++
	for d.taken[place]+deskKept >= d.takes && d.entries[place].index != none {
		place = d.after(place)
	}
	d.next = d.after(place)
	d.taken[place] = d.takes
	e := &d.entries[place]
	t.close(e)
	return e, place
}

// close files what lies at a place.
func (t *Table) close(e *Entry) {
	if e.index == none {
		return
	}
	t.file(e)
	t.record(e.index).lift()
	e.index = none
}

// opened fills what an entry knows of itself while it is open.
func (t *Table) opened(e *Entry) {
	e.list = listOf(e)
	e.queued = e.due()
}

// glance returns entry i, open on the tray where it did not lie open before: until the next glance, or until it is left.
func (t *Table) glance(i int32) *Entry {
	r := t.record(i)
	if d := r.desk(); d != 0 {
		return &t.desk.entries[d-1]
	}
	e := &t.desk.entries[t.desk.tray()]
	t.close(e)
	t.unfile(i, e)
	t.opened(e)
	r.lay(t.desk.tray())
	return e
}

// leave ends a glance that has changed nothing.
func (t *Table) leave(e *Entry) {
	if e == &t.desk.entries[t.desk.tray()] && e.index != none {
		t.record(e.index).lift()
		e.index = none
	}
}
