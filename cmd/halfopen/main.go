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
	err := root.ExecuteContext(ctx)
	var usage *usageError
	var found *foundError
	switch {
	case err == nil:
		return statusGood
	case errors.As(err, &found) && found.err == nil: // its words are printed already
		return statusFound
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "halfopen: %v\nSee 'halfopen %s-h'.\n", err, usage.path)
		return statusUsage
	}
	fmt.Fprintf(os.Stderr, "halfopen: %v\n", err)
	return statusFound
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
			hint := ""
			if s := c.SuggestionsFor(args[0]); len(s) > 0 {
				hint = fmt.Sprintf(" (did you mean %q?)", s[0])
			}
			return &usageError{fmt.Errorf("unknown verb %q%s", args[0], hint), ""}
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(verbs()...)
	wrapUsage(root, "")
	return root
}

// wrapUsage makes wrong flags and arguments of every verb end in status 2.
func wrapUsage(c *cobra.Command, path string) {
	for _, sub := range c.Commands() {
		wrapUsage(sub, path+sub.Name()+" ")
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err, path} })
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{err, path}
			}
			return nil
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
