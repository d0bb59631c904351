package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy"
	"halfopen/proxy/capture"
	"halfopen/proxy/scripted"
)

// newScenarioCmd is `halfopen scenario`.
func newScenarioCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "scenario",
		Short: "Make scenarios of captures and logs, and captures of scenarios",
		Long: "A scenario is a script of segments with the decisions that a policy makes about them (docs/scenarios.md). from makes one of a\n" +
			"connection that was captured or logged; pcap writes one as a capture.",
		Example: "  halfopen scenario from office.pcapng --flow 3 --policy openbsd-pf > redial.scn\n  halfopen scenario pcap redial.scn -o redial.pcapng",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newScenarioFromCmd(), newScenarioPcapCmd())
	return c
}

// fromFlags are what the user asked for.
type fromFlags struct {
	cfg    proxy.ReplayConfig
	flows  []string
	frame  int
	frames string
}

func newScenarioFromCmd() *cobra.Command {
	var f fromFlags
	c := &cobra.Command{
		Use:   "from CAPTURE|LOGDIR --flow ID",
		Short: "Make a scenario of one connection of a capture or of a decision log",
		Long: `from prints what passed between the two ends of a connection as a scenario, with relative numbers and times, and what the policy
decides about it. Several connections of a capture make one scenario. The source is a pcap or pcapng file, - for standard input, or a decision log: a directory or one of its files
(.jsonl). Of a log the decisions are its own; what it only counts (log.detail: decision) lines stand for, and the scenario says so.
Without --flow it says which connections there are, and ends with status 2.

` + proxy.FlowChoiceHelp + `

It ends with status 1 where the source is damaged (what could be read makes the scenario all the same), or holds no such connection.`,
		Example: `  halfopen scenario from office.pcapng --policy openbsd-pf
  halfopen scenario from office.pcapng --policy openbsd-pf --flow 3 > redial.scn
  halfopen scenario from office.pcapng --frame 42 --flow 3 --set limits.per_source=1
  halfopen scenario from office.pcapng --flow '10.2.0.7:721 > 10.3.0.1:515' --frames 1000-1040
  halfopen scenario from /var/log/halfopen --flow 1234567890123 > redial.scn`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	fl := c.Flags()
	fl.StringArrayVar(&f.flows, "flow", nil, "the connection (`ID`, see above; repeatable, of a capture)")
	fl.IntVar(&f.frame, "frame", 0, "the connection that frame `N` of the capture belongs to, from 1")
	fl.StringVar(&f.frames, "frames", "", "only frames `FIRST-LAST` of the capture")
	fl.StringVar(&f.cfg.Policy, "policy", "", "policy that decides (`NAME|FILE`; default observe, for a log the preset that decided)")
	fl.StringArrayVar(&f.cfg.Overrides, "set", nil, "override one key of the policy (`PATH=VALUE`, repeatable)")
	fl.StringVar(&f.cfg.Interface, "interface", "", "only frames of the interface of this `NAME` (pcapng)")
	fl.BoolVar(&f.cfg.Inbound, "inbound", false, "only frames that came in, of a capture of both directions")
	fl.BoolVar(&f.cfg.IgnoreChecksums, "ignore-checksums", false, "take no TCP checksum for wrong")
	fl.BoolVar(&f.cfg.Fresh, "fresh", false, "adopt nothing: connections older than the capture are unknown")
	return c
}

// isLog reports whether a path is a decision log: one of its files, or a directory that is no annotated capture's.
func isLog(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return err == nil && strings.Contains(filepath.Base(path), ".jsonl")
	}
	files, err := capture.Files(path)
	return err != nil || len(files) == 0
}

