package nfqueue

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// add appends one table of ours to the transaction, with its counters at start.
func (rs *RuleSet) add(conn *nftables.Conn, family nftables.TableFamily, form Form, start counts) {
	t := conn.AddTable(&nftables.Table{Name: rs.Table, Family: family})
	counter := func(name string, packets uint64) {
		conn.AddObj(&nftables.NamedObj{Table: t, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{Packets: packets}})
	}
	counter(CounterName, start.received)
	if rs.FastMark != 0 {
		counter(FastCounterName, start.fast)
	}
	for _, h := range []struct {
		hook Hook
		name string
		num  *nftables.ChainHook
	}{
		{Forward, chainForward, nftables.ChainHookForward},
		{Input, chainInput, nftables.ChainHookInput},
		{Output, chainOutput, nftables.ChainHookOutput},
	} {
		if rs.Hooks&h.hook != 0 {
			ch := baseChain(conn, t, h.name, h.num, queuePriority)
			rs.addRules(conn, ch, family, []expr.Any{countIn(CounterName), rs.queue(form)})
		}
	}
	inject := baseChain(conn, t, chainInject, nftables.ChainHookOutput, int(*nftables.ChainPriorityRaw))
	if hasNoTrack(family) {
		conn.AddRule(&nftables.Rule{Table: t, Chain: inject, Exprs: append(markIs(rs.MarkMask, rs.InjectMark), &expr.Notrack{})})
	}
	if rs.NoTrack {
		ch := baseChain(conn, t, chainNoTrack, nftables.ChainHookPrerouting, int(*nftables.ChainPriorityRaw))
		rs.addRules(conn, ch, family, []expr.Any{&expr.Notrack{}})
	}
}

// addRules fills a chain: first who is let past, then what matches, which ends in final.
func (rs *RuleSet) addRules(conn *nftables.Conn, ch *nftables.Chain, family nftables.TableFamily, final []expr.Any) {
	rule := func(parts ...[]expr.Any) {
		var e []expr.Any
		for _, p := range parts {
			e = append(e, p...)
		}
		conn.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: e})
	}
	// Return from a base chain is its policy: accept, which goes on to the host's own chains.
	past := []expr.Any{verdict(expr.VerdictReturn)}
	switch ch.Name {
	case chainForward:
		if rs.FastMark != 0 { // first of all: most packets go no further
			rule(markIs(rs.MarkMask, rs.FastMark), []expr.Any{countIn(FastCounterName)}, past)
		}
	case chainInput, chainNoTrack:
		rule([]expr.Any{meta(expr.MetaKeyIIFNAME), equal(interfaceName("lo"))}, past)
	case chainOutput:
		rule([]expr.Any{meta(expr.MetaKeyOIFNAME), equal(interfaceName("lo"))}, past)
	}
	rule(protocolIs(expr.CmpOpNeq, unix.IPPROTO_TCP), past)
	rule(markIs(rs.MarkMask, rs.InjectMark), past)
	if family != nftables.TableFamilyIPv6 {
		rule(laterFragment4(), past)
	}
	if family != nftables.TableFamilyIPv4 {
		rule(laterFragment6(), past)
	}
	for _, a := range rs.Match.expand() {
		if family == nftables.TableFamilyIPv4 && !a.v4() || family == nftables.TableFamilyIPv6 && !a.v6() || !a.fits(ch.Name) {
			continue
		}
		rule(a.matches(), final)
	}
}

// fits tells whether an alternative can match in a chain at all: locally received packets have no outgoing interface,
// locally made ones no incoming one, and before routing none has an outgoing one.
func (a *alternative) fits(chain string) bool {
	switch chain {
	case chainInput, chainNoTrack:
		return a.oif == ""
	case chainOutput:
		return a.iif == ""
	}
	return true
}

func (rs *RuleSet) queue(form Form) expr.Any {
	if form == Native {
		return nativeQueue(rs.Queues[0], rs.Queues[1], rs.FailOpen)
	}
	return xtQueue(rs.Queues[0], rs.Queues[1], rs.FailOpen)
}

func baseChain(conn *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, priority int) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return conn.AddChain(&nftables.Chain{Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)), Policy: &accept})
}

// choose settles the form and the families of the tables by asking the kernel.
func choose(want Form) (Form, []nftables.TableFamily, error) {
	inet := []nftables.TableFamily{nftables.TableFamilyINet}
	var tried error
	if want != XT {
		err := accepts(nftables.TableFamilyINet, nativeQueue(0, 0, true))
		if err == nil {
			return Native, inet, nil
		}
		tried = explainRules("nft's queue statement", err)
		if errors.Is(tried, ErrPrivilege) || errors.Is(tried, ErrUnsupported) {
			return want, nil, tried
		}
	}
	if want != Native {
		err := accepts(nftables.TableFamilyINet, xtQueue(0, 0, true))
		if err == nil {
			return XT, inet, nil
		}
		tried = errors.Join(tried, explainRules("the xtables target NFQUEUE", err))
		if accepts(nftables.TableFamilyIPv4, xtQueue(0, 0, true)) == nil && accepts(nftables.TableFamilyIPv6, xtQueue(0, 0, true)) == nil {
			return XT, []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}, nil
		}
	}
	if errors.Is(tried, ErrPrivilege) {
		return want, nil, tried
	}
	return want, nil, fmt.Errorf("rules: %w: it can queue neither by nft's queue statement (CONFIG_NFT_QUEUE) nor by the xtables target NFQUEUE (CONFIG_NETFILTER_XT_TARGET_NFQUEUE with CONFIG_NFT_COMPAT): %w", ErrUnsupported, tried)
}

// hasNoTrack: without connection tracking in the kernel there is nothing to be exempt from.
func hasNoTrack(family nftables.TableFamily) bool { return accepts(family, &expr.Notrack{}) == nil }

// accepts asks the kernel whether it takes a rule. The transaction makes a table with a chain that hangs on no hook and
// deletes it again, so nothing is left and no packet ever meets the rule.
func accepts(family nftables.TableFamily, exprs ...expr.Any) error {
	conn := dial()
	t := conn.AddTable(&nftables.Table{Name: fmt.Sprintf("halfopen-probe-%d", os.Getpid()), Family: family})
	ch := conn.AddChain(&nftables.Chain{Table: t, Name: "probe"})
	conn.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: exprs})
	conn.DelTable(t)
	return conn.Flush()
}
