package nfqueue

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// packetMessage builds what nfqnl_build_packet_message sends.
func packetMessage(id uint32, data []byte, attrs ...[]byte) []byte {
	attr := func(typ uint16, v []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = append(b, v...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	be := binary.BigEndian
	hdr := be.AppendUint32(nil, id)
	hdr = append(hdr, 0x08, 0x00, 2)
	body := attr(attrPacketHdr, hdr)
	for _, a := range attrs {
		body = append(body, attr(binary.NativeEndian.Uint16(a), a[2:])...)
	}
	body = append(body, attr(attrPayload, data)...)
	b := appendHeader(nil, nlmsgHeaderLen+genmsgLen+len(body), typePacket, 0, 0, 7)
	return append(b, body...)
}

func u32attr(typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.NativeEndian.AppendUint16(nil, typ), v)
}

func TestParsePacket(t *testing.T) {
	data := []byte{0x45, 0, 0, 41, 1}
	hw := append(binary.NativeEndian.AppendUint16(nil, attrHWAddr), 0, 6, 0, 0, 2, 4, 6, 8, 10, 12, 0, 0)
	b := packetMessage(9, data, u32attr(attrMark, 0x01020304), u32attr(attrInDev, 5), u32attr(attrOutDev, 6), hw,
		u32attr(attrCapLen, 1500), u32attr(attrSkbInfo, skbPartial|skbGSO), u32attr(99, 1))
	var p Packet
	var ke kernelError
	kind, err := parseMessage(b, &p, &ke)
	if err != nil || kind != messagePacket {
		t.Fatalf("%v %v", kind, err)
	}
	if p.ID != 9 || p.Queue != 7 || p.Proto != 0x0800 || p.Hook != 2 || p.Mark != 0x01020304 || p.InDev != 5 || p.OutDev != 6 ||
		p.CapLen != 1500 || !p.Truncated() || !p.Partial || !p.GSO || p.ChecksumUnverified || !bytes.Equal(p.Data, data) ||
		p.HWLen != 6 || p.HWAddr != [8]byte{2, 4, 6, 8, 10, 12} {
		t.Errorf("%+v", p)
	}
	// The next message has none of that: nothing may be left over.
	if _, err := parseMessage(packetMessage(10, data), &p, &ke); err != nil {
		t.Fatal(err)
	}
	if p.Mark != 0 || p.GSO || p.HWLen != 0 || p.CapLen != uint32(len(data)) || p.Truncated() {
		t.Errorf("left over: %+v", p)
	}
}

// TestParseCutOff cuts a message at every length. As long as the id is there, it must be found: the kernel waits for it.
func TestParseCutOff(t *testing.T) {
	b := packetMessage(9, bytes.Repeat([]byte{7}, 100))
	const idEnd = nlmsgHeaderLen + genmsgLen + attrHeaderLen + 7
	for n := range len(b) {
		var p Packet
		var ke kernelError
		kind, err := parseMessage(b[:n], &p, &ke)
		switch {
		case n >= idEnd && (err != nil || kind != messagePacket || p.ID != 9):
			t.Errorf("cut at %d: %v %v %+v", n, kind, err, p)
		case n < idEnd && err == nil:
			t.Errorf("cut at %d: no error, kind %d", n, kind)
		}
		if len(p.Data) > 0 && len(p.Data) < 100 && !p.Truncated() {
			t.Errorf("cut at %d: %d bytes pass as the whole packet", n, len(p.Data))
		}
	}
}

func TestParseError(t *testing.T) {
	b := appendHeader(nil, 36, unix.NLMSG_ERROR, 0, 42, 0)[:nlmsgHeaderLen]
	enoent := int32(unix.ENOENT)
	b = binary.NativeEndian.AppendUint32(b, uint32(-enoent))
	b = append(b, appendHeader(nil, 32, typeVerdict, 1, 42, 0)[:nlmsgHeaderLen]...)
	var p Packet
	var ke kernelError
	kind, err := parseMessage(b, &p, &ke)
	if err != nil || kind != messageError || ke != (kernelError{unix.ENOENT, typeVerdict, 42}) {
		t.Errorf("%v %v %+v", kind, err, ke)
	}
	clear(b[nlmsgHeaderLen : nlmsgHeaderLen+4])
	if kind, err = parseMessage(b, &p, &ke); err != nil || kind != messageAck {
		t.Errorf("acknowledgement: %v %v", kind, err)
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(packetMessage(9, []byte{0x45, 0, 0, 40}, u32attr(attrCapLen, 40)))
	f.Add(packetMessage(1, nil))
	f.Add(appendHeader(nil, 36, unix.NLMSG_ERROR, 0, 42, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		var ke kernelError
		kind, err := parseMessage(b, &p, &ke)
		if err == nil && kind == messagePacket && uint32(len(p.Data)) > p.CapLen {
			t.Errorf("%d bytes of a packet of %d", len(p.Data), p.CapLen)
		}
	})
}
