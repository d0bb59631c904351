package trouble

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// RetryWindow is how long after an attempt's last SYN another one of the same client to the same server counts as its continuation.
const RetryWindow = 30 * time.Second

// maxTracked bounds what waits for that, beyond which the oldest is reported early, and the connections under observation that have no
// end so far.
const maxTracked = 1 << 17

// Tracker finds the trouble in a log, in one pass. It remembers the facts of connections that live and are not plain, and for half a
// minute of log time those of attempts that failed, both within bounds. [NewTracker] makes one.
type Tracker struct {
	found func(*Case)
	limit int // maxTracked

	run         string
	first, now  int64
	connections uint64

	open    map[uint64]*track // connections that live, by flow id
	recent  map[uint64]*track // connections that are over and wait, by flow id
	late    map[uint64]*track // late segments, by the forgotten connection's id
	loose   map[ends]*track   // other segments without a connection
	pairs   map[pair]*tries
	waiting []waiting // in the order in which they are due
}

type ends struct{ client, server netip.AddrPort }

// waiting is something to look at again.
type waiting struct {
	k   *track
	due int64
}

// NewTracker returns a Tracker that tells found of each case once it is certain. The case is found's to keep.
func NewTracker(found func(*Case)) *Tracker {
	t := &Tracker{found: found, limit: maxTracked}
	t.forget()
	return t
}

// forget lets go of everything that is remembered.
func (t *Tracker) forget() {
	t.open, t.recent, t.late = map[uint64]*track{}, map[uint64]*track{}, map[uint64]*track{}
	t.loose, t.pairs, t.waiting = map[ends]*track{}, map[pair]*tries{}, nil
}

// Connections returns how many connections have begun.
func (t *Tracker) Connections() uint64 { return t.connections }

// Span returns the times of the first and the latest record.
func (t *Tracker) Span() (first, last time.Time) {
	return time.Unix(0, t.first).UTC(), time.Unix(0, t.now).UTC()
}

// Add takes the next record of the log.
func (t *Tracker) Add(e *decisionlog.Event) {
	if e.Header != nil {
		if t.run != e.Header.Run && t.run != "" {
			t.Settle() // another life of the gateway: what has outlived the first shows itself again
		}
		t.run = e.Header.Run
	}
	if e.Header == nil && e.Trailer == nil && !e.Timestamp.IsZero() { // a replay's header has the time of the replay
		at := e.Timestamp.Nanos()
		if t.first == 0 {
			t.first = at
		}
		t.now = max(t.now, at)
	}
	t.pass()
	switch {
	case e.Flow == nil && e.Inject == nil && e.Decision == nil:
	case e.FlowID != 0:
		t.known(e)
	case e.Decision != nil && e.TCP != nil && !strings.Contains(e.TCP.Flags, "R"):
		t.unknown(e)
	}
}

// known takes a record of a connection.
func (t *Tracker) known(e *decisionlog.Event) {
	k := t.open[e.FlowID]
	if k == nil {
		k = t.recent[e.FlowID] // the segment that ended it is told after its end
	}
	if k == nil {
		switch {
		case e.Inject != nil && e.Inject.Trigger == "": // what a decision makes says nothing that it does not
			return
		case e.Decision != nil && e.Decision.StateAfter == conntrack.StateNone.String():
			return
		}
		k = &track{}
		t.open[e.FlowID] = k
	}
	if e.Flow != nil && e.Flow.Event == "new" {
		t.connections++
	}
	t.add(k, e)
	switch {
	case e.Flow != nil && e.Flow.Event == "end":
		delete(t.open, k.FlowID)
		t.over(k)
	case k.plain():
		delete(t.open, k.FlowID)
	case len(t.open) > t.limit:
		t.thin()
	}
}

// thin lets go of the half of the connections that was silent for longest: their ends may have been lost. What is certain of them is
// reported.
func (t *Tracker) thin() {
	all := slices.SortedFunc(maps.Values(t.open), func(a, b *track) int {
		return cmp.Or(cmp.Compare(a.Last, b.Last), cmp.Compare(a.FlowID, b.FlowID))
	})
	for _, k := range all[:len(all)/2] {
		t.report(k.ownTrouble(t.now))
		t.unlink(k.own)
		k.own, k.over = nil, k.dial != nil
		delete(t.open, k.FlowID)
	}
}

// unknown takes a decision about a segment of which the gateway knew no connection.
func (t *Tracker) unknown(e *decisionlog.Event) {
	var k *track
	d := e.Decision
	if d.Tombstone != nil && !strings.Contains(e.TCP.Flags, "S") {
		if k = t.late[d.Tombstone.FlowID]; k == nil {
			k = &track{over: true}
			t.late[d.Tombstone.FlowID] = k
		}
	} else {
		client, server := endsOf(e)
		key := ends{client, server}
		if k = t.loose[key]; k == nil {
			k = &track{over: true}
			t.loose[key] = k
		}
	}
	t.add(k, e)
	t.wait(k)
}

// add takes down a record, and what it changes about attempts.
func (t *Tracker) add(k *track, e *decisionlog.Event) {
	own, dial, stood := k.Own, k.Dial, k.stands()
	k.Add(e)
	if own == nil && k.Own != nil && !stood {
		k.own = t.begin(k, k.Own)
		t.goOn(k, e)
	}
	if dial == nil && k.Dial != nil {
		k.dial = t.begin(k, k.Dial)
		t.wait(k)
	}
	if !stood && k.stands() {
		t.connected(k)
	}
}

