package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// ipv4 is the smallest packet that IP accepts: an IPv4 header and nothing else.
var ipv4 = []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}

func writeSample(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, Section{Comment: "halfopen test", Application: "halfopen"})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []Interface{{Name: "queue0 in", LinkType: LinkRaw}, {Name: "outside", LinkType: LinkEthernet, SnapLen: 128}} {
		if _, err := w.AddInterface(i); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1700000000, 123456789)
	full := Options{
		Comments: []string{"halfopen drop reason=syn-established", "second"}, Direction: Outbound,
		PacketID: 1<<40 + 7, HasPacketID: true, Queue: 3, HasQueue: true,
	}
	if err := w.WritePacket(0, at, ipv4, 1500, full); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(1, at.Add(time.Nanosecond), append(make([]byte, 12), 8, 0, 0x45), 0, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func drainReader(t testing.TB, b []byte) ([]Frame, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var out []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
}

func TestWriterReaderRoundTrip(t *testing.T) {
	got, err := drainReader(t, writeSample(t))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1700000000, 123456789).UTC()
	want := []Frame{
		{
			N: 1, Time: at, Interface: "queue0 in", LinkType: LinkRaw, Data: ipv4, OrigLen: 1500,
			Options: Options{
				Comments: []string{"halfopen drop reason=syn-established", "second"}, Direction: Outbound,
				PacketID: 1<<40 + 7, HasPacketID: true, Queue: 3, HasQueue: true,
			},
		},
		{N: 2, Time: at.Add(1), Interface: "outside", InterfaceID: 1, LinkType: LinkEthernet, Data: append(make([]byte, 12), 8, 0, 0x45), OrigLen: 15},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
}

// TestGopacketReadsOurFiles holds our writer against an independent reader.
func TestGopacketReadsOurFiles(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(writeSample(t)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.SectionInfo().Comment; c != "halfopen test" {
		t.Errorf("section comment %q", c)
	}
	data, ci, err := r.ReadPacketData()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, ipv4) || ci.Length != 1500 || ci.Timestamp.UnixNano() != 1700000000123456789 {
		t.Errorf("packet %x, length %d, time %v", data, ci.Length, ci.Timestamp)
	}
	if i, err := r.Interface(1); err != nil || i.Name != "outside" || i.SnapLength != 128 {
		t.Errorf("interface 1: %+v, %v", i, err)
	}
}

func TestReadsWhatGopacketWrites(t *testing.T) {
	at := time.Unix(1600000000, 5000).UTC()
	ci := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(ipv4), Length: 60}

	var classic, ng, zipped bytes.Buffer
	pw := pcapgo.NewWriterNanos(&classic)
	// A snap length of zero, as some writers leave it, must not make every packet unreadable.
	if err := pw.WriteFileHeader(0, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	if err := pw.WritePacket(ci, ipv4); err != nil {
		t.Fatal(err)
	}
	nw, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nw.WritePacket(ci, ipv4), nw.Flush()); err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(&zipped)
	zw.Write(classic.Bytes())
	zw.Close()

	for name, file := range map[string][]byte{"pcap": classic.Bytes(), "pcapng": ng.Bytes(), "gzip": zipped.Bytes()} {
		got, err := drainReader(t, file)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
			continue
		}
		f := got[0]
		if f.LinkType != LinkRaw || !bytes.Equal(f.Data, ipv4) || !f.Time.Equal(at) || f.OrigLen != 60 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// bigEndianFile has a microsecond interface, a simple packet block, an obsolete packet block and an unknown block.
func bigEndianFile() []byte {
	be := binary.BigEndian
	block := func(typ uint32, body []byte) []byte {
		b := be.AppendUint32(nil, typ)
		b = be.AppendUint32(b, uint32(len(body)+12))
		b = append(b, body...)
		return be.AppendUint32(b, uint32(len(body)+12))
	}
	shb := append(be.AppendUint32(nil, byteOrderMagic), 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
	idb := []byte{0, 101, 0, 0, 0, 0, 0, 16}
	old := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x41, 0, 0, 0, 20, 0, 0, 0, 20} // 1,000,001 us
	return bytes.Join([][]byte{
		block(blockSection, shb), block(blockInterface, idb), block(0x80000001, []byte{1, 2, 3, 4}),
		block(blockSimple, append([]byte{0, 0, 0, 20}, ipv4[:16]...)), block(blockPacket, append(old, ipv4...)),
	}, nil)
}

func TestReadsOtherBlocksBigEndian(t *testing.T) {
	got, err := drainReader(t, bigEndianFile())
	if err != nil || len(got) != 2 {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	if got[0].OrigLen != 20 || len(got[0].Data) != 16 {
		t.Errorf("simple packet: %d of %d bytes, want 16 of 20 (snap length)", len(got[0].Data), got[0].OrigLen)
	}
	if want := time.Unix(1, 1000).UTC(); !got[1].Time.Equal(want) {
		t.Errorf("obsolete packet's time %v, want %v", got[1].Time, want)
	}
}

func TestDamageIsAnError(t *testing.T) {
	good := writeSample(t)
	huge := bytes.Clone(good)
	// The second packet's captured length: found by its interface number and a length of 15.
	at := bytes.LastIndex(huge, []byte{15, 0, 0, 0, 15, 0, 0, 0})
	binary.LittleEndian.PutUint32(huge[at:], 0xfffffff0)
	for name, file := range map[string][]byte{
		"empty": {}, "text": []byte("hello, this is no capture at all"), "cut": good[:len(good)-5], "huge": huge,
		"pcap header only half": {0xd4, 0xc3, 0xb2, 0xa1, 2, 0},
	} {
		if _, err := drainReader(t, file); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want ErrFormat", name, err)
		}
	}
	if frames, _ := drainReader(t, good[:len(good)-5]); len(frames) != 1 {
		t.Errorf("cut file: %d frames before the damage, want 1", len(frames))
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard, Section{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(0, time.Now(), ipv4, 0, Options{}); err == nil {
		t.Error("packet of an interface that was never added: no error")
	}
	if _, err := w.AddInterface(Interface{LinkType: LinkRaw}); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(0, time.Now(), make([]byte, MaxFrame+1), 0, Options{}); err == nil {
		t.Error("frame beyond MaxFrame: no error")
	}
	if err := w.WritePacket(0, time.Now(), ipv4, 0, Options{Comments: []string{strings.Repeat("x", 1<<17)}}); err != nil {
		t.Errorf("long comment: %v (it is cut)", err)
	}
}

func TestIP(t *testing.T) {
	eth := func(tail ...byte) []byte { return append(make([]byte, 12), tail...) }
	for _, c := range []struct {
		name string
		link LinkType
		data []byte
		want []byte // nil: not IP
	}{
		{"raw", LinkRaw, ipv4, ipv4},
		{"raw, not IP", LinkRaw, []byte{0x15, 0}, nil},
		{"raw, empty", LinkRaw, nil, nil},
		{"ethernet", LinkEthernet, append(eth(8, 0), ipv4...), ipv4},
		{"ethernet, IPv6", LinkEthernet, eth(0x86, 0xdd, 0x60, 1), []byte{0x60, 1}},
		{"ethernet, VLAN", LinkEthernet, append(eth(0x81, 0, 0, 5, 8, 0), ipv4...), ipv4},
		{"ethernet, two VLANs", LinkEthernet, append(eth(0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0), ipv4...), ipv4},
		{"ethernet, VLAN cut off", LinkEthernet, eth(0x81, 0, 0), nil},
		{"ethernet, ARP", LinkEthernet, append(eth(8, 6), ipv4...), nil},
		{"ethernet, short", LinkEthernet, make([]byte, 13), nil},
		{"sll", LinkSLL, append(append(make([]byte, 14), 8, 0), ipv4...), ipv4},
		{"sll, short", LinkSLL, make([]byte, 15), nil},
		{"sll2", LinkSLL2, append(append([]byte{8, 0}, make([]byte, 18)...), ipv4...), ipv4},
		{"null", LinkNull, append([]byte{2, 0, 0, 0}, ipv4...), ipv4},
		{"unknown type", 147, ipv4, nil},
	} {
		got, ok := IP(c.link, c.data)
		if ok != (c.want != nil) || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, %v; want %x", c.name, got, ok, c.want)
		}
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAll(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(writeSample(f))
	f.Add(bigEndianFile())
	var classic bytes.Buffer
	w := pcapgo.NewWriter(&classic)
	w.WriteFileHeader(65536, layers.LinkTypeEthernet)
	w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(ipv4), Length: len(ipv4)}, ipv4)
	f.Add(classic.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for {
			fr, err := r.Next()
			if err != nil {
				return
			}
			if len(fr.Data) > MaxFrame || fr.OrigLen < 0 {
				t.Fatalf("frame of %d bytes, original length %d", len(fr.Data), fr.OrigLen)
			}
			fr.IP()
		}
	})
}
