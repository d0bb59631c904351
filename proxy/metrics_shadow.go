package proxy

import "github.com/prometheus/client_golang/prometheus"

// shadowDescs are the metrics of shadow policies.
type shadowDescs struct{ shadowSegments, shadowDisagreements, shadowShed *prometheus.Desc }

func newShadowDescs(desc func(name, help string, labels ...string) *prometheus.Desc) shadowDescs {
	return shadowDescs{
		shadowSegments: desc("shadow_segments_total", "Segments that a shadow policy has decided.", "policy"),
		shadowDisagreements: desc("shadow_disagreements_total", "Connections on which a shadow policy first would have done something else, by the "+
			"finding of the policy in force (live) and the shadow's; of what time causes, \"nothing\" for who did nothing.", "policy", "live", "shadow"),
		shadowShed: desc("shadow_shed_total", "Segments that a shadow policy was not shown because the gateway was busy.", "policy"),
	}
}

// shadow puts one shadow's numbers. Of the many pairs of findings those that happened are there.
func (c *shadowDescs) shadow(s *ShadowCounters, put func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string)) {
	put(c.shadowSegments, prometheus.CounterValue, s.Segments, s.Policy)
	put(c.shadowShed, prometheus.CounterValue, s.Shed, s.Policy)
	for _, p := range s.Pairs {
		put(c.shadowDisagreements, prometheus.CounterValue, p.N, s.Policy, p.Live, p.Shadow)
	}
}
