package main

import "github.com/spf13/cobra"

// newExperimentCmd is `halfopen experiment`.
func newExperimentCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "experiment",
		Short: "Check, watch and stop experiments with policies on live traffic",
		Long: "An experiment decides some clients' connections by another policy and compares how they went. halfopen run\n" +
			"--experiment FILE makes one; docs/experiments.md describes the file, and how to read a result.",
		Example: "  halfopen experiment check exp.yaml\n  halfopen experiment status",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newExperimentCheckCmd(), newExperimentStatusCmd(), newExperimentStopCmd(), newExperimentSchemaCmd())
	return c
}
