// Command halfopen is a firewall whose behaviour is a file: a transparent TCP middlebox on NFQUEUE.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses, as conntrack(8) and diff(1) have them.
const (
	statusGood  = 0
	statusFound = 1 // it found something, or could not do its work
	statusUsage = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRootCmd()
	root.SetArgs(args)
	status, words := outcome(root.ExecuteContext(ctx))
	fmt.Fprint(os.Stderr, words)
	return status
}

// outcome is the exit status that an error of a verb means, and what is left to say about it.
func outcome(err error) (status int, words string) {
	var usage *usageError
	var found *foundError
	switch {
	case err == nil:
		return statusGood, ""
	case errors.As(err, &found) && found.err == nil: // its words are printed already
		return statusFound, ""
	case errors.As(err, &usage):
		return statusUsage, fmt.Sprintf("halfopen: %v\nSee 'halfopen %s-h'.\n", err, usage.path)
	}
	return statusFound, fmt.Sprintf("halfopen: %v\n", err)
}

// newRootCmd puts the verbs together.
func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "halfopen",
		Short:         "A firewall whose behaviour is a file",
		Long:          "halfopen sits inline on a Linux gateway, takes forwarded TCP segments from NFQUEUE, keeps its own connection\ntable, decides each segment by policy and writes down every decision with its reason.",
		Example:       "  halfopen lab run silence-on-the-wire\n  halfopen run --policy lpd-case-2015 --install-rules --log /var/log/halfopen",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return &usageError{fmt.Errorf("unknown verb %q%s", args[0], meant(c, args[0])), ""}
		},
	}
	root.AddCommand(verbs()...)
	wrapUsage(root, "")
	return root
}

// meant is the verb below c that a wrong word resembles, as a hint, or "".
func meant(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(word); len(s) > 0 {
		return fmt.Sprintf(" (did you mean %q?)", s[0])
	}
	return ""
}

// wrapUsage makes wrong flags and arguments of every verb end in status 2, with the verb's own manual named.
func wrapUsage(c *cobra.Command, path string) {
	for _, sub := range c.Commands() {
		wrapUsage(sub, path+sub.Name()+" ")
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err, path} })
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err == nil {
				return nil
			}
			if c.HasAvailableSubCommands() && len(args) > 0 {
				if hint := meant(c, args[0]); hint != "" {
					err = fmt.Errorf("unknown verb %q of '%s'%s", args[0], c.CommandPath(), hint)
				}
			}
			return &usageError{err, path}
		}
	}
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			err := do(c, args)
			var usage *usageError
			if errors.As(err, &usage) && usage.path == "" {
				usage.path = path
			}
			return err
		}
	}
}

// usageError is a wrong flag or argument.
type usageError struct {
	err  error
	path string // the verb and a blank, "" for the program itself
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usage error of a verb that checks more than flags and counts.
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...), ""} }

// foundError ends the program with status 1. With a nil err the verb has printed what there is to say.
type foundError struct{ err error }

func (e *foundError) Error() string {
	if e.err == nil {
		return "found something"
	}
	return e.err.Error()
}

// errFound is a verb's return when it found something and has said so.
var errFound error = &foundError{}
