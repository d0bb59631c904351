package fastpath

import (
	"fmt"

	"halfopen/conntrack"
)

// Reason is why a segment of a known flow was punted: a [conntrack.FastPunt], or one of the reasons here.
type Reason uint8

// Reasons that only the program has.
const (
	ReasonFrozen   Reason = iota + 32 // the flow was not armed, or a newer segment than that which it was armed after had been punted
	ReasonBeat                        // its worker had not given a sign of life for a second
	ReasonEpoch                       // it was armed before its worker's last [Flows.Bump]
	ReasonHeader                      // IPv4 options or IPv6 extension headers
	ReasonChecksum                    // a wrong TCP checksum
	NumReasons                        // not a reason
)

var reasonWords = [...]string{"frozen", "beat", "epoch", "header", "checksum"}

// String returns the reason's word, "" for numbers that are none.
func (r Reason) String() string {
	switch {
	case r < Reason(conntrack.NumFastPunts):
		return conntrack.FastPunt(r).String()
	case r >= ReasonFrozen && r < NumReasons:
		return reasonWords[r-ReasonFrozen]
	}
	return ""
}

// Normal is why --fastpath redirect left a segment that passed to the kernel's own forwarding.
type Normal uint8

// Reasons for the normal way.
const (
	NormalFlow      Normal = iota // its addresses are translated
	NormalRoute                   // no route, or one that is no plain forward
	NormalDisabled                // forwarding is off on the interface
	NormalNeighbour               // the next hop's link address is not known at present
	NormalMTU                     // it is too long for the way: the kernel answers for that
	NormalEgress                  // the way leads out of an interface without Ethernet frames, or out where it came in
	NormalWrite                   // it could not be written
	NumNormals                    // not a reason
)

var normalWords = [NumNormals]string{"translated", "route", "forwarding-off", "neighbour", "mtu", "egress", "write"}

// String returns the reason's word.
func (n Normal) String() string { return normalWords[n] }

// Stats are the program's counters since it was loaded. Packets are queue messages as the queue would have had them (a GSO super-packet is
// one), bytes those of IP packets.
type Stats struct {
	Packets, Bytes uint64             // passed
	Foreign        uint64             // packets that came with a mark that is ours to give; it was taken off
	Redirected     uint64             // of those that passed: sent out by the program
	Normal         [NumNormals]uint64 // of those that passed, with --fastpath redirect: left to the kernel
	Punts          [NumReasons]uint64 // punted, by reason
}

// stats sums the counters of all processors.
func (o *objects) stats() (Stats, error) {
	var each []mapStats
	if err := o.bpf.Stats.Lookup(uint32(0), &each); err != nil {
		return Stats{}, fmt.Errorf("read the fast path's counters: %w", err)
	}
	var s Stats
	for i := range each {
		e := &each[i]
		s.Packets += e.Packets
		s.Bytes += e.Bytes
		s.Foreign += e.Foreign
		s.Redirected += e.Redirected
		for n := range s.Normal {
			s.Normal[n] += e.Normal[n]
		}
		for n := range s.Punts {
			s.Punts[n] += e.Punts[n]
		}
	}
	return s, nil
}
