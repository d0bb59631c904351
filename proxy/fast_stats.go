package proxy

import (
	"cmp"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/fastpath"
)

// FastPathCounters is what the fast path has counted since the gateway began.
type FastPathCounters struct {
	State  string // on, redirect or off
	Why    string // a word for why it is off
	Detail string // the same in words
	fastCounts
	Kernel   fastpath.Stats // what the program counted
	Unproven string         // why that cannot be held against what the log's records tell, "" for nothing
}

// counters returns the fast path's numbers; c is what the workers counted.
func (f *fastGate) counters(c *fastCounts) FastPathCounters {
	state, why, detail := f.state()
	n := FastPathCounters{State: state, Why: why.String(), Detail: detail, fastCounts: *c}
	n.Kernel = f.kernel()
	f.mu.Lock()
	n.Unproven = cmp.Or(f.blind, f.unread)
	f.mu.Unlock()
	return n
}

// kernel returns the program's counters, of a path that was closed those that it had.
func (f *fastGate) kernel() fastpath.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == nil || f.closed {
		return f.last
	}
	now, err := f.path.Stats()
	if err != nil {
		f.log.Debug("the fast path's counters", "err", err)
		f.unread = err.Error()
		return f.last
	}
	f.last, f.unread = now, ""
	return now
}

// record is what a stats record says of it.
func (n *FastPathCounters) record() decisionlog.FastPathStats {
	k := &n.Kernel
	s := decisionlog.FastPathStats{State: n.State, Why: n.Detail, Flows: n.Flows, Packets: k.Packets, Bytes: k.Bytes, Installed: n.Installed,
		Full: n.Full, Evicted: n.Evicted, Foreign: k.Foreign, Lost: n.Lost, Returned: n.Returned, Unproven: n.Unproven, Redirected: k.Redirected, Kept: n.kept()}
	for r, m := range k.Punts {
		if m > 0 {
			s.Punts = append(s.Punts, decisionlog.Count{Word: fastpath.Reason(r).String(), N: m})
		}
	}
	for r, m := range k.Normal {
		if m > 0 {
			s.Fallbacks = append(s.Fallbacks, decisionlog.Count{Word: fastpath.Normal(r).String(), N: m})
		}
	}
	return s
}

// kept returns how many pairs of hosts stay on the queue, by reason.
func (n *FastPathCounters) kept() (out []decisionlog.Count) {
	for why, m := range n.Kept {
		if m > 0 {
			out = append(out, decisionlog.Count{Word: fastLoss(why).String(), N: m})
		}
	}
	return out
}

// status is what the admin socket says of it.
func (n *FastPathCounters) status() FastPathStatus {
	st := FastPathStatus{State: n.State, Why: n.Detail, Flows: n.Flows, Packets: n.Kernel.Packets, Bytes: n.Kernel.Bytes}
	for _, c := range n.kept() {
		if st.Kept == nil {
			st.Kept = make(map[string]uint64)
		}
		st.Kept[c.Word] = c.N
	}
	return st
}

// fastOf fills in what of an entry's packets the fast path let pass.
func fastOf(f *decisionlog.Flow, e *conntrack.Entry) {
	f.Fast, f.FastBytes, f.FastCounted = e.FastPackets, e.FastBytes, e.FastUntold
}
