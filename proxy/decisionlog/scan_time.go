package decisionlog

import "time"

// dayCache remembers the last day that was read: neighbours in a log share it.
type dayCache struct {
	date  [10]byte
	start int64 // Unix seconds
}

// timeLen is the length of a time as AppendTime writes it.
const timeLen = len("2026-11-23T18:01:36.123456789+0000")

// nanos reads a time as AppendTime writes it, in the years 1970 to 2261; any other form or number is not for the scanner.
func (d *dayCache) nanos(b []byte) (int64, bool) {
	if len(b) != timeLen || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[19] != '.' || string(b[29:]) != "+0000" {
		return 0, false
	}
	if d.date != [10]byte(b[:10]) && !d.read(b) {
		return 0, false
	}
	h, ok1 := two(b[11:])
	m, ok2 := two(b[14:])
	s, ok3 := two(b[17:])
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || s > 59 {
		return 0, false
	}
	v := int64(0)
	for i := 20; i < 29; i++ {
		c := b[i] - '0'
		if c > 9 {
			return 0, false
		}
		v = v*10 + int64(c)
	}
	return (d.start+int64(h*3600+m*60+s))*1e9 + v, true
}

// read takes in a day.
func (d *dayCache) read(b []byte) bool {
	c, ok1 := two(b)
	y, ok2 := two(b[2:])
	m, ok3 := two(b[5:])
	day, ok4 := two(b[8:])
	y += c * 100
	if !ok1 || !ok2 || !ok3 || !ok4 || b[4] != '-' || b[7] != '-' || y < 1970 || y > 2261 || m < 1 || m > 12 || day < 1 {
		return false
	}
	t := time.Date(y, time.Month(m), day, 0, 0, 0, 0, time.UTC)
	if t.Day() != day { // the month is shorter
		return false
	}
	d.date, d.start = [10]byte(b[:10]), t.Unix()
	return true
}

// two reads two digits.
func two(b []byte) (int, bool) {
	t, u := b[0]-'0', b[1]-'0'
	return int(t)*10 + int(u), t <= 9 && u <= 9
}
