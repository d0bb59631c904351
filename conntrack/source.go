package conntrack

// countSources begins to count connections by source, or stops, as the configuration says.
func (t *Table) countSources() {
	t.sources = nil
	if t.cfg.MaxPerSource <= 0 {
		return
	}
	t.sources = make(map[[16]byte]int32)
	t.Walk(0, t.places()+1, func(e *Entry) bool {
		if e.State != Denied {
			t.sources[e.Tuple.Src]++
		}
		return true
	})
}

// leaveSource takes a buried entry out of the count of its source. The map holds no source without an entry, so it is bounded
// as the table is.
func (t *Table) leaveSource(e *Entry) {
	if t.sources == nil || e.State == Denied {
		return
	}
	if n := t.sources[e.Tuple.Src] - 1; n > 0 {
		t.sources[e.Tuple.Src] = n
	} else {
		delete(t.sources, e.Tuple.Src)
	}
}

// SourceRoom reports whether another entry of the source of tu may be made: false is the finding [SourceLimit]. Entries that
// are due are buried first where that may help, as many as by [Table.Room]. While there are more than that nobody is refused, because they may be the
// source's. One that takes the place of an older one on its tuple is not told from others.
func (t *Table) SourceRoom(now Instant, tu *Tuple) bool {
	if t.sources == nil {
		return true
	}
	var m making
	for t.sources[tu.Src] >= int32(t.cfg.MaxPerSource) {
		if !m.more(t, now) {
			return t.Next() <= now
		}
	}
	return true
}
