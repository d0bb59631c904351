package policy

import "strings"

// CutReference takes a reference to a preset apart: NAME, or NAME:OPTION=VALUE,... with values of the preset's options. It
// is not ok for any other text, as the name of a file.
func CutReference(ref string) (preset, choices string, ok bool) {
	preset, choices, _ = strings.Cut(ref, ":")
	_, ok = Preset(preset)
	return preset, choices, ok
}

// referenced returns the policy that a reference to a preset means: the preset itself, or one that inherits from it and
// chooses. It returns nil without problems for any other text. Problems without a File are about the reference.
func referenced(ref string) (*Spec, Problems) {
	name, choices, ok := CutReference(ref)
	if !ok {
		return nil, nil
	}
	data, _ := Preset(name)
	preset, problems := Parse(name, data)
	if preset == nil || ref == name {
		return preset, problems
	}
	s := &Spec{Name: ref, Preset: name, Description: preset.Description, src: &source{name: ref}, reference: true}
	for _, c := range strings.Split(choices, ",") {
		option, value, ok := strings.Cut(c, "=")
		if !ok || !optionName.MatchString(option) || !optionName.MatchString(value) {
			return nil, Problems{{Found: quote(c) + " behind " + name + ":", Expected: "OPTION=VALUE, or several with commas between"}}
		}
		for i := range s.Choices {
			if s.Choices[i].Option == option {
				return nil, Problems{{Found: "the option " + quote(option) + " twice", Expected: "it once"}}
			}
		}
		s.Choices = append(s.Choices, Choice{Option: option, Value: value})
	}
	return s, nil
}

// adopt places what is wrong with a reference where a file names it.
func (s *Spec) adopt(by *Spec) {
	if !s.reference {
		return
	}
	s.src = by.src
	for i := range s.Choices {
		s.Choices[i].at, s.Choices[i].valueAt = by.presetAt, by.presetAt
	}
}
