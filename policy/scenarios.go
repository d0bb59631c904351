package policy

import (
	"embed"
	"path"
)

//go:embed testdata/*/*.scn
var scenarioFiles embed.FS

// ScenarioFile is a scenario that comes with a preset.
type ScenarioFile struct {
	Name string // PRESET/FILE.scn
	Text []byte
}

// Scenarios returns the scenarios of a preset, sorted by name; none for any other text. They are in the language of package
// scenario.
func Scenarios(preset string) []ScenarioFile {
	if _, ok := Preset(preset); !ok {
		return nil
	}
	entries, err := scenarioFiles.ReadDir("testdata/" + preset)
	if err != nil {
		return nil
	}
	var out []ScenarioFile
	for _, e := range entries {
		if text, err := scenarioFiles.ReadFile("testdata/" + preset + "/" + e.Name()); err == nil {
			out = append(out, ScenarioFile{path.Join(preset, e.Name()), text})
		}
	}
	return out
}
