package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// TestReadsWhatTheLogWrites holds the lab's reader against the log's own encoder.
func TestReadsWhatTheLogWrites(t *testing.T) {
	at := time.Date(2026, 11, 23, 18, 1, 36, 123456789, time.UTC)
	r := decisionlog.Record{Event: decisionlog.EventDecision, Time: at.UnixNano(), Src: testClient, Dst: testServer}
	r.TCP = decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN, Seq: 5, Ack: 6, Len: 7}
	r.Decision.Verdict, r.Decision.Reason, r.Decision.Rule = "drop", "syn-established", "print-servers"
	r.Decision.Reply = decisionlog.Made{Kind: "ack-tracked", Flags: decisionlog.FlagACK, Seq: 1, Ack: 2}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), append(r.AppendJSON(nil), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readLog(dir)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	e := got[0]
	if !e.Timestamp.Equal(at) {
		t.Errorf("time %v, want %v", e.Timestamp, at)
	}
	p := &passage{packet: packet{at: at.Add(time.Millisecond), flags: flagSYN, seq: 5, ack: 6, size: 7}}
	if !e.about(p) {
		t.Errorf("record %+v is not about its segment", e)
	}
	p.seq++
	if e.about(p) {
		t.Error("record is about a segment with another number")
	}
	if d := e.describe(); d != "syn-established: drop, rule print-servers, reply ack-tracked" {
		t.Errorf("described as %q", d)
	}
}

func TestReadLogErrors(t *testing.T) {
	if got, err := readLog(filepath.Join(t.TempDir(), "none")); err != nil || got != nil {
		t.Errorf("missing directory: %v, %v", got, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte("{}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLog(dir); err == nil || !strings.Contains(err.Error(), "x.jsonl:2") {
		t.Errorf("damaged log: %v", err)
	}
}

func TestFindNamesWhatThereIs(t *testing.T) {
	if _, err := Find("nonsense"); err == nil || !strings.Contains(err.Error(), "silence-on-the-wire") {
		t.Errorf("error %v", err)
	}
	sc, err := Find("lpd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := choose(sc, "nonsense"); err == nil || !strings.Contains(err.Error(), "forgotten") {
		t.Errorf("error %v", err)
	}
}
