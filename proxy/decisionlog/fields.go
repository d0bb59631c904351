package decisionlog

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// Fields is a line taken apart without decoding all of it: where each field stands and, for numbers and times, its value. It
// says the same as the Event that encoding/json makes of the line, some ten times as fast. The zero value is ready; Decode
// fills it anew. Texts point into the line and are valid as long as that is.
type Fields struct {
	line    []byte
	present [maxSlots / 64]uint64
	span    [maxSlots][2]uint32
	num     [maxSlots]uint64
	day     dayCache
	event   *Event // the line decoded; nil until asked for
	decoded bool   // encoding/json had the line
	slow    []byte // texts of a line that encoding/json decoded
	Slow    uint64 // lines that the scanner left to encoding/json
}

// Decode reads one line, without its line feed. What is not in the shape that halfopen writes is left to encoding/json, so that
// both accept the same lines; the error is encoding/json's.
func (f *Fields) Decode(line []byte) error {
	f.event, f.decoded = nil, false
	if f.scan(line) {
		return nil
	}
	f.Slow++
	f.decoded = true
	e := new(Event)
	if err := json.Unmarshal(line, e); err != nil {
		return err
	}
	e.Raw = line
	f.event = e
	f.take(e)
	return nil
}

// Event is the whole record of the line last decoded, made by encoding/json when first asked for. Raw is the line; File, Line,
// Offset and Run are the caller's to set.
func (f *Fields) Event() (*Event, error) {
	if f.event == nil {
		e := new(Event)
		if err := json.Unmarshal(f.line, e); err != nil {
			return nil, err
		}
		e.Raw = f.line
		f.event = e
	}
	return f.event, nil
}

// Has reports whether the line has the field. A field of zero value may be taken for absent.
func (f *Fields) Has(s Slot) bool { return f.present[s>>6]&(1<<(s&63)) != 0 }

// Text is a field's text, nil where the line lacks it.
func (f *Fields) Text(s Slot) []byte {
	if !f.Has(s) {
		return nil
	}
	return f.line[f.span[s][0]:f.span[s][1]]
}

// Uint is a field's number (1 for true), 0 where the line lacks it.
func (f *Fields) Uint(s Slot) uint64 {
	if !f.Has(s) {
		return 0
	}
	return f.num[s]
}

// Nanos is a field's time as [Time.Nanos] has it, 0 where the line lacks it.
func (f *Fields) Nanos(s Slot) int64 { return int64(f.Uint(s)) }

// Seconds is a field of seconds (*_s) in nanoseconds, 0 where the line lacks it.
func (f *Fields) Seconds(s Slot) int64 {
	if !f.Has(s) {
		return 0
	}
	v := math.Float64frombits(f.num[s])
	if !f.decoded {
		v, _ = strconv.ParseFloat(string(f.Text(s)), 64) // the scanner has seen that it is a number
	}
	return int64(min(max(math.Round(v*1e9), -9e18), 9e18))
}

func (f *Fields) set(s Slot) { f.present[s>>6] |= 1 << (s & 63) }

// take fills the fields from a decoded record.
func (f *Fields) take(e *Event) {
	f.present = [maxSlots / 64]uint64{}
	f.slow = f.slow[:0]
	f.takeStruct(recordShape, reflect.ValueOf(e).Elem())
	f.line = f.slow
}

func (f *Fields) takeStruct(n *node, v reflect.Value) {
	for _, c := range n.children {
		cv := v.Field(c.index)
		if c.pointer {
			if cv.IsNil() {
				continue
			}
			cv = cv.Elem()
		} else if cv.IsZero() {
			continue
		}
		f.set(c.slot)
		switch c.kind {
		case kindObject:
			f.takeStruct(c, cv)
		case kindText:
			at := len(f.slow)
			f.slow = append(f.slow, cv.String()...)
			f.span[c.slot] = [2]uint32{uint32(at), uint32(len(f.slow))}
		case kindUint:
			f.num[c.slot] = cv.Uint()
		case kindInt:
			f.num[c.slot] = uint64(cv.Int())
		case kindFloat:
			f.num[c.slot] = math.Float64bits(cv.Float())
		case kindBool:
			f.num[c.slot] = 1
		case kindTime:
			f.num[c.slot] = uint64(cv.Interface().(Time).Nanos())
		}
	}
}
