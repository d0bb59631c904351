package trial

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"halfopen/policy/experiment"
)

// Each file of a log tells again that an experiment started and which arms were stopped when. That is no new event, however many files there are.
func TestEventsToldAgain(t *testing.T) {
	text, err := json.Marshal(spec())
	if err != nil {
		t.Fatal(err)
	}
	f := &found{}
	tell := func(at time.Time, event, arm, more string) {
		f.record([]byte(fmt.Sprintf(`{"timestamp":%q,"event_type":"experiment","experiment":{"name":"idle-5m","event":%q,"arm":%q,"spec":%s%s}}`,
			at.Format("2006-01-02T15:04:05.000000-0700"), event, arm, text, more)), "a", "log:1")
	}
	begin := spec().Start
	stop := begin.Add(time.Hour)
	since := fmt.Sprintf(`,"since":%q`, stop.Format("2006-01-02T15:04:05.000000-0700"))
	tell(begin, "start", "", "")
	tell(stop.Add(time.Millisecond), "guardrail", "short", since)
	for file := range 2 * maxEvents {
		at := begin.Add(time.Duration(2+file) * time.Hour)
		tell(at, "start", "", "")
		tell(at, "guardrail", "short", since)
	}
	tell(begin.Add(9000*time.Hour), "end", "", "")
	x := f.list[0]
	if len(x.Events) != 3 {
		t.Fatalf("%d events: %+v", len(x.Events), x.Events[:min(len(x.Events), 8)])
	}
	if e := x.Events[1]; e.Kind != experiment.EventGuardrail || !e.Time.Equal(stop) {
		t.Errorf("%+v, want the stop at %s", e, stop)
	}
	if x.Events[2].Kind != experiment.EventEnd {
		t.Errorf("%+v", x.Events[2])
	}
}
