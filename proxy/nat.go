package proxy

import (
	"errors"
	"fmt"
	"time"

	"halfopen/conntrack"
)

// Where the gateway's host translates addresses, the forward hook sees a flow between its two translations: after DNAT and
// before SNAT on the way out, after un-SNAT and before un-DNAT on the way back. So both directions show one pair of ends, the
// originator's own address and the responder's own address, and the connection table needs to know nothing of NAT. The
// ends themselves see something else:
//
//	host's conntrack   original  C:c > V:v   as the originator sends it (V: the address that it dialled)
//	                   reply     S:s > G:g   as the responder answers it (G:g: the address and port it sees)
//	forward hook                 C:c > S:s   and S:s > C:c
//	on the wire        to S      G:g > S:s
//	                   to C      V:v > C:c
//
// Packets that halfopen makes leave by OUTPUT and are exempt from the host's conntrack, so nothing translates them later:
// they must be made as on the wire.

// NATKinds says which translations the host's rules can make.
type NATKinds uint8

// Kinds of translation, by family.
const (
	SourceNAT4      NATKinds = 1 << iota // SNAT or MASQUERADE of IPv4
	DestinationNAT4                      // DNAT or REDIRECT of IPv4
	SourceNAT6
	DestinationNAT6
)

// family returns the kinds that concern a tuple, as IPv4's.
func (k NATKinds) family(tu *conntrack.Tuple) NATKinds {
	if !tu.Is4() {
		k >>= 2
	}
	return k & (SourceNAT4 | DestinationNAT4)
}

// ErrNoTranslation: the host translates addresses, but its connection tracking knows nothing of the flow, so what the ends
// would see is unknown. Sending the addresses of the forward hook would be useless and would tell one end the other's inner
// address.
var ErrNoTranslation = errors.New("the host's conntrack has no entry that tells how the flow is translated")

// ErrTranslationBusy: too many flows at once needed a walk through the host's whole connection table.
var ErrTranslationBusy = errors.New("too many lookups in the host's conntrack")

// TranslatorConfig configures a [Translator]. The zero value is good.
type TranslatorConfig struct {
	Detect func() (NATKinds, error) // what the host's rules can translate; nil is [DetectNAT]
	Now    func() time.Time         // nil is time.Now
	// Keep is how long a lookup's result is used again; 0 means 250 ms. It is short because the host may give a new
	// connection on the same ports another translation.
	Keep time.Duration
	// Recheck is how old the knowledge of the host's rules may be when a packet is made; 0 means 10 s. A host's firewall often
	// loads its rules after the gateway has started.
	Recheck time.Duration
	// Walks bounds the walks through the host's whole connection table, per second; 0 means 10. Only flows with both their
	// ends translated need one.
	Walks int
}

// Translator finds out how packets of a flow look on the wire. It belongs to one worker, and to the network namespace of
// the thread that uses it. Without NAT on the host it asks nothing.
type Translator struct {
	config TranslatorConfig
	kinds  NATKinds
	known  time.Time // when kinds was found out
	host   natLookup
	cache  map[conntrack.Tuple]translation
	second time.Time // when walks began to be counted
	walks  int
}

// natLookup asks the host's conntrack.
type natLookup struct {
	get  func(tu conntrack.Tuple) (natEntry, bool, error)       // the entry that has the tuple in either direction
	walk func(from, to conntrack.Tuple) (natEntry, bool, error) // the entry between the ends from.Src and to.Src
	done func() error
}

// natEntry is the host's conntrack entry of a flow.
type natEntry struct{ original, reply conntrack.Tuple }

// forward returns the flow's original direction as the forward hook sees it.
func (e *natEntry) forward() conntrack.Tuple {
	return conntrack.Tuple{Src: e.original.Src, SrcPort: e.original.SrcPort, Dst: e.reply.Src, DstPort: e.reply.SrcPort}
}

// wire returns how a packet with the forward hook's tuple looks on the wire; false if the entry is not of its flow.
func (e *natEntry) wire(tu conntrack.Tuple) (conntrack.Tuple, bool) {
	switch tu {
	case e.forward():
		return e.reply.Reverse(), true
	case e.forward().Reverse():
		return e.original.Reverse(), true
	}
	return conntrack.Tuple{}, false
}

type translation struct {
	wire  conntrack.Tuple
	until time.Time
}

// maxTranslations bounds the cache. Its flows change all the time, so a full cache is simply emptied.
const maxTranslations = 4096

