package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// verbs lists every verb, in the order of the manual.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		newRunCmd(),
		newLabCmd(),
		newReplayCmd(),
		newExplainCmd(),
		newTestCmd(),
		newScenarioCmd(),
		newReviewCmd(),
		newPolicyCmd(),
		newExperimentCmd(),
		newFlowsCmd(),
		newReloadCmd(),
		newRulesCmd(),
		newDoctorCmd(),
	}
}

// version returns the module's version as the build knows it, with the revision of the source where there is one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "(devel)" {
			v += " " + s.Value[:12]
		}
	}
	return v
}
