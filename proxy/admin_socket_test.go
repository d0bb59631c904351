package proxy

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestAdminSocketModeAndRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "admin.sock") // the directory is made
	s, err := listenAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	defer func() { _ = s.listener.Close() }()
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	if err := s.remove(); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

// deadSocket leaves a socket that nobody serves, as a killed gateway does.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

func TestAdminSocketStaleAndLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	deadSocket(t, path)
	if err := NewAdminClient(path).Flows(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "nobody serves") {
		t.Errorf("client of a dead socket: %v", err)
	}
	first, err := listenAdmin(path)
	if err != nil {
		t.Fatalf("a dead process's socket: %v", err)
	}
	defer func() { _ = first.listener.Close() }()
	_, err = listenAdmin(path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("a live socket: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the live socket is gone: %v", err)
	}
}

func TestAdminSocketOneOfManyStartsWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	for round := range 100 {
		deadSocket(t, path)
		const starts = 8
		won := make(chan *adminSocket, starts)
		var wg sync.WaitGroup
		for range starts {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if s, err := listenAdmin(path); err == nil {
					won <- s
				}
			}()
		}
		wg.Wait()
		close(won)
		if len(won) != 1 {
			t.Errorf("round %d: %d of %d got the socket", round, len(won), starts)
		}
		for s := range won {
			_ = s.remove()
			_ = s.listener.Close()
		}
		_ = os.Remove(path)
	}
}

func TestAdminSocketLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenAdmin(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a plain file: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Error("a plain file was touched")
	}
	path := filepath.Join(dir, "admin.sock")
	s, err := listenAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.listener.Close() }()
	_ = os.Remove(path)
	other, err := listenAdmin(path) // somebody else's by now
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.listener.Close() }()
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's socket was removed: %v", err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := listenAdmin(long); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("a long path: %v", err)
	}
	if err := NewAdminClient(filepath.Join(dir, "none")).Flows(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("client without a socket: %v", err)
	}
}
