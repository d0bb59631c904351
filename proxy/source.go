package proxy

import (
	"time"

	"halfopen/proxy/nfqueue"
)

// Source is where a worker's packets come from and where its verdicts go. nfqueue.Queue is the live one; memorySource replays
// packets from memory and records what happened to them, in order.
//
// Verdicts are buffered in the order of the calls and leave at Flush. Every received packet gets exactly one.
type Source interface {
	// Recv fills batch with at most len(batch) packets and returns how many. It returns 0 after wait without one; wait 0
	// does not block. The packets' Data is valid until the next Recv.
	Recv(batch []nfqueue.Packet, wait time.Duration) (int, error)
	Accept(id uint32)
	Drop(id uint32)
	// Reroute hands the packet to another queue of the same process; where nobody serves it, the packet goes on.
	Reroute(id uint32, queue uint16)
	// AcceptAltered lets the packet go on with other bytes.
	AcceptAltered(id uint32, data []byte) error
	Flush() error
	Stats() nfqueue.Stats
	Close() error
}

// Injector sends packets that the gateway makes. The raw-socket one is RawInjector; a recorder stands in for it in tests.
type Injector interface {
	// Send sends a whole IP packet.
	Send(packet []byte) error
	Close() error
}
