package experiment

// liveMetric reports whether a metric can be judged while an experiment runs.
func liveMetric(m Metric) bool {
	switch m {
	case ConnectFailure, SYNRetransmit, ResetRate, StillThere, StallTime, Retransmission:
		return true
	}
	return false
}