// goOn lets a connection go on from the attempt that its first segment belongs to: an attempt that met the connection before it on
// these ports, was that one, or had none.
func (t *Tracker) goOn(k *track, e *decisionlog.Event) {
	if e.TCP == nil {
		return
	}
	answer := strings.Contains(e.TCP.Flags, ".") // a SYN/ACK, which proves a SYN that the old connection has met
	for _, from := range [...]*track{t.open[k.Predecessor], t.recent[k.Predecessor], t.loose[ends{k.Client, k.Server}]} {
		if from == nil || from == k {
			continue
		}
		for _, y := range [...]*try{from.dial, from.own} {
			if y == nil || answer && y.a.ISN+1 != e.TCP.Ack || !answer && y.a.ISN != e.TCP.Seq {
				continue
			}
			if answer {
				k.Own.SYNs, k.Own.ISN = 0, y.a.ISN
			}
			t.take(k, y)
			return
		}
	}
}

// connected: k stands. What the same client tried in vain just before has led to it.
func (t *Tracker) connected(k *track) {
	since := k.First - int64(RetryWindow)
	if l := t.pairs[k.pair()]; l != nil {
		for y := l.first; y != nil; {
			next := y.next
			if y != k.own && y.a.failing() && y.a.First < k.First && y.a.Last >= since {
				if k.Own == nil {
					k.Own = &Attempt{First: k.First, Last: k.First, SYNs: 1}
				}
				t.take(k, y)
			}
			y = next
		}
	}
	t.unlink(k.own)
	k.own = nil
}

// over: the table has forgotten k. Where there was trouble it waits for what follows: another attempt, and the record of the segment
// that ended it, which comes after its end.
func (t *Tracker) over(k *track) {
	k.over = true
	_, troubled := k.ownTrouble(t.now)
	if troubled || k.own != nil || k.dial != nil {
		t.recent[k.FlowID] = k
		t.wait(k)
	}
}

// wait puts k into the queue.
func (t *Tracker) wait(k *track) {
	if k.waits {
		return
	}
	k.waits = true
	t.waiting = append(t.waiting, waiting{k, t.now + int64(RetryWindow)})
	if len(t.waiting) > t.limit {
		w := t.waiting[0]
		t.waiting = t.waiting[1:]
		t.close(w.k)
	}
}

// pass looks at what has waited long enough.
func (t *Tracker) pass() {
	for len(t.waiting) > 0 && t.waiting[0].due <= t.now {
		k := t.waiting[0].k
		t.waiting = t.waiting[1:]
		if due := k.lastTry() + int64(RetryWindow); due > t.now {
			t.waiting = append(t.waiting, waiting{k, due})
			continue
		}
		t.close(k)
	}
}

// lastTry returns the time of the latest sign of what k waits with.
func (k *track) lastTry() (last int64) {
	if k.dial != nil {
		last = k.dial.a.Last
	}
	if k.own != nil && k.over {
		last = max(last, k.own.a.Last)
	}
	if k.Late != nil {
		last = max(last, k.Late.Last)
	}
	if k.End != nil && k.own == nil && k.stands() {
		last = max(last, k.End.At-int64(RetryWindow)) // nothing but its last segment is awaited
	}
	return last
}

// close reports what k has waited with. A connection that lives goes on.
func (t *Tracker) close(k *track) {
	k.waits = false
	if k.dial != nil {
		t.report(k.look(t.now, (*Facts).failedDial))
		t.unlink(k.dial)
		k.Dial, k.dial = nil, nil
	}
	if !k.over {
		return
	}
	t.report(k.ownTrouble(t.now))
	t.unlink(k.own)
	k.own = nil
	for _, m := range [...]map[uint64]*track{t.recent, t.late} {
		if m[k.FlowID] == k {
			delete(m, k.FlowID)
		}
	}
	if key := (ends{k.Client, k.Server}); t.loose[key] == k {
		delete(t.loose, key)
	}
}

// Settle reports what is left at the end of the log, or of a run, and forgets it all. Of connections that live it tells what is
// certain.
func (t *Tracker) Settle() {
	t.Pending(t.found)
	t.forget()
}

// Pending tells found of the cases that Settle would report now, and changes nothing: of a log that is still being written they may
// yet turn out otherwise.
func (t *Tracker) Pending(found func(*Case)) {
	var cases []Case
	add := func(c Case, ok bool) {
		if ok {
			cases = append(cases, c)
		}
	}
	for _, w := range t.waiting {
		if w.k.dial != nil {
			add(w.k.look(t.now, (*Facts).failedDial))
		}
		if w.k.over {
			add(w.k.ownTrouble(t.now))
		}
	}
	for _, k := range t.open {
		add(k.ownTrouble(t.now))
	}
	slices.SortFunc(cases, func(a, b Case) int {
		return cmp.Or(a.At.Compare(b.At.Time), cmp.Compare(a.FlowID, b.FlowID), a.Client.Compare(b.Client))
	})
	for i := range cases {
		found(&cases[i])
	}
}

func (t *Tracker) report(c Case, ok bool) {
	if ok {
		t.found(&c)
	}
}
