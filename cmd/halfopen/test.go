package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"halfopen/policy"
	"halfopen/policy/scenario"
)

// newTestCmd plays scenarios.
func newTestCmd() *cobra.Command {
	var ref string
	var update, layout bool
	c := &cobra.Command{
		Use:   "test FILE.scn...",
		Short: "Play scenarios and compare what a policy decides",
		Long: "test plays scripts of segments in virtual time over the same engine as the gateway, and compares each decision with the\n" +
			"one expected. docs/scenarios.md describes the language. A file whose policy is another is tested with --policy.\n\n" +
			"It ends with status 1 where a decision differs or a file has problems.",
		Example: `  halfopen test reuse.scn
  halfopen test *.scn --policy site.yaml
  halfopen test reuse.scn --update`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if layout && !update {
				return usagef("--fmt: only with --update")
			}
			ref, err := scenarioPolicy(ref)
			if err != nil {
				return err
			}
			failed, presets := false, map[string]*policy.Policy{}
			for _, name := range args {
				ok, err := testFile(c, name, ref, presets, update, layout)
				if err != nil { // the others are played all the same
					fmt.Fprintln(c.ErrOrStderr(), "halfopen: "+err.Error())
				}
				failed = failed || !ok || err != nil
			}
			if failed {
				return errFound
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&ref, "policy", "", "policy in place of the one that each file names (`NAME|FILE`)")
	f.BoolVar(&update, "update", false, "write the decisions that came out into the files; comments and layout stay")
	f.BoolVar(&layout, "fmt", false, "with --update: print the files in the canonical layout, too")
	return c
}

// testFile plays one file, says how it went, and reports whether it went as expected.
func testFile(c *cobra.Command, name, ref string, presets map[string]*policy.Policy, update, layout bool) (bool, error) {
	data, err := readUpTo(name, scenario.MaxFileSize)
	if err != nil {
		return false, err
	}
	out := c.OutOrStdout()
	s, problems := scenario.Parse(filepath.ToSlash(name), data)
	if s == nil {
		fmt.Fprintf(out, "FAIL  %s\n%s\n", name, problems.Error())
		return false, nil
	}
	r := s.Run(scenario.Config{Policy: ref, Presets: presets, Read: func(p string) ([]byte, error) { return readPolicyFile(filepath.FromSlash(p)) }})
	if update && r.Played {
		text := r.Update(s)
		if layout {
			if s, problems = scenario.Parse(s.Name(), text); s == nil {
				return false, problems
			}
			text = s.Format()
		}
		if string(text) == string(data) {
			fmt.Fprintf(out, "ok    %s  %d decisions, as written\n", name, r.Decisions)
			return true, nil
		}
		if err := writeFile(name, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			return false, err
		}
		fmt.Fprintf(out, "wrote %s\n", name)
		return true, nil
	}
	if len(r.Problems) > 0 {
		fmt.Fprintf(out, "FAIL  %s\n%s\n", name, r.Problems.Error())
		return false, nil
	}
	fmt.Fprintf(out, "ok    %s  %d decisions\n", name, r.Decisions)
	return true, nil
}
