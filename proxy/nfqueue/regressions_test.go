package nfqueue

import (
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// The queue is configured by one message with one word of flags: of two the kernel would take the second, and what the first asked for
// (super-packets, fail-open) would be gone.
func TestConfigSaysFlagsOnce(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want uint32
	}{{Config{GSO: true, FailOpen: true}, 1 | 4}, {Config{GSO: true}, 4}, {Config{FailOpen: true}, 1}, {Config{}, 0}} {
		cfg := c.cfg.withDefaults()
		attrs := map[uint16][]byte{}
		for b := configMessage(&cfg)[nlmsgHeaderLen+genmsgLen:]; len(b) >= attrHeaderLen; {
			n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
			if _, twice := attrs[typ]; twice {
				t.Errorf("%+v: attribute %d twice", c.cfg, typ)
			}
			attrs[typ] = b[attrHeaderLen:n]
			b = b[min((n+3)&^3, len(b)):]
		}
		flags, mask := attrs[cfgAttrFlags], attrs[cfgAttrMask]
		if c.want == 0 {
			if flags != nil || mask != nil {
				t.Errorf("%+v: flags %x of %x", c.cfg, flags, mask)
			}
			continue
		}
		if len(flags) != 4 || binary.BigEndian.Uint32(flags) != c.want || binary.BigEndian.Uint32(mask) != c.want {
			t.Errorf("%+v: flags %x of %x, want %x", c.cfg, flags, mask, c.want)
		}
	}
}

// mdlayher/netlink 1.10.0 to 1.11.1 let no message leave while another goroutine waited for one, and refused messages that were not
// aligned (its issue 288). go.mod names a version without that.
func TestNetlinkVersion(t *testing.T) {
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github\.com/mdlayher/netlink v(\d+)\.(\d+)\.(\d+)\b`).FindSubmatch(data)
	if m == nil {
		t.Fatal("go.mod names no version of mdlayher/netlink: if nothing needs it any more, docs/regressions.md number 17 has another proof")
	}
	n := func(i int) int { v, _ := strconv.Atoi(string(m[i])); return v }
	if v := n(1)*1_000_000 + n(2)*1000 + n(3); v >= 1_010_000 && v <= 1_011_001 {
		t.Errorf("go.mod names mdlayher/netlink %s.%s.%s", m[1], m[2], m[3])
	}
}
