package nfqueue

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Names of what we install. The chain names say which hook they hang on.
const (
	DefaultTable    = "halfopen"
	CounterName     = "received"
	FastCounterName = "fastpath" // of what a fast path has decided already
	DefaultMarkMask = 0xff000000

	chainForward = "forward"
	chainInput   = "input"
	chainOutput  = "output"
	chainInject  = "inject"    // raw output: what we made ourselves is not tracked
	chainNoTrack = "untracked" // raw prerouting, with NoTrack only
)

// queuePriority puts our chains right before the host's own filter chains, which therefore see whatever we accept.
const queuePriority = -5

// Hook says which traffic is queued.
type Hook uint8

// Hooks; they can be combined.
const (
	Forward Hook = 1 << iota // what passes through the gateway
	Input                    // what is addressed to the gateway itself, loopback excepted
	Output                   // what the gateway itself sends, loopback excepted
)

// Form says by which kernel facility packets are queued.
type Form uint8

// Forms.
const (
	Auto   Form = iota // what the kernel has: Native where possible
	Native             // nft's queue statement (CONFIG_NFT_QUEUE)
	XT                 // the xtables target NFQUEUE through nft's compat layer (CONFIG_NETFILTER_XT_TARGET_NFQUEUE, CONFIG_NFT_COMPAT)
)

// String names the form as doctor prints it.
func (f Form) String() string {
	return [...]string{"auto", "nft queue", "xtables NFQUEUE"}[f%3]
}

// RuleSet is what goes in front of the queues: a table of our own, with
//
//   - one chain per hook that queues TCP segments which match, counting each right before it is queued;
//   - a chain in raw output that keeps our own injected segments out of the host's connection tracking;
//   - with NoTrack, a chain in raw prerouting that does the same for everything that matches.
//
// Other protocols, fragments but the first, and packets that carry the injection mark are not queued, nor, in the forward
// hook, those that carry a fast path's mark, which are counted apart. Nothing outside the table is touched. Methods work in the network namespace of the calling thread.
type RuleSet struct {
	Table  string    // name; "" = DefaultTable
	Queues [2]uint16 // first and last queue; the kernel spreads address pairs over them
	Hooks  Hook      // 0 = Forward
	Match  Match
	// Mark under MarkMask equal to InjectMark means: made by us. 0 = DefaultMarkMask, and the mask's lowest bit.
	MarkMask, InjectMark uint32
	// FastMark under MarkMask means: a fast path has seen it, judged it and counted it. 0 = there is no fast path.
	FastMark uint32
	FailOpen bool // packets pass while nobody listens on the queue (bypass)
	NoTrack  bool // exempt what matches from the host's connection tracking; see ErrNoTrack
	Form     Form
	// KeepCount lets the counter of a table that is replaced go on in the new one, for who installs beside a gateway that
	// keeps books by it.
	KeepCount bool
}

// Installed says what Install did.
type Installed struct {
	Form     Form
	Families []string // of the tables: inet, or ip and ip6 where the target does not work in inet
	Replaced bool     // a table of ours was there, of a process that did not clean up or still runs
	Previous uint64   // its counter, after its rules were taken out
	// PreviousFast is, likewise, its counter of what a fast path let past the queues.
	PreviousFast uint64
}

func (rs *RuleSet) withDefaults() RuleSet {
	c := *rs
	c.Table = cmp.Or(c.Table, DefaultTable)
	c.Hooks = cmp.Or(c.Hooks, Forward)
	c.MarkMask = cmp.Or(c.MarkMask, DefaultMarkMask)
	c.InjectMark = cmp.Or(c.InjectMark, c.MarkMask&-c.MarkMask)
	return c
}

func (rs *RuleSet) check() error {
	switch {
	case rs.Queues[0] > rs.Queues[1]:
		return fmt.Errorf("rules: queues %d-%d: the first is above the last", rs.Queues[0], rs.Queues[1])
	case rs.InjectMark&^rs.MarkMask != 0:
		return fmt.Errorf("rules: mark 0x%08x has bits outside the mask 0x%08x", rs.InjectMark, rs.MarkMask)
	case rs.FastMark&^rs.MarkMask != 0:
		return fmt.Errorf("rules: a fast path's mark 0x%08x has bits outside the mask 0x%08x", rs.FastMark, rs.MarkMask)
	case rs.FastMark == rs.InjectMark:
		return fmt.Errorf("rules: 0x%08x cannot be a fast path's mark and that of injected packets", rs.FastMark)
	case rs.Hooks&^(Forward|Input|Output) != 0:
		return fmt.Errorf("rules: unknown hook in 0x%x", rs.Hooks)
	case rs.NoTrack && len(rs.Match.Iif)+len(rs.Match.Oif) > 0:
		return fmt.Errorf("rules: %w: before routing only one direction of a match by interface can be told", ErrNoTrack)
	}
	if n := len(rs.Match.expand()); n == 0 || n > maxMatchRules {
		return fmt.Errorf("rules: the match expands to %d rules; 1 to %d are possible", n, maxMatchRules)
	}
	return nil
}

