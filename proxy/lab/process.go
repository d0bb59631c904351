package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// process is a child that runs inside a namespace. It dies with this process, whatever way this process dies.
type process struct {
	cmd    *exec.Cmd
	stderr string        // file that takes what it says
	done   chan struct{} // closed when it has ended
	err    error         // of Wait; read it only after done
}

// start runs cmd inside the namespace; its standard error is appended to the file stderr.
func (ns *Namespace) start(cmd *exec.Cmd, stderr string) (*process, error) {
	out, err := os.OpenFile(stderr, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	cmd.Stderr = out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A process group of its own: ^C at the terminal reaches the lab alone, which then stops its children in order.
	cmd.SysProcAttr.Setpgid = true
	// The signal is sent when the *thread* that started the child ends: it therefore waits with the child (below).
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}

	p := &process{cmd: cmd, stderr: stderr, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer out.Close()
		defer close(p.done)
		p.err = onThread(func() error {
			err := netns.Set(ns.handle)
			if err == nil {
				err = cmd.Start()
			}
			started <- err
			if err != nil {
				return err
			}
			return cmd.Wait()
		})
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("lab: start %s in %s: %w", filepath.Base(cmd.Path), ns.Name, err)
	}
	return p, nil
}

// stop ends the child: SIGTERM, and SIGKILL if it has not ended after the limit. An exit status other than 0 is an error.
func (p *process) stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.failure()
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("lab: %s did not end %v after SIGTERM and was killed%s", p.name(), limit, p.said())
	}
}

// kill ends the child at once, if it has not ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// failure describes how an ended child failed; nil if it did not.
func (p *process) failure() error {
	if p.err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // ended by our signal before it had installed a handler
	}
	return fmt.Errorf("lab: %s: %w%s", p.name(), p.err, p.said())
}

func (p *process) name() string {
	return filepath.Base(p.cmd.Path) + " " + strings.Join(p.cmd.Args[1:], " ")
}

// said returns the last lines of the child's standard error, for an error message.
func (p *process) said() string {
	b, err := os.ReadFile(p.stderr)
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; it said:\n\t" + strings.Join(lines[max(0, len(lines)-5):], "\n\t")
}
