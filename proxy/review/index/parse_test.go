package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestParseFilter(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "  \t ": "",
		"reason:syn-established src:10.0.0.0/8 since:1h": "since:2026-11-23T11:00:00Z reason:syn-established src:10.0.0.0/8",
		"since:2d until:90m":                             "since:2026-11-21T12:00:00Z until:2026-11-23T10:30:00Z",
		"since:2026-11-23T18:01:36.5+0100":               "since:2026-11-23T17:01:36.5Z",
		`since:"2026-11-23 07:12"`:                       "since:2026-11-23T07:12:00Z",
		"until:2026-11-24":                               "until:2026-11-24T00:00:00Z",
		"verdict:drop,hold verdict:rewrite":              "verdict:drop,hold,rewrite",
		`rule:"print servers","a,b","q\"\\"`:             `rule:"print servers","a,b","q\"\\"`,
		"rule:a:b=c":                                     "rule:a:b=c",
		"addr:10.1.2.3/8 dst:::ffff:10.0.0.1 src:2001:DB8::1%eth0 src:::ffff:10.0.0.0/104": "addr:10.0.0.0/8 src:2001:db8::1,10.0.0.0/8 dst:10.0.0.1",
		"port:515 src-port:0 dst-port:65535":                                               "port:515 src-port:0 dst-port:65535",
		"flow:7,1:LQU9qZlK+B5F3KDmev6m5PMibrg=":                                            "flow:7 community-id:1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
		"event:flow,decision arm:A outcome:reset rev:9f2c":                                 "event:flow,decision arm:A rev:9f2c outcome:reset",
		"reason:a-word-of-a-later-version":                                                 "reason:a-word-of-a-later-version",
	} {
		f, err := ParseFilter(in, noon)
		if err != nil || f.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, f.String(), err, want)
		}
		again, err := ParseFilter(f.String(), noon.Add(time.Hour))
		if err != nil || again.String() != want {
			t.Errorf("%q again: %q, %v", want, again.String(), err)
		}
	}
	for in, want := range map[string]string{
		"drop":             "filter \"drop\": expected key:value, for example reason:syn-established",
		"resaon:x":         `filter "resaon": is no key of a filter, expected since, until`,
		"reason:":          `filter "reason": has no value`,
		"reason:a,,b":      `filter "reason": has no value`,
		`rule:"open`:       "has an opening quote and no closing one",
		`rule:"a"b`:        "behind a closing quote",
		"verdict:dorp":     `verdict "dorp" is not a verdict, expected forward, drop, rewrite or hold (did you mean "drop"?)`,
		"event:decisions":  `event "decisions" is not an event type`,
		"addr:10.0.0":      `addr "10.0.0" is no address, expected one (10.2.0.7, 2001:db8::1) or a prefix (10.0.0.0/8)`,
		"src:10.0.0.0/33":  `src "10.0.0.0/33" is no address`,
		"port:70000":       `port "70000" is no port, expected a number from 0 to 65535`,
		"flow:-1":          `flow "-1" is no flow`,
		"flow:0":           `flow "0" is no flow`,
		"flow:1:short=":    `flow "1:short=" is no flow`,
		"community-id:x":   "is no Community ID",
		"since:yesterday":  `since "yesterday" is no time, expected a duration before now (1h30m) or a time`,
		"reason:x \"y\"":   "expected key:value",
		"until:2026-13-01": "is no time",
	} {
		_, err := ParseFilter(in, noon)
		var bad *FilterError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	if err := checkReason("syn-establised", func(string) bool { return false }); err == nil || err.Error() != `reason "syn-establised" is not a finding; did you mean "syn-established"?` {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	dir := writeLog(t, logFile, []byte(strings.Join(hostile, "\n")+"\n"))
	x := open(t, dir)
	for in, want := range map[string]string{
		"reason:syn-established": "", `reason:"other letters"`: "", "reason:other": "error",
		"rule:none": "no record has the rule \"none\"", "arm:b": `no record has the arm "b", only B (did you mean "B"?)`, "rev:99": "no record has a policy revision that begins with \"99\"",
		"outcome:ok": "no record has the outcome \"ok\"",
	} {
		f, err := ParseFilter(in, noon)
		if err != nil {
			t.Fatal(err)
		}
		remarks, err := x.Check(ctx, f)
		if got := strings.Join(remarks, "; "); want == "error" && err == nil || want != "error" && (err != nil || (got == "") != (want == "") || !strings.Contains(got, want)) {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}

// Any filter's text makes the same filter.
func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"reason:syn-established src:10.0.0.0/8 since:1h", `rule:"a b","c\"d\\",e until:2026-11-23 flow:7`, "addr:::1/0,fe80::1%1 port:1", "x", `rule:"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		flt, err := ParseFilter(s, noon)
		if err != nil {
			return
		}
		text := flt.String()
		again, err := ParseFilter(text, noon.Add(time.Minute))
		if err != nil || again.String() != text {
			t.Fatalf("%q is %q, and that is %q, %v", s, text, again.String(), err)
		}
	})
}

// Columns come back as they were written.
func TestBlockComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		b := newBlock(3, int64(rng.IntN(1000)))
		at, offset := int64(rng.Uint64()>>1)-1<<61, b.offset
		for range 1 + rng.IntN(600) {
			s := shape{event: uint32(rng.IntN(3)), reason: uint32(rng.IntN(1 + round*5)), bits: uint32(rng.IntN(8))}
			c := connKey{flow: rng.Uint64() >> rng.IntN(64)}
			if rng.IntN(5) > 0 {
				text := func() []byte {
					if rng.IntN(2) == 0 {
						return fmt.Appendf(nil, "10.0.%d.%d", rng.IntN(256), rng.IntN(256))
					}
					return fmt.Appendf(nil, "2001:db8::%x", rng.IntN(65536))
				}
				c.ends, _ = makeEnds(text(), text(), uint16(rng.IntN(65536)), uint16(rng.IntN(65536)))
			}
			n := b.add(&s, &c, rng.Uint32(), at, offset)
			b.conns[n].row = uint32(rng.IntN(1 << 20))
			at += int64(rng.Uint64() >> (1 + rng.IntN(63)) >> 1)
			if rng.IntN(3) == 0 {
				at -= int64(rng.IntN(1e9))
			}
			offset += int64(1 + rng.IntN(1<<rng.IntN(25)))
		}
		var data [numColumns][]byte
		for i := range data {
			data[i] = b.column(i)
		}
		back := newBlock(3, b.offset)
		back.lo = b.lo
		if err := back.decode(encodeShapes(b.shapes), data, len(b.times)); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(back.shapes, back.conns, back.shapeOf, back.connOf, back.times, back.offsets) != fmt.Sprint(b.shapes, b.conns, b.shapeOf, b.connOf, b.times, b.offsets) {
			t.Fatal("the block is another")
		}
		minutes, err := decodeMinutes(data[colMinutes], floorDiv(b.lo, minuteNS), len(b.shapes), nil)
		n := 0
		for _, m := range minutes {
			n += int(m.n)
		}
		if err != nil || n != len(b.times) {
			t.Fatalf("%d records by minute, want %d, %v", n, len(b.times), err)
		}
	}
}

// No octets of a column do harm.
func FuzzColumns(f *testing.F) {
	b := newBlock(1, 0)
	var c connKey
	c.ends, _ = makeEnds([]byte("10.0.0.1"), []byte("2001:db8::1"), 1, 2)
	b.add(&shape{event: 1, reason: 300}, &c, 7, 5e18, 10)
	b.add(&shape{event: 2}, &connKey{flow: 9}, 0, 5e18+1, 700)
	for i := range numColumns {
		f.Add(b.column(i), 2)
	}
	f.Add(encodeShapes(b.shapes), 2)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = min(max(n, 0), blockMax)
		shapes, err := decodeShapes(data)
		if err == nil && len(shapes) > len(data) {
			t.Fatal("more shapes than octets")
		}
		if conns, err := decodeConns(data, nil); err == nil {
			var out []byte
			for i := range conns {
				out = conns[i].encode(out)
			}
			again, err := decodeConns(out, nil)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(conns) {
				t.Fatalf("%v, then %v, %v", conns, again, err)
			}
		}
		decodeNumbers(data, n, 256, nil)
		decodeNumbers(data, n, 257, nil)
		if vs, err := decodeDeltas(data, n, 0, nil); err == nil {
			if back, err := decodeDeltas(encodeDeltas(vs, 0), n, 0, nil); err != nil || fmt.Sprint(back) != fmt.Sprint(vs) {
				t.Fatalf("%v, then %v, %v", vs, back, err)
			}
		}
		decodeMinutes(data, 0, n, nil)
	})
}

// IPv4 is read as netip reads it.
func FuzzAddr(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "010.0.0.1", "1.2.3", "1.2.3.4.", "256.1.1.1", "::1", "::ffff:1.2.3.4", "fe80::1%eth0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { sameAddr(t, s) })
}
