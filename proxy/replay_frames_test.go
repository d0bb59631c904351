package proxy

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// Of a capture that shows both directions of an interface, inbound frames are what a gateway was asked about. A frame of which nobody
// knows is skipped and reported.
func TestReplayInbound(t *testing.T) {
	c := conversation(t, clientEnd, serverEnd)
	packets := frames(c...)
	for i := range packets {
		packets[i].dir = capture.Inbound
	}
	made := mustEncode(t, &conntrack.Segment{Tuple: tuple(serverEnd, clientEnd), Flags: conntrack.RST, Seq: 501}, nil)
	packets = slices.Insert(packets, 3, captured{at: packets[2].at, packet: made, dir: capture.Outbound})
	got := mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Inbound: true})
	if want := slices.Insert(slices.Clone(plainCourse), 3, "skip/outbound"); !slices.Equal(got.texts, want) || len(got.Problems) > 0 {
		t.Errorf("%v, problems %v", got.texts, got.Problems)
	}

	packets[0].dir = capture.Unknown
	got = mustReplay(t, ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Inbound: true})
	if got.Skipped[SkipOutbound] != 2 || got.ProblemsInAll != 1 || !strings.Contains(got.Problems[0].Text, "does not say whether it came in") {
		t.Errorf("%v, problems %v", got.texts, got.Problems)
	}

	sent := 0 // every other frame, by its cooked header
	for _, head := range []func(byte) string{
		func(kind byte) string {
			return "\x00" + string(kind) + "\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00"
		},
		func(kind byte) string {
			return "\x08\x00\x00\x00\x00\x00\x00\x01\x00\x01" + string(kind) + "\x06\x02\x00\x00\x00\x00\x01\x00\x00"
		},
	} {
		wrap := func(p []byte) []byte {
			kind := byte(0)
			if sent++; sent%2 == 0 {
				kind = 4
			}
			return append([]byte(head(kind)), p...)
		}
		link := capture.LinkSLL
		if len(head(0)) == 20 {
			link = capture.LinkSLL2
		}
		sent = 0
		got := mustReplay(t, ReplayConfig{Capture: ng(t, frames(c...), wrap, link), Inbound: true})
		if got.Skipped[SkipOutbound] != len(c)/2 || got.TCP != (len(c)+1)/2 || len(got.Problems) > 0 {
			t.Errorf("%v: %v, problems %v", link, got.texts, got.Problems)
		}
	}
}

// A sum that the sending host left to its network card is no wrong one; one that is wrong is, unless nobody wants to know.
func TestReplayChecksums(t *testing.T) {
	packets := conversation(t, clientEnd, serverEnd)
	put := func(p []byte, sum uint16) { binary.BigEndian.PutUint16(p[36:], sum) }
	var d Decoder
	for i, length := range []int{len(packets[0]) - 20, 0} { // with and without the length, as offloads leave it
		var s conntrack.Segment
		d.Decode(packets[i], len(packets[i]), PacketInfo{}, &s)
		put(packets[i], foldSum(pseudoSum(&s.Tuple, length)))
	}
	packets[3][37] ^= 0xff
	path := ng(t, frames(packets...), nil, capture.LinkRaw)
	got := mustReplay(t, ReplayConfig{Capture: path})
	want := append(slices.Clone(plainCourse[:3]), "forward/checksum-bad")
	if got.Unfinished != 2 || !slices.Equal(got.texts[:4], want) {
		t.Errorf("%d unfinished, %v", got.Unfinished, got.texts)
	}
	if got := mustReplay(t, ReplayConfig{Capture: path, IgnoreChecksums: true}); !slices.Equal(got.texts, plainCourse) {
		t.Errorf("ignoring checksums: %v", got.texts)
	}
}

// More data than a receiver takes in a segment is a finding, but not where the sum is left to a network card, which has yet to cut it.
func TestReplayUncutSegments(t *testing.T) {
	packets := conversation(t, clientEnd, serverEnd)
	packets[1] = mustEncode(t, &conntrack.Segment{Tuple: tuple(serverEnd, clientEnd), Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101, Window: 64240,
		Options: conntrack.Options{Has: conntrack.OptMSS, MSS: 3}}, nil) // "print" is more
	want := append(slices.Clone(plainCourse[:3]), "forward/mss-exceeded")
	if got := mustReplay(t, ReplayConfig{Capture: ng(t, frames(packets...), nil, capture.LinkRaw)}); !slices.Equal(got.texts[:4], want) {
		t.Errorf("%v", got.texts)
	}
	var d Decoder
	var s conntrack.Segment
	d.Decode(packets[3], len(packets[3]), PacketInfo{}, &s)
	binary.BigEndian.PutUint16(packets[3][36:], foldSum(pseudoSum(&s.Tuple, len(packets[3])-20)))
	if got := mustReplay(t, ReplayConfig{Capture: ng(t, frames(packets...), nil, capture.LinkRaw)}); !slices.Equal(got.texts, plainCourse) || got.Unfinished != 1 {
		t.Errorf("%v, %d unfinished", got.texts, got.Unfinished)
	}
}
