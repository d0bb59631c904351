//go:build netns

package proxy

import (
	"bytes"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
)

// running returns what goroutines of this program's packages do, but for those of a test and of the lab.
func running(t *testing.T) (list []string) {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		t.Fatal(err)
	}
	for _, g := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(g, "halfopen/proxy") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "halfopen/proxy/lab.") {
			list = append(list, g)
		}
	}
	return list
}

// A gateway that has ended has left no goroutine behind: none of its workers, its log, its sockets, or of a library's.
func TestStopLeavesNoGoroutine(t *testing.T) {
	if left := running(t); len(left) > 0 {
		t.Fatalf("before the test:\n%s", strings.Join(left, "\n\n"))
	}
	dir := t.TempDir()
	s := newSite(t, func(c *Config) {
		c.Queues, c.Admin, c.Metrics = [2]uint16{0, 1}, filepath.Join(dir, "admin"), "127.0.0.1:0"
	})
	s.connect()
	if n := len(running(t)); n < 4 {
		t.Fatalf("%d goroutines of a gateway with two workers are seen: the test shows nothing", n)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.until("its goroutines end", func() bool { return len(running(t)) == 0 })
}
