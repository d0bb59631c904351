package conntrack

import (
	"net/netip"
	"testing"
)

// Where two tuples have one hash the later tombstone is remembered, and nobody is shown the other's.
func TestTombstonesOfOneHash(t *testing.T) {
	var g graveyard
	g.resize(4)
	tu := func(port uint16) Tuple {
		return MakeTuple(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("192.0.2.1:80"))
	}
	a, b := tu(1), tu(2)
	g.put(7, &Tombstone{ID: 1, From: a})
	g.put(7, &Tombstone{ID: 2, From: b})
	if g.at(&a, 7) != nil {
		t.Error("the earlier one's tombstone is still there, or it is shown the later one's")
	}
	back := b.Reverse()
	for _, tu := range []*Tuple{&b, &back} {
		if tomb := g.at(tu, 7); tomb == nil || tomb.ID != 2 {
			t.Errorf("%v: %+v", tu, tomb)
		}
	}
	if g.Len() != 1 || inUse(&g.stone) != 1 {
		t.Errorf("%d listed, %d kept", g.Len(), inUse(&g.stone))
	}
}

// The bound can be changed, and taken away; places are used again.
func TestGraveyardBounds(t *testing.T) {
	var g graveyard
	g.resize(3)
	for i := range uint64(10) {
		g.put(i, &Tombstone{ID: i})
	}
	if g.Len() != 3 || inUse(&g.stone) != 3 || g.at(&Tuple{}, 6) != nil || g.at(&Tuple{}, 7) == nil {
		t.Errorf("%d listed, %d kept of 3", g.Len(), inUse(&g.stone))
	}
	g.resize(1)
	if g.Len() != 1 || inUse(&g.stone) != 1 || g.at(&Tuple{}, 9) == nil {
		t.Errorf("%d listed, %d kept of 1", g.Len(), inUse(&g.stone))
	}
	g.resize(0)
	if g.Len() != 0 || g.at(&Tuple{}, 9) != nil {
		t.Errorf("%d listed of none", g.Len())
	}
}
