package nfqueue

import "testing"

func TestParseProc(t *testing.T) {
	all, err := parseProc([]byte("    0  14833     3 2 65531     4     5       77  1\n    7 4294963201    0 2   256     0     0        0  1\n"))
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %v", all, err)
	}
	if want := (ProcStats{Queue: 0, PortID: 14833, Waiting: 3, CopyMode: 2, CopyRange: 65531, QueueDrops: 4, SocketDrops: 5, LastID: 77}); all[0] != want {
		t.Errorf("%+v", all[0])
	}
	if all[1].PortID != 4294963201 {
		t.Errorf("%+v", all[1])
	}
	for _, bad := range []string{"1 2 3\n", "1 2 3 4 5 6 7 x 1\n"} {
		if _, err := parseProc([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
