//go:build netns

package lab

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

func impaired(t *testing.T, inside, outside Impairment) *Topology {
	t.Helper()
	top, err := Build(false, Impaired(inside, outside))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	return top
}

// Bytes arrive as they were sent over links that lose, repeat and reorder segments, single ones and super-packets, of both families.
func TestWireHarms(t *testing.T) {
	for _, whole := range []bool{false, true} {
		im := Impairment{Loss: 0.02, Duplicate: 0.02, Reorder: 0.05, Delay: 3 * time.Millisecond, Seed: 5, Whole: whole}
		if whole {
			im.Latency = 2 * time.Millisecond
		}
		top := impaired(t, im, im)
		for _, fam := range []struct{ client, server netip.Addr }{{client4, server4}, {client6, server6}} {
			srv, err := top.Server.Serve(netip.AddrPortFrom(fam.server, 7000), false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			e, err := top.Client.Dial(ctx, netip.AddrPortFrom(fam.client, 0), srv.Addr)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			_ = e.conn.SetDeadline(time.Now().Add(time.Minute))
			sent, got := make([]byte, 2<<20), make([]byte, 2<<20)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(sent)
			go func() { _, _ = e.conn.Write(sent) }()
			if _, err := io.ReadFull(e.conn, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sent, got) {
				t.Error("the echo is not what was sent")
			}
			if err := e.Silence(); err != nil {
				t.Error(err)
			}
			srv.Close()
		}
		h := top.Harm()
		t.Logf("whole %v: %+v", whole, h)
		if h.Lost == 0 || h.Duplicated == 0 || h.Reordered == 0 || h.Refused > 0 {
			t.Errorf("%+v", h)
		}
		// 4 MiB and their echo over two links are at least so many single segments, and far fewer super-packets.
		if single := uint64(2 * 2 * 4 << 20 / 1460); whole == (h.Segments >= single) {
			t.Errorf("whole %v: %d segments", whole, h.Segments)
		}
		if err := top.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(netnsDir, top.base+"*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A rate of one harms every segment, and nothing but segments: the ends still find each other's link addresses.
func TestWireHarmsSegmentsOnly(t *testing.T) {
	top := impaired(t, Impairment{Duplicate: 1, Delay: time.Millisecond, Seed: 1}, Impairment{Loss: 1, Seed: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if e, err := top.Client.Dial(ctx, netip.AddrPortFrom(client4, 0), netip.AddrPortFrom(server4, 7000)); err == nil {
		e.Close()
		t.Error("connected over a link that loses everything")
	}
	inside, outside := top.wires[0], top.wires[1]
	var in, out Harm
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the last copy is held back
		in, out = Harm{}, Harm{}
		inside.add(&in)
		outside.add(&out)
		if out.Segments == 2*in.Segments || time.Now().After(end) {
			break
		}
	}
	if in.Segments == 0 || in.Duplicated != in.Segments || in.Lost != 0 || in.Reordered != 0 {
		t.Errorf("inside: %+v", in)
	}
	if out.Segments != 2*in.Segments || out.Lost != out.Segments {
		t.Errorf("inside %+v, outside %+v: the outside must have each SYN twice", in, out)
	}
}

// A scenario that is played over impaired links heals too: the ends repeat what was lost, and the report says what the links did.
func TestRunOverImpairedLinks(t *testing.T) {
	im := Impairment{Duplicate: 0.3, Reorder: 0.2, Delay: 5 * time.Millisecond, Latency: 4 * time.Millisecond, Seed: 3}
	r := play(t, Options{Scenario: "silence-on-the-wire", Phase: "remembered", Policy: PlainForwarding, Impairment: &im})
	if !r.Phases[0].Client.Connected || r.Impairment != im.String() || r.Harm == nil || r.Harm.Duplicated == 0 || r.Harm.Reordered == 0 {
		t.Errorf("%+v, impairment %q, harm %+v", r.Phases[0].Client, r.Impairment, r.Harm)
	}
	if seen := r.Phases[0].Client.SYNSent; seen < 2 {
		t.Errorf("%d SYNs at the gateway", seen)
	}
}