// NewTranslator returns a translator and detects what the host's rules can translate.
func NewTranslator(c TranslatorConfig) (*Translator, error) {
	if c.Detect == nil {
		c.Detect = DetectNAT
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Keep == 0 {
		c.Keep = 250 * time.Millisecond
	}
	if c.Recheck == 0 {
		c.Recheck = 10 * time.Second
	}
	if c.Walks == 0 {
		c.Walks = 10
	}
	host := &hostConntrack{}
	t := &Translator{config: c, cache: make(map[conntrack.Tuple]translation),
		host: natLookup{get: host.get, walk: host.walk, done: host.close}}
	return t, t.Refresh()
}

// Refresh detects anew what the host's rules can translate, as happens by itself once they were looked at too long ago. After
// an error the translator goes on as if everything could be translated.
func (t *Translator) Refresh() error {
	clear(t.cache)
	t.known = t.config.Now()
	kinds, err := t.config.Detect()
	if err != nil {
		t.kinds = SourceNAT4 | DestinationNAT4 | SourceNAT6 | DestinationNAT6
		return fmt.Errorf("nat: detect the host's rules: %w", err)
	}
	t.kinds = kinds
	return nil
}

// Kinds returns what the host's rules could translate at the last Refresh.
func (t *Translator) Kinds() NATKinds { return t.kinds }

// Wire returns how a packet that the forward hook would see with the tuple tu must look on the wire. dir is its direction as
// far as the gateway knows: it matters only where the host's conntrack has no entry, as with the first SYN of a connection,
// which the host enters after the forward hook. Then a packet to the originator needs no translation unless the host has
// rules for DNAT, one to the responder none unless it has rules for SNAT, and in the other cases the error is
// [ErrNoTranslation].
func (t *Translator) Wire(tu conntrack.Tuple, dir conntrack.Direction) (conntrack.Tuple, error) {
	now := t.config.Now()
	if now.Sub(t.known) >= t.config.Recheck {
		if err := t.Refresh(); err != nil {
			return tu, err
		}
	}
	kinds := t.kinds.family(&tu)
	if kinds == 0 {
		return tu, nil
	}
	if c, ok := t.cache[tu]; ok && now.Before(c.until) {
		return c.wire, nil
	}
	wire, found, err := t.lookup(now, tu, dir, kinds)
	switch {
	case err != nil:
		return tu, fmt.Errorf("nat: %s: %w", tu, err)
	case found:
		t.remember(now, tu, wire)
		return wire, nil
	case dir == conntrack.Reply && kinds&DestinationNAT4 == 0, dir == conntrack.Original && kinds&SourceNAT4 == 0:
		return tu, nil
	}
	return tu, fmt.Errorf("nat: %s: %w", tu, ErrNoTranslation)
}

// lookup asks the host's conntrack for the flow. The host finds an entry by either of its tuples, and each of them is one of
// the flow's tuples at the forward hook unless both ends are translated.
func (t *Translator) lookup(now time.Time, tu conntrack.Tuple, dir conntrack.Direction, kinds NATKinds) (conntrack.Tuple, bool, error) {
	for _, key := range [2]conntrack.Tuple{tu, tu.Reverse()} {
		e, ok, err := t.host.get(key)
		if err != nil {
			return tu, false, err
		}
		if ok {
			if wire, ok := e.wire(tu); ok {
				return wire, true, nil
			}
		}
	}
	if kinds != SourceNAT4|DestinationNAT4 {
		return tu, false, nil
	}
	from := tu
	if dir == conntrack.Reply {
		from = tu.Reverse()
	}
	for _, from := range [2]conntrack.Tuple{from, from.Reverse()} {
		if !t.mayWalk(now) {
			return tu, false, ErrTranslationBusy
		}
		e, ok, err := t.host.walk(from, from.Reverse())
		if err != nil {
			return tu, false, err
		}
		if ok {
			if wire, ok := e.wire(tu); ok {
				return wire, true, nil
			}
		}
	}
	return tu, false, nil
}

// mayWalk counts a walk against the second's allowance.
func (t *Translator) mayWalk(now time.Time) bool {
	if now.Sub(t.second) >= time.Second || now.Before(t.second) {
		t.second, t.walks = now, 0
	}
	t.walks++
	return t.walks <= t.config.Walks
}

func (t *Translator) remember(now time.Time, tu, wire conntrack.Tuple) {
	if len(t.cache) >= maxTranslations {
		clear(t.cache)
	}
	t.cache[tu] = translation{wire: wire, until: now.Add(t.config.Keep)}
}

// Close closes the connection to the host's conntrack, if one was opened.
func (t *Translator) Close() error { return t.host.done() }
