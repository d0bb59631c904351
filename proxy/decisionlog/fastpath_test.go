package decisionlog

import "testing"

// A flow's totals go on from its record before, where there was one in this run that told of any, or of its beginning.
func TestFastMove(t *testing.T) {
	some, more := FastTotals{10, 600}, FastTotals{15, 900}
	for name, c := range map[string]struct {
		m            FastMove
		wrong, known bool
	}{
		"begins":                           {FastMove{Event: "new"}, false, true},
		"begins with some untold":          {FastMove{Event: "new", Now: some}, true, true},
		"new whatever was before":          {FastMove{Event: "new", Before: more, Known: true}, false, true},
		"moves":                            {FastMove{Event: "update", Before: some, Known: true, Now: more, Told: FastTotals{5, 300}}, false, true},
		"packets untold":                   {FastMove{Event: "update", Before: some, Known: true, Now: more, Told: FastTotals{4, 300}}, true, true},
		"bytes untold":                     {FastMove{Event: "update", Before: some, Known: true, Now: more, Told: FastTotals{5, 301}}, true, true},
		"goes back":                        {FastMove{Event: "update", Before: more, Known: true, Now: some, Told: FastTotals{-5, -300}}, false, true},
		"of an earlier run":                {FastMove{Event: "update", Now: more, Told: FastTotals{5, 300}}, false, true},
		"of an earlier run, with none yet": {FastMove{Event: "update"}, false, false},
		"ends":                             {FastMove{Event: "end", Before: some, Known: true, Now: more, Told: FastTotals{5, 300}}, false, false},
		"ends untold":                      {FastMove{Event: "end", Before: some, Known: true, Now: more}, true, false},
	} {
		if wrong, known := c.m.Judge(); (wrong != "") != c.wrong || known != c.known {
			t.Errorf("%s: %q, known %v", name, wrong, known)
		}
	}
}