// Install puts the rules in place, in one transaction that also replaces a table of ours left from before.
func (rs *RuleSet) Install() (Installed, error) {
	c := rs.withDefaults()
	if err := c.check(); err != nil {
		return Installed{}, err
	}
	if c.NoTrack {
		if err := mayNoTrack(c.Table); err != nil {
			return Installed{}, err
		}
	}
	form, families, err := choose(c.Form)
	if err != nil {
		return Installed{}, err
	}
	done := Installed{Form: form}
	old, err := c.tables()
	if err != nil {
		return done, err
	}
	if len(old) > 0 {
		// Rules first, so that the counter stands still when it is read.
		if err := c.RemoveRules(); err != nil {
			return done, err
		}
		if done.Previous, _, err = c.Counter(); err != nil {
			return done, err
		}
		if done.PreviousFast, _, err = c.FastCounter(); err != nil {
			return done, err
		}
		done.Replaced = true
	}
	conn := dial()
	for _, t := range old {
		conn.DelTable(t)
	}
	var start counts
	if c.KeepCount {
		start = counts{done.Previous, done.PreviousFast}
	}
	for i, f := range families {
		if i > 0 {
			start = counts{} // Counter adds the tables up
		}
		c.add(conn, f, form, start)
		done.Families = append(done.Families, familyName(f))
	}
	if err := conn.Flush(); err != nil {
		return done, explainRules("installing the rules", err)
	}
	return done, nil
}

// Remove deletes our table, rules, counter and all. It is no error when there is none.
func (rs *RuleSet) Remove() error {
	c := rs.withDefaults()
	old, err := c.tables()
	if err != nil || len(old) == 0 {
		return err
	}
	conn := dial()
	for _, t := range old {
		conn.DelTable(t)
	}
	return explainRules("removing the rules", conn.Flush())
}

// RemoveRules takes the queue rules out and leaves the counter, for a clean stop: RemoveRules, drain the queues,
// Counter, Remove. The rule that keeps injected segments untracked stays until Remove.
func (rs *RuleSet) RemoveRules() error {
	c := rs.withDefaults()
	chains, err := c.chains()
	if err != nil {
		return err
	}
	conn := dial()
	for _, ch := range chains {
		if ch.Name != chainInject {
			conn.FlushChain(ch)
		}
	}
	return explainRules("removing the queue rules", conn.Flush())
}

// counts is what the counters of a new table begin with.
type counts struct{ received, fast uint64 }

// Counter returns how many packets our rules have sent to the queues since Install; ok is false when there is no table.
func (rs *RuleSet) Counter() (packets uint64, ok bool, err error) { return rs.counter(CounterName) }

// FastCounter returns how many packets our rules have let past the queues for their fast-path mark since Install; ok is false where the
// rules do not do that.
func (rs *RuleSet) FastCounter() (packets uint64, ok bool, err error) {
	return rs.counter(FastCounterName)
}

// EndFast takes out the rules that let a fast path's mark past the queues, in one transaction, and leaves their counter. From then on such
// a mark means nothing. It is no error where there are none.
func (rs *RuleSet) EndFast() error {
	c := rs.withDefaults()
	chains, err := c.chains()
	if err != nil {
		return err
	}
	conn := dial()
	for _, ch := range chains {
		rules, err := conn.GetRules(ch.Table, ch)
		if err != nil {
			return explainRules("listing the rules", err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if o, ok := e.(*expr.Objref); ok && o.Name == FastCounterName {
					if err := conn.DelRule(r); err != nil {
						return explainRules("taking out the fast path's rule", err)
					}
				}
			}
		}
	}
	return explainRules("taking out the fast path's rule", conn.Flush())
}

func (rs *RuleSet) counter(name string) (packets uint64, ok bool, err error) {
	c := rs.withDefaults()
	tables, err := c.tables()
	if err != nil {
		return 0, false, err
	}
	for _, t := range tables {
		objs, err := dial().GetNamedObjects(t)
		if err != nil {
			return 0, false, explainRules("reading the counter", err)
		}
		for _, o := range objs {
			if n, is := o.(*nftables.NamedObj); is && n.Name == name {
				if ctr, is := n.Obj.(*expr.Counter); is {
					packets += ctr.Packets
					ok = true
				}
			}
		}
	}
	return packets, ok, nil
}

// tables returns the tables of our name that exist, in the families that Install uses.
func (rs *RuleSet) tables() ([]*nftables.Table, error) {
	all, err := dial().ListTables()
	if err != nil {
		return nil, explainRules("listing tables", err)
	}
	var ours []*nftables.Table
	for _, t := range all {
		if t.Name == rs.Table && familyName(t.Family) != "" {
			ours = append(ours, t)
		}
	}
	return ours, nil
}

// chains returns the chains of our tables.
func (rs *RuleSet) chains() ([]*nftables.Chain, error) {
	all, err := dial().ListChains()
	if err != nil {
		return nil, explainRules("listing chains", err)
	}
	var ours []*nftables.Chain
	for _, ch := range all {
		if ch.Table.Name == rs.Table && familyName(ch.Table.Family) != "" {
			ours = append(ours, ch)
		}
	}
	return ours, nil
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return ""
}

// rulesTimeout bounds one exchange with nf_tables; a batch of ours takes milliseconds.
const rulesTimeout = 20 * time.Second

// dial makes a connection that opens a socket per exchange, in the calling thread's network namespace.
func dial() *nftables.Conn {
	conn, _ := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(rulesTimeout))
	})) // without AsLasting New cannot fail: it opens nothing yet
	return conn
}

// explainRules turns an errno of nf_tables into words.
func explainRules(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("rules: %s: %w: nftables needs CAP_NET_ADMIN (run as root)", what, ErrPrivilege)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("rules: %s: %w: it has no nf_tables (CONFIG_NF_TABLES)", what, ErrUnsupported)
	}
	return fmt.Errorf("rules: %s: %w", what, err)
}