func (f *fromFlags) run(c *cobra.Command, source string) error {
	given := func(name string) bool { return c.Flags().Changed(name) }
	var choices []*proxy.FlowChoice
	switch {
	case given("frame") && f.frame < 1:
		return usagef("--frame %d: want the number of a frame, from 1", f.frame)
	case given("frame"):
		choices = append(choices, proxy.ChooseFrame(f.frame))
	}
	for _, text := range f.flows {
		choice, err := proxy.ParseFlowChoice(text)
		if err != nil {
			return usagef("--%v", err)
		}
		choices = append(choices, choice)
	}
	cfg := proxy.ScriptConfig{Replay: f.cfg, Flows: choices}
	var ok bool
	if cfg.From, cfg.To, ok = parseFrames(f.frames); !ok {
		return usagef("--frames %q: want FIRST-LAST, from 1", f.frames)
	}
	if isLog(source) {
		for _, name := range []string{"frame", "frames", "interface", "inbound", "ignore-checksums", "fresh"} {
			if given(name) {
				return usagef("--%s wants a capture; %s is a decision log", name, source)
			}
		}
		switch {
		case len(choices) > 1:
			return usagef("--flow twice wants a capture; %s is a decision log", source)
		case f.cfg.Policy == "" && len(f.cfg.Overrides) > 0:
			return usagef("--set wants --policy NAME|FILE with a log")
		}
		return f.fromLog(c, source, choices)
	}
	if cfg.Replay.Policy == "" {
		cfg.Replay.Policy = "observe"
	}
	if _, err := openPolicy(cfg.Replay.Policy, cfg.Replay.Overrides); err != nil {
		return err
	}
	cfg.Replay.Capture, cfg.Replay.Logger = source, newLogger(false)
	bar := newBar(c.ErrOrStderr(), source, false)
	cfg.Replay.Progress = bar.show
	r, err := proxy.ScriptFromCapture(c.Context(), cfg)
	bar.clear()
	if err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.ErrOrStderr(), "halfopen: "+p.Text)
	}
	if r.MoreProblems > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "halfopen: ... and %d more problems\n", r.MoreProblems)
	}
	if r.Text == nil {
		return unchosen(c, source, r.Unclear, r.Meant)
	}
	if _, err := c.OutOrStdout().Write(r.Text); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return errFound
	}
	return nil
}

// parseFrames reads FIRST-LAST, or one number; 0 is no bound.
func parseFrames(text string) (first, last int, ok bool) {
	if text == "" {
		return 0, 0, true
	}
	lo, hi, both := strings.Cut(text, "-")
	if !both {
		hi = lo
	}
	first, err1 := strconv.Atoi(lo)
	last, err2 := strconv.Atoi(hi)
	return first, last, err1 == nil && err2 == nil && first >= 1 && last >= first
}

// fromLog makes the scenario of a decision log.
func (f *fromFlags) fromLog(c *cobra.Command, log string, choices []*proxy.FlowChoice) error {
	if f.cfg.Policy != "" {
		if _, err := openPolicy(f.cfg.Policy, f.cfg.Overrides); err != nil {
			return err
		}
	}
	if len(choices) == 0 {
		all, bad, err := scripted.Connections(log)
		if err != nil {
			return err
		}
		for _, b := range bad {
			fmt.Fprintln(c.ErrOrStderr(), "halfopen:", b)
		}
		return unchosen(c, log, nil, all)
	}
	r, err := scripted.FromLog(log, choices[0].Picks, scripted.Options{Log: filepath.Base(filepath.Clean(log)), Policy: f.cfg.Policy, Overrides: f.cfg.Overrides})
	if err != nil {
		return err
	}
	for _, b := range r.Bad {
		fmt.Fprintln(c.ErrOrStderr(), "halfopen:", b)
	}
	if r.Script == nil {
		return unchosen(c, log, choices[0], r.Meant)
	}
	if _, err := c.OutOrStdout().Write(r.Text); err != nil {
		return err
	}
	if len(r.Bad) > 0 {
		return errFound
	}
	return nil
}

// maxListed bounds the connections that are listed to choose from.
const maxListed = 1000

// unchosen says that no connection was named, or that none or several have the name; those are listed.
func unchosen[T fmt.Stringer](c *cobra.Command, source string, choice *proxy.FlowChoice, meant []T) error {
	w := bufio.NewWriter(c.ErrOrStderr())
	for _, con := range meant[:min(len(meant), maxListed)] {
		fmt.Fprintln(w, con)
	}
	if more := len(meant) - maxListed; more > 0 {
		fmt.Fprintf(w, "... and %d more\n", more)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case len(meant) == 0 && choice == nil:
		return fmt.Errorf("scenario: %s tells of no connection", source)
	case choice == nil:
		return usagef("want --flow ID: one of the connections above")
	case len(meant) == 0:
		return fmt.Errorf("scenario: no connection of %s is %s; without --flow they are listed", source, choice)
	}
	return fmt.Errorf("scenario: %d connections of %s are %s: name one of those above", len(meant), source, choice)
}

