//go:build netns

package nfqueue

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// world is three unnamed network namespaces in a row: client, gateway, server. The test's thread stays in the gateway;
// in runs a function in another one. The kernel removes all of it with the last thread or descriptor.
type world struct {
	client, gateway, server netns.NsHandle
}

const (
	client4 = "10.1.0.1"
	client6 = "fd01::1"
	server4 = "10.2.0.1"
	server6 = "fd02::1"
)

// newWorld locks the test to a thread of its own, which is never given back, and builds the three namespaces.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the netns tests need root")
	}
	runtime.LockOSThread() // no unlock: a thread that changed its namespace must end with its goroutine
	w := &world{}
	for _, h := range []*netns.NsHandle{&w.client, &w.server, &w.gateway} {
		ns, err := netns.New() // makes and enters; the gateway is the last
		if err != nil {
			t.Fatal(err)
		}
		*h = ns
		t.Cleanup(func() { ns.Close() })
		lo, err := netlink.LinkByName("lo")
		check(t, err)
		check(t, netlink.LinkSetUp(lo))
	}
	w.cable(t, "inside", w.client, client4, client6, "10.1.0.254", "fd01::fe")
	w.cable(t, "outside", w.server, server4, server6, "10.2.0.254", "fd02::fe")
	// /proc/sys/net shows the namespace of the thread that looks.
	for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		check(t, os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0o644))
	}
	return w
}

// cable joins the gateway to an end.
func (w *world) cable(t *testing.T, name string, end netns.NsHandle, addr4, addr6, gw4, gw6 string) {
	t.Helper()
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(end)}))
	up(t, name, gw4+"/16", gw6+"/64")
	w.in(t, end, func() {
		up(t, "eth0", addr4+"/16", addr6+"/64")
		for _, r := range []struct{ dst, gw string }{{"0.0.0.0/0", gw4}, {"::/0", gw6}} {
			_, dst, _ := net.ParseCIDR(r.dst)
			check(t, netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(r.gw)}))
		}
	})
}

// up gives an interface its addresses and switches it on.
func up(t *testing.T, name string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, err)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		check(t, err)
		if netip.MustParsePrefix(a).Addr().Is6() {
			addr.Flags = 0x02 // IFA_F_NODAD: usable at once
		}
		check(t, netlink.AddrAdd(link, addr))
	}
	check(t, netlink.LinkSetUp(link))
}

// in runs fn in another namespace, on the test's thread.
func (w *world) in(t *testing.T, ns netns.NsHandle, fn func()) {
	t.Helper()
	check(t, netns.Set(ns))
	defer func() { check(t, netns.Set(w.gateway)) }()
	fn()
}

// run starts a program in the namespace of the test's thread and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clientSend dials from the client's end on a thread of its own, sends b and closes its half.
func (w *world) clientSend(addr string, b []byte, fail chan<- error) {
	runtime.LockOSThread() // not given back: see newWorld
	if err := netns.Set(w.client); err != nil {
		fail <- err
		return
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		fail <- err
		return
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		fail <- err
	}
}
