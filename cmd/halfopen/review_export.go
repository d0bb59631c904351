package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"halfopen/proxy/review/export"
)

// newReviewExportCmd is `halfopen review export`.
func newReviewExportCmd() *cobra.Command {
	var parquet string
	values := make(map[string]*[]string)
	c := &cobra.Command{
		Use:   "export LOGDIR [KEY:VALUE...]",
		Short: "Write a decision log as a Parquet file, for DuckDB, ClickHouse, Spark, Trino and the like",
		Long: "export writes one row a record, in columns of the names that docs/log.md gives: decision.reason, flow.pkts_toserver.\n" +
			"Objects that a record does not have are null. Filters are those of review, but for outcome, which a query on flow.outcome replaces.\n" +
			"Lines that are no records are told, left out, and the status is then 1.",
		Example: "  halfopen review export /var/log/halfopen --parquet halfopen.parquet\n" +
			"  halfopen review export /var/log/halfopen --parquet drops.parquet --verdict drop --since 24h\n" +
			"  duckdb -c \"select decision.reason, count(*) from 'halfopen.parquet' group by all order by 2 desc\"",
		Args: reviewArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if parquet == "" {
				return usagef("review export: --parquet FILE is missing")
			}
			f, err := reviewFilter(values, args[1:], time.Now())
			if err != nil {
				return err
			}
			if len(f.Outcome) > 0 {
				return usagef("review export: outcome is known only at a connection's end; export all, and ask flow.outcome of the file")
			}
			done, err := exportTo(parquet, c.OutOrStdout(), func(w io.Writer) (export.Done, error) { return export.Parquet(w, args[0], f.Match) })
			for _, b := range done.Bad {
				fmt.Fprintln(c.ErrOrStderr(), b)
			}
			if done.MoreBad > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "and %d bad lines more\n", done.MoreBad)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%d records\n", done.Records)
			if len(done.Bad) > 0 {
				return errFound
			}
			return nil
		},
	}
	addFilterFlags(c.Flags(), values)
	c.Flags().StringVar(&parquet, "parquet", "", "the `FILE` to write; - is stdout")
	return c
}

// exportTo lets write fill a file that takes its name only once it is whole, or stdout for "-".
func exportTo(name string, stdout io.Writer, write func(io.Writer) (export.Done, error)) (done export.Done, err error) {
	if name == "-" {
		return write(stdout)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return done, err
	}
	defer os.Remove(f.Name()) // does nothing once it has its name
	done, err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return done, fmt.Errorf("%s: %w", name, err)
	}
	return done, os.Rename(f.Name(), name)
}
