//go:build netns

package fastpath_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// town is a client, a gateway and a server, each in a namespace; the test's thread stays in the gateway.
type town struct {
	testing.TB
	client, gateway, server netns.NsHandle
	inside, outside         *net.Interface // the gateway's
}

// newTown locks the test to a thread of its own, which ends with it.
func newTown(t testing.TB) *town {
	t.Helper()
	runtime.LockOSThread()
	w := &town{TB: t}
	for _, h := range []*netns.NsHandle{&w.client, &w.server, &w.gateway} {
		ns, err := netns.New() // makes and enters; the gateway is the last
		w.check(err)
		*h = ns
		t.Cleanup(func() { ns.Close() })
	}
	w.inside = w.street("hoin", w.client, "10.7.1.2/24", "fd07:1::2/64", "10.7.1.1/24", "fd07:1::1/64")
	w.outside = w.street("hoout", w.server, "10.7.2.2/24", "fd07:2::2/64", "10.7.2.1/24", "fd07:2::1/64")
	for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		w.sysctl(f, "1")
	}
	return w
}

func (w *town) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *town) sysctl(name, value string) {
	w.Helper()
	w.check(os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644))
}

// street joins the gateway to an end, which sends everything that way.
func (w *town) street(name string, end netns.NsHandle, at4, at6, gateway4, gateway6 string) *net.Interface {
	w.Helper()
	w.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(end)}))
	w.up(name, gateway4, gateway6)
	w.in(end, func() {
		w.up("eth0", at4, at6)
		for _, gateway := range []string{gateway4, gateway6} {
			_, all, _ := net.ParseCIDR("0.0.0.0/0")
			via := netip.MustParsePrefix(gateway).Addr()
			if via.Is6() {
				_, all, _ = net.ParseCIDR("::/0")
			}
			w.check(netlink.RouteAdd(&netlink.Route{Dst: all, Gw: via.AsSlice()}))
		}
	})
	i, err := net.InterfaceByName(name)
	w.check(err)
	return i
}

func (w *town) up(name string, addrs ...string) {
	w.Helper()
	l, err := netlink.LinkByName(name)
	w.check(err)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		w.check(err)
		if addr.IP.To4() == nil {
			addr.Flags = 0x02 // IFA_F_NODAD: usable at once
		}
		w.check(netlink.AddrAdd(l, addr))
	}
	w.check(netlink.LinkSetUp(l))
}

// in runs fn in another namespace, on the test's thread.
func (w *town) in(ns netns.NsHandle, fn func()) {
	w.Helper()
	w.check(netns.Set(ns))
	defer func() { w.check(netns.Set(w.gateway)) }()
	fn()
}

// attach puts a program at the ingress of one of the gateway's interfaces.
func (w *town) attach(p *ebpf.Program, ifindex int) {
	w.Helper()
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) {
		f := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}
		w.check(netlink.QdiscAdd(f))
		w.check(netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: 3, Priority: 1},
			Fd: p.FD(), Name: "halfopen", DirectAction: true}))
		return
	}
	w.check(err)
	w.Cleanup(func() { l.Close() })
}

// neighbour tells the gateway an end's link address.
func (w *town) neighbour(ifindex int, ip string, mac net.HardwareAddr) {
	w.Helper()
	w.check(netlink.NeighSet(&netlink.Neigh{LinkIndex: ifindex, State: netlink.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: mac}))
}
