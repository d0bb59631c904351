package export

import (
	"reflect"
	"strings"

	"halfopen/proxy/decisionlog"
)

// row is a record with its place in the log.
type row struct {
	File string `json:"file"` // base name
	Line int    `json:"line"` // from 1
	Run  string `json:"run"`  // of the file's header
	decisionlog.Event
}

// column is a field of a row and where it comes from.
type column struct {
	path []int // to the field in the record's struct
	set  func(to, from reflect.Value)
}

// layout makes the type of a row from the type of a record, and how one is filled from the other: the same tree, with plain signed
// numbers, which every reader of Parquet knows (Trino and Spark have no unsigned ones; no number of a log exceeds 2^53 - 1). A
// string that is empty, a time that is zero and an object that is absent are null, as the line does not have them; numbers
// and booleans stand wherever their object does, except those that the record keeps by pointer because 0 has a meaning of its own.
func layout(record reflect.Type) (reflect.Type, func(to, from reflect.Value)) {
	var fields []reflect.StructField
	var columns []column
	var walk func(t reflect.Type, path []int)
	walk = func(t reflect.Type, path []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			at := append(append([]int(nil), path...), i)
			if f.Anonymous {
				walk(f.Type, at)
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			typ, options, set := leaf(f.Type)
			fields = append(fields, reflect.StructField{Name: f.Name, Type: typ, Tag: reflect.StructTag(`parquet:"` + name + options + `"`)})
			columns = append(columns, column{at, set})
		}
	}
	walk(record, nil)
	return reflect.StructOf(fields), func(to, from reflect.Value) {
		for i := range columns {
			columns[i].set(to.Field(i), from.FieldByIndex(columns[i].path))
		}
	}
}

var timeType = reflect.TypeFor[decisionlog.Time]()

// leaf is layout for one field: the type of its column, the options of its tag, and how it is filled.
func leaf(t reflect.Type) (typ reflect.Type, options string, set func(to, from reflect.Value)) {
	switch t.Kind() {
	case reflect.String:
		return t, ",optional,dict", func(to, from reflect.Value) { to.SetString(from.String()) }
	case reflect.Bool:
		return t, "", func(to, from reflect.Value) { to.SetBool(from.Bool()) }
	case reflect.Float64:
		return t, "", func(to, from reflect.Value) { to.SetFloat(from.Float()) }
	case reflect.Uint8, reflect.Uint16:
		return reflect.TypeFor[int32](), "", func(to, from reflect.Value) { to.SetInt(int64(from.Uint())) }
	case reflect.Uint32, reflect.Uint64:
		return reflect.TypeFor[int64](), "", func(to, from reflect.Value) { to.SetInt(int64(from.Uint())) }
	case reflect.Int, reflect.Int64:
		return reflect.TypeFor[int64](), "", func(to, from reflect.Value) { to.SetInt(from.Int()) }
	case reflect.Slice: // of strings, or JSON as it stands
		if t.Elem().Kind() == reflect.Uint8 {
			return reflect.TypeFor[string](), ",optional", func(to, from reflect.Value) { to.SetString(string(from.Bytes())) }
		}
		return t, ",list", func(to, from reflect.Value) { to.Set(from) }
	case reflect.Map: // counts by word
		return reflect.TypeFor[map[string]int64](), "", func(to, from reflect.Value) {
			m := make(map[string]int64, from.Len())
			for k, v := range from.Seq2() {
				m[k.String()] = int64(v.Uint())
			}
			to.Set(reflect.ValueOf(m))
		}
	case reflect.Pointer:
		inner, _, fill := leaf(t.Elem())
		return reflect.PointerTo(inner), ",optional", func(to, from reflect.Value) {
			if from.IsNil() {
				to.SetZero()
				return
			}
			v := reflect.New(inner)
			fill(v.Elem(), from.Elem())
			to.Set(v)
		}
	case reflect.Struct:
		if t == timeType {
			return reflect.TypeFor[int64](), ",optional,timestamp(nanosecond)", func(to, from reflect.Value) {
				if at := from.Interface().(decisionlog.Time).Time; !at.IsZero() {
					to.SetInt(at.UnixNano())
				}
			}
		}
		inner, fill := layout(t)
		return inner, "", fill
	}
	panic("export: a record has a field of type " + t.String()) // a test makes the layout of every record
}
