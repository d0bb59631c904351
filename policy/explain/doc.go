// Package explain tells people how a decision came about, phase by phase in the manner of Cisco's packet-tracer: decode, look up,
// classify, rules, decision, effect. It decides nothing: it reads what the engine says of its own step ([policy.Trace]).
package explain
