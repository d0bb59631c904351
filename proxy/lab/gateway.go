package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// PlainForwarding is the policy name under which a gateway runs no halfopen at all: the kernel forwards, as a control.
const PlainForwarding = "none"

// Bounds on a gateway's start and end. They are generous: cells of a matrix share the processor.
const (
	readyLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
)

// gatewayConfig says how one gateway process runs.
type gatewayConfig struct {
	binary  string   // the halfopen program
	policy  string   // name or file; PlainForwarding for none
	set     []string // PATH=VALUE overrides of policy keys
	logDir  string   // decision log
	pcapDir string   // annotated capture, "" for none
	stderr  string   // file
	more    []string // further arguments
	runDir  string   // short path for the admin socket and the ready file
}

// gateway is a running halfopen; the zero value is plain forwarding.
type gateway struct {
	proc *process
}

// startGateway runs `halfopen run` inside the namespace and waits until it reports that it is ready.
func startGateway(ctx context.Context, ns *Namespace, c gatewayConfig) (*gateway, error) {
	if c.policy == PlainForwarding {
		return &gateway{}, nil
	}
	if err := os.MkdirAll(c.logDir, 0o755); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	ready := filepath.Join(c.runDir, "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab: %w", err)
	}
	args := []string{
		"run", "--policy", c.policy, "--fresh", "--install-rules", "--queues", "0-1", "--log", c.logDir,
		"--ready-file", ready, "--admin", filepath.Join(c.runDir, "admin.sock"),
	}
	if c.pcapDir != "" {
		args = append(args, "--pcap", c.pcapDir)
	}
	for _, s := range c.set {
		args = append(args, "--set", s)
	}
	p, err := ns.start(exec.Command(c.binary, append(args, c.more...)...), c.stderr)
	if err != nil {
		return nil, err
	}
	g := &gateway{proc: p}
	if err := g.awaitReady(ctx, ready); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *gateway) awaitReady(ctx context.Context, file string) error {
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.proc.done:
			p := g.proc
			g.proc = nil // nothing is left to stop
			if err := p.failure(); err != nil {
				return err
			}
			return fmt.Errorf("lab: %s ended before it was ready%s", p.name(), p.said())
		case <-limit.C:
			return fmt.Errorf("lab: %s not ready after %v%s", g.proc.name(), readyLimit, g.proc.said())
		case <-poll.C:
			if _, err := os.Stat(file); err == nil {
				return nil
			}
		}
	}
}

// stop ends the gateway cleanly, so that its log is complete. It is safe to call twice and on a nil gateway.
func (g *gateway) stop() error {
	if g == nil || g.proc == nil {
		return nil
	}
	p := g.proc
	g.proc = nil
	select {
	case <-p.done: // it had ended by itself: that is news
		if p.err == nil {
			return fmt.Errorf("lab: %s ended by itself%s", p.name(), p.said())
		}
		return p.failure()
	default:
		return p.stop(stopLimit)
	}
}
