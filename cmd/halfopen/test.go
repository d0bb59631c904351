package main

import (
	"fmt"
	"os"
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
			if ref != "" {
				if _, _, preset := policy.CutReference(ref); !preset {
					abs, err := filepath.Abs(ref)
					if err != nil {
						return err
					}
					ref = abs
				}
			}
			failed := false
			for _, name := range args {
				ok, err := testFile(c, name, ref, update, layout)
				if err != nil {
					return err
				}
				failed = failed || !ok
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
func testFile(c *cobra.Command, name, ref string, update, layout bool) (bool, error) {
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
	r := s.Run(scenario.Config{Policy: filepath.ToSlash(ref), Read: func(p string) ([]byte, error) { return readPolicyFile(filepath.FromSlash(p)) }})
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
		if err := replaceFile(name, text); err != nil {
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

// replaceFile writes a file anew beside the old one and puts it in its place, so that a crash leaves one of the two whole.
func replaceFile(name string, data []byte) error {
	mode := os.FileMode(0o644)
	if st, err := os.Stat(name); err == nil {
		mode = st.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
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
