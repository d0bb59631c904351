package policy

import (
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: no input panics or takes long; a Spec comes exactly without problems; problems have a place in the file;
// and a good policy says the same again when it is written out.
func FuzzParse(f *testing.F) {
	for _, name := range Presets() {
		data, _ := Preset(name)
		f.Add(string(data))
	}
	f.Add(option)
	f.Add("preset: openbsd-pf:optimization=aggressive\noptions: {optimization: normal}")
	for _, c := range errorCases {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, problems := Parse("fuzz.yaml", []byte(text))
		if (s == nil) != (len(problems) > 0) {
			t.Fatalf("spec %v with problems %v", s, problems)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		for _, p := range problems {
			if p.Found == "" || p.File != "fuzz.yaml" || p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 {
				t.Fatalf("problem without a place in %d lines: %+v", lines, p)
			}
			if !utf8.ValidString(p.Excerpt) || strings.ContainsAny(p.Error(), "\n\x00\x1b") {
				t.Fatalf("problem that harms a terminal: %q", p.Error())
			}
			if n := utf8.RuneCountInString(p.Excerpt); p.Caret < 0 || p.Caret > 130 || n > 130 {
				t.Fatalf("caret %d in an excerpt of %d", p.Caret, n)
			}
		}
		_ = problems.Error()
		if s == nil {
			return
		}
		p, problems := Compile(s, nil)
		if p == nil {
			return
		}
		again, problems := Load("again.yaml", p.YAML(), nil)
		if again == nil {
			t.Fatalf("what is in force cannot be read back: %v\n%s", problems, p.YAML())
		}
		if again.Rev() != p.Rev() {
			t.Fatalf("read back it differs: %v\n%s", Diff(p, again), p.YAML())
		}
	})
}

// FuzzOverride: settings on the command line.
func FuzzOverride(f *testing.F) {
	for _, o := range []string{"timeouts.established=2s", "on.syn-established={packet: drop, reply: rst}", "rules.a.on.new=drop", "limits={flows: 3}", "on.*=drop", "a.b.c.d=[", "x=&a *a", "options.a.b=c", "options={a: {values: {}}}"} {
		f.Add(o)
	}
	data, _ := Preset("observe")
	f.Fuzz(func(t *testing.T, arg string) {
		o, err := ParseOverride(arg)
		if err != nil {
			return
		}
		p, problems := Load("observe", data, nil, o)
		if (p == nil) != (len(problems) > 0) {
			t.Fatalf("policy %v with problems %v", p, problems)
		}
	})
}

// FuzzReference: whatever a policy is called, it is one or an error that says so in a line or in problems.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"observe", "openbsd-pf:optimization=aggressive", "openbsd-pf:optimization=aggressive,block-policy=return", "openbsd-pf:", "openbsd-pf:a=b,,c", "x:y", ":", "openbsd-pf:optimization=\x1b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		p, err := Open(ref, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		if (p == nil) != (err != nil) {
			t.Fatalf("policy %v with error %v", p, err)
		}
		if preset, _, ok := CutReference(ref); p != nil && (!ok || p.Name() != ref || p.Preset() != ref || preset == "") {
			t.Fatalf("%q opens %s on %s", ref, p.Name(), p.Preset())
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x00\x1b") {
			t.Fatalf("an error that harms a terminal: %q", err.Error())
		}
	})
}

// FuzzDuration: what is read is in bounds and is written so that it reads the same.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"1h", "2h4m", "432000s", "5d", "1.5s", "250ms", "9999999999999999999d", "1h1h", "1m1h", ".5s", "5.", "5.s", "1µs", "-1s", "1e3s", "0s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || d > maxDuration {
			t.Fatalf("%q is %v", s, d)
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q is %v, written %q, read %v %v", s, d, FormatDuration(d), again, err)
		}
	})
}
