package decisionlog

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// The reader of --log - goes away: the process lives on and counts what it loses.
func TestStdoutBrokenPipe(t *testing.T) {
	const env = "DECISIONLOG_TEST_STDOUT"
	if os.Getenv(env) != "" {
		w := open(t, Options{Dir: "-"})
		for range 3 {
			w.Put(decision(w.control, "r", 1))
			w.Flush()
		}
		if c := w.Counters(); !c.Failing || c.Records != 0 {
			t.Errorf("counters %+v", c)
		}
		if w.Close() == nil {
			t.Error("close does not say that records were lost")
		}
		if !t.Failed() {
			os.Stderr.WriteString("alive\n")
		}
		os.Exit(0) // the test framework would write to the broken stdout itself
	}
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestStdoutBrokenPipe$")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env+"=1"), pw, &stderr
	err = cmd.Run()
	pw.Close()
	if err != nil || stderr.String() != "alive\n" {
		t.Errorf("%v, stderr %q", err, &stderr)
	}
}
