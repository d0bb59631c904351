package nfqueue

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// privileges looks at the effective capabilities of this thread.
func (r *Report) privileges() {
	caps := effectiveCaps()
	r.yes("CAP_NET_ADMIN", caps&(1<<unix.CAP_NET_ADMIN) != 0, Fail, "held", "missing",
		"queues and rules are out of reach, and the checks below fail for want of privilege; run as root")
	r.yes("CAP_NET_RAW", caps&(1<<unix.CAP_NET_RAW) != 0, Fail, "held", "missing",
		"no segment can be injected: actions with a reply or a message to the peer do not work")
}

func effectiveCaps() uint64 {
	b, _ := os.ReadFile("/proc/thread-self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return n
		}
	}
	return 0
}

// queue binds a free queue number with each option.
func (r *Report) queue() {
	try := func(cfg Config) error {
		cfg.Number, cfg.MaxLen, cfg.CopyRange, cfg.Batch = freeQueue(), 1, 64, 1
		q, err := Open(cfg)
		if err != nil {
			return err
		}
		return q.Close()
	}
	if err := try(Config{}); err != nil {
		r.add("nfnetlink_queue", Fail, err.Error(), "no packet can be queued: halfopen cannot run inline on this kernel; "+
			"replay, test and policy still work")
		return
	}
	r.add("nfnetlink_queue", OK, "queues can be bound", "")
	err := try(Config{FailOpen: true})
	r.yes("fail-open flag", err == nil, Warn, "accepted", fmt.Sprint(err),
		"when a queue is full, packets are dropped; fail-open is not to be had")
	err = try(Config{GSO: true})
	r.yes("GSO flag", err == nil, Warn, "accepted", fmt.Sprint(err),
		"the kernel cuts super-packets before queueing them: many more messages for the same traffic")
}

// freeQueue picks a number that nobody has bound, from the top, where hardly anybody looks.
func freeQueue() uint16 {
	bound := map[uint16]bool{}
	all, _ := ReadProc()
	for _, st := range all {
		bound[st.Queue] = true
	}
	n := uint16(0xffff)
	for bound[n] && n > 0 {
		n--
	}
	return n
}

// rules offers each kind of rule that Install may use.
func (r *Report) rules() {
	inet := nftables.TableFamilyINet
	if err := accepts(inet, verdict(expr.VerdictReturn)); err != nil {
		r.add("nf_tables", Fail, explainRules("a rule", err).Error(), "halfopen cannot install rules; they must come from elsewhere")
		return
	}
	native := accepts(inet, nativeQueue(0, 0, true))
	form, families, err := choose(Auto)
	switch {
	case err != nil:
		r.add("queue rules", Fail, err.Error(), "halfopen cannot send packets to its queues")
	case form == Native:
		r.add("queue rules", OK, "nft's queue statement", "")
	default:
		names := make([]string, len(families))
		for i, f := range families {
			names[i] = familyName(f)
		}
		r.add("queue rules", OK, fmt.Sprintf("the xtables target NFQUEUE in %s tables (nft's queue statement: %v)", strings.Join(names, " and "), short(native)),
			"`nft list ruleset` may not be able to show or reload these rules; `halfopen rules print` gives iptables lines")
	}
	r.yes("named counters", acceptsCounter() == nil, Fail, "accepted", "refused",
		"the rules count packets in front of the queue with one; without it they cannot be installed")
	r.yes("notrack", hasNoTrack(inet), Warn, "accepted", "refused",
		"injected segments pass the host's connection tracking, if it has one, and --notrack does not work")
}

// short is the errno of a refusal.
func short(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return fmt.Sprint(err)
}

