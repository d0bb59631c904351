package outcome_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
	"halfopen/proxy/review/outcome"
)

// lines of a log by hand.
const (
	header = `{"timestamp":"2026-11-23T07:00:00.000000000+0000","event_type":"header","header":{"schema_version":%d,"program":"halfopen","run":"%s","file_seq":1}}` + "\n"
	ends   = `"src_ip":"10.2.0.7","src_port":721,"dest_ip":"192.0.2.9","dest_port":515,"proto":"TCP"`
)

// at is a timestamp so many seconds after seven.
func at(s float64) string {
	return string(decisionlog.AppendTime(nil, time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC).Add(time.Duration(s*float64(time.Second))).UnixNano()))
}

// flowLine is a flow record.
func flowLine(ts float64, id int, event string, start, end float64, more string) string {
	return fmt.Sprintf(`{"timestamp":"%s","event_type":"flow","flow_id":%d,%s,"flow":{"event":"%s","pkts_toserver":3,"pkts_toclient":2,"state":"ESTABLISHED","history":"ShADd","start":"%s","end":"%s"%s}}`+"\n",
		at(ts), id, ends, event, at(start), at(end), more)
}

// write makes a log of files, which are read in the order given.
func write(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("decisions-20261123T07%02d00.000Z-000001.jsonl", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A connection that was restored after a restart goes on; one of the same id that begins is another.
func TestRestart(t *testing.T) {
	ended := `,"reason":"fin","outcome":"closed","ended_by":"client-fin","handshake_s":0.02`
	log := write(t, fmt.Sprintf(header, 1, "A")+flowLine(0, 1, "new", 0, 0, "")+flowLine(10, 1, "update", 0, 10, "")+flowLine(0, 2, "new", 0, 0, ""),
		fmt.Sprintf(header, 1, "B")+flowLine(60, 2, "new", 60, 60, "")+flowLine(70, 1, "end", 0, 70, ended))
	d := read(t, outcome.Options{}, log)
	if got, want := briefs(d), []string{"1 connected connect=0.02 by=client-fin", "2 unfinished connected", "2 unfinished connected"}; !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if o := d.Outcomes[0]; o.End.Sub(o.Start) != 70*time.Second || o.Run != "A" {
		t.Errorf("%+v", o)
	}
	if g := d.Gateways[0]; !slices.Equal(g.Runs, []string{"A", "B"}) || !g.To.Equal(time.Date(2026, 11, 23, 7, 1, 10, 0, time.UTC)) {
		t.Errorf("%+v", g)
	}
}

// What is lost is counted and said.
func TestLoss(t *testing.T) {
	gap := fmt.Sprintf(`{"timestamp":"%s","event_type":"gap","gap":{"where":"ring","count":7,"bound":"exact","from":"%s","to":"%s","records":{"decision":5,"flow":2}}}`+"\n", at(31), at(30), at(31))
	crash := fmt.Sprintf(`{"timestamp":"%s","event_type":"gap","gap":{"where":"crash","count":40,"bound":"upper","from":"%s","to":"%s","run":"A"}}`+"\n", at(100), at(90), at(95))
	stats := fmt.Sprintf(`{"timestamp":"%s","event_type":"stats","stats":{"run":"A","suppressed":{"syn-established":12,"ack-no-state":1}}}`+"\n", at(50))
	end := func(id int, from, to float64) string {
		return flowLine(to, id, "end", from, to, `,"reason":"fin","outcome":"closed","ended_by":"client-fin","handshake_s":0.02,"arm":"a"`)
	}
	log := write(t, fmt.Sprintf(header, 1, "A")+end(1, 0, 10)+end(2, 5, 30.5)+gap+stats+end(3, 40, 50)+"{broken\n"+end(4, 60, 30)+
		flowLine(80, 5, "new", 80, 80, "")+"{\"cut",
		fmt.Sprintf(header, 99, "C")+end(6, 0, 10),
		fmt.Sprintf(header, 1, "B")+crash+end(7, 100, 110))
	d := read(t, outcome.Options{}, log)
	if len(d.Outcomes) != 6 {
		t.Errorf("%q", briefs(d))
	}
	l := d.Loss
	if l.GapRecords != 2 || l.GapMessages != 7 || l.GapAtMost != 40 || l.Suppressed["syn-established"] != 12 || l.Omitted["flow"] != 2 || l.BadLines != 2 || l.Cut != 1 ||
		len(l.Schemas) != 1 || l.Schemas[0].Version != 99 || l.StepCount != 1 || l.Steps[0].Back != 20*time.Second {
		t.Errorf("%+v", l)
	}
	if a := d.Arms["a"]; a.Connections != 5 || a.Gapped != 1 {
		t.Errorf("%+v", a)
	}
	if a := d.Arms[""]; a.Connections != 1 || a.Gapped != 1 { // it may have lived until the crash
		t.Errorf("%+v", a)
	}
	said := strings.Join(d.Caveats(), "\n")
	for _, want := range []string{"7 segments and at most 40 more", "2 gap records", "20.0% of those in arm a", "13 decisions (syn-established 12, ack-no-state 1)", "7 records (decision 5, flow 2)",
		"2 lines are no records (1 of them cut short", "schema version is 99", "stepped back (1 time, at most by 20s)", "died without a last word (1 time)"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if c := read(t, outcome.Options{}, write(t, fmt.Sprintf(header, 1, "A")+end(1, 0, 10))).Caveats(); len(c) != 0 {
		t.Errorf("nothing is lacking, and it says %q", c)
	}
}

// Durations stay right where the clock steps back, and links too.
func TestClockSteps(t *testing.T) {
	refused := `,"reason":"rst","outcome":"refused","ended_by":"server-rst"`
	failed := func(ts float64, id int, event string, start, end float64, more string) string {
		return strings.ReplaceAll(strings.ReplaceAll(flowLine(ts, id, event, start, end, more), "ESTABLISHED", "CLOSE"), "ShADd", "Sr")
	}
	// The second attempt follows the first by 5 s, and meanwhile the clock is set back by an hour.
	log := write(t, fmt.Sprintf(header, 1, "A")+failed(7200, 1, "new", 7200, 7200, "")+failed(7200.01, 1, "end", 7200, 7200.01, refused)+
		flowLine(3605, 2, "new", 3605, 3605, "")+flowLine(7200.01, 9, "new", 7200.01, 7200.01, "")+flowLine(3606, 2, "end", 3605, 3606, `,"reason":"fin","outcome":"closed","ended_by":"client-fin","handshake_s":0.02`))
	d := read(t, outcome.Options{}, log)
	got := briefs(d)
	if d.Loss.StepCount != 1 || d.Loss.Steps[0].Back < 59*time.Minute || d.Loss.Steps[0].Back > time.Hour || len(got) != 3 || !slices.Contains(got, "1 retries=1 by=server-rst") {
		t.Errorf("%q, %+v", got, d.Loss.Steps)
	}
	for _, o := range d.Outcomes {
		if o.Flow == 2 && (o.End.Sub(o.Start) != time.Second || o.ConnectS < 0.02 || o.ConnectS > 5.1) {
			t.Errorf("%+v", o)
		}
	}
}

// Specs come back, and what changes an assignment in mid-flight is said; what does not is not.
func TestExperimentRecords(t *testing.T) {
	rec := func(ts float64, event, spec string) string {
		return fmt.Sprintf(`{"timestamp":"%s","event_type":"experiment","experiment":{"name":"idle-5m","event":"%s","spec":%s}}`+"\n", at(ts), event, spec)
	}
	spec := func(salt, weight, rev string) string {
		return fmt.Sprintf(`{"name":"idle-5m","unit":"pair","salt":"%s","share":100,"arms":[{"name":"a","weight":%s,"policy":"gateway","policy_rev":"%s"},{"name":"b","weight":%s,"aa":true}]}`,
			salt, weight, rev, map[string]string{"50": "50", "40": "60"}[weight])
	}
	end := flowLine(1, 1, "end", 0, 1, `,"reason":"fin","outcome":"closed","ended_by":"client-fin","arm":"b","policy_rev":"sha256:2","preset":"p"`)
	same := fmt.Sprintf(header, 1, "A") + rec(0, "start", spec("s", "50", "sha256:1")) + end + rec(2, "start", spec("s", "50", "sha256:2"))
	d := read(t, outcome.Options{}, write(t, same))
	x := d.Experiments["idle-5m"]
	if x == nil || len(x.Records) != 2 || len(x.Changes) != 0 || !bytes.Contains(x.Records[0].Raw, []byte(`"salt":"s"`)) || x.Records[1].Line != 4 {
		t.Fatalf("%+v", x)
	}
	if o := d.Outcomes[0]; o.Unit != "10.2.0.7 > 192.0.2.9" || o.Arm != "b" || o.Rev != "sha256:2" || d.Arms["b"].Revs["sha256:2"].Preset != "p" {
		t.Errorf("%+v", o)
	}
	for history, want := range map[string]string{"hA": "10.2.0.7 > 192.0.2.9", "DA": "192.0.2.9 > 10.2.0.7"} { // seen from the middle on, from a lower port
		late := strings.NewReplacer(`"dest_port":515`, `"dest_port":9100`, "ShADd", history).Replace(flowLine(1, 1, "end", 0, 1, `,"adopted":true,"reason":"fin","arm":"b"`))
		if o := read(t, outcome.Options{}, write(t, fmt.Sprintf(header, 1, "A")+rec(0, "start", spec("s", "50", "sha256:1"))+late)).Outcomes[0]; o.Unit != want {
			t.Errorf("history %s: unit %s, want %s", history, o.Unit, want)
		}
	}
	d = read(t, outcome.Options{Unit: func(o *experiment.Outcome) string { return o.Arm + "!" }}, write(t, same+rec(3, "start", spec("other", "40", "sha256:2"))+rec(4, "changed", spec("other", "40", "sha256:3"))+rec(5, "start", `{"unit":"x"}`)))
	if c := strings.Join(d.Experiments["idle-5m"].Changes, "\n"); !strings.Contains(c, `salt "s" -> "other"`) || !strings.Contains(c, "weights a ") || strings.Count(c, "\n") != 1 {
		t.Error(c)
	}
	if p := d.Experiments["idle-5m"].Problems; len(p) != 1 {
		t.Errorf("%q", p)
	}
	if d.Outcomes[0].Unit != "b!" {
		t.Errorf("unit %q", d.Outcomes[0].Unit)
	}
}

// A log that is divided between directories by run says the same, but for the gateways' names, compressed or not; and each flow is told once.
func TestDivided(t *testing.T) {
	dir := t.TempDir()
	if _, err := loggen.Generate(loggen.Config{Dir: dir, Seed: 3, Decisions: 6000, Flows: 600, Runs: 3, Length: 10 * time.Minute, MaxFileBytes: 1 << 19, Compress: true}); err != nil {
		t.Fatal(err)
	}
	whole := read(t, outcome.Options{}, dir)
	flows := map[string]int{}
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if e.FlowID != 0 {
			flows[fmt.Sprint(e.Run, e.FlowID)] = 0
		}
	}
	for _, o := range whole.Outcomes {
		if o.Flow != 0 {
			flows[fmt.Sprint(o.Run, o.Flow)]++
		}
	}
	for id, n := range flows {
		if n != 1 {
			t.Errorf("flow %s was told %d times", id, n)
		}
	}
	if len(flows) < 400 || uint64(len(flows)) != whole.Connections {
		t.Errorf("%d flows, %d connections", len(flows), whole.Connections)
	}

	files, err := decisionlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	byRun := map[string]string{}
	var order []string
	for _, f := range files {
		run := ""
		for e := range decisionlog.Read(f) {
			run = e.Run
			break
		}
		if byRun[run] == "" {
			byRun[run] = t.TempDir()
			order = append(order, byRun[run])
		}
		if err := os.Link(f, filepath.Join(byRun[run], filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	parts := read(t, outcome.Options{}, order...)
	if a, b := lines(whole), lines(parts); len(order) != 3 || !slices.Equal(a, b) {
		t.Errorf("%d outcomes together, %d divided between %d", len(a), len(b), len(order))
	}
	if _, _, ok := parts.Overlap(); ok || !strings.Contains(strings.Join(parts.Caveats(), " "), "do not overlap in time") {
		t.Error("runs one after another overlap")
	}
	if _, _, ok := read(t, outcome.Options{}, order[0], order[0]).Overlap(); !ok {
		t.Error("a log does not overlap with itself")
	}

	// With room for a few only the same connections are told, whoever ended first.
	few := read(t, outcome.Options{Held: 150}, dir)
	if few.Connections != whole.Connections || few.Attempts != whole.Attempts || few.Loss.Early == 0 {
		t.Errorf("%d connections and %d attempts, want %d and %d; %d early", few.Connections, few.Attempts, whole.Connections, whole.Attempts, few.Loss.Early)
	}
}

var gatewayName = regexp.MustCompile(`Gateway:\S+ `)

// lines are outcomes in full but for the gateway's name, sorted.
func lines(d *outcome.Data) (out []string) {
	for _, o := range d.Outcomes {
		out = append(out, gatewayName.ReplaceAllString(fmt.Sprintf("%+v", o), ""))
	}
	slices.Sort(out)
	return out
}

// A segment after the end of a connection that had to be told before is missed, and that is counted.
func TestMissed(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, header, 1, "A")
	for id := 1; id <= 4; id++ {
		b.WriteString(flowLine(float64(id), id, "end", 0, float64(id), `,"reason":"idle","outcome":"forgotten","ended_by":"idle"`))
	}
	fmt.Fprintf(&b, `{"timestamp":"%s","event_type":"decision",%s,"direction":"to_server","tcp":{"flags":"P.","seq":100,"ack":1,"len":10},"decision":{"verdict":"drop","reason":"late-after-expiry","tombstone":{"flow_id":1,"why":"idle","client_seq":100}}}`+"\n",
		at(9), ends)
	for held, want := range map[int]uint64{2: 1, 100: 0} {
		d := read(t, outcome.Options{Held: held}, write(t, b.String()))
		if d.Loss.Missed != want || len(d.Outcomes) != 4 {
			t.Errorf("held %d: %d missed, %q", held, d.Loss.Missed, briefs(d))
		}
	}
}

func TestReadRefuses(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		logs []string
		want string
	}{
		{nil, "no log given"},
		{[]string{"/nowhere/at/all"}, "no such file"},
		{[]string{t.TempDir()}, "no decision log in"},
		{[]string{write(t, fmt.Sprintf(header, 7, "A"))}, "schema version 7, and this program reads version 1"},
	} {
		if _, err := outcome.Read(ctx, c.logs, outcome.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.logs, err, c.want)
		}
	}
	stop := errors.New("enough")
	n := 0
	log := write(t, fmt.Sprintf(header, 1, "A")+flowLine(0, 1, "new", 0, 0, "")+flowLine(0, 2, "new", 0, 0, ""))
	if _, err := outcome.Each(ctx, []string{log}, outcome.Options{}, func(*experiment.Outcome) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := outcome.Read(gone, []string{log}, outcome.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzRead reads whatever a log may be.
func FuzzRead(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(header, 1, "A")+flowLine(0, 1, "new", 0, 0, "")), 1)
	f.Add([]byte(flowLine(5, 1, "end", -9e9, 9e9, `,"handshake_s":-1e300,"stall_s":1e300,"interventions":18446744073709551615`)), 3)
	f.Add([]byte(`{"decision":{"tombstone":{}}}`+"\n"+`{"event_type":"x","flow_id":5,"inject":{"trigger":"t","kind":"rst"}}`+"\n"), 2)
	for _, name := range []string{"day", "night", "healed", "late", "held", "refused"} {
		b, err := os.ReadFile("../story/testdata/" + name + ".jsonl")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 4)
	}
	f.Fuzz(func(t *testing.T, b []byte, held int) {
		name := filepath.Join(t.TempDir(), "decisions-x.jsonl")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		flows := map[string]bool{}
		d, err := outcome.Each(context.Background(), []string{name}, outcome.Options{Held: held & 0xff}, func(o *experiment.Outcome) error {
			for m := range experiment.NumMetrics {
				m.Of(o)
			}
			if o.Interventions < 0 || o.Resets < 0 || o.Retries < 0 || outcome.Line(o) == "" {
				t.Errorf("%+v", o)
			}
			flows[o.Run+fmt.Sprint(o.Flow)] = true
			return nil
		})
		if err == nil {
			d.Caveats()
		}
	})
}
