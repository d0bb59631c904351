package conntrack

import "time"

// extras are what an entry has beside its record.
type extras struct {
	created, refreshed, watch, answered Instant
	previous                            uint64
	handshake, response, stall          Micros
	retransmits, outOfWindow            [2]uint32
	challenge                           Seq
	finEnd, near                        [2]Seq
	last                                kernelLast
	retrans                             [2]uint8
	synRetransmits                      uint8
	interventions, resets               uint8
	history                             uint16
	fastSlot                            uint32
	fastPackets, fastBytes              [2]uint64
	fastUntold                          [2]int64
	fastLook                            Instant
	fastEvery                           time.Duration
}

func (e *Entry) toExtras(x *extras) {
	*x = extras{created: e.Created, refreshed: e.Refreshed, watch: e.Watch, answered: e.Answered, previous: e.Previous, handshake: e.Handshake,
		response: e.Response, stall: e.Stall, retransmits: e.Retransmits, outOfWindow: e.OutOfWindow, challenge: e.Challenge,
		finEnd: [2]Seq{e.Side[0].FINEnd, e.Side[1].FINEnd}, near: [2]Seq{e.Side[0].near, e.Side[1].near}, last: e.last,
		retrans: [2]uint8{e.Side[0].Retrans, e.Side[1].Retrans}, synRetransmits: e.SYNRetransmits, interventions: e.Interventions, resets: e.Resets, history: e.history,
		fastSlot: e.FastSlot, fastPackets: e.FastPackets, fastBytes: e.FastBytes, fastUntold: e.FastUntold, fastLook: e.FastLook, fastEvery: e.FastEvery}
}

func (e *Entry) fromExtras(x *extras) {
	e.Created, e.Refreshed, e.Watch, e.Answered, e.Previous = x.created, x.refreshed, x.watch, x.answered, x.previous
	e.Handshake, e.Response, e.Stall = x.handshake, x.response, x.stall
	e.Retransmits, e.OutOfWindow, e.Challenge, e.last = x.retransmits, x.outOfWindow, x.challenge, x.last
	for n := range e.Side {
		e.Side[n].FINEnd, e.Side[n].near, e.Side[n].Retrans = x.finEnd[n], x.near[n], x.retrans[n]
	}
	e.SYNRetransmits, e.Interventions, e.Resets, e.history = x.synRetransmits, x.interventions, x.resets, x.history
	e.FastSlot, e.FastPackets, e.FastBytes, e.FastUntold, e.FastLook, e.FastEvery = x.fastSlot, x.fastPackets, x.fastBytes, x.fastUntold, x.fastLook, x.fastEvery
}
