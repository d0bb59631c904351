package conntrack

// deskSize is how many entries lie open at a time, and deskKept how many of those that were taken last stay so for certain.
const (
	deskSize = 64
	deskKept = 8
)

// desk holds the entries that are being worked on. Others are filed as records. An entry that a look-up takes stays open, and may be written,
// until others need its place; then it is filed again. One that lies open lies there once.
type desk struct {
	entries [deskSize + 1]Entry // the last is the tray's
	next    int
	takes   uint64
	taken   [deskSize + 1]uint64 // at which of the takes it was taken last, by place
}

// tray is where an entry lies that is looked at in passing, so that a sweep through thousands does not clear the desk.
const tray = deskSize

func (d *desk) init() {
	for i := range d.entries {
		d.entries[i].index = none
	}
}

// desk returns the place on the desk where the record's entry lies, plus one; 0 for a filed one.
func (r *record) desk() uint32 { return r.profile >> 24 }

// lay notes the place on the desk.
func (r *record) lay(place int) { r.profile = r.profile&low24 | uint32(place+1)<<24 }

// take returns entry i, open.
func (t *Table) take(i int32) *Entry {
	r := t.record(i)
	switch d := r.desk(); d {
	case 0:
	case tray + 1:
		t.close(&t.desk.entries[tray]) // it must not go with the next glance
	default:
		t.desk.takes++
		t.desk.taken[d-1] = t.desk.takes
		return &t.desk.entries[d-1]
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
		place = (place + 1) % deskSize
	}
	d.next = (place + 1) % deskSize
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
	r := t.record(e.index)
	r.profile &= low24
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
	e := &t.desk.entries[tray]
	t.close(e)
	t.unfile(i, e)
	t.opened(e)
	r.lay(tray)
	return e
}

// leave ends a glance that has changed nothing.
func (t *Table) leave(e *Entry) {
	if e == &t.desk.entries[tray] && e.index != none {
		t.record(e.index).profile &= low24
		e.index = none
	}
}
