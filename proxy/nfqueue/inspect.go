package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// ErrNoTrack: exempting flows from connection tracking would break rules of the host's own.
var ErrNoTrack = errors.New("cannot exempt flows from connection tracking")

// Neighbours is what the host's own rules do that concerns us. Each list holds "family table chain" of the places.
type Neighbours struct {
	NAT      []string // base chains of type nat
	CtState  []string // chains whose rules ask connection tracking
	Fanout   []string // chains that queue with CPU fan-out
	Offload  []string // chains that put flows on a flowtable
	Marks    []string // chains that set bits of DefaultMarkMask between a fast path and our rules
	Legacy   []string // legacy xtables tables in use (iptables-legacy); their rules cannot be read here
	Unread   []string // chains whose rules could not be read
	OurTable bool     // a table of our name is there
}

// HostNAT reports whether the host may translate addresses.
func (n *Neighbours) HostNAT() bool { return len(n.NAT) > 0 || slices.Contains(n.Legacy, "nat") }

// Inspect reads the rules of the calling thread's network namespace, except for our own table.
func Inspect(ourTable string) (Neighbours, error) {
	var n Neighbours
	n.Legacy = legacyTables()
	conn := dial()
	chains, err := conn.ListChains()
	if err != nil {
		return n, explainRules("listing chains", err)
	}
	for _, ch := range chains {
		if ch.Table.Name == ourTable {
			n.OurTable = true
			continue
		}
		place := fmt.Sprintf("%s %s %s", anyFamily(ch.Table.Family), ch.Table.Name, ch.Name)
		if ch.Type == nftables.ChainTypeNAT {
			n.NAT = append(n.NAT, place)
		}
		rules, err := conn.GetRules(ch.Table, ch)
		if err != nil {
			n.Unread = append(n.Unread, place)
			continue
		}
		for _, r := range rules {
			n.note(place, r.Exprs)
			if betweenMarks(ch) && overwrites(r.Exprs, DefaultMarkMask) && !slices.Contains(n.Marks, place) {
				n.Marks = append(n.Marks, place)
			}
		}
	}
	return n, nil
}

// note looks at one rule.
func (n *Neighbours) note(place string, exprs []expr.Any) {
	add := func(list *[]string) {
		if !slices.Contains(*list, place) {
			*list = append(*list, place)
		}
	}
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Ct:
			add(&n.CtState)
		case *expr.Match:
			switch e.Name {
			case "conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper":
				add(&n.CtState)
			}
		case *expr.Queue:
			if e.Flag&expr.QueueFlagFanout != 0 {
				add(&n.Fanout)
			}
		case *expr.Target:
			if info, ok := e.Info.(*xt.Unknown); ok && e.Name == "NFQUEUE" && e.Rev >= 3 && len(*info) >= 6 &&
				binary.NativeEndian.Uint16((*info)[4:])&xtFanout != 0 {
				add(&n.Fanout)
			}
		case *expr.FlowOffload:
			add(&n.Offload)
		}
	}
}

func anyFamily(f nftables.TableFamily) string {
	if s := familyName(f); s != "" {
		return s
	}
	return map[nftables.TableFamily]string{nftables.TableFamilyARP: "arp", nftables.TableFamilyBridge: "bridge",
		nftables.TableFamilyNetdev: "netdev"}[f]
}

// legacyTables lists the tables that iptables-legacy or ip6tables-legacy have loaded.
func legacyTables() []string {
	var all []string
	for _, f := range []string{"ip_tables_names", "ip6_tables_names"} {
		b, _ := os.ReadFile("/proc/thread-self/net/" + f) // absent without legacy xtables
		for t := range strings.FieldsSeq(string(b)) {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
	}
	return all
}

// mayNoTrack refuses where untracked flows would be cut off: beside rules that accept by connection state, and beside
// NAT, which does nothing for untracked packets.
func mayNoTrack(ourTable string) error {
	n, err := Inspect(ourTable)
	switch {
	case err != nil:
		return err
	case len(n.CtState) > 0:
		return fmt.Errorf("rules: %w: rules in %s use connection state, and would not know these flows", ErrNoTrack, strings.Join(n.CtState, ", "))
	case len(n.NAT) > 0:
		return fmt.Errorf("rules: %w: %s translate addresses, which needs it", ErrNoTrack, strings.Join(n.NAT, ", "))
	case len(n.Legacy) > 0:
		return fmt.Errorf("rules: %w: legacy xtables rules are loaded (%s) and cannot be checked", ErrNoTrack, strings.Join(n.Legacy, ", "))
	case len(n.Unread) > 0:
		return fmt.Errorf("rules: %w: the rules in %s cannot be checked", ErrNoTrack, strings.Join(n.Unread, ", "))
	}
	return nil
}
