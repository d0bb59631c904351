package trouble

import (
	"net/netip"
	"slices"
	"time"
)

// Filter picks cases. An empty field picks all; of a field with several values one must fit; the fields that are set must all fit.
type Filter struct {
	Since, Until   time.Time      // something of it happened from Since on, and before Until
	Addr, Src, Dst []netip.Prefix // either end's address, the client's, the server's
	Port           []uint16       // either end's
	SrcPort        []uint16       // the client's
	DstPort        []uint16       // the server's
	Flow           []uint64
	Verdict        []string // of the decision that says most about it, as Reason and Rule
	Reason         []string
	Rule           []string
	Arm            []string
	Kind           []Kind
}

// Match says whether the filter picks the case.
func (f *Filter) Match(c *Case) bool {
	client, server := c.Client.Addr(), c.Server.Addr()
	return !c.Until.Before(f.Since) && (f.Until.IsZero() || c.At.Before(f.Until)) &&
		(within(f.Addr, client) || within(f.Addr, server)) && within(f.Src, client) && within(f.Dst, server) &&
		(oneOf(f.Port, c.Client.Port()) || oneOf(f.Port, c.Server.Port())) && oneOf(f.SrcPort, c.Client.Port()) && oneOf(f.DstPort, c.Server.Port()) &&
		oneOf(f.Flow, c.FlowID) && oneOf(f.Verdict, c.Verdict) && oneOf(f.Reason, c.Reason) && oneOf(f.Rule, c.Rule) && oneOf(f.Arm, c.Arm) && oneOf(f.Kind, c.Kind)
}

func oneOf[T comparable](want []T, v T) bool { return len(want) == 0 || slices.Contains(want, v) }

func within(want []netip.Prefix, a netip.Addr) bool {
	return len(want) == 0 || slices.ContainsFunc(want, func(p netip.Prefix) bool { return p.Contains(a) })
}
