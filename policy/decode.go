package policy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"halfopen/conntrack"
)

// Parse reads a policy file. It returns a nil Spec exactly when there are problems, and then all of them at once; only
// text that is no YAML is reported at its first error. The name is for messages and for what preset is relative to.
func Parse(name string, data []byte) (*Spec, Problems) {
	s, problems := parse(name, data)
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// parse is Parse whose spec, where there are problems, is what could be made of the rest; nil where that is nothing.
func parse(name string, data []byte) (*Spec, Problems) {
	src, root, problems := readTree(name, data)
	if root == nil {
		return nil, problems
	}
	d := &decoder{src: src, problems: problems}
	if len(problems) == 0 && (root.kind == nodeNull || root.kind == nodeMapping && len(root.entries) == 0) {
		d.problem(root.at, "an empty policy", "at least the line \"preset: NAME\" (presets are "+list(Presets())+")")
	}
	s := d.file(root)
	return s, d.problems.inOrder()
}

// readTree is parseTree of a file as an editor leaves it: with a byte order mark, or lines that end otherwise.
func readTree(name string, data []byte) (*source, *node, Problems) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	src := newSource(name, data)
	root, problems := parseTree(src, data)
	return src, root, problems
}

// decoder turns nodes into a Spec and collects what is wrong with them.
type decoder struct {
	src      *source
	patch    bool // the document comes from flags: rules are named, not listed
	problems Problems
}

// maxProblems bounds how many problems are looked for. A file with more is no policy.
const maxProblems = 500

// full reports whether there are problems enough.
func (d *decoder) full() bool { return len(d.problems) >= maxProblems }

func (d *decoder) problem(at position, found, expected string) {
	if d.full() {
		return
	}
	d.problems = append(d.problems, d.src.problem(at, found, expected))
}

// wrong reports a value of the wrong kind.
func (d *decoder) wrong(n *node, expected string) {
	found := nodeWords[n.kind]
	if n.kind == nodeScalar {
		found = quote(n.text)
	}
	d.problem(n.at, found, expected)
}

// section calls fn for each entry of a mapping whose key the table has. Nothing at all is an empty mapping.
func (d *decoder) section(n *node, what string, keys []key, fn func(k *key, e *entry)) {
	if n.kind == nodeNull {
		return
	}
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].name
	}
	if n.kind != nodeMapping {
		d.wrong(n, "a mapping with the keys "+list(names))
		return
	}
	for i := range n.entries {
		if d.full() {
			return
		}
		e := &n.entries[i]
		if j := wordIndex(e.key, names); j >= 0 {
			fn(&keys[j], e)
		} else {
			d.problem(e.at, "unknown key "+quote(e.key)+" in "+what, oneOf(e.key, names))
		}
	}
}

func (d *decoder) text(n *node, expected string) string {
	if n.kind != nodeScalar || strings.TrimSpace(n.text) == "" {
		d.wrong(n, expected)
		return ""
	}
	return n.text
}

// word returns the place of a value in a table of words, or -1 and a problem.
func (d *decoder) word(n *node, words []string) int {
	if n.kind == nodeScalar {
		if i := wordIndex(n.text, words); i >= 0 {
			return i
		}
	}
	d.wrong(n, oneOf(n.text, words))
	return -1
}

// duration returns a value of at least 0.
func (d *decoder) duration(n *node) *time.Duration {
	const expected = "a duration such as 30s, 2h4m or 5d"
	if n.kind == nodeScalar {
		v, err := ParseDuration(n.text)
		if err == nil {
			return &v
		}
	}
	hint := ""
	if _, err := strconv.ParseUint(n.text, 10, 32); err == nil {
		hint = " (did you mean \"" + n.text + "s\"?)"
	}
	d.wrong(n, expected+hint)
	return nil
}

func (d *decoder) count(n *node, k *key) *int64 {
	if n.kind == nodeScalar {
		if v, err := strconv.ParseInt(n.text, 10, 64); err == nil && v >= k.lo && v <= k.hi {
			return &v
		}
	}
	d.wrong(n, fmt.Sprintf("a whole number of %s from %d to %d", k.unit, k.lo, k.hi))
	return nil
}

// file decodes a whole document.
func (d *decoder) file(root *node) *Spec {
	s := &Spec{Name: d.src.name, src: d.src}
	d.section(root, "the policy", keysOfFile, func(k *key, e *entry) { d.fileKey(s, k, e) })
	return s
}

