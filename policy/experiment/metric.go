package experiment

import "math"

// Metric is a figure that arms are compared by. Lower is better for all of them.
type Metric uint8

// Metrics.
const (
	ConnectFailure Metric = iota // share of connections whose handshake did not complete
	ConnectTime                  // seconds from the first SYN to the handshake's end
	ResponseTime                 // seconds from the client's first data to the server's
	SYNRetransmit                // SYN retransmissions per connection
	RetryRate                    // share of connections that were tried again because they failed
	GaveUpRate                   // share of connections whose purpose was never reached
	ResetRate                    // RSTs that the gateway sent, per connection
	StillThere                   // share of connections forgotten by a timer while their user had not gone
	StallTime                    // seconds of stall per connection
	Retransmission               // retransmitted packets per packet
	Unrecovered                  // share of connections with an intervention that did not recover
	RecoveryTime                 // seconds from an intervention to recovery
	NumMetrics                   // not a metric
)

// Kind says how a metric is compared.
type Kind uint8

// Kinds of metrics.
const (
	KindShare Kind = iota // of connections: yes or no
	KindTime              // a distribution over connections
	KindRatio             // a sum over a sum, clustered by unit
)

// metricInfo describes one metric.
type metricInfo struct {
	word string // in configurations and reports
	kind Kind
	what string // for people
	unit string // of the figure: "" for a share
	of   func(*Outcome) (num, den float64, ok bool)
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func share(b bool) (num, den float64, ok bool) { return yes(b), 1, true }

// begun reports whether the outcome is of a connection that the gateway saw begin, and the one that tells of it.
func (o *Outcome) begun() bool { return !o.Adopted && !o.Continued }

func known(v float64) (num, den float64, ok bool) { return v, 1, !math.IsNaN(v) }

var metrics = [NumMetrics]metricInfo{
	ConnectFailure: {"connect-failure", KindShare, "connections whose handshake did not complete", "",
		func(o *Outcome) (float64, float64, bool) { return yes(!o.Connected), 1, o.begun() }},
	ConnectTime: {"connect-time", KindTime, "time to connect", "s", func(o *Outcome) (float64, float64, bool) { return known(o.ConnectS) }},
	ResponseTime: {"response-time", KindTime, "time to the first response", "s",
		func(o *Outcome) (float64, float64, bool) { return known(o.ResponseS) }},
	SYNRetransmit: {"syn-retransmit", KindRatio, "SYN retransmissions per connection", "",
		func(o *Outcome) (float64, float64, bool) { return float64(o.SYNRetransmits), 1, o.begun() }},
	RetryRate: {"retry", KindShare, "connections tried again because they failed", "",
		func(o *Outcome) (float64, float64, bool) { return yes(o.Retries > 0), 1, o.begun() }},
	GaveUpRate: {"gave-up", KindShare, "connections whose purpose was never reached", "",
		func(o *Outcome) (float64, float64, bool) { return yes(o.GaveUp), 1, o.begun() }},
	ResetRate: {"reset", KindRatio, "RSTs of the gateway per connection", "",
		func(o *Outcome) (float64, float64, bool) { return float64(o.Resets), 1, true }},
	StillThere: {"still-there", KindShare, "connections forgotten while their user had not gone", "",
		func(o *Outcome) (float64, float64, bool) { return share(o.StillThere) }},
	StallTime: {"stall", KindRatio, "seconds of stall per connection", "s",
		func(o *Outcome) (float64, float64, bool) { return o.StallS, 1, true }},
	Retransmission: {"retransmission", KindRatio, "retransmitted packets per packet", "",
		func(o *Outcome) (float64, float64, bool) {
			pkts := float64(o.PktsToServer + o.PktsToClient)
			return float64(o.RetransmitsToServer + o.RetransmitsToClient), pkts, pkts > 0
		}},
	Unrecovered: {"unrecovered", KindShare, "connections with an intervention that did not recover", "",
		func(o *Outcome) (float64, float64, bool) { return yes(!o.Recovered), 1, o.Interventions > 0 }},
	RecoveryTime: {"recovery-time", KindTime, "time from an intervention to recovery", "s",
		func(o *Outcome) (float64, float64, bool) { return known(o.RecoveryS) }},
}

// String returns the word in configurations and reports.
func (m Metric) String() string { return metrics[m].word }

// Kind says how the metric is compared.
func (m Metric) Kind() Kind { return metrics[m].kind }

// What describes the metric in a few words.
func (m Metric) What() string { return metrics[m].what }

// UnitWord is the unit of the metric's figures, "" for shares and plain ratios.
func (m Metric) UnitWord() string { return metrics[m].unit }

// Of returns what one connection adds to the metric's numerator and denominator; ok is false where the metric does not apply to it.
func (m Metric) Of(o *Outcome) (num, den float64, ok bool) { return metrics[m].of(o) }

// ParseMetric returns the metric of a word.
func ParseMetric(word string) (Metric, bool) {
	for m := range NumMetrics {
		if metrics[m].word == word {
			return m, true
		}
	}
	return 0, false
}
