package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/web"
	"halfopen/proxy/scripted"
)

// serveOptions are the flags of `halfopen review serve`.
type serveOptions struct {
	listen    string
	pcap      string
	tokenFile string
	keyFile   string
}

// newReviewServeCmd is `halfopen review serve`.
func newReviewServeCmd() *cobra.Command {
	var opt serveOptions
	c := &cobra.Command{
		Use:   "serve LOGDIR",
		Short: "Show a decision log as a page",
		Long: "serve shows a log directory, which a gateway may be writing to, in a browser: what went wrong, records by filters, a flow's\n" +
			"ladder and story, which policy was in force when. It writes nothing but the index (" + index.FileName + ").\n" +
			"Beyond loopback it listens only with --token-file. It speaks HTTP without encryption: put a proxy with TLS before it, or\n" +
			"reach it through ssh -L 8686:127.0.0.1:8686.",
		Example: "  halfopen review serve /var/log/halfopen\n" +
			"  halfopen review serve /var/log/halfopen --pcap /var/log/halfopen/pcap --listen 127.0.0.1:9000\n" +
			"  halfopen review serve /var/log/halfopen --listen 10.0.0.5:8686 --token-file /etc/halfopen/token",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return opt.serve(c, args[0]) },
	}
	fl := c.Flags()
	fl.StringVar(&opt.listen, "listen", "127.0.0.1:8686", "address and port; beyond loopback with --token-file only")
	fl.StringVar(&opt.pcap, "pcap", "", "directory of annotated captures (run --pcap) that packets are taken from")
	fl.StringVar(&opt.tokenFile, "token-file", "", "file with a token of 16 bytes or more, mode 0600; who looks must tell it")
	fl.StringVar(&opt.keyFile, "anonymize", "", "file with a key of 16 bytes or more, mode 0600: addresses are mapped, prefixes kept")
	return c
}

// config makes the server's configuration of the flags.
func (o *serveOptions) config(dir string) (cfg web.Config, err error) {
	cfg.Dir = dir
	if cfg.Loopback, err = loopbackListen(o.listen); err != nil {
		return cfg, usagef("--listen %s: %v", o.listen, err)
	}
	if !cfg.Loopback && o.tokenFile == "" {
		return cfg, usagef("--listen %s: others could read the log there; beyond loopback give --token-file FILE", o.listen)
	}
	if o.tokenFile != "" {
		if cfg.Token, err = web.ReadToken(o.tokenFile); err != nil {
			return cfg, fmt.Errorf("--token-file: %w", err)
		}
	}
	if o.keyFile != "" {
		key, err := web.ReadSecret(o.keyFile)
		if err != nil {
			return cfg, fmt.Errorf("--anonymize: %w", err)
		}
		if cfg.Anonymizer, err = web.NewAnonymizer(key); err != nil {
			return cfg, fmt.Errorf("--anonymize: %s: %w", o.keyFile, err)
		}
	}
	if o.pcap != "" {
		if st, err := os.Stat(o.pcap); err != nil {
			return cfg, fmt.Errorf("--pcap: %w", err)
		} else if !st.IsDir() {
			return cfg, fmt.Errorf("--pcap: %s is no directory", o.pcap)
		}
		cfg.Capture = func(w io.Writer, flow uint64, from, until time.Time) (int, error) {
			return capture.ExtractFlow(w, o.pcap, capture.Pick{Flow: flow, From: from, Until: until})
		}
	}
	cfg.Scenario = scenarioOf
	return cfg, nil
}

// scenarioOf makes a scenario of a connection's records.
func scenarioOf(records []*decisionlog.Event) (string, error) {
	b := scripted.New(scripted.Options{Log: "the page"})
	for _, e := range records {
		b.Add(e)
	}
	s, err := b.Script()
	if err != nil {
		return "", err
	}
	return string(s.Text), nil
}

// loopbackListen says whether an address to listen on is of loopback alone. A name counts as what it stands for.
func loopbackListen(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, errors.New("expected ADDRESS:PORT")
	}
	if host == "" {
		return false, nil // every address
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback(), nil
	}
	addrs, err := net.LookupHost(host)
	if err != nil || len(addrs) == 0 {
		return false, fmt.Errorf("no address of %s is known", host)
	}
	for _, s := range addrs {
		if a, err := netip.ParseAddr(s); err != nil || !a.Unmap().IsLoopback() {
			return false, nil
		}
	}
	return true, nil
}

// serve answers until it is interrupted.
func (o *serveOptions) serve(c *cobra.Command, dir string) error {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	cfg, err := o.config(dir)
	if err != nil {
		return err
	}
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("review: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("review: %s is no directory; the page shows log directories", dir)
	}
	cfg.Logger = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
	var srv *web.Server
	cfg.Index, err = index.OpenOnly(dir, index.Options{
		Warn: func(s string) { fmt.Fprintln(c.ErrOrStderr(), "review: "+s) },
		Progress: func(p index.Progress) {
			if srv != nil {
				srv.Progress(p)
			}
		},
	})
	if err != nil {
		return err
	}
	defer cfg.Index.Close()
	if srv, err = web.New(cfg); err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("review: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); cfg.Loopback && (!ok || !a.IP.IsLoopback()) { // a name that meant something else meanwhile
		return errors.Join(fmt.Errorf("review: %s is not loopback", l.Addr()), l.Close())
	}
	fmt.Fprintf(c.OutOrStdout(), "http://%s/\n", l.Addr())
	return serveUntil(ctx, l, srv)
}

// serveUntil runs the server until ctx ends.
func serveUntil(ctx context.Context, l net.Listener, srv *web.Server) error {
	ctx, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		srv.Run(ctx)
	}()
	h := &http.Server{Handler: srv, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
		end, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if h.Shutdown(end) != nil {
			_ = h.Close()
		}
	case err = <-failed:
	}
	stop()
	<-kept
	return err
}
