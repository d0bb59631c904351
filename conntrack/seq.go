package conntrack

// Seq is a TCP sequence or acknowledgment number. Comparison is serial-number arithmetic modulo 2^32 (RFC 9293 section
// 3.4): meaningful for numbers less than 2^31 apart.
type Seq uint32

// Add returns s+n modulo 2^32.
func (s Seq) Add(n uint32) Seq { return s + Seq(n) }

// Less reports whether s comes before t.
func (s Seq) Less(t Seq) bool { return int32(s-t) < 0 }

// LessEq reports whether s comes before t or equals it.
func (s Seq) LessEq(t Seq) bool { return int32(s-t) <= 0 }

// Diff returns s-t as a signed distance: positive where s comes after t.
func (s Seq) Diff(t Seq) int32 { return int32(s - t) }

// In reports whether s lies in [lo, hi].
func (s Seq) In(lo, hi Seq) bool { return lo.LessEq(s) && s.LessEq(hi) }
