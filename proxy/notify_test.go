package proxy

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's end of sd_notify.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func received(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func TestNotifier(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@halfopen-test-" + strconv.Itoa(os.Getpid())} {
		m := manager(t, name)
		n, err := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000",
			"WATCHDOG_PID": strconv.Itoa(os.Getpid())}))
		if err != nil {
			t.Fatal(err)
		}
		if d := n.WatchdogEvery(); d != 1500*time.Millisecond {
			t.Errorf("watchdog every %v", d)
		}
		for _, c := range []struct {
			send func() error
			want string
		}{
			{func() error { return n.Ready("2 queues\nX=1") }, "READY=1\nSTATUS=2 queues X=1"},
			{func() error { return n.Status("41 flows") }, "STATUS=41 flows"},
			{n.Alive, "WATCHDOG=1"},
			{n.Stopping, "STOPPING=1"},
		} {
			if err := c.send(); err != nil {
				t.Fatal(err)
			}
			if got := received(t, m); got != c.want {
				t.Errorf("sent %q, want %q", got, c.want)
			}
		}
		before := int64(monotonic()) / 1000
		if err := n.Reloading(); err != nil {
			t.Fatal(err)
		}
		first, usec, _ := strings.Cut(received(t, m), "\nMONOTONIC_USEC=")
		if v, err := strconv.ParseInt(usec, 10, 64); first != "RELOADING=1" || err != nil || v < before || v > int64(monotonic())/1000 {
			t.Errorf("reloading: %q at %q", first, usec)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNotifierWithoutManager(t *testing.T) {
	n, err := NewNotifier(env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Ready(""), n.Reloading(), n.Alive(), n.Stopping(), n.Close()); err != nil {
		t.Error(err)
	}
	if n.WatchdogEvery() != 0 {
		t.Error("a watchdog that nobody asked for")
	}
	for _, bad := range []string{"vsock:2:1234", filepath.Join(t.TempDir(), "nobody")} {
		n, err := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": bad}))
		if err == nil || n == nil || n.Ready("") != nil {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestNotifierWatchdogOfAnotherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager(t, name)
	n, err := NewNotifier(env(map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}))
	if err != nil || n.WatchdogEvery() != 0 {
		t.Errorf("watchdog every %v, %v", n.WatchdogEvery(), err)
	}
}

func TestReadyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ready")
	remove, err := WriteReadyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("%q, %v", b, err)
	}
	remove()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := WriteReadyFile(filepath.Join(dir, "no", "such")); err == nil || !strings.Contains(err.Error(), "ready file") {
		t.Errorf("no directory: %v", err)
	}
}
