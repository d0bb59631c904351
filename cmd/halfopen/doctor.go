package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"halfopen/proxy/fastpath"
	"halfopen/proxy/hugepage"
	"halfopen/proxy/nfqueue"
)

// newDoctorCmd is `halfopen doctor`.
func newDoctorCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what the kernel, the privileges and the host's own rules lack for a gateway, and what follows",
		Long: "doctor asks the kernel what halfopen needs of it, in the network namespace that it runs in, and says what follows from each\n" +
			"answer. It leaves nothing behind. It ends with status 1 if something is missing without which no gateway can run.",
		Example: "  halfopen doctor\n  halfopen doctor -o json | jq '.checks[] | select(.level != \"ok\")'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			report := nfqueue.Probe()
			for _, a := range fastpath.Probe() {
				report.Add(a.Name, a.OK, a.Found, a.Means)
			}
			report.Add(hugepage.Probe())
			if err := printReport(c, &report, asJSON); err != nil {
				return err
			}
			if report.Worst() == nfqueue.Fail {
				return errFound
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func printReport(c *cobra.Command, report *nfqueue.Report, asJSON bool) error {
	if !asJSON {
		_, err := report.WriteTo(c.OutOrStdout())
		return err
	}
	b, err := report.JSON()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), string(b))
	return err
}
