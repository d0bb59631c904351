package experiment

// LiveMetric reports whether a guardrail can be on a metric: whether a gateway knows it while the experiment runs, for every connection
// that it began, of every arm alike. Retries and giving up are known only afterwards, from the log. Times (to connect, to respond) and
// recovery are of those connections only that got so far, which an arm has part in choosing.
func LiveMetric(m Metric) bool {
	switch m {
	case ConnectFailure, SYNRetransmit, ResetRate, StillThere, StallTime, Retransmission:
		return true
	}
	return false
}
