package review

import (
	"testing"

	"halfopen/proxy/decisionlog"
)

func TestIDSet(t *testing.T) {
	var s idSet
	ids := []string{"", "no id", decisionlog.ID{Hi: 2, Lo: 1}.String()}
	for i := range uint64(130) {
		ids = append(ids, decisionlog.ID{Hi: 1, Lo: i}.String(), decisionlog.ID{Hi: 1, Lo: 1<<48 | i<<40}.String())
	}
	for _, id := range ids {
		if s.has(id) || !s.add(id) || !s.has(id) {
			t.Errorf("%q is taken for known, or not kept", id)
		}
	}
	for _, id := range ids {
		if s.add(id) {
			t.Errorf("%q is new twice", id)
		}
	}
}
