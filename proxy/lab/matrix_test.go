package lab

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatrixText(t *testing.T) {
	m := &Matrix{
		Policies: []string{"observe", "/etc/halfopen/mine.yaml"}, Seconds: 61,
		Rows: []Row{
			{Scenario: "port-reuse", Phase: "after-fin", Cells: []Cell{{Connected: true, Seconds: 0.011}, {GaveUp: "client", Seconds: 7.02}}},
			{Scenario: "nat", Phase: "dnat", Cells: []Cell{{Connected: true}, {Policy: "mine.yaml", Error: "it broke"}}},
		},
	}
	var got bytes.Buffer
	if err := m.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want := `                      observe   mine.yaml    
port-reuse/after-fin  yes 0.01  NO client 7.0
nat/dnat              yes 0.00  error        

"yes 0.02": connected (idle-expiry: data got through) after 0.02 s. "NO client 7.0": the client gave up after 7.0 s.
error in nat/dnat under mine.yaml: it broke
4 cells in 61 s
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if !m.Failed() {
		t.Error("a matrix with an error has not failed")
	}
}
