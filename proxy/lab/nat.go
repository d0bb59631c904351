package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of the nat scenario: what the client dials under DNAT, and what the server sees under SNAT.
var (
	virtual4 = netip.MustParseAddr("198.51.100.99")
	public4  = netip.MustParseAddr("198.51.100.77")
)

// Ports of the nat scenario.
const (
	virtualPort = 9100  // dialled under DNAT; the server listens on port
	publicPort  = 40000 // first port that the server sees under SNAT
	publicPorts = 1000
)

// natTable is the table that the scenario makes in the gateway's namespace.
const natTable = "ho-nat"

// toBothEnds makes any policy inject in both directions: the incident's SYN is answered with the old numbers, and the server's old
// connection is reset with them.
const toBothEnds = "on.syn-established={packet: drop, reply: ack-tracked, peer: rst-tracked, state: keep, timer: leave}"

func natScenario() Scenario {
	phase := func(name, title string) PhaseSpec {
		return PhaseSpec{Name: name, Title: title, set: []string{toBothEnds}, run: underNAT}
	}
	return Scenario{
		Name:    "nat",
		Summary: "the gateway's kernel translates addresses; injected segments must carry those that each end knows",
		About: "The incident of silence-on-the-wire on a gateway that translates addresses. Under every policy it answers the SYN with the old numbers and resets " +
			"the server's old connection (the lab sets on.syn-established), so that it sends towards both ends; what it makes must carry the addresses that each end knows, or the " +
			"end ignores it. What tells presets apart here is not the SYN, but what they do about the segments after it.",
		Phases: []PhaseSpec{
			phase("snat", "the client's address and port are translated to a fixed address; silence, and a dial from the same port"),
			phase("masquerade", "the client's address and port are translated to the gateway's own address and a random port; silence, and a dial from the same port"),
			phase("dnat", "the client dials an address and port that are translated to the server's; silence, and a dial from the same port"),
		},
		prepare: prepareNAT,
	}
}

// prepareNAT replaces the gateway's translation rules by the phase's.
func prepareNAT(s *stage, spec PhaseSpec) error {
	if !s.client.Addr().Is4() {
		return errors.New("lab: scenario nat is played over IPv4 only")
	}
	if spec.Name == "dnat" {
		s.dialed = withPort(virtual4, virtualPort)
	}
	if spec.Name == "snat" {
		// The gateway must answer the server's neighbour requests for the public address. Left in place it would also become the
		// next phase's masquerading address.
		if err := s.top.Gateway.address(linkOutside, public4.String()+"/32"); err != nil {
			return err
		}
		s.undo = append(s.undo, func() { _ = s.top.Gateway.removeAddress(linkOutside, public4.String()+"/32") })
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(s.top.Gateway.handle)))
	if err != nil {
		return fmt.Errorf("lab: nat rules: %w", err)
	}
	s.undo = append(s.undo, func() {
		c.DelTable(&nftables.Table{Name: natTable, Family: nftables.TableFamilyIPv4})
		_ = c.Flush()
	})
	table := c.AddTable(&nftables.Table{Name: natTable, Family: nftables.TableFamilyIPv4})
	if spec.Name == "dnat" {
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dnatRule(s.dialed, s.server)})
	} else {
		chain := c.AddChain(&nftables.Chain{
			Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: sourceRule(spec.Name == "masquerade")})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("lab: nat rules: %w", err)
	}
	return nil
}

// tcpOnly matches TCP.
func tcpOnly() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}

// dnatRule is: ip daddr DIALED tcp dport PORT dnat to SERVER.
func dnatRule(dialed, server netip.AddrPort) []expr.Any {
	return append(tcpOnly(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: dialed.Addr().AsSlice()},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(dialed.Port())},
		&expr.Immediate{Register: 1, Data: server.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(server.Port())},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2,
			Specified: true,
		})
}

// sourceRule is: oifname OUTSIDE masquerade fully-random, or snat to PUBLIC:PORTS. (masquerade to :PORTS would need a flag that
// the nftables library does not write.)
func sourceRule(masquerade bool) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, linkOutside)
	rule := append(tcpOnly(),
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name})
	if masquerade {
		return append(rule, &expr.Masq{FullyRandom: true})
	}
	return append(rule,
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(publicPort)},
		&expr.Immediate{Register: 3, Data: binaryutil.BigEndian.PutUint16(publicPort + publicPorts - 1)},
		&expr.Immediate{Register: 1, Data: public4.AsSlice()},
		&expr.NAT{
			Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 3,
			Specified: true,
		})
}

func (ns *Namespace) removeAddress(link, cidr string) error {
	l, err := ns.link.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return ns.link.AddrDel(l, a)
}

// underNAT is the incident of silence-on-the-wire; afterwards it is known whether the server took the gateway's RST for its own client's.
func underNAT(ctx context.Context, s *stage) error {
	srv, err := s.serve(false)
	if err != nil {
		return err
	}
	old, err := s.established(ctx)
	if err != nil {
		return err
	}
	held := srv.Held()
	if err := old.Silence(); err != nil {
		return err
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	if err := s.redial(ctx); err != nil {
		return err
	}
	s.fact("server_held_before", held)
	s.phase.translated = true
	return nil
}

// injectedOnWire is one injected segment as an end saw it.
type injectedOnWire struct {
	Link   string `json:"link"`
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	Kind   string `json:"kind"`
	Proper bool   `json:"proper"` // the same addresses and ports as the forwarded segments of that direction on that link
}

// wireFacts lists the injected segments with their addresses on the wire, each held against the segments that were forwarded on the
// same link in the same direction.
func (p *Phase) wireFacts() {
	n := newNumbers(p.trace)
	proper := true
	list := []injectedOnWire{}
	for _, s := range p.trace {
		if s.injectedBy() < 0 {
			continue
		}
		link := "inside"
		if s.last == s.links-1 {
			link = "outside"
		}
		one := injectedOnWire{Link: link, Src: s.wire[0].String(), Dst: s.wire[1].String(), Kind: label(n, &s.packet)}
		for _, f := range p.trace {
			if f.injectedBy() < 0 && f.droppedBy() < 0 && f.toServer == s.toServer && f.wire == s.wire {
				one.Proper = true
				break
			}
		}
		proper = proper && one.Proper
		list = append(list, one)
	}
	p.Facts["injected_on_wire"] = list
	p.Facts["injected_addresses_proper"] = proper
}
