package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface names inside the namespaces, after the link that they end.
const (
	linkInside  = "ho-inside"
	linkBetween = "ho-between"
	linkOutside = "ho-outside"
)

// Addresses of the two ends (RFC 5737 and RFC 3849 documentation ranges).
var (
	client4 = netip.MustParseAddr("192.0.2.10")
	server4 = netip.MustParseAddr("198.51.100.10")
	client6 = netip.MustParseAddr("2001:db8:1::10")
	server6 = netip.MustParseAddr("2001:db8:3::10")
)

// subnet is one link's pair of prefixes: hosts .10 are ends, .1 and .2 are gateways.
type subnet struct{ v4, v6 string } // printf patterns with one %s for the host part

var (
	netInside  = subnet{"192.0.2.%s/24", "2001:db8:1::%s/64"}
	netBetween = subnet{"203.0.113.%s/24", "2001:db8:2::%s/64"}
	netOutside = subnet{"198.51.100.%s/24", "2001:db8:3::%s/64"}
)

// Topology is a client, one or two gateways and a server. Close removes it.
type Topology struct {
	Client  *Namespace
	Far     *Namespace // nil unless there are two gateways
	Gateway *Namespace
	Server  *Namespace

	base  string
	harm  map[string]Impairment // of links, by name
	wires []*wire
}

// Option changes a topology that is being built.
type Option func(*Topology)

// Impaired lays the link on the client's side and the one on the server's through wires that harm what they carry, in both directions.
func Impaired(inside, outside Impairment) Option {
	return func(t *Topology) { t.harm = map[string]Impairment{linkInside: inside, linkOutside: outside} }
}

// Harm returns what the topology's wires have done so far.
func (t *Topology) Harm() (h Harm) {
	for _, w := range t.wires {
		w.add(&h)
	}
	return h
}

// Build makes the namespaces, links, addresses and routes. On error nothing is left behind.
func Build(twoGateways bool, options ...Option) (_ *Topology, err error) {
	if !isRoot() {
		return nil, errNotRoot
	}
	base, err := uniqueName()
	if err != nil {
		return nil, err
	}
	t := &Topology{base: base}
	for _, o := range options {
		o(t)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	parties := []struct {
		role string
		ns   **Namespace
	}{{"client", &t.Client}, {"gateway", &t.Gateway}, {"server", &t.Server}, {"far", &t.Far}}
	if !twoGateways {
		parties = parties[:3]
	}
	for _, p := range parties {
		if *p.ns, err = newNamespace(base + "-" + p.role); err != nil {
			return nil, err
		}
	}
	if err = t.tune(); err != nil {
		return nil, err
	}
	return t, t.connect()
}

// connect lays the links and routes.
func (t *Topology) connect() error {
	inner := t.Gateway // the gateway next to the client
	if t.Far != nil {
		inner = t.Far
		if err := t.join(linkBetween, netBetween, t.Far, "1", t.Gateway, "2"); err != nil {
			return err
		}
	}
	if err := t.join(linkInside, netInside, t.Client, "10", inner, "1"); err != nil {
		return err
	}
	if err := t.join(linkOutside, netOutside, t.Gateway, "1", t.Server, "10"); err != nil {
		return err
	}
	err := errors.Join(
		t.Client.route("192.0.2.1", "0.0.0.0/0"), t.Client.route("2001:db8:1::1", "::/0"),
		t.Server.route("198.51.100.1", "0.0.0.0/0"), t.Server.route("2001:db8:3::1", "::/0"))
	if t.Far != nil {
		err = errors.Join(err,
			t.Far.route("203.0.113.2", "198.51.100.0/24"), t.Far.route("2001:db8:2::2", "2001:db8:3::/64"),
			t.Gateway.route("203.0.113.1", "192.0.2.0/24"), t.Gateway.route("2001:db8:2::1", "2001:db8:1::/64"))
	}
	return err
}

// join lays a link between two namespaces; both its ends carry the link's name. A link that is to be harmed goes through a wire.
func (t *Topology) join(name string, s subnet, a *Namespace, hostA string, b *Namespace, hostB string) error {
	if im, ok := t.harm[name]; ok {
		if err := t.wire(name, im, a, b); err != nil {
			return err
		}
	} else if err := lay(a, name, b, name); err != nil {
		return err
	}
	for _, end := range []struct {
		ns   *Namespace
		host string
	}{{a, hostA}, {b, hostB}} {
		for _, pattern := range []string{s.v4, s.v6} {
			if err := end.ns.address(name, fmt.Sprintf(pattern, end.host)); err != nil {
				return err
			}
		}
	}
	return nil
}

// lay makes a veth pair and brings both its ends up: an address on a link without a carrier stays tentative.
func lay(a *Namespace, nameA string, b *Namespace, nameB string) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: nameA},
		PeerName:      nameB,
		PeerNamespace: netlink.NsFd(int(b.handle)),
	}
	if err := a.link.LinkAdd(veth); err != nil {
		return fmt.Errorf("lab: link %s: %w", nameA, err)
	}
	for _, end := range []struct {
		ns   *Namespace
		name string
	}{{a, nameA}, {b, nameB}} {
		if err := end.ns.up(end.name); err != nil {
			return fmt.Errorf("lab: bring up %s in %s: %w", end.name, end.ns.Name, err)
		}
	}
	return nil
}

