package proxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"halfopen/conntrack"
)

// FlowFilter picks flows for `flows`, `flows -E` and `flows kill`. The zero value picks all. Make it with
// [ParseFlowFilter].
type FlowFilter struct {
	src, dst, addr    []netip.Prefix // of IPv4-mapped addresses
	sport, dport, any []portRange
	states            [conntrack.NumStates]bool
	someStates        bool
	ids               []uint64
	arms              []string               // names, until resolve
	armIs             [maxArmNumber + 1]bool // by an entry's number
}

type portRange struct{ lo, hi uint16 }

// FlowFilterHelp describes the filter language for a verb's help.
const FlowFilterHelp = `A filter is a list of KEY=VALUE, all of which must fit; a value may be a list (a,b), one of which must fit:
  src, dst      address or CIDR of the end that opened the connection, and of the other
  sport, dport  their ports, or ranges such as 721-731
  addr, port    of either end
  state         SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2
  id            the flow's id, as listed
  arm           the arm of an experiment, or none
The word "all" fits every flow.`

// ParseFlowFilter reads a filter; terms are separated by blanks. The empty text and "all" pick everything.
func ParseFlowFilter(text string) (*FlowFilter, error) {
	f := &FlowFilter{}
	for _, term := range strings.Fields(text) {
		if term == "all" {
			continue
		}
		key, list, ok := strings.Cut(term, "=")
		if !ok || list == "" {
			return nil, fmt.Errorf("filter: %q is not KEY=VALUE (keys are src, dst, addr, sport, dport, port, state, id, arm)", term)
		}
		for value := range strings.SplitSeq(list, ",") {
			if err := f.add(key, value); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// add takes one value of a key.
func (f *FlowFilter) add(key, value string) error {
	switch key {
	case "src", "dst", "addr":
		p, err := parsePrefix(value)
		if err != nil {
			return err
		}
		to := map[string]*[]netip.Prefix{"src": &f.src, "dst": &f.dst, "addr": &f.addr}[key]
		*to = append(*to, p)
	case "sport", "dport", "port":
		r, err := parsePorts(value)
		if err != nil {
			return err
		}
		to := map[string]*[]portRange{"sport": &f.sport, "dport": &f.dport, "port": &f.any}[key]
		*to = append(*to, r)
	case "state":
		for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
			if strings.EqualFold(s.String(), value) {
				f.states[s], f.someStates = true, true
				return nil
			}
		}
		return fmt.Errorf("filter: unknown state %q", value)
	case "id":
		id, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("filter: id %q is not a number", value)
		}
		f.ids = append(f.ids, id)
	case "arm":
		f.arms = append(f.arms, value)
	default:
		return fmt.Errorf("filter: unknown key %q (keys are src, dst, addr, sport, dport, port, state, id, arm)", key)
	}
	return nil
}

// resolve finds the numbers of the arms that the filter names, among the names by number. It is an error to name one that there is not.
func (f *FlowFilter) resolve(names []string) error {
	for _, arm := range f.arms {
		found := arm == noArm
		for n := range f.armIs {
			if is := armName(names, uint8(n)); is == arm || is == "" && arm == noArm {
				f.armIs[n], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("filter: no arm %q (halfopen experiment status lists them)", arm)
		}
	}
	return nil
}

// noArm is the word for connections without an arm; no arm has that name.
const noArm = "none"

// armName returns the name of an arm by its number, "" for none.
func armName(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}

// parsePrefix reads an address or CIDR and returns it in IPv4-mapped form, as tuples hold it.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, fmt.Errorf("filter: %q is neither an address nor a CIDR", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4() {
		p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
	}
	return p.Masked(), nil
}

func parsePorts(s string) (portRange, error) {
	lo, hi, ranged := strings.Cut(s, "-")
	if !ranged {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	if err1 != nil || err2 != nil || a > b {
		return portRange{}, fmt.Errorf("filter: %q is neither a port (0-65535) nor a range of ports", s)
	}
	return portRange{uint16(a), uint16(b)}, nil
}

// All reports whether the filter picks every flow.
func (f *FlowFilter) All() bool {
	return !f.someStates && len(f.src)+len(f.dst)+len(f.addr)+len(f.sport)+len(f.dport)+len(f.any)+len(f.ids)+len(f.arms) == 0
}

// Match reports whether the filter picks an entry. It allocates nothing: it runs on the workers' threads.
func (f *FlowFilter) Match(e *conntrack.Entry) bool {
	t := &e.Tuple
	return (!f.someStates || f.states[e.State]) &&
		(len(f.src) == 0 || holds(f.src, &t.Src)) &&
		(len(f.dst) == 0 || holds(f.dst, &t.Dst)) &&
		(len(f.addr) == 0 || holds(f.addr, &t.Src) || holds(f.addr, &t.Dst)) &&
		(len(f.sport) == 0 || within(f.sport, t.SrcPort)) &&
		(len(f.dport) == 0 || within(f.dport, t.DstPort)) &&
		(len(f.any) == 0 || within(f.any, t.SrcPort) || within(f.any, t.DstPort)) &&
		(len(f.ids) == 0 || f.hasID(e.ID)) &&
		(len(f.arms) == 0 || f.armIs[e.Arm])
}

func (f *FlowFilter) hasID(id uint64) bool {
	for _, want := range f.ids {
		if want == id {
			return true
		}
	}
	return false
}

func holds(ps []netip.Prefix, addr *[16]byte) bool {
	a := netip.AddrFrom16(*addr)
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func within(rs []portRange, port uint16) bool {
	for _, r := range rs {
		if r.lo <= port && port <= r.hi {
			return true
		}
	}
	return false
}
