package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"halfopen/conntrack"
	"halfopen/policy"
)

// newPolicyCmd is `halfopen policy`.
func newPolicyCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "List, show, check and compare policies",
		Long: "A policy says what the gateway does about each finding, how long it remembers connections and how it judges their\n" +
			"numbers. It is a preset, by name, or a YAML file; docs/policy.md describes the language. A name can choose values of the\n" +
			"preset's options: NAME:OPTION=VALUE,...",
		Example: "  halfopen policy list\n  halfopen policy check site.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPolicyListCmd(), newPolicyShowCmd(), newPolicyCheckCmd(), newPolicyDiffCmd(), newPolicySchemaCmd())
	return c
}

// openPolicy loads a policy by a preset's name or a file's ("-" is standard input), with settings KEY=VALUE on top. The
// error carries every problem of the file.
func openPolicy(ref string, settings []string) (*policy.Policy, error) {
	var overrides []policy.Override
	for _, s := range settings {
		o, err := policy.ParseOverride(s)
		if err != nil {
			return nil, usagef("%v", err)
		}
		overrides = append(overrides, o)
	}
	return policy.Open(ref, readPolicyFile, overrides...)
}

// readPolicyFile reads a policy file, of one that is too large only as much as shows that.
func readPolicyFile(name string) ([]byte, error) { return readUpTo(name, policy.MaxFileSize) }

// readUpTo reads a file, or standard input for "-": at most one byte more than limit.
func readUpTo(name string, limit int64) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, limit+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

func newPolicyListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the presets",
		Example: "  halfopen policy list",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PRESET\tESTABLISHED\tDESCRIPTION")
			for _, name := range policy.Presets() {
				p, err := openPolicy(name, nil)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", name, policy.FormatDuration(p.Timeouts(-1)[conntrack.Established]), p.Description())
			}
			return w.Flush()
		},
	}
}

func newPolicyCheckCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check policy files and report every problem at once",
		Long:    "check ends with status 1 if a file has a problem. With -o json the problems are one JSON object a line.",
		Example: "  halfopen policy check site.yaml\n  halfopen policy check -o json *.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: text or json", output)
			}
			good := true
			for _, name := range args {
				data, err := readPolicyFile(name)
				if err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "halfopen: %v\n", err)
					good = false
					continue
				}
				p, problems := policy.Load(name, data, readPolicyFile)
				good = good && p != nil
				if err := reportCheck(c.OutOrStdout(), output, name, p, problems); err != nil {
					return err
				}
			}
			if !good {
				return errFound
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// reportCheck prints what was found in one file.
func reportCheck(w io.Writer, output, name string, p *policy.Policy, problems policy.Problems) error {
	switch {
	case output == "json":
		enc := json.NewEncoder(w)
		for i := range problems {
			if err := enc.Encode(&problems[i]); err != nil {
				return err
			}
		}
		return nil
	case p == nil:
		_, err := fmt.Fprintln(w, problems.Error())
		return err
	}
	_, err := fmt.Fprintf(w, "%s: good, %s\n", name, p.Rev())
	return err
}

func newPolicyDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say in what two policies differ",
		Long: "diff compares two policies as they are in force, value by value. Like diff(1) it ends with status 1 if they differ.\n" +
			"Names, descriptions, comments and layout do not count.",
		Example: "  halfopen policy diff openbsd-pf freebsd-pf-classic",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := openPolicy(args[0], nil)
			if err != nil {
				return err
			}
			b, err := openPolicy(args[1], nil)
			if err != nil {
				return err
			}
			differences := policy.Diff(a, b)
			if len(differences) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "%s and %s are the same: %s\n", args[0], args[1], a.Rev())
				return nil
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "--- %s\n+++ %s\n", args[0], args[1])
			for _, d := range differences {
				fmt.Fprintf(out, "%s\n", d.Key)
				for _, side := range []struct{ sign, value string }{{"-", d.A}, {"+", d.B}} {
					if side.value != "" {
						fmt.Fprintf(out, "  %s %s\n", side.sign, side.value)
					}
				}
			}
			return errFound
		},
	}
}

func newPolicySchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of policy files, for editors",
		Example: "  halfopen policy schema > halfopen-policy.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(policy.Schema())
			return err
		},
	}
}
