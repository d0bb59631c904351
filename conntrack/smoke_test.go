package conntrack

import (
	"net/netip"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	tb := NewTable(Config{Max: 10, Tombstones: 4})
	var to Timeouts
	for i := range to {
		to[i] = time.Minute
	}
	p := &Params{Timeouts: &to}
	a, b := netip.MustParseAddrPort("10.0.0.1:721"), netip.MustParseAddrPort("10.0.0.2:515")
	f, r := MakeTuple(a, b), MakeTuple(b, a)
	seg := func(tu Tuple, fl Flags, seq, ack Seq, n uint32) *Segment {
		return &Segment{Tuple: tu, Flags: fl, Seq: seq, Ack: ack, Len: n, Bytes: n + 40, Window: 1000}
	}
	var v View
	for i, c := range []struct {
		s *Segment
		f Finding
		a State
	}{
		{seg(f, SYN, 100, 0, 0), New, SynSent},
		{seg(r, SYN|ACK, 500, 101, 0), SynAck, SynRecv},
		{seg(f, ACK, 101, 501, 0), Handshake, Established},
		{seg(f, ACK, 101, 501, 10), InWindow, Established},
		{seg(r, FIN|ACK, 501, 111, 0), Fin, FinWait},
		{seg(f, ACK, 111, 502, 0), InWindow, CloseWait},
		{seg(f, FIN|ACK, 111, 502, 0), Fin, LastAck},
		{seg(r, ACK, 502, 112, 0), InWindow, TimeWait},
	} {
		tb.Lookup(Instant(i), &c.s.Tuple, &v)
		cl := Classify(Instant(i), &v, c.s, &Rules{})
		ch := tb.Commit(Instant(i), &v, c.s, cl.Finding, cl.Finding.Info().Effect, Timer{Op: cl.Finding.Info().Timer}, p)
		if cl.Finding != c.f || ch.After != c.a {
			t.Errorf("%d: %v %v, want %v %v", i, cl.Finding, ch.After, c.f, c.a)
		}
	}
	if n := tb.Advance(Instant(time.Hour), 10); n != 1 || tb.Len() != 0 || tb.Next() != Never {
		t.Error(n, tb.Len(), tb.Next())
	}
}
