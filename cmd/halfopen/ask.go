package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"halfopen/proxy"
)

// asking makes what a verb does of fn, which asks the gateway behind an admin socket.
func asking(socket *string, fn func(c *cobra.Command, client *proxy.AdminClient, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		client := proxy.NewAdminClient(*socket)
		defer client.Close()
		return fn(c, client, args)
	}
}

// adminFlag is the flag that says which gateway to ask.
func adminFlag(f *pflag.FlagSet, socket *string) {
	f.StringVar(socket, "admin", proxy.DefaultAdminSocket, "admin `SOCKET` of the gateway")
}
