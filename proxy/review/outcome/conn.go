package outcome

import (
	"net/netip"

	"halfopen/proxy/decisionlog"
)

// conn is what is kept of a connection, or of an attempt to connect that has no entry of its own (id 0). Times are nanoseconds by the
// run's clock that does not step back; index 0 of arrays is to the server, 1 to the client.
type conn struct {
	id, pred, met   uint64
	start           int64 // Unix nanoseconds of the first segment, as first told
	first           int64 // the same, by the clock
	last            int64 // of the latest segment
	dialled         int64 // first SYN of the connection that it is a retry of, or of its own attempt before it had an entry; 0: first
	synFirst        int64 // of an attempt: what its SYN was; of a connection proven by a SYN/ACK: when that SYN came
	ended           int64 // when the table forgot it
	pkts            [2]uint64
	bytes           [2]uint64
	fast, fastBytes [2]uint64
	handshake       int64 // nanoseconds; 0: not known
	response        int64
	stall           int64
	retransmits     [2]uint32
	outside         [2]uint32
	told            acts // as flow records count them
	seen            acts // as decisions show them
	moved           acts // of told: those on SYNs of other attempts that met it
	extra           acts // those on its SYNs before it had an entry, and on what came after that had ended
	firstAct        int64
	lastAct         int64
	challenged      int64 // when a SYN was answered with an ACK; 0: none was
	late            int64 // when data came after its end; 0: none did
	isn             uint32
	again           uint32 // SYN retransmissions as flow records count them
	seenAgain       uint32 // as decisions show them
	extraAgain      uint32 // those of its SYNs before it had an entry
	client, server  [16]byte
	clientPort      uint16
	serverPort      uint16
	run, lastRun    uint32
	arm, rev        wordID
	preset          wordID
	endedBy, reason wordID
	outcome         wordID
	flags           connFlags
	unit            uint8 // of its arm's experiment, and 1; 0: not known
	next            int32 // place of the connection that retries it, while settling; none
	retries         int32
	reached         int64 // when a retry stood that got data through, while settling; 0: none did
}

// acts count interventions.
type acts struct{ all, drops, resets uint32 }

func (a *acts) add(b acts) {
	a.all, a.drops, a.resets = a.all+b.all, a.drops+b.drops, a.resets+b.resets
}

// most is the larger of each.
func (a acts) most(b acts) acts {
	return acts{max(a.all, b.all), max(a.drops, b.drops), max(a.resets, b.resets)}
}

// less is a without what b counts.
func (a acts) less(b acts) acts {
	return acts{a.all - min(a.all, b.all), a.drops - min(a.drops, b.drops), a.resets - min(a.resets, b.resets)}
}

// connFlags are facts about a conn.
type connFlags uint32

const (
	hasEnds      connFlags = 1 << iota
	begun                  // its beginning is in the log
	finished               // its end is
	adopted                // older than the gateway
	stands                 // the handshake was completed
	dataUp                 // data went to the server
	dataDown               // and to the client
	stalledFlag            // an end waits
	hasISN                 // isn is valid
	challengeRST           // the RST came that a challenge asks for
	lateUp                 // data of the client came after its end by a timer
	lateDown               // of the server
	lateHeld               // keepalives or bare ACKs did
	timedOut               // a timer ended it
	continued              // its SYN went on as another flow
	denied                 // no connection but a denial
	proven                 // its SYN was annotated on an old connection, and proven by a SYN/ACK
	rstToServer            // time has caused a RST to the server at lastAct
	rstToClient            // and to the client
	attempt                // it is none of the table's
	retried                // another connection of its client retries it, while settling
	hopeful                // it is not sure that nobody has got through, while settling
	gone                   // its place is free
	answered               // its first segment seen was a SYN/ACK, whose sender is the server
)

func (c *conn) has(f connFlags) bool { return c.flags&f != 0 }

// key names a connection: ids are unique within a run.
type key struct {
	run uint32
	id  uint64
}

// ends name an attempt's addresses and ports.
type ends struct {
	client, server         [16]byte
	clientPort, serverPort uint16
}

func (c *conn) setEnds(e *ends) {
	c.client, c.server, c.clientPort, c.serverPort = e.client, e.server, e.clientPort, e.serverPort
	c.flags |= hasEnds
}

func (c *conn) ends() ends {
	return ends{client: c.client, server: c.server, clientPort: c.clientPort, serverPort: c.serverPort}
}

// readEnds reads a record's addresses, from its sender to its receiver.
func readEnds(f *decisionlog.Fields) (e ends, ok bool) {
	src, ok1 := readAddr(f.Text(slots.srcIP))
	dst, ok2 := readAddr(f.Text(slots.destIP))
	return ends{client: src, server: dst, clientPort: uint16(f.Uint(slots.srcPort)), serverPort: uint16(f.Uint(slots.destPort))}, ok1 && ok2
}

func (e ends) reverse() ends {
	return ends{client: e.server, server: e.client, clientPort: e.serverPort, serverPort: e.clientPort}
}

// readAddr reads an address; IPv4 is taken as mapped.
func readAddr(b []byte) ([16]byte, bool) {
	if a, ok := dotted(b); ok {
		return a, true
	}
	a, err := netip.ParseAddr(string(b))
	if err != nil || a.Zone() != "" {
		return [16]byte{}, false
	}
	return a.As16(), true
}

// dotted reads an IPv4 address as our encoder writes it.
func dotted(b []byte) (a [16]byte, ok bool) {
	a[10], a[11] = 0xff, 0xff
	part, digits, n := 12, 0, 0
	for _, c := range b {
		switch {
		case c == '.' && digits > 0 && part < 15:
			a[part] = byte(n)
			part, digits, n = part+1, 0, 0
		case c >= '0' && c <= '9' && digits < 3 && !(digits > 0 && n == 0):
			n, digits = n*10+int(c-'0'), digits+1
			if n > 255 {
				return a, false
			}
		default:
			return a, false
		}
	}
	a[15] = byte(n)
	return a, part == 15 && digits > 0
}

func addrPort(a [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
}
