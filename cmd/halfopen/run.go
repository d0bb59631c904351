package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"halfopen/proxy"
	"halfopen/proxy/nfqueue"
)

// newRunCmd is the gateway itself.
func newRunCmd() *cobra.Command {
	cfg := proxy.Config{}
	rf := &ruleFlags{}
	var configFile, fastpath, logTotal, logFile, pcapTotal, pcapFile string
	var verbose bool
	c := &cobra.Command{
		Use:   "run --policy NAME|FILE",
		Short: "Run the gateway: decide forwarded TCP segments by policy",
		Long: `run binds the kernel's queues, decides every segment that the rules send there, and logs each decision with its reason.

With --install-rules it makes those rules itself, in a table of its own, and removes them when it ends; without, it serves
the operator's ("halfopen rules print" shows what to paste). A gateway whose halfopen is stopped, killed or overloaded keeps forwarding unless
--fail-closed says otherwise.

SIGHUP and "halfopen reload" load the policy, the shadows and the experiments again; a bad file changes nothing. SIGINT and SIGTERM end it cleanly.`,
		Example: `  halfopen run --policy observe --install-rules --log /var/log/halfopen
  halfopen run --policy office.yaml --install-rules --match 'dport 515' --dry-run --log -
  halfopen run --policy site.yaml --shadow candidate.yaml --shadow openbsd-pf --install-rules --log /var/log/halfopen
  halfopen run --policy openbsd-pf --install-rules --log /var/log/halfopen --pcap /var/log/halfopen/pcap --pcap-total 10GiB
  halfopen run --policy office.yaml --experiment idle-5m.yaml --install-rules --log /var/log/halfopen
  halfopen run --policy lpd-case-2015 --set timeouts.established=2m --queues 0-3 --install-rules --log /var/log/halfopen`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			inline := map[string]func(){"experiment": func() { cfg.Experiment, cfg.ExperimentInConfig = configFile, true }}
			if err := applyConfigFile(c, configFile, inline); err != nil {
				return err
			}
			if cfg.Experiment != "" && cfg.DryRun {
				return usagef("--experiment and --dry-run: what is only tried does not act, so no arm differs from another (see --shadow)")
			}
			if cfg.Policy == "" {
				return usagef("run needs --policy NAME|FILE (see 'halfopen policy list')")
			}
			err := rf.apply(&cfg)
			if err != nil {
				return err
			}
			if cfg.LogTotal, err = parseSize("--log-total", logTotal); err != nil {
				return err
			}
			if cfg.LogFile, err = parseSize("--log-file", logFile); err != nil {
				return err
			}
			if cfg.PcapTotal, err = parseSize("--pcap-total", pcapTotal); err != nil {
				return err
			}
			if cfg.PcapFile, err = parseSize("--pcap-file", pcapFile); err != nil {
				return err
			}
			if err := checkPcap(cfg.PcapDir, cfg.LogDir); err != nil {
				return err
			}
			if cfg.FastPath, err = proxy.ParseFastPathMode(fastpath); err != nil {
				return usagef("--fastpath %q: want auto, on, off or redirect", fastpath)
			}
			if cfg.FastFlows < 1 || cfg.FastFlows > proxy.MaxFastFlows {
				return usagef("--fastpath-flows %d: want 1 to %d", cfg.FastFlows, proxy.MaxFastFlows)
			}
			for flag, d := range map[string]time.Duration{"stats-every": cfg.StatsEvery, "update-every": cfg.UpdateEvery, "log-age": cfg.LogAge, "pcap-age": cfg.PcapAge} {
				if d < 0 {
					return usagef("--%s %v: want a duration of 0s or more", flag, d)
				}
			}
			cfg.Version, cfg.Stdout, cfg.Logger = version(), c.OutOrStdout(), newLogger(verbose)
			return runGateway(c.Context(), cfg)
		},
	}
	rf.add(c)
	f := c.Flags()
	f.StringVar(&cfg.Policy, "policy", "", "preset `NAME|FILE` to enforce")
	f.StringArrayVar(&cfg.Overrides, "set", nil, "override one key of the policy, for example timeouts.established=2m (`PATH=VALUE`, repeatable)")
	f.StringArrayVar(&cfg.Shadows, "shadow", nil, "show this policy the same segments after their verdicts, and log where it disagrees (`NAME|FILE`, repeatable, at most 8)")
	f.StringVar(&cfg.Experiment, "experiment", "", "decide some connections by other policies, as this `FILE` says (see 'halfopen experiment check')")
	f.StringVar(&configFile, "config", "", "YAML `FILE` of defaults for these flags, one 'flag: value' a line; an experiment can stand there itself")
	f.BoolVar(&cfg.InstallRules, "install-rules", false, "make the nftables rules that feed the queues, and remove them at the end")
	f.BoolVar(&cfg.DryRun, "dry-run", false, "decide and log, but forward everything and inject nothing")
	f.Uint32Var(&cfg.QueueLen, "queue-len", 0, "packets that the kernel holds per queue (0: default)")
	f.StringVar(&cfg.LogDir, "log", "", "decision log `DIR`, or - for stdout")
	f.StringVar(&logTotal, "log-total", "1GiB", "total `SIZE` of log files kept; the oldest go first")
	f.StringVar(&logFile, "log-file", "64MiB", "`SIZE` at which a log file is followed by the next")
	f.DurationVar(&cfg.LogAge, "log-age", 0, "remove log files older than this (0: keep)")
	f.BoolVar(&cfg.LogCompress, "log-compress", false, "compress finished log files (zstd, .jsonl.zst) in the background, those of earlier runs too")
	f.StringVar(&cfg.PcapDir, "pcap", "", "capture every packet with its decision as a comment, as pcapng files in this `DIR`")
	f.StringVar(&pcapTotal, "pcap-total", "1GiB", "total `SIZE` of capture files kept; the oldest go first")
	f.StringVar(&pcapFile, "pcap-file", "64MiB", "`SIZE` at which a capture file is followed by the next")
	f.DurationVar(&cfg.PcapAge, "pcap-age", 0, "remove capture files older than this (0: keep)")
	f.DurationVar(&cfg.StatsEvery, "stats-every", 10*time.Second, "time between stats records")
	f.DurationVar(&cfg.UpdateEvery, "update-every", time.Minute, "time between flow records of a live flow")
	f.StringVar(&fastpath, "fastpath", "auto", "kernel fast path for settled connections, `MODE`: auto (where it can be had), on (or do not start), redirect (on, and by the shortest way out), off; see docs/fastpath.md")
	f.IntVar(&cfg.FastFlows, "fastpath-flows", proxy.DefaultFastFlows, "connections that the fast path can hold, `N`; each in use takes about 900 bytes, each other 350")
	f.StringVar(&cfg.Metrics, "metrics", "", "serve Prometheus metrics on `ADDR`, for example 127.0.0.1:9109")
	f.StringVar(&cfg.Admin, "admin", "", "admin `SOCKET` (default: none; 'halfopen flows' looks at /run/halfopen/admin.sock)")
	f.StringVar(&cfg.ReadyFile, "ready-file", "", "`FILE` made when the gateway is ready")
	f.StringVar(&cfg.StateFile, "state", "", "`FILE` where the table is saved on a clean stop and loaded at start")
	f.BoolVar(&cfg.Fresh, "fresh", false, "start with an empty table: load no state, adopt nothing")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more to stderr")
	return c
}

