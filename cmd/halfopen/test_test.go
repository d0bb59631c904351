package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runTest(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := newRootCmd()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"test"}, args...))
	err := c.Execute()
	return out.String(), err
}

func TestTestVerb(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("far.yaml", "on: {new: drop}")
	const flow = "flow c 10.0.0.1:1 s 10.0.0.2:2\n"
	good := write("good.scn", "policy far.yaml\n"+flow+"+0 c > s S 0:0(0) => drop/new\n")
	if out, err := runTest(t, good); err != nil || !strings.Contains(out, "ok    "+good+"  1 decisions") {
		t.Errorf("%v %s", err, out)
	}
	// Another policy decides otherwise: that is found, and said with its place.
	out, err := runTest(t, good, "--policy", "observe")
	if err == nil || !strings.Contains(out, good+":3:22: got forward/new, expected drop/new") {
		t.Errorf("%v %s", err, out)
	}
	bad := write("bad.scn", "polcy observe\n"+flow+"+0 c > s X 0:0(0)\n")
	out, err = runTest(t, good, bad)
	if err == nil || !strings.Contains(out, "ok    ") || !strings.Contains(out, bad+":1:1: ") || !strings.Contains(out, bad+":3:10: ") {
		t.Errorf("%v %s", err, out)
	}
	bare := write("bare.scn", "# As it is.\npolicy observe\n"+flow+"+0   c > s S 0:0(0)\n")
	if out, err := runTest(t, bare, "--update"); err != nil || !strings.Contains(out, "wrote") {
		t.Errorf("%v %s", err, out)
	}
	data, _ := os.ReadFile(bare)
	if !strings.HasPrefix(string(data), "# As it is.\npolicy observe\n"+flow+"+0   c > s S 0:0(0)  ") || !strings.HasSuffix(string(data), " => forward/new state=SYN_SENT\n") {
		t.Errorf("updated to\n%s", data)
	}
	if st, err := os.Stat(bare); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if out, err := runTest(t, bare, "--update", "--fmt"); err != nil || !strings.Contains(out, "wrote") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := runTest(t, bare, "--update", "--fmt"); err != nil || !strings.Contains(out, "as written") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := runTest(t, filepath.Join(dir, "none.scn")); err == nil || !strings.Contains(out, "none.scn") {
		t.Errorf("%v %s", err, out)
	}
}
