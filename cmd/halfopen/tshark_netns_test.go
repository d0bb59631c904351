//go:build netns

package main

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// seen is a segment as tshark reads it from a capture.
type seen struct {
	at               float64 // seconds since 1970
	toServer         bool
	client           int // the client's port
	flags            int
	seq, ack, length int
	sum              string // checksum: tshark's word; only good for segments that no kernel left unfinished
}

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

func (s seen) isSYN() bool     { return s.flags&(syn|ack|rst) == syn }
func (s seen) isSYNACK() bool  { return s.flags&(syn|ack|rst) == syn|ack }
func (s seen) isRST() bool     { return s.flags&rst != 0 }
func (s seen) isBareACK() bool { return s.flags&(syn|ack|rst|fin) == ack && s.length == 0 }

// tshark reads the TCP segments of a capture.
func tshark(t *testing.T, file string) (all []seen) {
	t.Helper()
	fields := []string{"frame.time_epoch", "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.seq", "tcp.ack", "tcp.len", "tcp.checksum.status"}
	args := []string{"-r", file, "-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.check_checksum:TRUE", "-Y", "tcp", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var words bytes.Buffer
	cmd := exec.Command("tshark", args...)
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark -r %s: %v\n%s", file, err, words.String())
	}
	number := func(s string) int {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			t.Fatalf("tshark -r %s: %v", file, err)
		}
		return int(n)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != len(fields) {
			t.Fatalf("tshark -r %s: %q", file, line)
		}
		at, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			t.Fatalf("tshark -r %s: %v", file, err)
		}
		s := seen{at: at, client: number(f[1]), toServer: true, flags: number(f[3]), seq: number(f[4]), ack: number(f[5]), length: number(f[6]), sum: f[7]}
		if s.client == 515 {
			s.client, s.toServer = number(f[2]), false
		}
		all = append(all, s)
	}
	return all
}
