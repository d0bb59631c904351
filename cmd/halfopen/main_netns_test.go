//go:build netns

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests of this tier run the program itself, as it is built for operators, between network namespaces. They need root.

// program is the binary under test, built once.
var program string

// soakFor is how long TestSoak keeps its traffic up: go test -tags netns -run TestSoak ./cmd/halfopen -args -soak 10m.
var soakFor = flag.Duration("soak", time.Minute, "length of TestSoak")

// impairment is what the links of TestTransparentUnderImpairment do; the default is what every machine is asked to pass.
var impairment = flag.String("impairment", "loss=2%,duplicate=2%,reorder=4%,delay=6ms,latency=4ms,seed=11", "what the links of TestTransparentUnderImpairment do")

// atOnce is how many parallel tests run at a time: they mostly wait for timers of the ends.
const atOnce = "6"

func TestMain(m *testing.M) {
	err := flag.Set("test.parallel", atOnce) // a default; the command line has the last word
	flag.Parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "ho")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "halfopen")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build halfopen: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// commandLimit bounds a verb that is no gateway.
const commandLimit = 4 * time.Minute

// halfopen runs the program to its end in the test's own namespace and returns what it printed and its exit status.
func halfopen(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("halfopen %s: %v\n%s", strings.Join(args, " "), err, words.String())
	}
	return out.String(), words.String(), cmd.ProcessState.ExitCode()
}

// halfopenJSON runs a verb that prints one JSON object and reads it into v.
func halfopenJSON(t *testing.T, v any, args ...string) {
	t.Helper()
	out, words, status := halfopen(t, args...)
	if status != 0 {
		t.Fatalf("halfopen %s: status %d\n%s%s", strings.Join(args, " "), status, out, words)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("halfopen %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
}

// write makes a file below dir and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
