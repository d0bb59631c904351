package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Load parses and compiles a policy file with what it inherits from. Files that it names are read by read, relative to
// name; a nil read knows the embedded presets only. Overrides have the last word, the later ones over the earlier. Load
// returns a nil Policy exactly when there are problems.
func Load(name string, data []byte, read func(string) ([]byte, error), overrides ...Override) (*Policy, Problems) {
	return loadSpec(func() (*Spec, Problems) { return parse(name, data) }, read, overrides)
}

// loadSpec is Load of what first returns.
func loadSpec(first func() (*Spec, Problems), read func(string) ([]byte, error), overrides []Override) (*Policy, Problems) {
	s, problems := first()
	if len(problems) > 0 && s != nil { // what it inherits from may be wrong as well
		_, more := ancestors(s, FileResolver(read))
		problems = append(problems, more...)
		if len(more) > 0 && more[0].File == s.Name {
			problems = problems.inOrder()
		}
	}
	var layers []*Spec // of the overrides
	for _, o := range overrides {
		layer, more := o.spec()
		problems = append(problems, more...)
		layers = append(layers, layer)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return compile(s, layers, FileResolver(read))
}

// OpenPreset loads a preset by its name, or by a reference with choices (see [CutReference]). It is not ok for any other text.
// Problems with the reference itself have its name, or the preset's, for a file.
func OpenPreset(ref string, overrides ...Override) (p *Policy, problems Problems, ok bool) {
	preset, _, ok := CutReference(ref)
	if !ok {
		return nil, nil, false
	}
	p, problems = loadSpec(func() (*Spec, Problems) {
		s, problems := referenced(ref)
		for i := range problems {
			if problems[i].File == "" {
				problems[i].File = preset
			}
		}
		return s, problems
	}, nil, overrides)
	return p, problems, true
}

// Open loads a policy by what a user calls it: a preset's name, with or without choices of its options, or a file's. The error is
// for a policy that cannot be found or read; problems are wrapped in it too (as [Problems]).
func Open(ref string, read func(string) ([]byte, error), overrides ...Override) (*Policy, error) {
	p, problems, ok := OpenPreset(ref, overrides...)
	if !ok {
		data, err := read(ref)
		if errors.Is(err, fs.ErrNotExist) && !IsFile(ref) {
			name, _, _ := strings.Cut(ref, ":")
			return nil, fmt.Errorf("policy: %s is no file and no preset (presets are %s)", quote(ref), oneOf(name, Presets()))
		} else if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		p, problems = Load(ref, data, read, overrides...)
	}
	if p == nil {
		return nil, problems
	}
	return p, nil
}

// IsFile reports whether a reference is to a file and not to a preset.
func IsFile(ref string) bool {
	return strings.Contains(ref, "/") || strings.HasSuffix(ref, ".yaml") || strings.HasSuffix(ref, ".yml")
}

// FileResolver returns a resolver for presets, with or without choices of their options, and for files by way of read.
func FileResolver(read func(string) ([]byte, error)) Resolver {
	return func(from, ref string) (*Spec, Problems) {
		if s, problems := referenced(ref); s != nil || len(problems) > 0 {
			return s, problems
		}
		if !IsFile(ref) || read == nil {
			return nil, nil
		}
		if !path.IsAbs(ref) {
			ref = path.Join(path.Dir(from), ref)
		}
		data, err := read(ref)
		if err != nil {
			return nil, Problems{{Found: "the file that preset names cannot be read: " + oneLine(err.Error())}} // placed by the caller
		}
		return Parse(ref, data)
	}
}

// PresetResolver resolves embedded presets only.
func PresetResolver(from, ref string) (*Spec, Problems) { return FileResolver(nil)(from, ref) }

// presetHint says what preset can name.
func presetHint(ref string) string { return oneOf(ref, Presets()) + ", or a file (./NAME.yaml)" }