// fileKey decodes one key of a document.
func (d *decoder) fileKey(s *Spec, k *key, e *entry) {
	s.note(k.name, d.src, e.at)
	switch k.name {
	case "preset":
		s.Preset, s.presetAt = d.text(e.value, "the name of a preset, or a file"), e.value.at
	case "description":
		s.Description = oneLine(d.text(e.value, "a text"))
	case "options":
		d.options(e.value, s)
	case "timeouts":
		s.Timeouts = d.timeouts(e.value, &s.Block)
	case "window":
		d.window(e.value, &s.Block)
	case "probes", "refresh", "caps":
		d.upkeep(k, e, &s.Block)
	case "limits":
		d.limits(e.value, s)
	case "on_full":
		s.OnFull = wordAs[OnFull](d.word(e.value, k.words))
	case "adaptive", "evict_above":
		d.pressure(k, e, &s.Pressure)
	case "inject":
		d.inject(e.value, &s.Inject)
	case "on":
		s.On = d.on(e.value, &s.Block)
	case "rules":
		if d.patch {
			d.rulePatches(e.value, s)
		} else {
			s.Rules = d.rules(e.value)
		}
	case "adopt":
		s.Adopt = d.duration(e.value)
	case "late":
		s.Window.Late = d.duration(e.value)
	case "log":
		d.log(e.value, s)
	case "reload":
		s.Reload = wordAs[Reload](d.word(e.value, k.words))
	}
}

// wordAs returns a word's place as a value of its type, nil for -1.
func wordAs[T ~uint8](i int) *T {
	if i < 0 {
		return nil
	}
	v := T(i)
	return &v
}

func (d *decoder) timeouts(n *node, b *Block) map[conntrack.State]time.Duration {
	out := map[conntrack.State]time.Duration{}
	d.section(n, "timeouts", timeoutKeys(), func(k *key, e *entry) {
		for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
			if stateKey(s) != k.name {
				continue
			}
			if v := d.duration(e.value); v != nil {
				out[s] = *v
				b.note("timeouts."+k.name, d.src, e.at)
			}
		}
	})
	return out
}

func (d *decoder) window(n *node, b *Block) {
	w := &b.Window
	d.section(n, "window", windowKeys(), func(k *key, e *entry) {
		b.note("window."+k.name, d.src, e.at)
		switch k.name {
		case "check":
			w.Check = wordAs[conntrack.SeqCheck](d.word(e.value, k.words))
		case "rst":
			w.RST = wordAs[conntrack.RSTRule](d.word(e.value, k.words))
		case "near":
			w.Near = bytesOf(d.count(e.value, k))
		case "syn_band":
			w.SynBand = bytesOf(d.count(e.value, k))
		case "ack":
			w.ACK = wordAs[conntrack.ACKRule](d.word(e.value, k.words))
		case "old":
			w.Old = bytesOf(d.count(e.value, k))
		case "retransmits":
			if v := d.count(e.value, k); v != nil {
				n := uint8(*v)
				w.Retransmits = &n
			}
		}
	})
}

func bytesOf(v *int64) *uint32 {
	if v == nil {
		return nil
	}
	u := uint32(*v)
	return &u
}

func (d *decoder) limits(n *node, s *Spec) {
	var at position
	d.section(n, "limits", limitKeys(), func(k *key, e *entry) {
		v := d.count(e.value, k)
		if v == nil {
			return
		}
		i := int(*v)
		switch k.name {
		case "flows":
			s.Flows = &i
		case "embryonic":
			s.Embryonic, at = &i, e.value.at
		case "tombstones":
			s.Tombs = &i
		case "per_source":
			s.PerSource = &i
		}
	})
	if s.Flows != nil && s.Embryonic != nil && *s.Embryonic > *s.Flows {
		d.problem(at, fmt.Sprintf("embryonic: %d of %d flows", *s.Embryonic, *s.Flows), "at most as many as flows")
	}
}

func (d *decoder) log(n *node, s *Spec) {
	d.section(n, "log", logKeys(), func(k *key, e *entry) {
		switch k.name {
		case "detail":
			s.Detail = wordAs[LogDetail](d.word(e.value, k.words))
		case "rate":
			s.Rate = d.rates(e.value, k)
		}
	})
}

func (d *decoder) rates(n *node, k *key) map[conntrack.Finding]int32 {
	out := map[conntrack.Finding]int32{}
	if n.kind != nodeMapping {
		if v, ok := d.rate(n, k); ok {
			for f := range conntrack.NumFindings {
				out[f] = v
			}
		}
		return out
	}
	owner := d.patterns(n)
	for i := range n.entries {
		v, ok := d.rate(n.entries[i].value, k)
		for f, by := range owner {
			if ok && by == i {
				out[f] = v
			}
		}
	}
	return out
}

func (d *decoder) rate(n *node, k *key) (int32, bool) {
	if n.kind == nodeScalar && n.text == "unlimited" {
		return Unlimited, true
	}
	if n.kind == nodeScalar {
		if v, err := strconv.ParseInt(n.text, 10, 32); err == nil && v >= k.lo && v <= k.hi {
			return int32(v), true
		}
	}
	d.wrong(n, fmt.Sprintf("a whole number of %s up to %d, or unlimited", k.unit, k.hi))
	return 0, false
}
