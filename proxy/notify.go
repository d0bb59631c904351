package proxy

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier tells the service manager how the gateway does, by the sd_notify(3) protocol. Without a manager that asked for
// it every method does nothing. It is safe for concurrent use.
type Notifier struct {
	conn     *net.UnixConn // nil: nobody listens
	watchdog time.Duration
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID through getenv (os.Getenv) and connects to the manager's socket.
// A socket that cannot be reached is an error, beside a Notifier that does nothing.
func NewNotifier(getenv func(string) string) (*Notifier, error) {
	n := &Notifier{}
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return n, nil
	}
	if path[0] != '/' && path[0] != '@' { // sd_notify(3): AF_VSOCK is for virtual machines that report to their host
		return n, fmt.Errorf("notify: NOTIFY_SOCKET=%q is neither a path nor an abstract socket", path)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return n, fmt.Errorf("notify: %w", err)
	}
	n.conn = conn
	// sd_watchdog_enabled(3): the variables count only for the process that they name.
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseUint(getenv("WATCHDOG_USEC"), 10, 63); err == nil && us < 1<<50 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n, nil
}

// WatchdogEvery returns how often [Notifier.Alive] is to be called: half of what the manager waits for, 0 where it does not.
func (n *Notifier) WatchdogEvery() time.Duration { return n.watchdog / 2 }

// Ready says that start or reload is done.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+oneLine(status)) }

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(status string) error { return n.send("STATUS=" + oneLine(status)) }

// Reloading says that a reload begins; [Notifier.Ready] ends it. Type=notify-reload wants the monotonic time beside it.
func (n *Notifier) Reloading() error {
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(int64(monotonic())/1000, 10))
}

// Alive is the watchdog's sign of life; call it only while the workers turn.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

// Stopping says that the gateway settles and ends.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Close lets the socket go.
func (n *Notifier) Close() error {
	if n.conn == nil {
		return nil
	}
	return n.conn.Close()
}

func (n *Notifier) send(assignments ...string) error {
	if n.conn == nil {
		return nil
	}
	if _, err := n.conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// oneLine keeps a value on one line: a newline would begin another assignment.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
