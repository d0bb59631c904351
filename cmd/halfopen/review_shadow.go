package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"halfopen/proxy/review/disagree"
)

// newReviewShadowCmd is `halfopen review shadow`.
func newReviewShadowCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "shadow LOGDIR [NAME]",
		Short: "Say how shadow policies stand to the policy in force",
		Long: "shadow reads the log of a gateway with --shadow (or --dry-run) and says, of each shadow or of the one of that NAME, on how many\n" +
			"connections it first would have done something else, which findings met which, by which rules, and on which connections.\n" +
			"What follows a first disagreement on a connection is not what would have happened: it is counted apart as diverged. It also\n" +
			"says what the numbers do not cover: segments that a busy gateway did not show it, and connections of which it missed some.\n" +
			"'halfopen replay CAPTURE --shadow NAME' gives the same report. It ends with status 1 where a shadow disagrees.",
		Example: "  halfopen review shadow /var/log/halfopen\n" +
			"  halfopen review shadow /var/log/halfopen candidate.yaml\n" +
			"  halfopen review shadow /var/log/halfopen -o json | jq '.shadows[] | {policy, disagreed, diverged, shed}'\n" +
			"  halfopen review /var/log/halfopen --disagrees candidate.yaml",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			only := ""
			if len(args) == 2 {
				only = args[1]
			}
			ctx := c.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			r, err := disagree.Read(ctx, args[0], only)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.WriteText(c.OutOrStdout())
			}
			if err == nil && r.Disagrees() {
				err = errFound
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}
