//go:build netns

package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func build(t *testing.T, twoGateways bool) *Topology {
	t.Helper()
	top, err := Build(twoGateways)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	return top
}

func TestTopologyForwards(t *testing.T) {
	for _, two := range []bool{false, true} {
		top := build(t, two)
		for _, fam := range []struct{ client, server netip.Addr }{{client4, server4}, {client6, server6}} {
			srv, err := top.Server.Serve(netip.AddrPortFrom(fam.server, 515), false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			e, err := top.Client.Dial(ctx, netip.AddrPortFrom(fam.client, 721), srv.Addr)
			cancel()
			if err != nil {
				t.Fatalf("two gateways %v, %v: %v", two, fam.server, err)
			}
			if err := e.Say("hello", 5*time.Second); err != nil {
				t.Error(err)
			}
			if err := e.Silence(); err != nil {
				t.Error(err)
			}
			if srv.Held() != 1 {
				t.Errorf("server holds %d connections after the client fell silent, want 1", srv.Held())
			}
			srv.Close()
		}
		if err := top.Close(); err != nil {
			t.Error(err)
		}
		names, _ := filepath.Glob(filepath.Join(netnsDir, top.Client.Name))
		if len(names) != 0 {
			t.Errorf("left behind: %v", names)
		}
	}
}

func TestRemoveStaleKeepsTheLiving(t *testing.T) {
	top := build(t, false)
	dead, err := newNamespace("ho4194304.1.0000beef-client") // beyond pid_max: no such process
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dead.Close() })
	t.Setenv("TMPDIR", t.TempDir())
	stale := filepath.Join(os.TempDir(), "ho4194304.1.0000beef-scratch")
	alive, err := newScratch()
	if err := errors.Join(err, os.Mkdir(stale, 0o700)); err != nil {
		t.Fatal(err)
	}
	removed := strings.Join(RemoveStale(), " ")
	if !strings.Contains(removed, dead.Name) {
		t.Errorf("removed %q, not %s", removed, dead.Name)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale scratch directory: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("a living lab's scratch directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(netnsDir, top.Client.Name)); err != nil || strings.Contains(removed, top.Client.Name) {
		t.Errorf("a living lab's namespace was removed: %q, %v", removed, err)
	}
}
