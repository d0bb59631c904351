//go:build netns

package lab

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// profiler takes a profile of each load under each mode with perf (Debian: linux-perf) into dir, and reads the run time of the BPF programs
// that the gateway holds (sysctl kernel.bpf_stats_enabled). What it found is logged at the end of the test.
func profiler(t *testing.T, dir string) func(mode, load string, pid int) func() {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const knob = "/proc/sys/kernel/bpf_stats_enabled"
	was, err := os.ReadFile(knob)
	if err == nil {
		err = os.WriteFile(knob, []byte("1"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(knob, was, 0o644) })
	parts := 0
	return func(mode, load string, pid int) func() {
		parts++
		file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.data", mode, load, parts))
		cmd := exec.Command("perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", "1999", "-o", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 200 { // until it records
			if st, err := os.Stat(file); err == nil && st.Size() > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		runs, ns := bpfRuns(pid)
		return func() {
			runs2, ns2 := bpfRuns(pid)
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait() // ends with the signal's status
			shares, err := profileShares(file)
			if err != nil {
				t.Logf("%s, %s: %v", mode, load, err)
				return
			}
			if runs2 > runs {
				shares = append(shares, fmt.Sprintf("BPF %d runs of %d ns", runs2-runs, (ns2-ns)/(runs2-runs)))
			}
			t.Logf("%s, %s: %s", mode, load, strings.Join(shares, "; "))
		}
	}
}

// bpfRuns sums how often the programs of a process ran, and for how long.
func bpfRuns(pid int) (runs, ns uint64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "prog_type:") {
			continue
		}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			switch key {
			case "run_cnt":
				runs += n
			case "run_time_ns":
				ns += n
			}
		}
	}
	return runs, ns
}

// profiled are the names of threads that have to do with a load: both ends, the gateway, and the kernel's own.
var profiled = regexp.MustCompile(`^(lab\.|halfopen|yardstick|swapper|ksoftirqd|kworker|rcu)`)

// profileKinds sort symbols of a profile into parts; the first that fits counts.
var profileKinds = []struct {
	part    string
	symbols *regexp.Regexp
}{
	{"idle", regexp.MustCompile(`^(pv_native_safe_halt|default_idle|native_safe_halt|acpi_|intel_idle|cpuidle|do_idle|poll_idle|kvm_)`)},
	{"queue", regexp.MustCompile(`^(nfq|__nfq|nfnl|nfnetlink|nf_queue|__nf_queue|nf_reinject|netlink|__netlink|nla_|__nla|nlmsg|sock_def_readable|skb_copy_bits|skb_zerocopy|sk_filter)`)},
	{"filter", regexp.MustCompile(`^(nf_|nft_|__nft|ip_forward|ip_local|conntrack|ipt_)`)},
	{"BPF", regexp.MustCompile(`^(bpf_|__bpf|___bpf|htab_|__htab|array_map|tcx|sch_handle_ingress|tc_run|cls_|tcf_)`)},
	{"copy", regexp.MustCompile(`^(copy_|_copy_|__copy|rep_movs|memcpy|memmove|csum_|do_csum|clear_page|skb_splice|iov_)`)},
	{"TCP and sockets", regexp.MustCompile(`^(tcp_|__tcp|inet_|__inet|sock_|__sys|sk_|__sk_|release_sock|lock_sock|ip_queue_xmit|__ip_queue)`)},
	{"IP, veth, skbs", regexp.MustCompile(`^(ip_|__ip|fib_|neigh|eth_|veth|dev_|__dev|netif|__netif|napi|skb_|__skb|kfree_skb|alloc_skb|__alloc_skb|consume_skb|validate_xmit|net_rx|process_backlog|gro_|kmem|__kmem|page_frag|build_skb|rt_|dst_|ipv4_|slab|__slab|kmalloc|kfree|__kmalloc|pskb|xdp)`)},
	{"scheduling", regexp.MustCompile(`^(schedul|__sched|try_to_wake|ttwu|enqueue|dequeue|pick_|update_|finish_task|futex|__futex|switch_|select_|sched_|put_prev|set_next|psi_|reweight|resched|wake|__wake|ep_|do_epoll|hrtimer|timer|poll|native_smp|_raw_spin|raw_spin|__raw|rcu|__rcu|irq|__irq|handle_softirq|__do_softirq|__local_bh|cpuacct|avg_vruntime)`)},
}

// profileShares returns the parts of a profile, as shares of what is not idle and has to do with the load, with the largest symbols of each.
func profileShares(file string) ([]string, error) {
	out, err := exec.Command("perf", "report", "-i", file, "--stdio", "-q", "--no-children", "-F", "overhead,comm,dso,sym", "-t", "\t", "-s", "comm,dso,sym").Output()
	if err != nil {
		return nil, fmt.Errorf("perf report %s: %w", file, err)
	}
	sums, symbols := map[string]float64{}, map[string]map[string]float64{}
	busy := 0.0
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		f := strings.Split(s.Text(), "\t")
		if len(f) < 4 || strings.HasPrefix(f[0], "#") {
			continue
		}
		share, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(f[0]), "%"), 64)
		if err != nil {
			continue
		}
		comm, dso := strings.TrimSpace(f[1]), strings.TrimSpace(f[2])
		symbol := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(f[3]), "[k]"), "[.]"))
		part := "other kernel"
		switch {
		case strings.HasPrefix(symbol, "bpf_prog_"):
			part = "BPF"
		case dso == "halfopen":
			part = "halfopen's own code"
		case strings.HasPrefix(dso, "lab.test"):
			part = "the lab's own code"
		case strings.HasPrefix(dso, "[kernel"):
			for _, k := range profileKinds {
				if k.symbols.MatchString(symbol) {
					part = k.part
					break
				}
			}
		default:
			part = dso
		}
		if !profiled.MatchString(comm) || part == "idle" || comm == "perf" || comm == "swapper" && part == "other kernel" && strings.Contains(symbol, "halt") {
			continue
		}
		busy += share
		sums[part] += share
		if symbols[part] == nil {
			symbols[part] = map[string]float64{}
		}
		symbols[part][symbol] += share
	}
	if busy == 0 {
		return nil, fmt.Errorf("perf report %s: nothing in it:\n%.400s", file, out)
	}
	var parts []string
	for part := range sums {
		parts = append(parts, part)
	}
	falling := func(of map[string]float64) func(a, b string) int {
		return func(a, b string) int { return cmp.Compare(of[b], of[a]) }
	}
	slices.SortFunc(parts, falling(sums))
	var lines []string
	for _, part := range parts {
		if sums[part] >= busy/100 {
			var tops []string
			for _, symbol := range slices.SortedFunc(maps.Keys(symbols[part]), falling(symbols[part])) {
				if tops = append(tops, fmt.Sprintf("%s %.1f", symbol, 100*symbols[part][symbol]/busy)); len(tops) == 5 {
					break
				}
			}
			lines = append(lines, fmt.Sprintf("%s %.0f%% (%s)", part, 100*sums[part]/busy, strings.Join(tops, ", ")))
		}
	}
	return append([]string{fmt.Sprintf("%.0f%% busy with it", busy)}, lines...), nil
}
