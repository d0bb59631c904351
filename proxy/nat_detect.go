package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/nftables"
)

// DetectNAT reports what the rules of the thread's network namespace can translate: chains of type nat with at least one
// rule at the prerouting hook (DNAT) or the postrouting hook (SNAT), and the nat tables of iptables-legacy, whose rules are
// not looked into. It does not see NAT that another program does without rules.
func DetectNAT() (NATKinds, error) {
	kinds, err := legacyNAT()
	if err != nil {
		return 0, err
	}
	conn, err := nftables.New()
	if err != nil {
		return 0, fmt.Errorf("nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return 0, fmt.Errorf("nftables: list chains: %w", err)
	}
	for _, c := range chains {
		if c.Type != nftables.ChainTypeNAT || c.Hooknum == nil {
			continue
		}
		found := natKindsOf(c.Table.Family, *c.Hooknum)
		if found&^kinds == 0 {
			continue
		}
		// A rule with an expression that cannot be decoded is a rule all the same.
		if rules, err := conn.GetRules(c.Table, c); err != nil || len(rules) > 0 {
			kinds |= found
		}
	}
	return kinds, nil
}

// natKindsOf returns what a chain of type nat can translate.
func natKindsOf(family nftables.TableFamily, hook nftables.ChainHook) NATKinds {
	var kinds NATKinds
	switch hook {
	case *nftables.ChainHookPrerouting:
		kinds = DestinationNAT4 | DestinationNAT6
	case *nftables.ChainHookPostrouting:
		kinds = SourceNAT4 | SourceNAT6
	}
	switch family {
	case nftables.TableFamilyINet:
		return kinds
	case nftables.TableFamilyIPv4:
		return kinds & (SourceNAT4 | DestinationNAT4)
	case nftables.TableFamilyIPv6:
		return kinds & (SourceNAT6 | DestinationNAT6)
	}
	return 0
}

// legacyNAT reports the nat tables of iptables-legacy. The thread's own view is read, because /proc/net is the main thread's.
func legacyNAT() (NATKinds, error) {
	var kinds NATKinds
	for file, k := range map[string]NATKinds{
		"/proc/thread-self/net/ip_tables_names":  SourceNAT4 | DestinationNAT4,
		"/proc/thread-self/net/ip6_tables_names": SourceNAT6 | DestinationNAT6,
	} {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if lines.Text() == "nat" {
				kinds |= k
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return 0, err
		}
	}
	return kinds, nil
}