// runGateway runs the gateway. What was asked for beside a fast path and cannot be had with it is wrong usage.
func runGateway(ctx context.Context, cfg proxy.Config) error {
	err := proxy.Run(ctx, cfg)
	var conflict *proxy.FastPathConflict
	if errors.As(err, &conflict) {
		return usagef("%w", conflict)
	}
	return err
}

// checkPcap says what is wrong with where a capture is to be.
func checkPcap(pcap, log string) error {
	switch {
	case pcap == "-":
		return usagef("--pcap -: want a directory; captures are files that rotate")
	case pcap != "" && proxy.SameDir(pcap, log):
		return usagef("--pcap %s is the directory of --log; each wants one of its own", pcap)
	}
	return nil
}

// parseQueues reads "A" or "A-B".
func parseQueues(s string) (q [2]uint16, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	for i, part := range [...]string{from, to} {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 16)
		if err != nil {
			return q, usagef("--queues %q: want A or A-B with numbers from 0 to 65535", s)
		}
		q[i] = uint16(n)
	}
	if q[1] < q[0] {
		return q, usagef("--queues %q: the last number is below the first", s)
	}
	return q, nil
}

// parseHooks reads hook names joined by commas.
func parseHooks(s string) (hooks nfqueue.Hook, err error) {
	for _, name := range strings.Split(s, ",") {
		h, ok := map[string]nfqueue.Hook{"forward": nfqueue.Forward, "input": nfqueue.Input, "output": nfqueue.Output}[strings.TrimSpace(name)]
		if !ok {
			return 0, usagef("--hooks %q: want forward, input or output, joined by commas", s)
		}
		hooks |= h
	}
	return hooks, nil
}

// parseMark reads a mask of packet-mark bits.
func parseMark(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil || n == 0 {
		return 0, usagef("--mark %q: want a mask of at least one bit in 32, for example 0xff000000", s)
	}
	return uint32(n), nil
}

// parseSize reads a number of bytes with an optional binary or decimal unit.
func parseSize(flag, s string) (int64, error) {
	num := strings.TrimRight(s, "KMGTiBb ")
	mult, ok := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "KB": 1e3, "M": 1 << 20, "MiB": 1 << 20, "MB": 1e6,
		"G": 1 << 30, "GiB": 1 << 30, "GB": 1e9, "T": 1 << 40, "TiB": 1 << 40, "TB": 1e12}[strings.TrimSpace(s[len(num):])]
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)/mult {
		return 0, usagef("%s %q: want a size such as 500MB or 2GiB", flag, s)
	}
	return n * mult, nil
}

// newLogger is the operational log: text for a person, JSON for a journal.
func newLogger(verbose bool) *slog.Logger {
	opt := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		opt.Level = slog.LevelDebug
	}
	if os.Getenv("JOURNAL_STREAM") != "" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}