// wire lays a link in two pieces with a wire between them.
func (t *Topology) wire(name string, im Impairment, a, b *Namespace) error {
	w, err := newWire(t.base+"-"+strings.TrimPrefix(name, "ho-")+"wire", im, uint64(len(t.wires)))
	if err != nil {
		return err
	}
	t.wires = append(t.wires, w)
	if err := errors.Join(lay(a, name, w.ns, wireNear), lay(b, name, w.ns, wireFar)); err != nil {
		return err
	}
	if !im.Whole {
		for _, ns := range []*Namespace{a, b} {
			if err := ns.single(name); err != nil {
				return err
			}
		}
	}
	return w.start()
}

// single makes the kernel cut super-packets before they reach a link.
func (ns *Namespace) single(link string) error {
	l, err := ns.link.LinkByName(link)
	if err == nil {
		err = ns.link.LinkSetGSOMaxSegs(l, 1)
	}
	if err != nil {
		return fmt.Errorf("lab: single segments on %s in %s: %w", link, ns.Name, err)
	}
	return nil
}

// address adds an address in CIDR form, without duplicate address detection, so that it is usable at once.
func (ns *Namespace) address(link, cidr string) error {
	l, err := ns.link.LinkByName(link)
	if err != nil {
		return fmt.Errorf("lab: %s in %s: %w", link, ns.Name, err)
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return fmt.Errorf("lab: address %s: %w", cidr, err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := ns.link.AddrAdd(l, a); err != nil {
		return fmt.Errorf("lab: address %s on %s in %s: %w", cidr, link, ns.Name, err)
	}
	return nil
}

func (ns *Namespace) route(via, to string) error {
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	if err := ns.link.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("lab: route %s via %s in %s: %w", to, via, ns.Name, err)
	}
	return nil
}

// local makes the namespace take every address of a prefix for its own.
func (ns *Namespace) local(lo netlink.Link, prefix *net.IPNet) error {
	err := ns.link.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: prefix, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	})
	if err != nil {
		return fmt.Errorf("lab: local route %s in %s: %w", prefix, ns.Name, err)
	}
	return nil
}

// all returns the namespaces that exist, clients first.
func (t *Topology) all() []*Namespace {
	var out []*Namespace
	for _, ns := range []*Namespace{t.Client, t.Far, t.Gateway, t.Server} {
		if ns != nil {
			out = append(out, ns)
		}
	}
	return out
}

// Close removes every namespace, and with them their links. It may be called twice.
func (t *Topology) Close() error {
	var errs []error
	for _, w := range t.wires {
		errs = append(errs, w.close())
	}
	for _, ns := range t.all() {
		errs = append(errs, ns.Close())
	}
	return errors.Join(errs...)
}

// giveUpSeconds is when an end's connect fails for want of an answer under tune's settings: SYNs at 0, 1 and 3 s and four seconds
// of waiting after the last (net/ipv4/tcp_timer.c, exponential backoff from TCP_TIMEOUT_INIT = 1 s).
const giveUpSeconds = 7

// tune fixes what would make runs differ from each other or from machine to machine.
func (t *Topology) tune() error {
	for _, ns := range t.all() {
		err := errors.Join(
			ns.sysctl(true, map[string]string{
				"ipv4/conf/all/rp_filter":        "0",
				"ipv4/conf/default/rp_filter":    "0",
				"ipv6/conf/all/disable_ipv6":     "0",
				"ipv6/conf/default/disable_ipv6": "0",
				"ipv6/conf/all/accept_dad":       "0",
				"ipv6/conf/default/accept_dad":   "0",
				"ipv6/conf/default/accept_ra":    "0",
			}))
		if err != nil {
			return err
		}
	}
	for _, ns := range []*Namespace{t.Client, t.Server} {
		if err := ns.sysctl(true, map[string]string{
			"ipv4/tcp_syn_retries":       "2",
			"ipv4/tcp_synack_retries":    "3",
			"ipv4/tcp_invalid_ratelimit": "500", // ms between challenge ACKs of one socket: the kernel's default, said out loud
			"ipv4/tcp_timestamps":        "1",
			"ipv4/tcp_sack":              "1",
			"ipv4/tcp_window_scaling":    "1",
			"ipv4/tcp_fastopen":          "0",
			"ipv4/tcp_no_metrics_save":   "1", // else an earlier connection's round-trip time sets this one's timers
		}); err != nil {
			return err
		}
		// Linux 6.5 and later send the first SYNs at one-second steps unless told otherwise.
		if err := ns.sysctl(false, map[string]string{"ipv4/tcp_syn_linear_timeouts": "0"}); err != nil {
			return err
		}
	}
	for _, ns := range []*Namespace{t.Gateway, t.Far} {
		if ns == nil {
			continue
		}
		if err := ns.sysctl(true, map[string]string{
			"ipv4/ip_forward":              "1",
			"ipv6/conf/all/forwarding":     "1",
			"ipv4/conf/all/send_redirects": "0",
		}); err != nil {
			return err
		}
	}
	return nil
}
