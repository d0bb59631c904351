//go:build netns

package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// oldCopies are flows in which copies of segments outlive what they belong to, with those that the kernel finds INVALID. A connection
// that two ends alone would complete is lost. policy/testdata/linux-default/old-copies.scn is the same for the engine alone.
var oldCopies = []struct {
	name    string
	segs    []seg
	invalid []int
}{
	{"a copy of the client's SYN in TIME_WAIT, with data still missing", []seg{
		{from: 0, flags: syn, seq: 1000},
		{from: 1, flags: syn | ack, seq: 5000, ack: 1001},
		{from: 0, flags: ack, seq: 1001, ack: 5001},
		{from: 0, flags: fin | ack, seq: 10001, ack: 5001},
		{from: 1, flags: ack, seq: 5001, ack: 1001},
		{from: 1, flags: fin | ack, seq: 14001, ack: 1001},
		{from: 0, flags: ack, seq: 10002, ack: 5001},
		{from: 0, flags: syn, seq: 1000},
		{from: 0, flags: ack, seq: 3853, ack: 5001, length: 12},
		{from: 1, flags: ack, seq: 5001, ack: 1001, length: 1416},
	}, []int{8}},
	{"a copy of the RST that made way for a new SYN, then an ACK of the old connection", []seg{
		{from: 0, flags: syn, seq: 1000},
		{from: 1, flags: syn | ack, seq: 5000, ack: 1001},
		{from: 0, flags: ack, seq: 1001, ack: 5001},
		{from: 0, flags: ack | psh, seq: 1001, ack: 5001, length: 600},
		{from: 1, flags: ack | psh, seq: 5001, ack: 1601, length: 600},
		{from: 0, flags: syn, seq: 901000},
		{from: 1, flags: ack, seq: 5601, ack: 1601},
		{from: 0, flags: rst, seq: 1601},
		{from: 0, flags: syn, seq: 901000},
		{from: 0, flags: rst, seq: 1601},
		{from: 1, flags: ack, seq: 5601, ack: 1601},
		{from: 0, flags: syn, seq: 901000},
		{from: 0, flags: syn, seq: 901000},
	}, []int{11, 12}},
}

// TestOldCopies: where linux-default loses a connection to old copies, so does Linux.
func TestOldCopies(t *testing.T) {
	k, e := newKernel(t), newEngine(t)
	ports := portSource{}
	for _, c := range oldCopies {
		for _, v6 := range []bool{false, true} {
			f := &flow{v6: v6, segs: slices.Clone(c.segs)}
			for i := range f.segs {
				f.segs[i].win, f.segs[i].wscale = 64240, -1
			}
			var sum tally
			if err := compare(k, e, []*flow{f}, rand.New(rand.NewPCG(1, 1)), &ports, &sum); err != nil {
				t.Fatal(err)
			}
			if n := sum.differ + sum.ends + sum.timers; n > 0 || sum.invalid != len(c.invalid) {
				sum.report(t, k, e, &ports, 0)
				t.Errorf("%s: %d differences; %d segments are INVALID to the kernel, want %d", c.name, n, sum.invalid, len(c.invalid))
			}
			again := newEngine(t)
			var dropped []int
			for i := range f.segs {
				if again.step(f, i).drop {
					dropped = append(dropped, i)
				}
			}
			if fmt.Sprint(dropped) != fmt.Sprint(c.invalid) {
				t.Errorf("%s: segments %v are dropped, want %v", c.name, dropped, c.invalid)
			}
		}
	}
}
