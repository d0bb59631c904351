package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// jobSize is the print job's, in bytes: some hundred segments.
const jobSize = 200_000

// arrivalLimit bounds the wait for a job on the server's paper once rlpr is done.
const arrivalLimit = 10 * time.Second

func lpdScenario() Scenario {
	return Scenario{
		Name:    "lpd",
		Summary: "a real print job from rlpr to a real LPD server, then the incident on that pair of ports",
		About: "The same silence with the programs that met it first: rlpr prints 200,000 random bytes to a BSD lpd. A client that vanished in mid-job left its connection " +
			"behind, and rlpr prints from the port that it had. Whether the job arrives whole is compared byte by byte.",
		Phases: []PhaseSpec{
			{
				Name:  "print",
				Title: "rlpr prints through the gateway",
				run:   func(ctx context.Context, s *stage) error { return s.printing(ctx, nil) },
			},
			{
				Name:  "remembered",
				Title: "an LPD client falls silent in mid-job; rlpr dials from its port while gateway and server still hold the old connection",
				run: func(ctx context.Context, s *stage) error {
					return s.printing(ctx, func() error { return s.silentJob(ctx, 500*time.Millisecond) })
				},
			},
			{
				Name:    "forgotten",
				Title:   "the same, after the gateway's idle timer; the server still holds the old connection",
				expires: true,
				set:     unasked(),
				run: func(ctx context.Context, s *stage) error {
					return s.printing(ctx, func() error { return s.silentJob(ctx, idleTimer+time.Second) })
				},
			},
		},
		needs: needsLPD,
	}
}

// needsLPD says which of the two Debian packages is missing.
func needsLPD() error {
	_, errClient := exec.LookPath("rlpr")
	_, errServer := exec.LookPath("lpd")
	if errClient != nil || errServer != nil {
		return errors.New("lab: scenario lpd prints with rlpr to lpd: apt-get install --no-install-recommends rlpr lpr")
	}
	if _, err := exec.LookPath("checkpc"); err == nil {
		return errors.New("lab: the installed lpd is LPRng's; scenario lpd needs the BSD one: apt-get install --no-install-recommends lpr")
	}
	return nil
}

// printing starts the server, plays what comes before (nil: nothing), prints a job with rlpr and compares what arrived.
func (s *stage) printing(ctx context.Context, before func() error) error {
	if !s.client.Addr().Is4() {
		return errors.New("lab: rlpr knows IPv4 only")
	}
	s.client = withPort(s.client.Addr(), firstClientPort) // rlpr's own first choice (RFC 1179: 721 to 731)
	// rlpr takes the next port if this one is in TIME_WAIT from the phase before; the incident needs the same.
	if err := s.top.Client.sysctl(true, map[string]string{"ipv4/tcp_max_tw_buckets": "0"}); err != nil {
		return err
	}
	paper, err := s.startLPD(ctx)
	if err != nil {
		return err
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	job := make([]byte, jobSize)
	if _, err := rand.Read(job); err != nil {
		return err
	}
	s.begin()
	s.phase.fromTrace = true
	start := time.Now()
	err = s.rlpr(ctx, job)
	s.phase.Client.Seconds = seconds(time.Since(start)) // until it gave up; if it connected, the trace knows better
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	s.fact("rlpr_error", failureText(err))
	if err != nil {
		s.fact("gave_up", "client")
	}
	s.fact("job_bytes", len(job))
	identical := err == nil && arrives(ctx, paper, job)
	s.fact("identical_on_arrival", identical)
	return ctx.Err()
}

func failureText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// arrives waits until the paper holds the job.
func arrives(ctx context.Context, paper string, job []byte) bool {
	for end := time.Now().Add(arrivalLimit); time.Now().Before(end); {
		if got, err := os.ReadFile(paper); err == nil && bytes.Equal(got, job) {
			return true
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return false
		}
	}
	return false
}

// silentJob is a client that asks to print (RFC 1179, 5.2: "receive a printer job"), is told to go on, and is never heard of again.
func (s *stage) silentJob(ctx context.Context, away time.Duration) error {
	dctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	e, err := s.top.Client.Dial(dctx, s.client, s.dialed)
	if err != nil {
		return fmt.Errorf("lab: the first connection, before any incident, failed: %w", err)
	}
	s.undo = append(s.undo, func() { _ = e.Silence() })
	if _, err := io.WriteString(e.conn, "\x02lp\n"); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if err := e.conn.SetReadDeadline(time.Now().Add(sayLimit)); err != nil {
		return err
	}
	if _, err := io.ReadFull(e.conn, answer); err != nil || answer[0] != 0 {
		return fmt.Errorf("lab: lpd refuses the first job: answer %d, %v", answer[0], err)
	}
	if err := pause(ctx, 60*time.Millisecond); err != nil { // the delayed ACK
		return err
	}
	if err := e.Silence(); err != nil {
		return err
	}
	return pause(ctx, away)
}

// mountPrivate, run by sh as the first process of its own mount and process namespaces, hides the machine's configuration, spool, run
// and device directories behind private ones ($1), so that the machine's own printing is neither used nor touched.
const mountPrivate = `set -e
mount --make-rprivate /
for d in null zero urandom; do : > "$1/dev/$d"; mount --bind /dev/$d "$1/dev/$d"; done
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
mount -t tmpfs tmpfs /var/spool
mkdir /var/spool/lpd
mount --bind "$1/spool" /var/spool/lpd
mount --rbind "$1/dev" /dev
shift
`

// lpdScript starts the daemon, which detaches itself, and stays as the process namespace's first process: when that ends, the kernel ends
// the daemon and its children too.
const lpdScript = mountPrivate + `lpd -l
exec sleep infinity
`

// privateRoot makes what mountPrivate needs and returns its directory.
func (s *stage) privateRoot() (string, error) {
	root, err := os.MkdirTemp(s.scratch, "root-")
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	s.undo = append(s.undo, func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		return "", err
	}
	for _, d := range []string{"etc", "run", "dev", "spool", "spool/lp"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			return "", fmt.Errorf("lab: %w", err)
		}
	}
	for _, name := range []string{"passwd", "group", "services", "protocols", "ld.so.cache"} {
		b, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("lab: %w", err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), b, 0o644); err != nil {
			return "", fmt.Errorf("lab: %w", err)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	for name, text := range map[string]string{
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\n",
		"etc/hosts":         fmt.Sprintf("127.0.0.1 localhost\n%s client %s\n%s server\n", client4, host, server4),
		"etc/hosts.lpd":     "client\n",
		// sh, sf: neither a banner page nor form feeds are added; mx#0: no limit on a job's size (printcap(5)).
		"etc/printcap": "lp:lp=/var/spool/lpd/paper:sd=/var/spool/lpd/lp:lf=/var/spool/lpd/log:sh:sf:mx#0:\n",
		"spool/paper":  "",
		"spool/log":    "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("lab: %w", err)
		}
	}
	return root, ownedByLP(root, "spool", "spool/lp", "spool/paper", "spool/log")
}