// acceptsCounter offers a named counter, in the manner of accepts.
func acceptsCounter() error {
	conn := dial()
	t := conn.AddTable(&nftables.Table{Name: fmt.Sprintf("halfopen-probe-%d", os.Getpid()), Family: nftables.TableFamilyINet})
	conn.AddObj(&nftables.NamedObj{Table: t, Name: CounterName, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	conn.DelTable(t)
	return conn.Flush()
}

// host looks at the rules beside ours.
func (r *Report) host() {
	n, err := Inspect(DefaultTable)
	if err != nil {
		r.add("other rules", Warn, err.Error(), "NAT, connection-state rules, fan-out and flowtables could not be looked for")
		return
	}
	r.yes("halfopen's own table", !n.OurTable, OK, "not installed", "installed (a running halfopen, or one that was killed)",
		"after a kill it is harmless, and the next run with the same queues replaces it")
	if n.OurTable {
		_, ok, err := (&RuleSet{}).FastCounter()
		r.yes("fast path's rule", ok && err == nil, Warn, "in halfopen's own table", "not in halfopen's own table",
			"what a fast path has decided is queued all the same, until it stands down; install the rules anew")
	}
	list := func(name string, places []string, level Level, none, means string) {
		r.yes(name, len(places) == 0, level, none, strings.Join(places, ", "), means)
	}
	nat := n.NAT
	if len(nat) == 0 && n.HostNAT() {
		nat = []string{"legacy xtables table nat"}
	}
	list("address translation", nat, OK, "none",
		"injected segments are translated like the flow they belong to; decision logs show addresses as the forward hook sees them")
	list("connection-state rules", n.CtState, OK, "none",
		"--notrack is refused, because untracked flows would not pass these rules")
	list("queue fan-out", n.Fanout, Warn, "none",
		"with CPU fan-out both directions of a flow can reach different queues; take the fanout flag out if the queue is halfopen's")
	list("flowtable offload", n.Offload, Warn, "none",
		"established flows bypass the forward hook, so halfopen sees only their beginning; exclude what it shall guard")
	list("rules that set marks", n.Marks, Warn, "none that touches halfopen's bits",
		"they set mark bits that are halfopen's (0xff000000 unless --mark says otherwise) after a fast path has; what they clear stands it down, "+
			"what they restore from a connection's mark can be an old one; keep these bits in their masks, or give halfopen others by --mark")
	list("legacy xtables", n.Legacy, Warn, "none",
		"their rules cannot be inspected for the questions above")
	list("unreadable chains", n.Unread, Warn, "none", "their rules could not be inspected for the questions above")
}

// forwarding reads the sysctls that decide what the gateway sees at all.
func (r *Report) forwarding() {
	v4, v6 := sysctl("net/ipv4/ip_forward"), sysctl("net/ipv6/conf/all/forwarding")
	r.yes("forwarding", v4 == "1" || v6 == "1", Warn, fmt.Sprintf("IPv4 %s, IPv6 %s", onOff(v4), onOff(v6)), "off for IPv4 and IPv6",
		"nothing passes through this host; set net.ipv4.ip_forward or net.ipv6.conf.all.forwarding to 1")
	strict := strictReversePath()
	r.yes("reverse-path filter", len(strict) == 0, Warn, "not strict", "strict (rp_filter=1) on "+strings.Join(strict, ", "),
		"where the two directions of a flow use different interfaces, the host drops one before halfopen sees it")
	if loose, liberal := sysctl("net/netfilter/nf_conntrack_tcp_loose"), sysctl("net/netfilter/nf_conntrack_tcp_be_liberal"); loose == "" {
		r.add("host connection tracking", OK, "not loaded", "")
	} else {
		r.add("host connection tracking", OK, fmt.Sprintf("loaded, tcp_loose=%s tcp_be_liberal=%s", loose, liberal),
			"it keeps its own view of each flow; where the host's rules drop state INVALID they can drop what halfopen forwards")
	}
	rmem, _ := strconv.Atoi(sysctl("net/core/rmem_max"))
	want := Config{CopyRange: 256}.withDefaults().ReadBuffer
	r.yes("receive buffer", rmem >= want || effectiveCaps()&(1<<unix.CAP_NET_ADMIN) != 0, Warn,
		fmt.Sprintf("%d bytes can be had for a queue (net.core.rmem_max=%d)", want, rmem), fmt.Sprintf("at most net.core.rmem_max=%d bytes", rmem),
		"bursts overflow the queue's socket sooner; raise net.core.rmem_max or run with CAP_NET_ADMIN")
}

// strictReversePath lists the interfaces with the strict filter: the higher of "all" and the interface's own value
// counts (Documentation/networking/ip-sysctl.rst), and 2 is the loose one.
func strictReversePath() []string {
	var strict []string
	all := sysctl("net/ipv4/conf/all/rp_filter")
	dirs, _ := os.ReadDir("/proc/sys/net/ipv4/conf")
	for _, d := range dirs {
		if name := d.Name(); name != "all" && name != "default" && name != "lo" {
			if max(all, sysctl("net/ipv4/conf/"+name+"/rp_filter")) == "1" {
				strict = append(strict, name)
			}
		}
	}
	return strict
}

func sysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + name) // absent where the kernel lacks the facility
	return strings.TrimSpace(string(b))
}

func onOff(v string) string {
	switch v {
	case "1":
		return "on"
	case "":
		return "absent"
	}
	return "off"
}
