package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who could let others read the log is told so, and nothing is opened.
func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, short := file("open", strings.Repeat("x", 32), 0o644), file("short", "x", 0o600)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{dir, "--listen", "0.0.0.0:0"}, statusUsage, "--token-file FILE"},
		{[]string{dir, "--listen", ":0"}, statusUsage, "--token-file FILE"},
		{[]string{dir, "--listen", "[::]:0"}, statusUsage, "--token-file FILE"},
		{[]string{dir, "--listen", "192.0.2.1:8686"}, statusUsage, "--token-file FILE"},
		{[]string{dir, "--listen", "8686"}, statusUsage, "expected ADDRESS:PORT"},
		{[]string{dir, "--token-file", open}, statusFound, "chmod 600"},
		{[]string{dir, "--token-file", short}, statusFound, "at least 16"},
		{[]string{dir, "--anonymize", open}, statusFound, "chmod 600"},
		{[]string{dir, "--anonymize", short}, statusFound, "at least 16"},
		{[]string{dir, "--pcap", filepath.Join(dir, "none")}, statusFound, "no such file"},
		{[]string{dir, "--pcap", open}, statusFound, "is no directory"},
		{[]string{filepath.Join(dir, "none")}, statusFound, "no such file"},
		{[]string{open}, statusFound, "is no directory"},
		{[]string{dir, "--listen", "127.0.0.1:99999"}, statusFound, "99999"},
		{nil, statusUsage, "accepts 1 arg"},
	} {
		root := newRootCmd()
		root.SetArgs(append([]string{"review", "serve"}, c.args...))
		var out, words strings.Builder
		root.SetOut(&out)
		root.SetErr(&words)
		status, text := outcome(root.ExecuteContext(t.Context()))
		if status != c.status || !strings.Contains(text, c.want) || out.Len() > 0 {
			t.Errorf("%v: status %d, %q, want %d and %q", c.args, status, text, c.status, c.want)
		}
	}
	if ok, err := loopbackListen("localhost:1"); !ok || err != nil {
		t.Errorf("localhost: %v, %v", ok, err)
	}
}
