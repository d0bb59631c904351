package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"halfopen/proxy"
)

// newReplayCmd puts a capture through a policy.
func newReplayCmd() *cobra.Command {
	var cfg proxy.ReplayConfig
	var output string
	var frames bool
	c := &cobra.Command{
		Use:   "replay CAPTURE|DIR",
		Short: "Put a capture through a policy and say what it would have done",
		Long: `replay takes a pcap or pcapng file (or - for standard input; gzip-compressed or not) through the same engine as the gateway, with the
capture's own time, and says what the policy finds, decides and would have sent, and from which frame on a connection would have
gone another way than the capture shows. Each --shadow policy decides the same segments beside it. A directory of a gateway's --pcap is read as
one capture; what the gateway itself made is skipped there, and its decisions are compared with those of the replay.

It ends with status 1 where the capture is damaged, empty or of an unknown link type; what could be read is reported all the same.`,
		Example: `  halfopen replay office.pcapng --policy lpd-case-2015
  halfopen replay office.pcapng --policy observe --shadow openbsd-pf --shadow site.yaml -o json
  halfopen replay office.pcapng --policy site.yaml --set timeouts.established=2m --frames --log /tmp/replayed
  halfopen replay /var/log/halfopen/pcap --policy openbsd-pf
  halfopen replay office.pcapng --policy office.yaml --experiment idle-5m.yaml --log /tmp/replayed
  halfopen replay office.pcapng --policy openbsd-pf --pcap /tmp/annotated`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: want text or json", output)
			}
			if cfg.LogDir == "-" && frames {
				return usagef("--log - and --frames: both write to stdout")
			}
			if err := checkPcap(cfg.PcapDir, cfg.LogDir); err != nil {
				return err
			}
			cfg.Capture, cfg.Version, cfg.Stdout, cfg.Logger = args[0], version(), c.OutOrStdout(), newLogger(false)
			return replay(c, cfg, output == "json", frames)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Policy, "policy", "observe", "policy that decides (`NAME|FILE`)")
	f.StringArrayVar(&cfg.Overrides, "set", nil, "override one key of the policy (`PATH=VALUE`, repeatable)")
	f.StringVar(&cfg.Experiment, "experiment", "", "decide some connections by other policies, as this `FILE` of experiments says")
	f.StringArrayVar(&cfg.Shadows, "shadow", nil, "compare with this policy (`NAME|FILE`, repeatable)")
	f.BoolVar(&frames, "frames", false, "tell what became of each frame")
	f.StringVar(&cfg.Interface, "interface", "", "only frames of the interface of this `NAME` (pcapng)")
	f.BoolVar(&cfg.Inbound, "inbound", false, "only frames that came in: of a gateway's own capture of both its sides, what it was asked about")
	f.BoolVar(&cfg.IgnoreChecksums, "ignore-checksums", false, "take no TCP checksum for wrong")
	f.BoolVar(&cfg.Fresh, "fresh", false, "adopt nothing: connections older than the capture are unknown")
	f.StringVar(&cfg.LogDir, "log", "", "write a decision log to this `DIR`, or - for stdout (the summary then goes to stderr)")
	f.StringVar(&cfg.PcapDir, "pcap", "", "write each packet with its decision as a comment, as pcapng files in this `DIR`")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// replay runs it and prints what it found.
func replay(c *cobra.Command, cfg proxy.ReplayConfig, asJSON, frames bool) error {
	to := c.OutOrStdout()
	if cfg.LogDir == "-" {
		to = c.ErrOrStderr()
	}
	w := proxy.NewReplayWriter(to, asJSON)
	if frames {
		cfg.Frame = w.Frame
	}
	bar := newBar(c.ErrOrStderr(), cfg.Capture, frames && isTerminal(to))
	cfg.Progress = bar.show
	r, err := proxy.RunReplay(c.Context(), cfg)
	bar.clear()
	if err != nil {
		return err
	}
	if err := w.Close(r, frames); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.ErrOrStderr(), "halfopen: "+p.Text)
	}
	if more := r.ProblemsInAll - len(r.Problems); more > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "halfopen: ... and %d more problems\n", more)
	}
	if r.ProblemsInAll > 0 {
		return errFound
	}
	return nil
}

// bar shows on a terminal how much of a file has been read.
type bar struct {
	w     io.Writer // nil: no bar
	total int64     // bytes, 0 where it is not known
	last  time.Time
	drawn bool
}

// newBar returns a bar on w, or one that shows nothing where w is no terminal or quiet is set.
func newBar(w io.Writer, path string, quiet bool) *bar {
	b := &bar{last: time.Now()}
	if quiet || !isTerminal(w) {
		return b
	}
	b.w = w
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		b.total = st.Size()
	}
	return b
}

// barEvery is the time between two drawings, barWidth the width in letters.
const (
	barEvery = 200 * time.Millisecond
	barWidth = 30
)

// show draws the bar, now and then.
func (b *bar) show(done int64) {
	if b.w == nil || time.Since(b.last) < barEvery {
		return
	}
	b.last, b.drawn = time.Now(), true
	if b.total == 0 {
		fmt.Fprintf(b.w, "\r%d MB read", done/1e6)
		return
	}
	done = min(done, b.total)
	full := int(done * barWidth / b.total)
	fmt.Fprintf(b.w, "\r[%s%s] %3d %% of %d MB", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100/b.total, b.total/1e6)
}

// clear takes the bar away.
func (b *bar) clear() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
