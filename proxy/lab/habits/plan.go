package habits

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sort"
	"time"
)

// Service is what a client dials.
type Service uint8

// Services. Both hold a connection until their client ends it, or for as long as they were told to.
const (
	Plain     Service = iota
	Keepalive         // probes a connection that is idle for KeepaliveEvery
	numServices
)

var serviceWords = [numServices]string{"plain", "keepalive"}

// String returns the service's word.
func (s Service) String() string { return serviceWords[s] }

// MarshalText returns the service's word.
func (s Service) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// KeepaliveEvery is the time after which a keepalive service probes an idle connection, and between its probes.
const KeepaliveEvery = time.Second

// Do is what a client does in a step.
type Do uint8

// What a client does.
const (
	Say    Do = iota // send a request and wait for the response
	Close            // close: the FIN is the client's
	Hangup           // wait for the server's FIN, then close
	Vanish           // lose the socket without a word, as a reboot or a power cut does
	numDo
)

var doWords = [numDo]string{"say", "close", "hangup", "vanish"}

// String returns the step's word.
func (d Do) String() string { return doWords[d] }

// MarshalText returns the step's word.
func (d Do) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Step is one thing that a client does, after a silence.
type Step struct {
	Wait  time.Duration `json:"wait_ns"` // silence since the last step was done
	Do    Do            `json:"do"`
	Bytes int           `json:"bytes,omitempty"` // of a request, and of its response
}

// ServerEnd is what the server does with the connection of a talk by itself.
type ServerEnd uint8

// Ends by the server.
const (
	Holds   ServerEnd = iota // until the client closes it, for ever if the client never does
	HangsUp                  // a FIN, ServerAfter after the last response
	Loses                    // forgets it without a word, ServerAfter after the last response
	numServer
)

var serverWords = [numServer]string{"holds", "hangs-up", "loses"}

// String returns the word.
func (s ServerEnd) String() string { return serverWords[s] }

// MarshalText returns the word.
func (s ServerEnd) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Talk is one conversation that a client means to have. Where it fails the client tries once more, from RetryPort;
// an impatient one, whose RetryPort is 0, does not.
type Talk struct {
	ID          int           `json:"talk"`
	Client      int           `json:"client"`
	Habit       string        `json:"habit"`
	At          time.Duration `json:"at_ns"` // when the client dials, from the beginning
	Port        uint16        `json:"port"`  // that it dials from
	RetryPort   uint16        `json:"retry_port,omitempty"`
	Service     Service       `json:"service"`
	Steps       []Step        `json:"steps"`
	Server      ServerEnd     `json:"server"`
	ServerAfter time.Duration `json:"server_after_ns,omitempty"`
}

// Plan is what all clients do.
type Plan struct {
	Question string        `json:"question"`
	Seed     uint64        `json:"seed"`
	Clients  int           `json:"clients"`
	Span     time.Duration `json:"span_ns"` // conversations begin within it
	Talks    []Talk        `json:"talks"`   // in the order of At
}

// Bounds of a plan.
const (
	MinClients = 2
	MaxClients = 4000
	MinSpan    = 10 * time.Second
	MaxSpan    = time.Hour
)

// CheckSize says what is wrong with a plan's size; nil where nothing is.
func CheckSize(clients int, span time.Duration) error {
	if clients < MinClients || clients > MaxClients {
		return fmt.Errorf("%d clients: want %d to %d", clients, MinClients, MaxClients)
	}
	if span < MinSpan || span > MaxSpan {
		return fmt.Errorf("a span of %v: want %v to %v", span, MinSpan, MaxSpan)
	}
	return nil
}

// Make draws the plan. A client's life depends on the question, the seed, the span and its own number only.
func (q *Question) Make(seed uint64, clients int, span time.Duration) (*Plan, error) {
	if err := CheckSize(clients, span); err != nil {
		return nil, err
	}
	p := &Plan{Question: q.Name, Seed: seed, Clients: clients, Span: span}
	for i := range clients {
		l := &life{rng: rand.New(rand.NewPCG(seed, uint64(i))), span: span, client: i, spare: firstSpare}
		q.live(l)
		p.Talks = append(p.Talks, l.talks...)
	}
	sort.SliceStable(p.Talks, func(i, j int) bool { return p.Talks[i].At < p.Talks[j].At })
	for i := range p.Talks {
		p.Talks[i].ID = i + 1
	}
	return p, nil
}

// Address is the address of a client: RFC 2544's range for tests of equipment.
func Address(client int) netip.Addr {
	n := client + 1 // 198.18.0.0 is nobody's
	return netip.AddrFrom4([4]byte{198, 18 + byte(n>>16), byte(n >> 8), byte(n)})
}

// ClientOf is the client of an address; ok is false for addresses that are nobody's.
func ClientOf(a netip.Addr) (client int, ok bool) {
	a = a.Unmap()
	if !a.Is4() {
		return 0, false
	}
	b := a.As4()
	if b[0] != 198 || b[1] < 18 || b[1] > 19 {
		return 0, false
	}
	n := int(b[1]-18)<<16 | int(b[2])<<8 | int(b[3])
	return n - 1, n > 0
}

// End is when the last conversation that goes as planned is over, retries not counted.
func (p *Plan) End() time.Duration {
	var end time.Duration
	for i := range p.Talks {
		end = max(end, p.Talks[i].At+p.Talks[i].length())
	}
	return end
}

func (t *Talk) length() time.Duration {
	sum := time.Duration(0)
	for _, s := range t.Steps {
		sum += s.Wait
	}
	return sum
}

// Ports that clients use: an LPD client's eleven (RFC 1179), of which port 721+n is one line of a client's; spare ones are used once.
const (
	firstPort  = 721
	firstSpare = 20001
)

// life is one client's plan in the making.
type life struct {
	rng    *rand.Rand
	span   time.Duration
	client int
	spare  uint16
	lines  uint16
	talks  []Talk

	impatient bool // never dials a second time
}

// port returns one that the client has not used.
func (l *life) port() uint16 {
	l.spare++
	return l.spare - 1
}

// line returns the next of the client's fixed ports.
func (l *life) line() uint16 {
	l.lines++
	return firstPort + l.lines - 1
}

// between draws a duration from [lo, hi), in milliseconds.
func (l *life) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(l.rng.Int64N(max(1, (hi-lo).Milliseconds())))*time.Millisecond
}

// chance is true with probability p.
func (l *life) chance(p float64) bool { return l.rng.Float64() < p }

// bytes draws the size of a request.
func (l *life) bytes() int { return 64 + l.rng.IntN(1200) }

// say is a request after a silence.
func (l *life) say(wait time.Duration) Step { return Step{wait, Say, l.bytes()} }

// talk adds a conversation.
func (l *life) talk(t Talk) {
	t.Client = l.client
	if !l.impatient {
		t.RetryPort = l.port()
	}
	l.talks = append(l.talks, t)
}
