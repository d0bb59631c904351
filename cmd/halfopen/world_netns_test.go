//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
)

// world is client, gateway and server as network namespaces, with one directory for what the gateway writes.
type world struct {
	*lab.Topology
	t      *testing.T
	dir    string // short: the admin socket's path may not exceed 107 bytes
	logDir string
	state  string
	under  []string // what the gateway is started under, a program and its arguments
}

// Generous bounds: the machine may be slow and shared.
const (
	startLimit = 30 * time.Second
	endLimit   = 30 * time.Second
)

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, false)
}

// newWorldOf is newWorld with two gateways on request: Far is the client's.
func newWorldOf(t *testing.T, twoGateways bool, options ...lab.Option) *world {
	t.Helper()
	lab.RemoveStale()
	top, err := lab.Build(twoGateways, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.MkdirTemp("", "ho")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &world{Topology: top, t: t, dir: dir, logDir: filepath.Join(dir, "log"), state: filepath.Join(dir, "state")}
}

// clientPool gives the client n further addresses of each family: the kernel spreads address pairs over the queues.
func (w *world) clientPool(n int) (pool []netip.Addr) {
	w.t.Helper()
	err := w.Client.Do(func() error {
		link, err := netlink.LinkByName("ho-inside")
		if err != nil {
			return err
		}
		for i := range n {
			for _, cidr := range []string{fmt.Sprintf("192.0.2.%d/24", 100+i), fmt.Sprintf("2001:db8:1::%x/64", 0x100+i)} {
				a, err := netlink.ParseAddr(cidr)
				if err != nil {
					return err
				}
				if a.IP.To4() == nil {
					a.Flags = unix.IFA_F_NODAD
				}
				if err := netlink.AddrAdd(link, a); err != nil {
					return fmt.Errorf("address %s: %w", cidr, err)
				}
				pool = append(pool, netip.MustParsePrefix(cidr).Addr())
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return pool
}

// exec runs a program inside a namespace and returns what it printed.
func (w *world) exec(ns *lab.Namespace, name string, args ...string) string {
	w.t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// gatewayProcess is a running `halfopen run`.
type gatewayProcess struct {
	w      *world
	cmd    *exec.Cmd
	admin  string
	stderr string
	done   chan struct{}
	err    error // of Wait; read it only after done
}

// start runs the gateway and waits until it is ready.
func (w *world) start(policy string, more ...string) *gatewayProcess {
	w.t.Helper()
	ready := filepath.Join(w.dir, "ready")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	g := &gatewayProcess{w: w, admin: filepath.Join(w.dir, "admin"), stderr: filepath.Join(w.dir, "stderr"), done: make(chan struct{})}
	args := append([]string{"run", "--policy", policy, "--install-rules", "--queues", "0-1", "--log", w.logDir, "--ready-file", ready,
		"--admin", g.admin}, more...)
	argv := append(append(slices.Clone(w.under), program), args...)
	g.cmd = exec.Command(argv[0], argv[1:]...)
	words, err := os.OpenFile(g.stderr, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	g.cmd.Stdout, g.cmd.Stderr = words, words
	// The gateway dies with the thread that started it, which waits for it: it never outlives the tests.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		defer close(g.done)
		defer words.Close()
		g.err = w.Gateway.Do(func() error {
			err := g.cmd.Start()
			started <- err
			if err != nil {
				return err
			}
			return g.cmd.Wait()
		})
	}()
	if err := <-started; err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = g.cmd.Process.Kill()
		<-g.done
	})
	w.until("the gateway is ready", startLimit, func() bool {
		select {
		case <-g.done:
			w.t.Fatalf("the gateway ended before it was ready: %v\n%s", g.err, g.said())
		default:
		}
		_, err := os.Stat(ready)
		return err == nil
	})
	return g
}

// said is what the gateways of this world have written to stderr.
func (g *gatewayProcess) said() string {
	b, _ := os.ReadFile(g.stderr)
	return string(b)
}

// stop ends the gateway as an operator does; it must end well.
func (g *gatewayProcess) stop() {
	g.w.t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.w.t.Fatalf("stop the gateway: %v\n%s", err, g.said())
	}
	select {
	case <-g.done:
	case <-time.After(endLimit):
		g.w.t.Fatalf("the gateway did not end within %v\n%s", endLimit, g.said())
	}
	if g.err != nil {
		g.w.t.Errorf("the gateway ended with %v\n%s", g.err, g.said())
	}
}

// kill is kill -9.
func (g *gatewayProcess) kill() {
	g.w.t.Helper()
	if err := g.cmd.Process.Kill(); err != nil {
		g.w.t.Fatalf("kill the gateway: %v\n%s", err, g.said())
	}
	<-g.done
}

// until waits for a condition.
func (w *world) until(what string, limit time.Duration, met func() bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// proof is what `halfopen review verify -o json` prints.
type proof struct {
	OK   bool
	Runs []struct {
		Run, End, Truth, Status string
		Messages                uint64
		Explained               struct{ Decisions, Counted, Suppressed, Gaps, Upper uint64 }
		CrashGap                uint64 `json:"crash_gap"`
		FastPath                struct {
			Status string
			Told   uint64 `json:"told_pkts"`
		}
	}
}

// verify proves the log, and fails the test where it does not balance. The text goes to the test's log.
func (w *world) verify() proof {
	w.t.Helper()
	text, words, status := halfopen(w.t, "review", "verify", w.logDir)
	w.t.Logf("%s%s", text, words)
	if status != 0 {
		w.t.Fatalf("review verify: status %d\n%s", status, w.said())
	}
	var p proof
	halfopenJSON(w.t, &p, "review", "verify", "-o", "json", w.logDir)
	if !p.OK || len(p.Runs) == 0 {
		w.t.Fatalf("review verify: %+v", p)
	}
	return p
}

// statuses are the outcomes of the runs in a proof.
func (p proof) statuses() string {
	var s []string
	for _, r := range p.Runs {
		s = append(s, r.End+"/"+r.Status)
	}
	return strings.Join(s, " ")
}

func (w *world) said() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "stderr"))
	return string(b)
}

// events reads the decision log.
func (w *world) events(pick func(*decisionlog.Event)) {
	w.t.Helper()
	for e, err := range decisionlog.Read(w.logDir) {
		if err != nil {
			w.t.Logf("decision log: %v", err)
			continue
		}
		pick(e)
	}
}

// count returns how many decisions have a reason.
func (w *world) count(reason string) (n int) {
	w.t.Helper()
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.Decision.Reason == reason {
			n++
		}
	})
	return n
}

// queued returns how many packets the kernel has put into each queue since it was bound (net/netfilter/nfnetlink_queue.c, seqfile:
// id_sequence).
func (w *world) queued() map[int]uint64 {
	w.t.Helper()
	out := map[int]uint64{}
	var text []byte
	err := w.Gateway.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		number, _ := strconv.Atoi(f[0])
		if out[number], err = strconv.ParseUint(f[7], 10, 64); err != nil {
			w.t.Fatalf("nfnetlink_queue: %q", line)
		}
	}
	return out
}

// tables lists the nftables tables of the gateway's namespace.
func (w *world) tables() []string {
	w.t.Helper()
	var list struct {
		Nftables []struct {
			Table *struct{ Family, Name string }
		}
	}
	if err := json.Unmarshal([]byte(w.exec(w.Gateway, "nft", "-j", "list", "tables")), &list); err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, o := range list.Nftables {
		if o.Table != nil {
			out = append(out, o.Table.Family+" "+o.Table.Name)
		}
	}
	return out
}
