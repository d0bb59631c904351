package main

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// applyConfigFile sets flags that the command line leaves alone from a YAML file whose keys are the flags' names. A mapping, or a list of
// them, in the place of a flag's value is that flag's own to read: inline has what to do then. Every problem of the file is reported.
func applyConfigFile(c *cobra.Command, path string, inline map[string]func()) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalWithOptions(data, &values, yaml.Strict()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	problems := ""
	for key, v := range values {
		flag := c.Flags().Lookup(key)
		if flag == nil || key == "config" || key == "help" {
			problems += fmt.Sprintf("\n  %s: no flag of 'halfopen %s' has that name", key, c.Name())
			continue
		}
		if flag.Changed { // the command line has the last word
			continue
		}
		if take := inline[key]; take != nil && structured(v) {
			take()
			continue
		}
		if err := setFlag(flag, v); err != nil {
			problems += fmt.Sprintf("\n  %s: %v", key, err)
		}
	}
	if problems != "" {
		return fmt.Errorf("%s:%s", path, problems)
	}
	return nil
}

// structured reports whether a YAML value is a mapping or a list of them.
func structured(v any) bool {
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	_, ok := v.(map[string]any)
	return ok
}

// setFlag gives a flag the value of a YAML scalar, or each value of a list.
func setFlag(flag *pflag.Flag, v any) error {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		switch item.(type) {
		case string, bool, int, uint64, int64, float64:
		default:
			return fmt.Errorf("found %T, want a plain value", item)
		}
		if err := flag.Value.Set(fmt.Sprint(item)); err != nil {
			return fmt.Errorf("found %v: %w", item, err)
		}
	}
	return nil
}