// ownedByLP hands files to the user that lpd becomes.
func ownedByLP(root string, names ...string) error {
	lp, err := user.Lookup("lp")
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	uid, err1 := strconv.Atoi(lp.Uid)
	gid, err2 := strconv.Atoi(lp.Gid)
	errs := []error{err1, err2}
	for _, n := range names {
		path := filepath.Join(root, n)
		errs = append(errs, os.Chown(path, uid, gid), os.Chmod(path, 0o777))
	}
	return errors.Join(errs...)
}

// private is a shell command in its own mount and process namespaces. It dies at once with the thread that started it.
func private(script string, args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // the first process of a process namespace ignores SIGTERM
	}
	return cmd
}

// startLPD starts the LPD server and returns the file on which it prints.
func (s *stage) startLPD(ctx context.Context) (paper string, err error) {
	root, err := s.privateRoot()
	if err != nil {
		return "", err
	}
	p, err := s.top.Server.start(private(lpdScript, root), filepath.Join(s.dir, "lpd.stderr"))
	if err != nil {
		return "", err
	}
	s.undo = append(s.undo, p.kill)
	return filepath.Join(root, "spool", "paper"), s.awaitListener(ctx, p)
}

// awaitListener waits until the server listens, without sending it anything: a probing connection would be an extra incident.
func (s *stage) awaitListener(ctx context.Context, p *process) error {
	for end := time.Now().Add(readyLimit); time.Now().Before(end); {
		listening := false
		err := s.top.Server.Do(func() (err error) {
			listening, err = listens(s.server.Port())
			return err
		})
		if err != nil || listening {
			return err
		}
		select {
		case <-p.done:
			return fmt.Errorf("lab: lpd did not start: %v%s", p.err, p.said())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("lab: lpd does not listen after %v%s", readyLimit, p.said())
}

// listens looks for a listening IPv4 socket in /proc/thread-self/net/tcp: that is the calling thread's namespace's.
func listens(port uint16) (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return false, fmt.Errorf("lab: %w", err)
	}
	return bytes.Contains(b, fmt.Appendf(nil, "00000000:%04X 00000000:0000 0A", port)), nil
}

// rlpr prints a job. An exit status other than 0 is an exec.ExitError.
func (s *stage) rlpr(ctx context.Context, job []byte) error {
	root, err := s.privateRoot()
	if err != nil {
		return err
	}
	file := filepath.Join(root, "job")
	if err := os.WriteFile(file, job, 0o644); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	// rlpr's own patience (3 s) is set above the kernel's, so that the kernel's retries decide. -l: print the file as it is.
	script := mountPrivate + `exec rlpr -l -H "$1" -P lp --timeout=30 "$2"`
	p, err := s.top.Client.start(private(script, root, s.dialed.Addr().String(), file), filepath.Join(s.dir, "rlpr.stderr"))
	if err != nil {
		return err
	}
	defer p.kill()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(60 * time.Second):
		return fmt.Errorf("lab: rlpr does not end%s", p.said())
	}
}
