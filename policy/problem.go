package policy

// position is a place in a policy file, both from 1; the zero value is unknown.
type position struct{ line, col int }

// Problem is something wrong with a policy file.
type Problem struct {
	File     string // or the flag that brought the value
	Line     int    // from 1; 0 where the problem has no place
	Column   int    // from 1, in characters
	Found    string // what was found
	Expected string // what was expected, "" where there is nothing to say
	Excerpt  string // the line, shortened, "" for none
}

// Problems are everything that is wrong with a policy, in the order of the file.
type Problems []Problem

func (s *Spec) problemAtPreset(found, expected string) Problem {
	return Problem{File: s.Name, Line: s.presetAt.line, Column: s.presetAt.col, Found: found, Expected: expected}
}
