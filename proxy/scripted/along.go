package scripted

import (
	"os"
	"path/filepath"
	"strings"

	"halfopen/policy"
	"halfopen/policy/scenario"
)

// Along returns what a script calls a policy (NAME|FILE), and the files that ride along in it so that it stands on its own: none for a
// preset.
func Along(ref string) (string, []scenario.RecordedFile, error) {
	if _, _, preset := policy.CutReference(ref); preset {
		return ref, nil, nil
	}
	name := filepath.Base(ref)
	if strings.ContainsAny(name, " \t") {
		name = "policy.yaml" // the language has no blanks in names
	}
	var files []scenario.RecordedFile
	_, err := policy.Open(ref, func(path string) ([]byte, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		as := name
		if len(files) > 0 { // what it inherits from, named relative to it
			if rel, err := filepath.Rel(filepath.Dir(ref), path); err == nil {
				as = filepath.ToSlash(rel)
			}
		}
		files = append(files, scenario.RecordedFile{Name: as, Data: string(data)})
		return data, nil
	})
	return name, files, err
}
