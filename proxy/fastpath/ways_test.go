package fastpath

import (
	"testing"

	"github.com/mdlayher/netlink"
)

// What blocks by default, and what cannot be an answer.
func TestDefaultBlocks(t *testing.T) {
	for _, c := range []struct {
		kind       netlink.HeaderType
		data       []byte
		blocks, ok bool
	}{
		{msgGetDefault, []byte{2, 2, 2, 0}, false, true}, {msgGetDefault, []byte{1, 2, 2, 0}, false, true}, {msgGetDefault, []byte{2, 1, 2}, true, true},
		{msgGetDefault, []byte{2, 2, 1, 0}, true, true}, {msgGetDefault, []byte{0, 0, 0, 0}, false, true}, {msgGetDefault, []byte{1, 1}, false, false},
		{msgGetDefault, nil, false, false}, {msgGetDefault - 1, []byte{1, 1, 1, 1}, false, false},
	} {
		if blocks, ok := defaultBlocks(netlink.Message{Header: netlink.Header{Type: c.kind}, Data: c.data}); blocks != c.blocks || ok != c.ok {
			t.Errorf("%d %v: %v %v", c.kind, c.data, blocks, ok)
		}
	}
}
