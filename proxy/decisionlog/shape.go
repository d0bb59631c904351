package decisionlog

import (
	"reflect"
	"strings"
)

// slotKind is what a value of a record may be.
type slotKind uint8

const (
	kindObject slotKind = iota
	kindText
	kindUint
	kindInt
	kindFloat
	kindBool
	kindTime
	kindOther // a map, or JSON as it stands: left to encoding/json
)

// Slot is the place of a field in [Fields], found by its path with [SlotOf].
type Slot uint16

// maxSlots bounds the fields of a record; a multiple of 64.
const maxSlots = 320

// node is a field of a record: what Event's types say about it.
type node struct {
	name     string
	slot     Slot
	kind     slotKind
	max      uint64 // highest number that the field holds
	pointer  bool
	index    int // in the Go struct
	children []*node
}

// recordShape is the shape of a record, read off Event so that the scanner cannot know other fields than the decoder.
var recordShape, slotPaths = readShape()

func readShape() (*node, map[string]*node) {
	paths := make(map[string]*node)
	root := &node{kind: kindObject}
	next := 1
	fillShape(root, reflect.TypeFor[Event](), "", paths, &next)
	return root, paths
}

func fillShape(parent *node, t reflect.Type, prefix string, paths map[string]*node, next *int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		n := &node{name: name, index: i}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft, n.pointer = ft.Elem(), true
		}
		if *next == maxSlots {
			panic("decision log: a record has more fields than slots")
		}
		n.slot = Slot(*next)
		*next++
		path := prefix + name
		n.kind, n.max = kindOf(ft)
		paths[path] = n
		parent.children = append(parent.children, n)
		if n.kind == kindObject {
			fillShape(n, ft, path+".", paths, next)
		}
	}
}

func kindOf(t reflect.Type) (slotKind, uint64) {
	switch {
	case t == reflect.TypeFor[Time]():
		return kindTime, 0
	case t.Kind() == reflect.Struct:
		return kindObject, 0
	case t.Kind() == reflect.String:
		return kindText, 0
	case t.Kind() == reflect.Bool:
		return kindBool, 0
	case t.Kind() == reflect.Float64:
		return kindFloat, 0
	case t.Kind() == reflect.Int64, t.Kind() == reflect.Int:
		return kindInt, 1<<63 - 1
	}
	if k := t.Kind(); k >= reflect.Uint && k <= reflect.Uint64 {
		return kindUint, 1<<t.Bits() - 1
	}
	return kindOther, 0
}

// SlotOf returns the slot of a field by its path in the record, for example "decision.reason". It panics for a path that no
// record has: paths are constants of the program.
func SlotOf(path string) Slot {
	n := slotPaths[path]
	if n == nil {
		panic("decision log: no record has a field " + path)
	}
	return n.slot
}
