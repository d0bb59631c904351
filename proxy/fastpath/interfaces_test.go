package fastpath

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// TestWhichInterfaces: among them those that a test machine's kernel cannot make.
func TestWhichInterfaces(t *testing.T) {
	attrs := func(name, encap string, master int, slave netlink.LinkSlave) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: 7, Name: name, EncapType: encap, MasterIndex: master, Slave: slave}
	}
	for _, c := range []struct {
		attrs  netlink.LinkAttrs
		match  []string
		header int
		why    string
	}{
		{attrs("lo", "loopback", 0, nil), nil, 0, "loopback"},
		{attrs("lo", "loopback", 0, nil), []string{"lo"}, 0, "loopback"},
		{attrs("eth0", "ether", 0, nil), nil, 14, ""},
		{attrs("eth0", "ether", 0, nil), []string{"eth1", "eth0"}, 14, ""},
		{attrs("eth0", "ether", 0, nil), []string{"eth1"}, 0, "not in the match"},
		{attrs("eth0", "ether", 3, nil), nil, 0, "enslaved"},
		{attrs("eth0", "ether", 3, &netlink.BondSlave{}), []string{"eth0"}, 0, "enslaved"},
		{attrs("eth0", "ether", 3, &netlink.VrfSlave{}), nil, 14, ""},
		{attrs("tun0", "none", 0, nil), nil, 0, ""},
		{attrs("wwan0", "unknown519", 0, nil), nil, 0, ""},
		{attrs("gre0", "gre", 0, nil), nil, 0, "packets of type gre"},
		{attrs("ib0", "infiniband", 0, nil), nil, 0, "packets of type infiniband"},
	} {
		d := deviceOf(&netlink.GenericLink{LinkAttrs: c.attrs})
		if n, why := d.header(c.match); n != c.header || why != c.why || d.index != 7 {
			t.Errorf("%s of type %s, master %d, match %v: header %d, %q; want %d, %q", c.attrs.Name, c.attrs.EncapType, c.attrs.MasterIndex, c.match,
				n, why, c.header, c.why)
		}
	}
	vrf := deviceOf(&netlink.Vrf{LinkAttrs: attrs("red", "ether", 0, nil)})
	if _, why := vrf.header(nil); why != "a VRF has no ingress" {
		t.Errorf("a VRF: %q", why)
	}
}
