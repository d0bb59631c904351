package conntrack

import (
	"testing"
	"unsafe"
)

// TestEntrySize keeps a flow from growing unnoticed. 32 bytes of it are what its users feel (measure.go): counts of each end, the
// stopwatch and when a candidate came; the measured times lie where padding was. 72 are what a fast path let pass, what of that is untold, and when it
// is asked.
func TestEntrySize(t *testing.T) {
	if side, entry := unsafe.Sizeof(Side{}), unsafe.Sizeof(Entry{}); side > 56 || entry > 480 {
		t.Errorf("a side takes %d bytes, an entry %d", side, entry)
	}
}
