package proxy

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"halfopen/proxy/nfqueue"
)

// DefaultMark is the mask of packet-mark bits that belong to halfopen when the operator names none. Other programs' habits
// spare it: kube-proxy uses 0x4000 and 0x8000, Tailscale 0xff0000, Cilium 0x0f00.
const DefaultMark = 0xff000000

// Config is everything that an operator can say about a gateway. The zero value of a field is its default.
type Config struct {
	Policy    string   // a preset's name or a file
	Overrides []string // PATH=VALUE, applied to the policy document before it is compiled

	Experiment         string // a file of experiments, "" for none
	ExperimentInConfig bool   // that file is one of flags' values, whose key experiment it is

	Shadows []string // further policies (presets' names or files) that are shown the same segments after their verdicts; at most 8

	Queues [2]uint16 // first and last main queue; the second queues follow the last one

	// InstallRules makes and removes the rules that feed the queues; otherwise they are the operator's.
	InstallRules bool
	Match        string       // narrows what is queued; "" queues all forwarded TCP
	Hooks        nfqueue.Hook // 0 = forward
	NoTrack      bool         // exempt forwarded flows from the host's own conntrack
	Mark         uint32       // mask of the mark bits that belong to halfopen; 0 = DefaultMark
	FailClosed   bool         // a full queue or a dead process drops instead of letting packets pass
	QueueLen     uint32       // packets that the kernel holds per main queue; 0 = nfqueue.DefaultMaxLen
	QueueBuffer  int          // bytes of a main queue's socket buffer; 0 = enough for QueueLen packets

	FastPath  FastPathMode // whether settled connections may pass by the kernel's fast path
	FastFlows int          // how many it can hold; 0 = DefaultFastFlows

	DryRun bool // decide and log, but forward everything and inject nothing
	Fresh  bool // neither load nor save state, adopt nothing

	LogDir      string        // directory of the decision log, "-" for Stdout, "" for none
	LogFile     int64         // bytes after which a log file is followed by the next; 0 = decisionlog's default
	LogTotal    int64         // bytes kept in all; 0 = decisionlog's default
	LogCompress bool          // finished log files are compressed
	LogAge      time.Duration // files older than this are removed; 0 = no limit
	PcapDir     string        // directory of the annotated capture, "" for none
	PcapFile    int64         // bytes after which a capture file is followed by the next; 0 = capture's default
	PcapTotal   int64         // bytes kept in all; 0 = capture's default
	PcapAge     time.Duration // capture files older than this are removed; 0 = no limit
	StatsEvery  time.Duration // between stats records; 0 = 10 s
	UpdateEvery time.Duration // between flow records of a live flow; 0 = 60 s

	Admin     string // path of the admin socket, "" for none
	Metrics   string // address of the Prometheus listener, "" for none
	ReadyFile string // made when the gateway is ready, "" for none
	StateFile string // where state is saved on a clean stop and loaded at start, "" for none

	Version string
	Stdout  io.Writer
	Logger  *slog.Logger
}

// check completes the configuration and says what is wrong with it.
func (c *Config) check() error {
	if c.Queues[1] < c.Queues[0] {
		return fmt.Errorf("proxy: queues %d-%d: the last is before the first", c.Queues[0], c.Queues[1])
	}
	n := int(c.Queues[1]) - int(c.Queues[0]) + 1
	if n > maxQueues {
		return fmt.Errorf("proxy: %d queues; at most %d", n, maxQueues)
	}
	if int(c.Queues[1])+n > 0xffff {
		return fmt.Errorf("proxy: queues %d-%d leave no numbers for as many second queues behind them", c.Queues[0], c.Queues[1])
	}
	if c.PcapDir != "" && SameDir(c.PcapDir, c.LogDir) {
		return fmt.Errorf("proxy: the decision log and the capture are both to be in %s; each wants a directory of its own", c.LogDir)
	}
	if c.Experiment != "" && c.DryRun {
		return fmt.Errorf("proxy: an experiment under --dry-run: what is only tried does not act, so no arm differs from another; take shadows")
	}
	if c.FastFlows < 0 || c.FastFlows > MaxFastFlows {
		return fmt.Errorf("proxy: a fast path for %d connections; at most %d", c.FastFlows, MaxFastFlows)
	}
	if err := c.Conflict(); err != nil {
		return err
	}
	if c.Mark == 0 {
		c.Mark = DefaultMark
	}
	if c.StatsEvery == 0 {
		c.StatsEvery = 10 * time.Second
	}
	if c.UpdateEvery == 0 {
		c.UpdateEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// SameDir reports whether two names are of one directory, as far as that can be told before there is one.
func SameDir(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return os.SameFile(x, y)
	}
	return filepath.Clean(a) == filepath.Clean(b)
}

// maxQueues bounds the workers of one gateway.
const maxQueues = 64

// workers is how many main queues there are.
func (c *Config) workers() int { return int(c.Queues[1]-c.Queues[0]) + 1 }

// injectMark is the mark of packets that the gateway makes: the mask's lowest bit.
func (c *Config) injectMark() uint32 { return c.Mark & -c.Mark }
