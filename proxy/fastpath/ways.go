package fastpath

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	route "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// With redirect the program asks the kernel for the way out of a segment, and sends it there. Two parts of the host's own routing are not in
// that answer: IPsec policies, which would have it encrypted, and rules that choose a route by the packet's mark. While a host has either, the
// program knows no interface as a way out, and everything that passes goes the normal way.

// Groups of messages (linux/rtnetlink.h, linux/xfrm.h), as bits.
const (
	groupRules4   = 1 << (8 - 1)  // RTNLGRP_IPV4_RULE
	groupRules6   = 1 << (19 - 1) // RTNLGRP_IPV6_RULE
	groupPolicies = 1 << (4 - 1)  // XFRMNLGRP_POLICY
)

// wayFeeds tell of changes to what a short way out would go past.
func (p *Path) wayFeeds() []*feed {
	look := func([]netlink.Message) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.detached {
			p.lookAtWays()
		}
	}
	return []*feed{
		{of: "routing rules", protocol: unix.NETLINK_ROUTE, groups: groupRules4 | groupRules6, take: look, all: p.lookAtWays},
		{of: "IPsec policies", protocol: unix.NETLINK_XFRM, groups: groupPolicies, take: look, all: p.lookAtWays},
	}
}

// absent tells whether a feed cannot be had because the kernel has nothing of the kind (no XFRM).
func (f *feed) absent(err error) bool { return f.protocol == unix.NETLINK_XFRM && noXFRM(err) }

func noXFRM(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ECONNREFUSED)
}

// lookAtWays asks whether the short way out may be taken, and tells the program. The caller holds the lock, or nobody else is there yet.
func (p *Path) lookAtWays() {
	if !p.opts.Redirect {
		return
	}
	past, err := goesPast()
	if err != nil {
		past = fmt.Sprintf("what cannot be listed (%v)", err)
	}
	if past == p.past {
		return
	}
	p.past = past
	for _, at := range p.attached {
		p.egress(at, true)
	}
	if past != "" {
		p.log.Warn("redirect is suspended: a short way out would go past the host's own routing", "past", past)
	} else {
		p.log.Info("redirect goes on")
	}
}

// goesPast names what the calling thread's network namespace has that a short way out would go past, "" for nothing.
func goesPast() (string, error) {
	rules, err := route.RuleList(unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, route.ErrDumpInterrupted) {
		return "", fmt.Errorf("routing rules: %w", err)
	}
	for _, r := range rules {
		if r.Mark != 0 || r.Mask != nil {
			return "a routing rule by mark (ip rule fwmark)", nil
		}
	}
	policies, err := route.XfrmPolicyList(unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, route.ErrDumpInterrupted) && !noXFRM(err) {
		return "", fmt.Errorf("IPsec policies: %w", err)
	}
	for _, p := range policies {
		if p.Dir == route.XFRM_DIR_OUT || p.Dir == route.XFRM_DIR_FWD {
			return "an IPsec policy (ip xfrm policy)", nil
		}
	}
	blocks, err := blocksByDefault()
	if err != nil && !noXFRM(err) {
		return "", fmt.Errorf("what IPsec policies say by default: %w", err)
	}
	if blocks {
		return "that what no IPsec policy allows is blocked (ip xfrm policy setdefault)", nil
	}
	return "", nil
}

// What linux/xfrm.h has beside golang.org/x/sys/unix.
const (
	msgGetDefault = 0x28 // XFRM_MSG_GETDEFAULT, since Linux 5.15
	policyBlock   = 1    // XFRM_USERPOLICY_BLOCK
)

// blocksByDefault asks whether what is forwarded or leaves is blocked where no IPsec policy says otherwise. A kernel that does not know the
// question blocks nothing.
func blocksByDefault() (bool, error) {
	c, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if err != nil {
		return false, err
	}
	defer c.Close()
	answer, err := c.Execute(netlink.Message{Header: netlink.Header{Type: msgGetDefault, Flags: netlink.Request}, Data: make([]byte, 4)})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, m := range answer {
		if blocks, ok := defaultBlocks(m); ok {
			return blocks, nil
		}
	}
	return false, errors.New("no answer")
}

// defaultBlocks reads struct xfrm_userpolicy_default: a byte each for what comes in for the host, is forwarded, and leaves.
func defaultBlocks(m netlink.Message) (blocks, ok bool) {
	if m.Header.Type != msgGetDefault || len(m.Data) < 3 {
		return false, false
	}
	return m.Data[1] == policyBlock || m.Data[2] == policyBlock, true
}

// egress tells the program whether it may send segments out of an interface (redirect): one with Ethernet frames, that routing knows, while
// nothing else forbids it. The caller holds the lock.
func (p *Path) egress(at *attachment, on bool) {
	if p.obj == nil || !p.opts.Redirect || at.header != headerEthernet {
		return
	}
	if err := p.obj.setEgress(uint32(at.device.index), on && p.past == ""); err != nil {
		p.log.Warn("telling the fast path of a way out", "interface", at.device.name, "err", err)
	}
}
