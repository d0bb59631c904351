package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"halfopen/proxy"
)

// newFlowsCmd is `halfopen flows`.
func newFlowsCmd() *cobra.Command {
	var socket, output string
	var events bool
	terms := map[string]*[]string{}
	c := &cobra.Command{
		Use:   "flows [FILTER...]",
		Short: "List the connections that a running gateway remembers, or follow what happens to them",
		Long: "flows asks a running gateway (halfopen run --admin SOCKET). It prints what conntrack(8) prints, with the flow's id, which\n" +
			"is also the decision log's flow_id. -E follows events as conntrack -E does, until ^C.\n\n" + proxy.FlowFilterHelp +
			"\nThe flags --src, --state and so on say the same as the terms.",
		Example: "  halfopen flows\n" +
			"  halfopen flows --dport 515 --state ESTABLISHED\n" +
			"  halfopen flows -E src=10.2.0.0/16 -o json\n" +
			"  halfopen flows kill src=10.2.3.4 sport=721-731",
		Args: cobra.ArbitraryArgs,
		RunE: asking(&socket, func(c *cobra.Command, client *proxy.AdminClient, args []string) error {
			for _, key := range filterKeys {
				if values := *terms[key]; len(values) > 0 {
					args = append(args, key+"="+strings.Join(values, ","))
				}
			}
			filter, err := checkFilter(args)
			if err != nil {
				return err
			}
			return listFlows(c, client, filter, output, events)
		}),
	}
	f := c.Flags()
	adminFlag(c.PersistentFlags(), &socket)
	f.StringVarP(&output, "output", "o", "conntrack", "conntrack, table, or json (one object a line)")
	f.BoolVarP(&events, "event", "E", false, "follow events instead of listing")
	for _, key := range filterKeys {
		terms[key] = f.StringSlice(key, nil, "only flows with this "+filterWords[key])
	}
	c.AddCommand(newFlowsKillCmd(&socket))
	return c
}

// filterKeys are the keys of the filter language that are flags too.
var filterKeys = [...]string{"src", "dst", "addr", "sport", "dport", "port", "state", "id"}

var filterWords = map[string]string{"src": "`ADDRESS` or CIDR of the end that opened it", "dst": "`ADDRESS` or CIDR of the other end",
	"addr": "`ADDRESS` or CIDR of either end", "sport": "`PORT` or range of the end that opened it", "dport": "`PORT` or range of the other end",
	"port": "`PORT` or range of either end", "state": "`STATE`, for example ESTABLISHED", "id": "flow `ID`"}

// checkFilter joins the terms of a filter and refuses what is none.
func checkFilter(terms []string) (string, error) {
	filter := strings.Join(terms, " ")
	if _, err := proxy.ParseFlowFilter(filter); err != nil {
		return "", usagef("%v", err)
	}
	return filter, nil
}

// listFlows prints a listing or follows events.
func listFlows(c *cobra.Command, client *proxy.AdminClient, filter, output string, events bool) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 1<<16)
	put, finish, err := flowPrinter(out, output)
	if err != nil {
		return err
	}
	n := 0
	each := func(f *proxy.Flow) error {
		n++
		if f.Dropped > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "halfopen: %d events were lost here: this reader is too slow\n", f.Dropped)
		}
		if err := put(f); err != nil || !events {
			return err
		}
		if err := finish(); err != nil {
			return err
		}
		return out.Flush()
	}
	if events {
		return client.Events(c.Context(), filter, each)
	}
	err = client.Flows(c.Context(), filter, each)
	if err := finish(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err == nil && output != "json" {
		fmt.Fprintf(c.ErrOrStderr(), "halfopen: %d flows\n", n)
	}
	return err
}

// flowPrinter returns what prints one flow in a format, and what finishes the printing.
func flowPrinter(w io.Writer, output string) (put func(*proxy.Flow) error, finish func() error, err error) {
	nothing := func() error { return nil }
	switch output {
	case "conntrack":
		var buf []byte
		return func(f *proxy.Flow) error {
			buf = f.AppendConntrack(buf[:0])
			_, err := w.Write(buf)
			return err
		}, nothing, nil
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(f *proxy.Flow) error { return enc.Encode(f) }, nothing, nil
	case "table":
		t := proxy.NewFlowTable(tabwriter.NewWriter(w, 8, 0, 2, ' ', 0))
		return func(f *proxy.Flow) error { t.Put(f); return nil }, t.Close, nil
	}
	return nil, nil, usagef("-o %q: want conntrack, table or json", output)
}

// newFlowsKillCmd is `halfopen flows kill`.
func newFlowsKillCmd(socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "kill FILTER...",
		Short: "Make the gateway forget connections",
		Long: "kill makes the gateway forget the connections that a filter picks, as if their timers had run out; the ends are told\n" +
			"nothing. Their next segments are judged as the policy judges what it does not know.\n\n" + proxy.FlowFilterHelp,
		Example: "  halfopen flows kill id=1234567890123\n  halfopen flows kill dst=192.0.2.7 dport=515 state=ESTABLISHED\n  halfopen flows kill all",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(socket, func(c *cobra.Command, client *proxy.AdminClient, args []string) error {
			filter, err := checkFilter(args)
			if err != nil {
				return err
			}
			return killFlows(c.Context(), c, client, filter)
		}),
	}
}

// killFlows ends with status 1 where the filter picks nothing, as conntrack -D does.
func killFlows(ctx context.Context, c *cobra.Command, client *proxy.AdminClient, filter string) error {
	n, err := client.Kill(ctx, filter)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "halfopen: %d flows killed\n", n)
	if n == 0 {
		return errFound
	}
	return nil
}