func newScenarioPcapCmd() *cobra.Command {
	var out, ref string
	c := &cobra.Command{
		Use:   "pcap FILE.scn -o OUT.pcapng",
		Short: "Write a scenario as a capture, with its decisions as comments",
		Long: `pcap plays a scenario and writes its segments as packets, for Wireshark and for replay: raw IP, from 2026-01-01 00:00 UTC on, each with
the decision and its line of the scenario as comments. What the gateway sends stands on an interface of its own, which replay
passes over. docs/scenarios.md says what no packet can show.

It ends with status 1 where a decision comes out otherwise than the scenario expects, or a line has no packet; the file is written all
the same.`,
		Example: "  halfopen scenario pcap redial.scn -o redial.pcapng\n  halfopen scenario pcap redial.scn --policy site.yaml -o - | tshark -r - -T fields -e frame.number -e frame.comment",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usagef("want -o OUT.pcapng, or -o - for standard output")
			}
			return scenarioPcap(c, args[0], out, ref)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write, or - for standard output")
	c.Flags().StringVar(&ref, "policy", "", "policy in place of the one that the scenario names (`NAME|FILE`)")
	return c
}

func scenarioPcap(c *cobra.Command, name, out, ref string) error {
	data, err := readUpTo(name, scenario.MaxFileSize)
	if err != nil {
		return err
	}
	s, problems := scenario.Parse(filepath.ToSlash(name), data)
	if s == nil {
		return problems
	}
	cfg := scenario.Config{Read: func(p string) ([]byte, error) { return readPolicyFile(filepath.FromSlash(p)) }}
	if cfg.Policy, err = scenarioPolicy(ref); err != nil {
		return err
	}
	var done *proxy.ScriptCapture
	write := func(w io.Writer) (err error) {
		if done, err = proxy.WriteScript(w, s, cfg); err == nil && !done.Result.Played {
			err = done.Result.Problems
		}
		return err
	}
	if out == "-" {
		err = write(c.OutOrStdout())
	} else {
		err = writeFile(out, write)
	}
	if err != nil {
		return err
	}
	words := c.ErrOrStderr()
	for _, list := range []policy.Problems{done.Result.Problems, done.Left} {
		if len(list) > 0 {
			fmt.Fprintln(words, list.Error())
		}
	}
	if out != "-" {
		fmt.Fprintf(words, "wrote %s: %d packets of the scenario, %d that the gateway sends\nreplay it: %s\n", out, done.Packets, done.Made, replayLine(s, out, ref))
	}
	if len(done.Result.Problems)+len(done.Left) > 0 {
		return errFound
	}
	return nil
}

// scenarioPolicy makes a policy's file absolute: what a scenario names is relative to it, what a user names is not.
func scenarioPolicy(ref string) (string, error) {
	if _, _, preset := policy.CutReference(ref); preset || ref == "" {
		return ref, nil
	}
	abs, err := filepath.Abs(ref)
	return filepath.ToSlash(abs), err
}

// replayLine is the command that decides the capture as the scenario was.
func replayLine(s *scenario.Script, out, ref string) string {
	words := []string{"halfopen", "replay", out}
	note := ""
	if ref == "" {
		ref = s.PolicyName()
		if _, along := s.File(ref); along {
			note = " (the policy rides along in the scenario)"
		}
	}
	words = append(words, "--policy", ref)
	for _, set := range s.Settings() {
		words = append(words, "--set", "'"+set+"'")
	}
	if !s.Adopts() {
		words = append(words, "--fresh")
	}
	return strings.Join(words, " ") + note
}

// writeFile writes a file beside its place and puts it there once it is whole, so that a crash leaves the old one. What is no regular
// file is written to as it is.
func writeFile(name string, write func(io.Writer) error) error {
	mode := os.FileMode(0o644)
	if st, err := os.Stat(name); err == nil {
		if !st.Mode().IsRegular() {
			return writeInto(name, write)
		}
		mode = st.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err = write(tmp); err == nil {
		err = tmp.Chmod(mode)
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	return err
}

// writeInto writes into what is there.
func writeInto(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
