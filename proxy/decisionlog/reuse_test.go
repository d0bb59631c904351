package decisionlog

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
)

// fill gives every field of a value something to tell that depends on n, and leaves pointers out.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(1 + *n%100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + *n%100)
	case reflect.String:
		v.SetString(fmt.Sprint("w", *n))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		if a, ok := v.Addr().Interface().(*netip.AddrPort); ok {
			*a = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)}), uint16(*n))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	}
}

// full is a record of an event with something in each place, other for each n.
func full(ev EventType, n uint64) Record {
	var r Record
	fill(reflect.ValueOf(&r).Elem(), &n)
	r.Event, r.Dir, r.Flow.Kind = ev, ToServer, FlowEnd
	r.Reload, r.Stats, r.Gap, r.Experiment, r.header = &Reload{}, &Stats{}, &Gap{Count: n}, &Experiment{}, &Header{}
	if ev == EventDecision {
		r.Shadow = []Shadow{{Policy: fmt.Sprint("s", n)}, {Policy: "t"}}
	}
	return r
}

// A record in the place of another event's tells what it tells elsewhere, whichever the events are.
func TestReusedRecord(t *testing.T) {
	for ev := range numEvents {
		for was := range numEvents {
			r, slot := full(ev, 1000), full(was, 2000)
			want := string(r.AppendJSON(nil))
			slot.copy(&r)
			if got := string(slot.AppendJSON(nil)); got != want || slot.Explains() != r.Explains() {
				t.Errorf("%v where %v was, a copy:\n%s\nwant\n%s", ev, was, got, want)
			}
			if len(r.Shadow) > 0 && &slot.Shadow[0] == &r.Shadow[0] {
				t.Errorf("%v: the copy's shadows are the record's", ev)
			}
			if ev != EventDecision && ev != EventFlow && ev != EventInject {
				continue // the others have nothing to tell without what they point to
			}
			empty := Record{Event: ev}
			slot = full(was, 2000)
			slot.Begin(ev)
			if got, want := string(slot.AppendJSON(nil)), string(empty.AppendJSON(nil)); got != want || slot.Explains() != empty.Explains() {
				t.Errorf("%v where %v was, begun:\n%s\nwant\n%s", ev, was, got, want)
			}
		}
	}
}
