//go:build netns

package fastpath

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["tcx"] = func() error { return holdOpen(hookTCX) }
	children["clsact"] = func() error { return holdOpen(hookClsact) }
	children["lock of nobody"] = func() error {
		if err := unix.Setresuid(65534, 65534, 65534); err != nil {
			return err
		}
		held, err := lock(new(lines).logger())
		if err != nil {
			return err
		}
		defer held.Close()
		return wait()
	}
}

// holdOpen has a fast path until it is killed.
func holdOpen(h hook) error {
	programs, _, err := markers()
	if err != nil {
		return err
	}
	if _, err := Open(Options{hook: h, programs: programs}); err != nil {
		return err
	}
	return wait()
}

// wait says that it is ready, and ends with the parent.
func wait() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// child starts one of children in the namespace of the test's thread, and returns when it is ready.
func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { kill(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return cmd
}

// kill is kill -9.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestKilledTCX: with TCX nothing is left of a process that was killed.
func TestKilledTCX(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	cmd := child(t, "tcx")
	if got := w.arrives(t, "inside"); got != "l2" {
		t.Fatalf("while it lives: met %s", got)
	}
	kill(cmd)
	until(t, "the program is gone", func() bool { return len(hanging(t, "inside")) == 0 })
	if got := w.arrives(t, "inside"); got != "none" {
		t.Errorf("after it was killed: met %s", got)
	}
}

// TestKilledClsact: with clsact the filter stays; the next start removes it wherever it is, with the qdisc if it was made for it.
func TestKilledClsact(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	w.cable(t, "used")
	tc(t, "qdisc add dev used clsact")
	w.cable(t, "port")
	cmd := child(t, "clsact")
	kill(cmd)
	if got := w.arrives(t, "inside"); got != "l2" || len(hanging(t, "used")) != 1 {
		t.Fatalf("after it was killed: met %s: the test shows nothing", got)
	}
	ip(t, "link add bridge type bridge")
	ip(t, "link set port master bridge")
	var log lines
	p := open(t, Options{Interfaces: []string{"nothing"}, Logger: log.logger()}) // so that nothing comes in place of the filter
	for _, name := range []string{"inside", "used", "port"} {
		if left := hanging(t, name); len(left) != 0 || !log.contain("interface="+name) {
			t.Errorf("%s still has programs %v, or nobody was told", name, left)
		}
		if has := strings.Contains(tc(t, "qdisc show dev "+name), "clsact"); has != (name == "used") {
			t.Errorf("%s has a clsact qdisc: %v", name, has)
		}
	}
	check(t, p.Close())
}

// TestRivalLives: what a process that lives has is neither taken away nor doubled, whatever the hook.
func TestRivalLives(t *testing.T) {
	for _, name := range []string{"tcx", "clsact"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cable(t, "inside")
			cmd := child(t, name)
			programs, drop, err := markers()
			check(t, err)
			defer drop()
			p, err := Open(Options{programs: programs, hook: hookClsact})
			if !errors.Is(err, ErrInUse) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("(pid %d)", cmd.Process.Pid)) {
				t.Errorf("beside a rival: %v", err)
			}
			if p != nil {
				t.Error("a path beside an error")
			}
			if n := len(hanging(t, "inside")); n != 1 {
				t.Errorf("%d programs", n)
			}
			kill(cmd)
			p = open(t, Options{})
			if got := w.arrives(t, "inside"); got != "l2" || len(hanging(t, "inside")) != 1 {
				t.Errorf("after it is gone: met %s, programs %v", got, hanging(t, "inside"))
			}
			check(t, p.Close())
		})
	}
}

// TestLockOfNobody: another user cannot keep a gateway from its fast path.
func TestLockOfNobody(t *testing.T) {
	w := newWorld(t)
	index := w.cable(t, "inside")
	child(t, "lock of nobody")
	var log lines
	if p := open(t, Options{Logger: log.logger()}); !p.Attached(index) || !log.contain("who is no gateway") {
		t.Error("kept from it, or nobody was told")
	}
}
