package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// verdicts is how many packet actions there are: forward, drop, rewrite, hold.
const verdicts = 4

// Counts is what a worker has counted since it began. A worker bumps plain numbers; others read a copy that the worker
// made between two batches.
type Counts struct {
	Received      uint64   // queue messages read from the main queue
	Explained     uint64   // messages that records handed to the log account for
	FastTold      [2]int64 // packets and bytes of the fast path that these records tell of
	Decided       [conntrack.NumFindings][verdicts]uint64
	Suppressed    [conntrack.NumFindings]uint64 // records held back by a rate
	Injected      uint64
	InjectErrors  uint64
	Omitted       uint64                          // packets that an action asked for and that were not made
	HoldsRefused  uint64                          // packets that went on because too many were held
	Unwatched     uint64                          // what guardrails' figures lack: the experiments' watcher was too slow
	NotRewritten  uint64                          // packets that were to be rewritten and could not be
	FlushErrors   uint64                          // failures to send verdicts
	LostIDs       uint64                          // messages that the kernel could not hand over
	ENOBUFS       uint64                          // overflows that the socket reported
	VerdictErrors uint64                          // verdicts that the kernel refused
	Flows         [conntrack.NumStates]uint64     // entries in the table now
	Tombstones    uint64                          // connections forgotten and still remembered for the log
	Ended         [conntrack.NumEndReasons]uint64 // entries that ended
	Fast          fastCounts                      // filled in copies only
	Shadows       []shadowTally                   // by shadow and revision; filled in copies only
}

// verdict counts one decision.
func (c *Counts) verdict(f conntrack.Finding, v policy.PacketAction) { c.Decided[f][v]++ }

// add adds another worker's numbers.
func (c *Counts) add(o *Counts) {
	c.Received += o.Received
	c.Explained += o.Explained
	c.FastTold[0] += o.FastTold[0]
	c.FastTold[1] += o.FastTold[1]
	for f := range c.Decided {
		for v := range c.Decided[f] {
			c.Decided[f][v] += o.Decided[f][v]
		}
		c.Suppressed[f] += o.Suppressed[f]
	}
	c.Injected += o.Injected
	c.InjectErrors += o.InjectErrors
	c.Omitted += o.Omitted
	c.HoldsRefused += o.HoldsRefused
	c.NotRewritten += o.NotRewritten
	c.Unwatched += o.Unwatched
	c.FlushErrors += o.FlushErrors
	c.LostIDs += o.LostIDs
	c.ENOBUFS += o.ENOBUFS
	c.Tombstones += o.Tombstones
	c.VerdictErrors += o.VerdictErrors
	for s := range c.Flows {
		c.Flows[s] += o.Flows[s]
	}
	for w := range c.Ended {
		c.Ended[w] += o.Ended[w]
	}
	c.Fast.add(&o.Fast)
	c.Shadows = addTallies(c.Shadows, o.Shadows)
}

// byVerdict sums the decisions by verdict, for the log's stats record.
func (c *Counts) byVerdict() (out []decisionlog.Count) {
	for v := range policy.PacketAction(verdicts) {
		var n uint64
		for f := range c.Decided {
			n += c.Decided[f][v]
		}
		if n > 0 {
			out = append(out, decisionlog.Count{Word: v.String(), N: n})
		}
	}
	return out
}

// byReason sums the decisions by finding, for the log's stats record.
func (c *Counts) byReason() (out []decisionlog.Count) {
	for f := range c.Decided {
		var n uint64
		for _, m := range c.Decided[f] {
			n += m
		}
		if n > 0 {
			out = append(out, decisionlog.Count{Word: conntrack.Finding(f).String(), N: n})
		}
	}
	return out
}

// suppressedSince returns the records held back since an earlier copy.
func (c *Counts) suppressedSince(old *Counts) (out []decisionlog.Count) {
	for f := range c.Suppressed {
		if n := c.Suppressed[f] - old.Suppressed[f]; n > 0 {
			out = append(out, decisionlog.Count{Word: conntrack.Finding(f).String(), N: n})
		}
	}
	return out
}

// live is how many connections are remembered.
func (c *Counts) live() (n uint64) {
	for _, m := range c.Flows {
		n += m
	}
	return n
}

// suppressed is how many records were held back in all.
func (c *Counts) suppressed() (n uint64) {
	for _, m := range c.Suppressed {
		n += m
	}
	return n
}
