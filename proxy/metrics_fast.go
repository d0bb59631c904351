package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"halfopen/proxy/fastpath"
)

// fastDescs are the metrics of the fast path.
type fastDescs struct {
	fastInfo, fastFlows, fastInstalled, fastPackets, fastBytes, fastPunts, fastFull, fastEvicted *prometheus.Desc
	fastForeign, fastLost, fastLulls, fastKept, fastRedirected, fastFallbacks                    *prometheus.Desc
}

func newFastDescs(desc func(name, help string, labels ...string) *prometheus.Desc) fastDescs {
	return fastDescs{
		fastInfo:       desc("fastpath_info", "How the kernel's fast path is: state on, redirect or off, and with off a word for why; always 1.", "state", "why"),
		fastFlows:      desc("fastpath_flows", "Connections on the fast path."),
		fastInstalled:  desc("fastpath_installed_total", "Connections that were given to the fast path."),
		fastPackets:    desc("fastpath_packets_total", "Packets that the fast path let go on without the queue. A GSO super-packet is one."),
		fastBytes:      desc("fastpath_bytes_total", "IP bytes of these packets."),
		fastPunts:      desc("fastpath_punts_total", "Packets of connections on the fast path that it left to the queue, by reason.", "reason"),
		fastFull:       desc("fastpath_full_total", "Times that a settled connection found no room on the fast path."),
		fastEvicted:    desc("fastpath_evicted_total", "Connections that left the fast path to make room."),
		fastForeign:    desc("fastpath_foreign_marks_total", "Packets that came in with a mark that is the fast path's to give; it was taken off."),
		fastLost:       desc("fastpath_lost_marks_total", "Packets of the fast path that came by the queue without their mark."),
		fastLulls:      desc("fastpath_lulls_total", "Times that a connection's acknowledgments waited a moment, so that it came back to the fast path."),
		fastKept:       desc("fastpath_kept_pairs", "Pairs of hosts whose connections stay on the queue because their marks are lost, by reason; of each worker the last 4096.", "reason"),
		fastRedirected: desc("fastpath_redirected_packets_total", "Of the packets that the fast path let go on, those that took the short way out."),
		fastFallbacks:  desc("fastpath_fallbacks_total", "Of the packets that the fast path let go on, with redirect, those that took the kernel's own way, by reason.", "reason"),
	}
}

func (c *fastDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{c.fastInfo, c.fastFlows, c.fastInstalled, c.fastPackets, c.fastBytes, c.fastPunts, c.fastFull, c.fastEvicted, c.fastForeign,
		c.fastLost, c.fastLulls, c.fastKept, c.fastRedirected, c.fastFallbacks}
}

// fastPath puts the fast path's numbers. Of the reasons those that happened are there.
func (c *fastDescs) fastPath(n *FastPathCounters, put func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string)) {
	put(c.fastInfo, prometheus.GaugeValue, 1, n.State, n.Why)
	put(c.fastFlows, prometheus.GaugeValue, n.Flows)
	k := &n.Kernel
	for _, m := range [...]struct {
		desc *prometheus.Desc
		n    uint64
	}{
		{c.fastInstalled, n.Installed}, {c.fastPackets, k.Packets}, {c.fastBytes, k.Bytes}, {c.fastFull, n.Full}, {c.fastEvicted, n.Evicted},
		{c.fastForeign, k.Foreign}, {c.fastLost, n.Lost}, {c.fastLulls, n.Lulls}, {c.fastRedirected, k.Redirected},
	} {
		put(m.desc, prometheus.CounterValue, m.n)
	}
	for r, m := range k.Punts {
		if m > 0 {
			put(c.fastPunts, prometheus.CounterValue, m, fastpath.Reason(r).String())
		}
	}
	for why, m := range n.Kept {
		if fastLoss(why) != fastLossNone {
			put(c.fastKept, prometheus.GaugeValue, m, fastLoss(why).String())
		}
	}
	for r, m := range k.Normal {
		if m > 0 {
			put(c.fastFallbacks, prometheus.CounterValue, m, fastpath.Normal(r).String())
		}
	}
}
