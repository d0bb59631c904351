// Package loggen writes decision logs for tests: believable ones, of any size, through decisionlog's own Writer. The same
// Config gives the same records, but for the random part of ids that a Writer gives its run.
//
// The traffic is a print network behind a gateway: connections that open, print and close; some that are refused, unanswered,
// reset or retried; and the incident that halfopen exists for: a client that falls silent and dials again from the same port, is
// answered by the gateway with the old connection's numbers, and next morning by the server that still holds it. There are runs,
// one of which dies; reloads, arms, rules, gaps, records held back, strays without a flow, and probes that time caused.
package loggen
