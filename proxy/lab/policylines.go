package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

// PolicyLine is a line of a policy that had a say in a decision.
type PolicyLine struct {
	Key       string   `json:"key"`               // path in a policy file, as on.syn-established
	Value     string   `json:"value"`             // what it says, whole
	File      string   `json:"file,omitempty"`    // a preset's name with .yaml, a file, or the flag --set; "" where no file says anything and the default holds
	Line      int      `json:"line,omitempty"`    // in File, from 1
	Text      []string `json:"text,omitempty"`    // as it stands there, with the lines that belong to it
	Comment   string   `json:"comment,omitempty"` // of its author, where it stands above the line
	Option    string   `json:"option,omitempty"`  // OPTION=VALUE, where the line holds by an option's choice
	Overruled bool     `json:"overruled,omitempty"`
}

// policyFiles is a policy as a phase plays it and as its author wrote it, with the texts of the files that it is made of.
type policyFiles struct {
	played, written *policy.Policy
	texts           map[string][]string // by the name in notes
}

// openPolicyFiles reads the policy that a phase plays with overrides.
func openPolicyFiles(ref string, set []string) (*policyFiles, error) {
	f := &policyFiles{texts: map[string][]string{}}
	var overrides []policy.Override
	for _, arg := range set {
		o, err := policy.ParseOverride(arg)
		if err != nil {
			return nil, err
		}
		overrides = append(overrides, o)
	}
	var err error
	if f.played, err = policy.Open(ref, os.ReadFile, overrides...); err != nil {
		return nil, err
	}
	f.written, err = policy.Open(ref, os.ReadFile)
	return f, err
}

// lines appends the line that a note points to; of a key that the lab has set also the one that holds in the policy itself.
func (f *policyFiles) lines(list []PolicyLine, rule int32, dir conntrack.Direction, key string, note policy.Note) []PolicyLine {
	l := f.line(key, f.played.Value(rule, dir, key), note)
	list = append(list, l)
	if l.File == "--set" {
		own, _ := f.written.KeyNote(rule, key)
		l = f.line(key, f.written.Value(rule, dir, key), own)
		l.Overruled = true
		list = append(list, l)
	}
	if l.Option != "" {
		list = append(list, f.choice(l.Option)...)
	}
	return list
}

func (f *policyFiles) line(key, value string, note policy.Note) PolicyLine {
	l := PolicyLine{Key: key, Value: value, Line: note.Line, Option: note.Option}
	switch {
	case strings.HasPrefix(note.From, "--set "):
		l.File, l.Line, l.Text = "--set", 0, []string{strings.TrimPrefix(note.From, "--set ")}
	case note.From != "":
		l.File = note.String()
		if i := strings.LastIndexByte(l.File, ':'); note.Line > 0 && i > 0 {
			l.File = l.File[:i]
		}
		l.Text = f.text(note.From, note.Line)
		comment := strings.TrimPrefix(strings.TrimSuffix(note.Text, "option "+note.Option), "; ")
		if comment = strings.TrimSuffix(comment, "; "); len(l.Text) > 0 && !strings.Contains(l.Text[0], comment) {
			l.Comment = comment
		}
	}
	return l
}

// choice returns where an option OPTION=VALUE has its value from, nothing where the name of the policy says it.
func (f *policyFiles) choice(option string) []PolicyLine {
	for _, o := range f.played.Options() {
		if o.Name+"="+o.Value != option {
			continue
		}
		if o.Chosen.From == "" || o.Chosen.Line == 0 {
			return nil
		}
		return []PolicyLine{f.line("options."+o.Name, o.Value, o.Chosen)}
	}
	return nil
}

// maxLines bounds the lines that are shown of one entry.
const maxLines = 12

// text returns a line of a file and the ones below it that are indented further: they are its value.
func (f *policyFiles) text(name string, line int) []string {
	lines, ok := f.texts[name]
	if !ok {
		data, embedded := policy.Preset(name)
		if !embedded {
			data, _ = os.ReadFile(name) // it was read to make the policy; a line less is no reason to fail
		}
		for _, l := range bytes.Split(data, []byte("\n")) {
			lines = append(lines, strings.TrimRight(string(l), "\r"))
		}
		f.texts[name] = lines
	}
	if line < 1 || line > len(lines) {
		return nil
	}
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	first := lines[line-1]
	out := []string{first[indent(first):]}
	for _, l := range lines[line:] {
		if strings.TrimSpace(l) == "" || indent(l) <= indent(first) {
			break
		}
		if len(out) == maxLines {
			out = append(out, "…")
			break
		}
		out = append(out, l[indent(first):])
	}
	return out
}

// at is where the line stands: FILE:LINE.
func (l *PolicyLine) at() string {
	if l.Line == 0 {
		return l.File
	}
	return fmt.Sprintf("%s:%d", l.File, l.Line)
}
