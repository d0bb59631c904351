package decisionlog

import (
	"strconv"
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
func (e *enc) key(k string) { e.b = appendKey(e.b, k) }

// appendKey writes a name with what stands around it. A record is some fifty of them, so the slice is stored once and not after each
// part.
func appendKey(b []byte, k string) []byte {
	if c := b[len(b)-1]; c == '{' || c == '[' {
		b = append(b, '"')
	} else {
		b = append(b, ',', '"')
	}
	b = append(b, k...)
	return append(b, '"', ':')
}

func (e *enc) open(k string)  { e.key(k); e.b = append(e.b, '{') }
func (e *enc) close()         { e.b = append(e.b, '}') }
func (e *enc) array(k string) { e.key(k); e.b = append(e.b, '[') }
func (e *enc) endArray()      { e.b = append(e.b, ']') }

// num writes an unsigned number, also when it is zero.
func (e *enc) num(k string, v uint64) {
	e.b = strconv.AppendUint(appendKey(e.b, k), min(v, maxNumber), 10)
}

// numIf writes a number unless it is zero.
func (e *enc) numIf(k string, v uint64) {
	if v != 0 {
		e.num(k, v)
	}
}

// intIf writes a number that may be below zero, unless it is zero.
func (e *enc) intIf(k string, v int64) {
	if v != 0 {
		e.key(k)
		e.b = strconv.AppendInt(e.b, max(min(v, maxNumber), -maxNumber), 10)
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
	e.b = appendString(appendKey(e.b, k), v)
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
	b, _ := v.AppendText(append(appendKey(e.b, k), '"'))
	e.b = append(b, '"')
}

// secs writes nanoseconds as seconds, with at most nine decimals and at least one.
func (e *enc) secs(k string, ns int64) {
	e.b = appendSeconds(appendKey(e.b, k), ns)
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
	e.b = append(AppendTime(append(appendKey(e.b, k), '"'), unixNano), '"')
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
	f := uint32(u % 1e9)
	if f == 0 {
		return append(dst, '0')
	}
	dst = appendNano(dst, f)
	n := len(dst)
	for dst[n-1] == '0' {
		n--
	}
	return dst[:n]
}

// pairs are the numbers from 0 to 99, two digits each.
const pairs = "00010203040506070809" + "10111213141516171819" + "20212223242526272829" + "30313233343536373839" + "40414243444546474849" +
	"50515253545556575859" + "60616263646566676869" + "70717273747576777879" + "80818283848586878889" + "90919293949596979899"

// appendNano writes v, below 1e9, with nine digits.
func appendNano(dst []byte, v uint32) []byte {
	a, b, c, d := v/1e8, v/1e6%100*2, v/1e4%100*2, v/100%100*2
	e := v % 100 * 2
	return append(dst, byte('0'+a), pairs[b], pairs[b+1], pairs[c], pairs[c+1], pairs[d], pairs[d+1], pairs[e], pairs[e+1])
}

// appendPair writes v, below 100, with two digits.
func appendPair(dst []byte, v uint32) []byte { return append(dst, pairs[v*2], pairs[v*2+1]) }

// AppendTime appends a unix time in nanoseconds as EVE writes it, in UTC:
// 2026-11-23T18:01:36.123456789+0000. All times that 64 bits hold lie in the years 1677 to 2262,
// which keeps the text sortable.
func AppendTime(dst []byte, unixNano int64) []byte {
	sec, ns := unixNano/1e9, unixNano%1e9
	if ns < 0 {
		sec, ns = sec-1, ns+1e9
	}
	day, rest := sec/86400, sec%86400
	if rest < 0 {
		day, rest = day-1, rest+86400
	}
	y, mo, d := civil(day)
	t := uint32(rest)
	dst = appendPair(appendPair(dst, y/100), y%100)
	dst = appendPair(append(dst, '-'), mo)
	dst = appendPair(append(dst, '-'), d)
	dst = appendPair(append(dst, 'T'), t/3600)
	dst = appendPair(append(dst, ':'), t/60%60)
	dst = appendPair(append(dst, ':'), t%60)
	dst = appendNano(append(dst, '.'), uint32(ns))
	return append(dst, "+0000"...)
}

// civil is the date of a day counted from 1970-01-01, in the proleptic Gregorian calendar; from the year 0 on. It counts in years
// that begin in March, so that the leap day is a year's last.
func civil(day int64) (year, month, dayOfMonth uint32) {
	n := uint32(day + 719468) // days since 0000-03-01
	era := n / 146097         // of 400 years
	doe := n % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	m := (5*doy + 2) / 153 // from March
	year, month, dayOfMonth = era*400+yoe, m+3, doy-(153*m+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, dayOfMonth
}

// plainByte are the bytes that stand in a JSON string as they are, whatever is beside them.
var plainByte = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string (RFC 8259 section 7). Control characters
// are escaped, bytes that are no UTF-8 become U+FFFD, and so do no harm: names
// come from policy files and interfaces, and a line must always parse. U+2028
// and U+2029 are escaped for readers that take a line for JavaScript.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0
	for plain < len(s) && plainByte[s[plain]] {
		plain++
	}
	if plain == len(s) { // nearly all are
		return append(append(dst, s...), '"')
	}
	start := 0
	for i := plain; i < len(s); {
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
