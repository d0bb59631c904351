package conntrack

import (
	"testing"
	"unsafe"
)

// TestEntrySize keeps a flow from growing unnoticed. 8 bytes are the ends' maximum segment sizes; timestamps and repetitions are
// kept where padding was.
func TestEntrySize(t *testing.T) {
	if side, entry := unsafe.Sizeof(Side{}), unsafe.Sizeof(Entry{}); side > 56 || entry > 400 {
		t.Errorf("a side takes %d bytes, an entry %d", side, entry)
	}
}
