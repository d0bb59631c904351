package decisionlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeepPolicy(t *testing.T) {
	dir := t.TempDir()
	rev := "sha256:0123456789abcdef"
	if _, err := PolicyText(dir, rev); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("before it was kept: %v, want ErrNotExist", err)
	}
	for range 2 { // a second time changes nothing
		if err := KeepPolicy(dir, rev, []byte("timeouts: {}\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := KeepPolicy(dir, rev, []byte("other\n")); err != nil {
		t.Fatal(err)
	}
	text, err := PolicyText(dir, rev)
	if err != nil || string(text) != "timeouts: {}\n" {
		t.Fatalf("%q, %v", text, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, PolicyDir))
	if err != nil || len(entries) != 1 || entries[0].Name() != "0123456789abcdef.yaml" {
		t.Fatalf("%v, %v: want the one file and nothing half written", entries, err)
	}
	if info, _ := entries[0].Info(); info.Mode().Perm() != 0o640 {
		t.Fatalf("mode %v", info.Mode())
	}
}

// A revision comes out of a log, which anybody may have written.
func TestPolicyTextRefuses(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, PolicyDir), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, rev := range []string{"", "sha256:", "sha256:../secret", "../secret", "sha256:ABC", "sha256:" + strings.Repeat("a", 65), "md5:00", "sha256:a\x00"} {
		if text, err := PolicyText(dir, rev); err == nil || !strings.Contains(err.Error(), "is no policy revision") {
			t.Errorf("%q: %q, %v", rev, text, err)
		}
		if err := KeepPolicy(dir, rev, nil); err == nil {
			t.Errorf("%q was kept", rev)
		}
	}
	if err := os.Symlink(secret, filepath.Join(dir, PolicyDir, "ab.yaml")); err != nil {
		t.Fatal(err)
	}
	if text, err := PolicyText(dir, "sha256:ab"); err == nil {
		t.Errorf("a link leads out: %q", text)
	}
}

func TestKeepPolicyFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, PolicyDir), nil, 0o600); err != nil { // in the directory's place
		t.Fatal(err)
	}
	if err := KeepPolicy(dir, "sha256:00", []byte("x")); err == nil {
		t.Fatal("no error")
	}
}
