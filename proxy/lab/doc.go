// Package lab rebuilds incidents between real kernel TCP stacks: a client, one or two gateways in series, and a server as network
// namespaces that veth pairs join. The gateways run halfopen itself as a child process; what happened is read from captures taken
// on both sides of each gateway and compared with halfopen's own log.
//
//	client --inside-- [far gateway --between--] gateway --outside-- server
//
// Nothing outside the namespaces is changed. Their names begin with "ho" and carry the owner's process id and start time, so that the next
// lab removes what a killed one left behind. An end falls silent without a FIN through TCP_REPAIR: a socket closed in repair mode
// sends nothing. Hours are shortened by policy timeouts, never by faking a clock.
package lab
