package review

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"halfopen/proxy/decisionlog"
)

// crashed leaves the log of a run that was killed. The writer runs in a process
// of its own, because a Writer in this one would write its trailer.
func crashed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashHelper$")
	cmd.Env = append(os.Environ(), "REVIEW_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	return dir
}

// TestCrashHelper is the process that crashed kills; alone it does nothing.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv("REVIEW_TEST_DIR")
	if dir == "" {
		return
	}
	w := writer(t, dir)
	traffic(w, 1000, false)
	os.Stdout.WriteString("ready\n")
	select {}
}

// next is the run after a crash; counter is what the leftover rules say.
func next(t *testing.T, dir string, counter uint64, present bool) {
	t.Helper()
	w := writer(t, dir)
	w.Recover(counter, present)
	traffic(w, counter, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyAfterCrash(t *testing.T) {
	dir := crashed(t) // explains 223 messages
	if rep := verify(t, dir); !rep.OK || rep.Runs[0].Status != Open || rep.Runs[0].Explained.Sum() != 223 {
		t.Errorf("before the next start: %+v %s", rep.Runs[0], problems(rep))
	}
	next(t, dir, 1000+223+40, true)
	rep := verify(t, dir)
	if r := rep.Runs[0]; !rep.OK || r.Status != Bounded || r.End != "crash" || r.Crash != 40 || r.Messages != 263 {
		t.Errorf("%+v, %s", r, problems(rep))
	}
	if r := rep.Runs[1]; r.Status != Balanced || r.Base != 1263 {
		t.Errorf("second run %+v", r)
	}
	edit(t, dir, `(?m)^.*"event_type":"decision".*\n`, "")
	if rep := verify(t, dir); rep.OK || !strings.Contains(problems(rep), LinesMissing) {
		t.Errorf("a line of the crashed run removed: %s", problems(rep))
	}
}

// In the last file of a crashed run only the crash gap knows what it held.
func TestVerifyLastFileOfCrash(t *testing.T) {
	dir := crashed(t)
	next(t, dir, 1000+223+40, true)
	edit(t, dir, `(?m)^.*"event_type":"gap".*"where":"queue".*\n`, "")
	if rep := verify(t, dir); rep.OK || problems(rep) != LinesMissing+" "+NotExplained {
		t.Errorf("%s", problems(rep))
	}
}

func TestVerifyCrashUnknown(t *testing.T) {
	dir := crashed(t)
	next(t, dir, 0, false)
	rep := verify(t, dir)
	if r := rep.Runs[0]; !rep.OK || r.Status != Unknown {
		t.Errorf("%+v, %s", r, problems(rep))
	}
	var out bytes.Buffer
	if err := rep.WriteText(&out); err != nil || !strings.Contains(out.String(), "(at least)") {
		t.Errorf("%v: %s", err, &out)
	}
}

// A crash that no later run accounts for is found once there is a later run.
func TestVerifyCrashForgotten(t *testing.T) {
	dir := crashed(t)
	w := writer(t, dir)
	traffic(w, 5000, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if rep := verify(t, dir); rep.OK || problems(rep) != NoEnd {
		t.Errorf("%s", problems(rep))
	}
}

// A log without kernel counter (a replay's) is held against the packets read.
func TestVerifyReceived(t *testing.T) {
	for received, ok := range map[uint64]bool{1: true, 2: false} {
		dir := t.TempDir()
		w := writer(t, dir)
		w.Put(&decisionlog.Record{Event: decisionlog.EventDecision, Decision: decisionlog.Decision{ID: w.NextID(), Verdict: "drop"}})
		w.Put(&decisionlog.Record{Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Final: true, Received: received}})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rep := verify(t, dir)
		if rep.OK != ok || rep.Runs[0].Truth != TruthReceived {
			t.Errorf("%d received: %+v %s", received, rep.Runs[0], problems(rep))
		}
	}
}
