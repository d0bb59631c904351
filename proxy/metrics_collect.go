package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"halfopen/conntrack"
	"halfopen/policy"
)

// collector reads the counters when it is scraped, so that nothing looks up a label on the packet path. Labels are closed sets of
// words and queue numbers: never an address.
type collector struct {
	counters func() Counters

	packets, received, dropped, lost, enobufs, verdictErrors, waiting *prometheus.Desc
	injected, injectErrors, holdsRefused, notRewritten                *prometheus.Desc
	flows, restored, ended, flowEventsDropped                         *prometheus.Desc
	suppressed, logDropped, gaps, pcapPackets, pcapDropped            *prometheus.Desc
	policyInfo, reloadOK, reloadAt                                    *prometheus.Desc
	armUnits, armFlows, armStopped, unwatched                         *prometheus.Desc
	shadowDescs
	fastDescs
}

func newCollector(counters func() Counters) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("halfopen_"+name, help, labels, nil)
	}
	return &collector{
		counters:      counters,
		packets:       desc("packets_total", "Queue messages decided, by verdict and by the finding that was the reason. A GSO super-packet is one message.", "queue", "verdict", "reason"),
		received:      desc("queue_received_total", "Queue messages read.", "queue"),
		dropped:       desc("queue_dropped_total", "Queue messages that the kernel dropped, because the queue (where=\"queue\") or its socket's buffer (where=\"socket\") was full. With fail-open they pass and are not counted here.", "queue", "where"),
		lost:          desc("queue_lost_total", "Queue messages that the kernel numbered but could not hand over: holes in the ids.", "queue"),
		enobufs:       desc("queue_enobufs_total", "Overflows of the queue's socket that the kernel reported (ENOBUFS).", "queue"),
		verdictErrors: desc("queue_verdict_errors_total", "Verdicts that could not be sent or that the kernel refused.", "queue"),
		waiting:       desc("queue_waiting_packets", "Packets that wait for a verdict.", "queue"),
		injected:      desc("injected_packets_total", "Packets made and sent.", "queue"),
		injectErrors:  desc("inject_errors_total", "Packets made that could not be sent.", "queue"),
		notRewritten:  desc("not_rewritten_total", "Packets to be rewritten that could not be: dropped, or let pass by a full second queue.", "queue"),
		holdsRefused:  desc("holds_refused_total", "Packets to be held that went on at once, because too many were held.", "queue"),
		flows:         desc("flows", "Connections remembered, by state.", "state"),
		restored:      desc("flows_restored", "Connections of an earlier run that were not met again yet."),
		ended:         desc("flows_ended_total", "Connections forgotten, by the reason for it.", "reason"),

		flowEventsDropped: desc("flow_events_dropped_total", "Flow events that a reader of the admin socket was too slow for."),
		suppressed:        desc("log_suppressed_total", "Individual records held back by their finding's rate limit; the log counts them.", "reason"),
		logDropped:        desc("log_dropped_total", "Records that the decision log could not take; gap records tell of them."),
		pcapPackets:       desc("pcap_packets_total", "Packets in the annotated capture."),
		pcapDropped:       desc("pcap_dropped_total", "Packets that were decided and are not in the annotated capture: its writer was too slow, or the disk refused them."),
		gaps:              desc("gap_packets_total", "Queue messages that passed or were dropped without a decision, as gap records say."),
		policyInfo:        desc("policy_info", "The policy in force; always 1.", "rev", "preset"),
		reloadOK:          desc("config_last_reload_successful", "Whether the last load of the policy succeeded (1) or not (0)."),
		armUnits:          desc("experiment_units_total", "Units of which a connection began, by experiment and arm, since the start; an estimate, to 1.6 % (one standard deviation).", "experiment", "arm"),
		armFlows:          desc("experiment_flows_total", "Connections that began, by experiment and arm, since the start.", "experiment", "arm"),
		armStopped:        desc("experiment_arm_stopped", "Whether an arm gets no new connections any more (1), because it crossed a limit or was stopped by hand.", "experiment", "arm"),
		unwatched:         desc("experiment_unwatched_total", "What became of connections and experiments' limits were not told, because the gateway was too busy."),
		reloadAt:          desc("config_last_reload_success_timestamp_seconds", "When the policy was last loaded with success, Unix time."),

		shadowDescs: newShadowDescs(desc),
		fastDescs:   newFastDescs(desc),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.packets, c.received, c.dropped, c.lost, c.enobufs, c.verdictErrors, c.waiting, c.injected,
		c.injectErrors, c.holdsRefused, c.notRewritten, c.flows, c.restored, c.ended, c.flowEventsDropped, c.suppressed, c.logDropped, c.gaps,
		c.pcapPackets, c.pcapDropped,
		c.policyInfo, c.reloadOK, c.reloadAt, c.armUnits, c.armFlows, c.armStopped, c.unwatched, c.shadowSegments, c.shadowDisagreements, c.shadowShed} {
		out <- d
	}
	for _, d := range c.fastDescs.all() {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	n := c.counters()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, float64(v), labels...)
	}
	for i := range n.Queues {
		c.queue(&n.Queues[i], put)
	}
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		put(c.flows, prometheus.GaugeValue, n.Flows[s], s.String())
	}
	for why := conntrack.EndNone + 1; why < conntrack.NumEndReasons; why++ {
		put(c.ended, prometheus.CounterValue, n.Ended[why], why.String())
	}
	for f, v := range n.Suppressed {
		if v > 0 {
			put(c.suppressed, prometheus.CounterValue, v, conntrack.Finding(f).String())
		}
	}
	put(c.restored, prometheus.GaugeValue, n.Restored)
	put(c.flowEventsDropped, prometheus.CounterValue, n.FlowEventsDropped)
	put(c.logDropped, prometheus.CounterValue, n.LogDropped)
	put(c.pcapPackets, prometheus.CounterValue, n.PcapPackets)
	put(c.pcapDropped, prometheus.CounterValue, n.PcapDropped)
	put(c.gaps, prometheus.CounterValue, n.Gaps)
	for _, a := range n.Arms {
		put(c.armUnits, prometheus.CounterValue, a.Units, a.Experiment, a.Arm)
		put(c.armFlows, prometheus.CounterValue, a.Flows, a.Experiment, a.Arm)
		var stopped uint64
		if a.Stopped {
			stopped = 1
		}
		put(c.armStopped, prometheus.GaugeValue, stopped, a.Experiment, a.Arm)
	}
	if len(n.Arms) > 0 {
		put(c.unwatched, prometheus.CounterValue, n.Unwatched)
	}
	for i := range n.Shadows {
		c.shadow(&n.Shadows[i], put)
	}
	c.fastPath(&n.FastPath, put)
	put(c.policyInfo, prometheus.GaugeValue, 1, n.Rev, n.Preset)
	var ok uint64
	if n.ReloadOK {
		ok = 1
	}
	put(c.reloadOK, prometheus.GaugeValue, ok)
	if !n.ReloadAt.IsZero() {
		out <- prometheus.MustNewConstMetric(c.reloadAt, prometheus.GaugeValue, float64(n.ReloadAt.UnixMilli())/1000)
	}
}

// queue puts one worker's numbers. Of the many pairs of finding and verdict those that happened are there.
func (c *collector) queue(q *QueueCounters, put func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string)) {
	number := strconv.Itoa(q.Queue)
	for f := range q.Decided {
		for v, n := range q.Decided[f] {
			if n > 0 {
				put(c.packets, prometheus.CounterValue, n, number, policy.PacketAction(v).String(), conntrack.Finding(f).String())
			}
		}
	}
	for _, m := range [...]struct {
		desc *prometheus.Desc
		n    uint64
	}{
		{c.received, q.Received}, {c.lost, q.LostIDs}, {c.enobufs, q.ENOBUFS}, {c.verdictErrors, q.VerdictErrors}, {c.injected, q.Injected},
		{c.injectErrors, q.InjectErrors}, {c.holdsRefused, q.HoldsRefused}, {c.notRewritten, q.NotRewritten},
	} {
		put(m.desc, prometheus.CounterValue, m.n, number)
	}
	put(c.dropped, prometheus.CounterValue, q.QueueDropped, number, "queue")
	put(c.dropped, prometheus.CounterValue, q.SocketDropped, number, "socket")
	put(c.waiting, prometheus.GaugeValue, q.Waiting, number)
}
