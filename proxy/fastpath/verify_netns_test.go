//go:build netns

package fastpath

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// TestVerifierWork: each start of a gateway waits for the kernel to verify the programs, about two microseconds an instruction on every way
// through them. Who makes two ways of what was one doubles that.
func TestVerifierWork(t *testing.T) {
	spec, err := loadBpf()
	check(t, err)
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	check(t, err)
	defer c.Close()
	for name, p := range c.Programs {
		n := 0
		for line := range strings.Lines(p.VerifierLog) {
			_, _ = fmt.Sscanf(line, "processed %d insns", &n)
		}
		if n < 1000 || n > 55000 {
			t.Errorf("%s: %d instructions verified", name, n)
		}
	}
}
