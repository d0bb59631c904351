package main

import (
	"github.com/spf13/cobra"

	"halfopen/proxy"
	"halfopen/proxy/nfqueue"
)

// newRulesCmd shows, makes and removes the rules that feed the queues.
func newRulesCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "rules",
		Short:   "Print, install or remove the rules that feed the queues",
		Long:    "The rules live in a table of their own, with a counter in front of the queue. Nothing else of the host's rule set is touched.",
		Example: "  halfopen rules print --queues 0-3 --match 'dport 515'\n  halfopen rules install --queues 0-1\n  halfopen rules remove",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRulesVerb("print", "Print the rules as commands that can be pasted", "  halfopen rules print --queues 0-1 > halfopen.nft",
		func(c *cobra.Command, rs *nfqueue.RuleSet) error { return rs.Print(c.OutOrStdout()) }))
	c.AddCommand(newRulesVerb("install", "Install the rules; they stay when no gateway runs, and packets pass then", "  halfopen rules install --queues 0-1 --match 'dport 515'",
		func(c *cobra.Command, rs *nfqueue.RuleSet) error {
			rs.KeepCount = true // a gateway may be running that was started without --install-rules
			done, err := rs.Install()
			if err == nil {
				c.PrintErrf("installed as %v in families %v\n", done.Form, done.Families)
			}
			return err
		}))
	c.AddCommand(newRulesVerb("remove", "Remove the rules", "  halfopen rules remove",
		func(_ *cobra.Command, rs *nfqueue.RuleSet) error { return rs.Remove() }))
	return c
}

// newRulesVerb is one verb of rules, with the flags that describe them.
func newRulesVerb(use, short, example string, do func(*cobra.Command, *nfqueue.RuleSet) error) *cobra.Command {
	rf := &ruleFlags{}
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		cfg := proxy.Config{}
		if err := rf.apply(&cfg); err != nil {
			return err
		}
		rs, err := proxy.RuleSet(&cfg)
		if err != nil {
			return usagef("--match: %v", err)
		}
		return do(c, rs)
	}}
	rf.add(c)
	return c
}

// ruleFlags are the flags that say what is queued, shared by run and rules.
type ruleFlags struct {
	queues, mark, hooks, match string
	notrack, failClosed        bool
}

func (rf *ruleFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&rf.queues, "queues", "0", "main queues, `A` or A-B; one worker each, second queues follow B")
	f.StringVar(&rf.match, "match", "", "queue only what matches `EXPR`, for example 'dport 515'")
	f.StringVar(&rf.hooks, "hooks", "forward", "`HOOKS` to queue at: forward, input, output, joined by commas")
	f.BoolVar(&rf.notrack, "notrack", false, "exempt forwarded flows from the host's own conntrack; refused beside rules that need it")
	f.BoolVar(&rf.failClosed, "fail-closed", false, "drop what a full queue or a dead process cannot decide (default: let it pass)")
	f.StringVar(&rf.mark, "mark", "0xff000000", "`MASK` of packet-mark bits that belong to halfopen")
}

// apply puts the flags into a gateway's configuration.
func (rf *ruleFlags) apply(cfg *proxy.Config) (err error) {
	if cfg.Queues, err = parseQueues(rf.queues); err != nil {
		return err
	}
	if cfg.Mark, err = parseMark(rf.mark); err != nil {
		return err
	}
	if cfg.Hooks, err = parseHooks(rf.hooks); err != nil {
		return err
	}
	if _, err := nfqueue.ParseMatch(rf.match); err != nil {
		return usagef("--match: %v", err)
	}
	cfg.Match, cfg.NoTrack, cfg.FailClosed = rf.match, rf.notrack, rf.failClosed
	return nil
}
