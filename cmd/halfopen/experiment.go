package main

import "github.com/spf13/cobra"

// newExperimentCmd is `halfopen experiment`.
func newExperimentCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "experiment",
		Short: "Plan, check, watch, stop and report experiments with policies on live traffic",
		Long: "An experiment decides some clients' connections by another policy and compares how they went. halfopen run\n" +
			"--experiment FILE makes one; docs/experiments.md describes the file, and how to read a result.",
		Example: "  halfopen experiment plan /var/log/halfopen\n  halfopen experiment check exp.yaml\n  halfopen experiment status\n" +
			"  halfopen experiment report /var/log/halfopen",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newExperimentPlanCmd(), newExperimentCheckCmd(), newExperimentStatusCmd(), newExperimentStopCmd(), newExperimentReportCmd(),
		newExperimentSchemaCmd())
	return c
}
