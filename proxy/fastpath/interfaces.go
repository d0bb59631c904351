package fastpath

import (
	"slices"

	"github.com/vishvananda/netlink"
)

// Bytes in front of the IP header as a program at ingress sees the packet.
const (
	headerEthernet = 14
	headerNone     = 0
)

// device is what decides whether an interface gets a program, and which.
type device struct {
	index    int
	name     string
	loopback bool
	encap    string // what ARPHRD_* type it has, in netlink's words
	master   int    // index of the interface that it is enslaved to; 0 = none
	inVRF    bool   // the master is a VRF
	isVRF    bool
}

// rawIP is ARPHRD_RAWIP, for which netlink has no word.
const rawIP = "unknown519"

func deviceOf(l netlink.Link) device {
	a := l.Attrs()
	return device{index: a.Index, name: a.Name, loopback: a.EncapType == "loopback", encap: a.EncapType, master: a.MasterIndex,
		inVRF: a.Slave != nil && a.Slave.SlaveType() == "vrf", isVRF: l.Type() == "vrf"}
}

// header returns how many bytes stand in front of the IP header, and why the interface gets no program ("" if it gets one).
//
// What a bridge's port or a bond's slave receives comes up again at the ingress of its master, where routing sees it come in; a VRF's
// slave has its ingress itself, although the forward hook names the VRF: so what comes in by one is unknown to the program and stays on
// the queue. Names are those of a match, none for any interface.
func (d *device) header(names []string) (n int, why string) {
	switch {
	case len(names) > 0 && !slices.Contains(names, d.name):
		return 0, "not in the match"
	case d.loopback:
		return 0, "loopback"
	case d.master != 0 && !d.inVRF:
		return 0, "enslaved"
	case d.isVRF:
		return 0, "a VRF has no ingress"
	}
	switch d.encap {
	case "ether":
		return headerEthernet, ""
	case "none", "ppp", rawIP, "ipip", "tunnel6", "sit": // tun, WireGuard, PPP, modems, IP in IP
		return headerNone, ""
	}
	return 0, "packets of type " + d.encap
}
