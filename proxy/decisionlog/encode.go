package decisionlog

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// flowIDMask keeps the low 51 bits of a flow id: readers that hold numbers as
// IEEE doubles would round larger ones (Suricata masks its flow_id alike).
const flowIDMask = 1<<51 - 1

// maxNumber is the largest number written: 2^53 - 1, the last below which every
// integer has a double of its own. Larger counts are written as this.
const maxNumber = 1<<53 - 1

// enc appends one JSON object. It remembers nothing but whether a comma is due,
// which it reads off the last byte written.
type enc struct{ b []byte }

func (e *enc) comma() {
	switch e.b[len(e.b)-1] {
	case '{', '[':
	default:
		e.b = append(e.b, ',')
	}
}

// key writes a constant name; such names need no escaping.
func (e *enc) key(k string) {
	e.comma()
	e.b = append(e.b, '"')
	e.b = append(e.b, k...)
	e.b = append(e.b, '"', ':')
}

func (e *enc) open(k string)  { e.key(k); e.b = append(e.b, '{') }
func (e *enc) close()         { e.b = append(e.b, '}') }
func (e *enc) array(k string) { e.key(k); e.b = append(e.b, '[') }
func (e *enc) endArray()      { e.b = append(e.b, ']') }

// num writes an unsigned number, also when it is zero.
func (e *enc) num(k string, v uint64) {
	e.key(k)
	e.b = strconv.AppendUint(e.b, min(v, maxNumber), 10)
}

// numIf writes a number unless it is zero.
func (e *enc) numIf(k string, v uint64) {
	if v != 0 {
		e.num(k, v)
	}
}

// flowID writes a flow id, masked, unless it is zero.
func (e *enc) flowID(k string, v uint64) { e.numIf(k, v&flowIDMask) }

func (e *enc) bool(k string, v bool) {
	e.key(k)
	e.b = strconv.AppendBool(e.b, v)
}

func (e *enc) boolIf(k string, v bool) {
	if v {
		e.bool(k, v)
	}
}

// str writes a string, also when it is empty.
func (e *enc) str(k, v string) {
	e.key(k)
	e.b = appendString(e.b, v)
}

func (e *enc) strIf(k, v string) {
	if v != "" {
		e.str(k, v)
	}
}

func (e *enc) id(k string, v ID) {
	if v.IsZero() {
		return
	}
	e.key(k)
	e.b = append(e.b, '"')
	e.b, _ = v.AppendText(e.b)
	e.b = append(e.b, '"')
}

// secs writes nanoseconds as seconds, with at most nine decimals and at least one.
func (e *enc) secs(k string, ns int64) {
	e.key(k)
	e.b = appendSeconds(e.b, ns)
}

// secsIf writes nanoseconds as seconds unless they are zero.
func (e *enc) secsIf(k string, ns int64) {
	if ns != 0 {
		e.secs(k, ns)
	}
}

// when writes a point in time unless it is zero.
func (e *enc) when(k string, unixNano int64) {
	if unixNano == 0 {
		return
	}
	e.key(k)
	e.b = append(e.b, '"')
	e.b = AppendTime(e.b, unixNano)
	e.b = append(e.b, '"')
}

func (e *enc) counts(k string, cs []Count) {
	if len(cs) == 0 {
		return
	}
	e.open(k)
	for _, c := range cs {
		e.comma()
		e.b = appendString(e.b, c.Word)
		e.b = append(e.b, ':')
		e.b = strconv.AppendUint(e.b, min(c.N, maxNumber), 10)
	}
	e.close()
}

func appendSeconds(dst []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1e9, 10)
	dst = append(dst, '.')
	dst = appendPadded(dst, u%1e9, 9)
	for dst[len(dst)-1] == '0' && dst[len(dst)-2] != '.' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// appendPadded writes v with leading zeros, width digits.
func appendPadded(dst []byte, v uint64, width int) []byte {
	n := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := n + width - 1; i >= n && v > 0; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// AppendTime appends a unix time in nanoseconds as EVE writes it, in UTC:
// 2026-11-23T18:01:36.123456789+0000. Years outside 0 to 9999 are clamped to
// them, which keeps the text sortable.
func AppendTime(dst []byte, unixNano int64) []byte {
	t := time.Unix(unixNano/1e9, unixNano%1e9).UTC()
	y, mo, d := t.Date()
	h, mi, s := t.Clock()
	dst = appendPadded(dst, uint64(min(max(y, 0), 9999)), 4)
	dst = appendPadded(append(dst, '-'), uint64(mo), 2)
	dst = appendPadded(append(dst, '-'), uint64(d), 2)
	dst = appendPadded(append(dst, 'T'), uint64(h), 2)
	dst = appendPadded(append(dst, ':'), uint64(mi), 2)
	dst = appendPadded(append(dst, ':'), uint64(s), 2)
	dst = appendPadded(append(dst, '.'), uint64(t.Nanosecond()), 9)
	return append(dst, "+0000"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string (RFC 8259 section 7). Control characters
// are escaped, bytes that are no UTF-8 become U+FFFD, and so do no harm: names
// come from policy files and interfaces, and a line must always parse. U+2028
// and U+2029 are escaped for readers that take a line for JavaScript.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendEscaped(dst, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[start:i]...)
			switch r {
			case '\u2028':
				dst = append(dst, `\u2028`...)
			case '\u2029':
				dst = append(dst, `\u2029`...)
			default:
				dst = append(dst, `\ufffd`...)
			}
			start = i + n
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\t':
		return append(dst, '\\', 't')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
