//go:build netns

package experiment

import "testing"

// TestUniform is TestUniformSample with a million addresses of each population.
func TestUniform(t *testing.T) { testUniform(t, 1_000_000) }
