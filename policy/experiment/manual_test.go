package experiment

import (
	"os"
	"strings"
	"testing"
)

// The manual has every verdict and every test.
func TestManualHasVerdictsAndTests(t *testing.T) {
	b, err := os.ReadFile("../../docs/experiments.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []VerdictKind{Harm, Better, Mixed, NoDifference, TooLittle, Running, Withheld} {
		if !strings.Contains(string(b), "\n| `"+string(k)+"` | ") {
			t.Errorf("the verdict %s is not in the manual", k)
		}
	}
	for _, m := range []Method{MethodRatio, MethodShare, MethodFisherUnits, MethodFisher, MethodRank, MethodRankUnits, MethodBlocks, MethodSequence, MethodNothing} {
		if !strings.Contains(string(b), "\n| `"+string(m)+"` | ") {
			t.Errorf("the test %s is not in the manual", m)
		}
	}
}
