package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"halfopen/proxy"
)

// newReloadCmd is `halfopen reload`.
func newReloadCmd() *cobra.Command {
	var socket, output string
	c := &cobra.Command{
		Use:   "reload [NAME|FILE]",
		Short: "Make a running gateway load its policy again",
		Long: "reload makes a running gateway (halfopen run --admin SOCKET) load its policy again, or take the preset or file that is\n" +
			"named instead. The policy is parsed and compiled first: one with problems changes nothing, and reload prints them all\n" +
			"and ends with status 1. The gateway's experiments are read again too; one that runs must not change who is in which arm.\n" +
			"What becomes of live flows is the new policy's word (reload: keep, rematch or drop).",
		Example: "  halfopen reload\n  halfopen reload /etc/halfopen/policy.yaml\n  halfopen reload -o json | jq -r .rev",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(&socket, func(c *cobra.Command, client *proxy.AdminClient, args []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			ref := ""
			if len(args) == 1 {
				ref = absolute(args[0])
			}
			res, err := client.Reload(c.Context(), ref)
			var refused *proxy.RefusedError
			if errors.As(err, &refused) {
				return printRefusal(c, refused, asJSON)
			}
			if err != nil {
				return err
			}
			return printReload(c, &res, asJSON)
		}),
	}
	adminFlag(c.Flags(), &socket)
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// absolute makes a file's name mean the same to the gateway, which may work in another directory. A preset's name stays.
func absolute(ref string) string {
	if _, err := os.Stat(ref); err != nil {
		return ref
	}
	if abs, err := filepath.Abs(ref); err == nil {
		return abs
	}
	return ref
}

func printReload(c *cobra.Command, res *proxy.ReloadResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(res)
	}
	for _, change := range res.Experiments {
		fmt.Fprintf(c.OutOrStdout(), "experiment %s\n", change)
	}
	if res.Rev == res.Before {
		_, err := fmt.Fprintf(c.OutOrStdout(), "policy %s: unchanged, %s\n", res.Policy, res.Rev)
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "policy %s\n  before  %s\n  now     %s\n  flows   %s\n", res.Policy, res.Before, res.Rev, res.Flows)
	return err
}

func printRefusal(c *cobra.Command, refused *proxy.RefusedError, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"error": refused.Words, "problems": refused.Problems}); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.ErrOrStderr(), "halfopen: %s\n", refused.Words)
	return errFound
}
