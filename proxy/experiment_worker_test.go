package proxy

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// clientSYN is the SYN of client i, from 10.1.0.0 on.
func clientSYN(t *testing.T, i int) []byte {
	return seg(t, fmt.Sprintf("10.1.%d.%d:%d", i>>8, i&255, 1024+i), serverEnd, conntrack.SYN, 100, 0, "")
}

// runs puts an experiment in force on a bench.
func (b *bench) runs(x *experiments) {
	b.tick()
	b.adoptExperiments(b.now, x)
}

// TestWorkerDecidesByArm: each client's connection is decided by its arm's policy, records carry the arm and its policy's revision, and
// the numbers are counted.
func TestWorkerDecidesByArm(t *testing.T) {
	b := newBench(t, "preset: observe", false)
	x := loaded(t, halves, nil)
	b.runs(x)
	const n = 200
	for i := range n {
		b.main.push(clientSYN(t, i))
		b.step()
	}
	spec := x.set.Specs[0]
	want := map[string]int{}
	arms := map[string]string{}
	for _, line := range b.records("decision") {
		var ev decisionlog.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		tu := tuple(fmt.Sprintf("%s:%d", ev.SrcIP, ev.SrcPort), fmt.Sprintf("%s:%d", ev.DestIP, ev.DestPort))
		arm := spec.Arms[spec.ArmOf(time.Now(), &tu)]
		d := ev.Decision
		if d.Arm != arm.Name || d.PolicyRev != arm.Rev || (d.Verdict == "drop") != (arm.Name == "dropping") {
			t.Fatalf("%s: want arm %s\n%s", ev.SrcIP, arm.Name, line)
		}
		want[arm.Name]++
		arms[ev.SrcIP] = arm.Name
	}
	if want["control"]+want["dropping"] != n || want["control"] < 70 || want["dropping"] < 70 {
		t.Error(want)
	}
	var flows uint64
	for _, c := range x.counters() {
		if c.Arm == "control" && (c.Flows != uint64(want["control"]) || math.Abs(float64(c.Units)-float64(c.Flows)) > 5) {
			t.Errorf("%+v, want %d", c, want["control"])
		}
		flows += c.Flows
	}
	if flows != uint64(want["control"]) { // a dropped SYN begins no connection
		t.Errorf("%d connections began", flows)
	}
}

// TestArmStaysOverReload: a connection keeps its arm and policy when a reload takes the experiment away; a new one of the same client has
// no arm then.
func TestArmStaysOverReload(t *testing.T) {
	b := newBench(t, "preset: observe", false)
	x := loaded(t, halves, nil)
	b.runs(x)
	spec := x.set.Specs[0]
	client := 0
	for ; ; client++ { // one in control
		s := conntrack.Segment{}
		NewDecoder().Decode(clientSYN(t, client), 40, PacketInfo{}, &s)
		if spec.ArmOf(time.Now(), &s.Tuple) == 0 {
			break
		}
	}
	b.main.push(clientSYN(t, client))
	b.step()
	next := loaded(t, strings.ReplaceAll(strings.ReplaceAll(halves, "halves", "later"), "name: control", "name: steady"), x)
	b.runs(next)
	from := fmt.Sprintf("10.1.%d.%d:%d", client>>8, client&255, 1024+client)
	b.main.push(seg(t, serverEnd, from, conntrack.SYN|conntrack.ACK, 500, 101, ""))
	b.step()
	var got []string
	for _, line := range b.records("decision") {
		var ev decisionlog.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Decision.Reason+" "+ev.Decision.Arm)
	}
	if !slices.Equal(got, []string{"new control", "syn-ack control"}) {
		t.Error(got)
	}
}

// TestStateKeepsArms: a restart gives saved connections the arms of their names, whatever their numbers are now; those of an arm that is
// none any more are the gateway's.
func TestStateKeepsArms(t *testing.T) {
	x := loaded(t, halves, nil)
	st := &State{Meta: StateMeta{Arms: x.texts()}, Flows: make([]policy.Saved, 3)}
	for i := range st.Flows {
		st.Flows[i].Entry.Arm = uint8(i)
	}
	swapped := loaded(t, `experiment:
- {name: new, match: {dst_port: 1}, arms: [{name: a, weight: 50, policy: drop.yaml}, {name: b, weight: 50, policy: gateway}]}
- {name: halves, match: {dst_port: 2}, arms: [{name: control, weight: 50, policy: gateway}, {name: gone, weight: 50, policy: gateway}]}
`, nil)
	if lost := swapped.restoreArms(st); lost != 1 {
		t.Errorf("%d lost", lost)
	}
	if got := [3]uint8{st.Flows[0].Entry.Arm, st.Flows[1].Entry.Arm, st.Flows[2].Entry.Arm}; got != [3]uint8{0, swapped.numbers[armKey{"halves", "control"}], 0} || got[1] == 0 {
		t.Error(got)
	}
	var none *experiments
	st.Flows[1].Entry.Arm = 1
	if lost := none.restoreArms(st); lost != 1 || st.Flows[1].Entry.Arm != 0 {
		t.Error(lost)
	}
	st = &State{Meta: StateMeta{Arms: []string{"", "halves", "/", "x/y/z"}}, Flows: []policy.Saved{{Entry: conntrack.Entry{Arm: 200}}, {Entry: conntrack.Entry{Arm: 1}}}}
	if lost := x.restoreArms(st); lost != 2 { // a damaged meta object must not panic
		t.Error(lost)
	}
}

// TestStartInEachFile: each file of a gateway's log says which experiments there are, and one that ends says so once.
func TestStartInEachFile(t *testing.T) {
	dir := t.TempDir()
	log, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 4000, MaxTotalBytes: -1, Flush: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour)
	text := strings.Replace(halves, "  arms:", "  end: "+end.UTC().Format(time.RFC3339Nano)+"\n  arms:", 1)
	g := &Gateway{log: log, experiments: loaded(t, text, nil)}
	g.putStarts()
	log.Flush()
	for i := range 60 {
		g.putReload(&decisionlog.Reload{Error: strings.Repeat("x", 200)}, false)
		log.Flush()
		now := time.Now()
		if i >= 40 {
			now = end
		}
		g.watchExperiments(now)
		log.Flush()
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	starts, ends, files := map[string]int{}, 0, map[string]bool{}
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		files[e.File] = true
		if x := e.Experiment; x != nil {
			switch x.Event {
			case decisionlog.ExperimentStart:
				starts[e.File]++
			case decisionlog.ExperimentEnd:
				ends++
			}
			if s, err := experiment.FromJSON(x.Spec); err != nil || s.Name != "halves" {
				t.Errorf("%v: %s", err, e.Raw)
			}
		}
	}
	if len(files) < 3 || ends != 1 {
		t.Errorf("%d files, %d ends", len(files), ends)
	}
	for file := range files {
		if starts[file] != 1 {
			t.Errorf("%s: %d starts", file, starts[file])
		}
	}
}

// TestReloadOfExperiments: what a configuration's file brings is taken over or refused as a whole.
func TestReloadOfExperiments(t *testing.T) {
	pol := observePolicy(t)
	file := experimentDir(t, halves)
	cfg := Config{Experiment: file}
	before, changes, err := cfg.loadExperiments(pol, nil)
	if err != nil || changes != nil || before == nil {
		t.Fatal(before, changes, err)
	}
	for text, want := range map[string]string{
		halves: "",
		strings.Replace(halves, "name: halves", "name: halves\n  salt: x", 1):                        `refused: salt "halves" -> "x"`,
		strings.Replace(halves, "name: halves", "name: halves\n  share: 5", 1):                       "refused: share 100% -> 5%",
		strings.Replace(halves, "dropping", "other", 1):                                              "refused: weights",
		strings.Replace(halves, "weight: 50, policy: drop.yaml", "weight: 51, policy: drop.yaml", 1): "refused: weights whose sum is 101%",
		strings.Replace(halves, "drop.yaml", "limits.yaml", 1):                                       "halves: arms.dropping.policy sha256:",
		strings.Replace(halves, "name: halves", "name: thirds", 1):                                   "thirds added; halves removed",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		x, changes, err := cfg.loadExperiments(pol, before)
		got := strings.Join(changeWords(changes), "; ")
		if err != nil {
			got = "refused: " + err.Error()
		} else if x == nil || len(x.keys) < 3 {
			t.Errorf("%s: %v", text, x)
		}
		if cut, ok := strings.CutPrefix(want, "refused: "); ok && (err == nil || !strings.Contains(got, cut)) || !ok && !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("got %s\nwant %s\n%s", got, want, text)
		}
	}
	if x, _, err := (&Config{}).loadExperiments(pol, nil); x != nil || err != nil {
		t.Error(x, err)
	}
	if err := (&Config{Experiment: file, DryRun: true}).check(); err == nil {
		t.Error("an experiment under dry-run")
	}
}

// TestArmsAllocateNothing: what experiments add to a packet's way allocates nothing.
func TestArmsAllocateNothing(t *testing.T) {
	x := loaded(t, halves, nil)
	arms := x.arms(utc)
	tu := tuple("10.1.2.3:1024", serverEnd)
	ev := policy.FlowEvent{Kind: policy.FlowNew, Entry: conntrack.Entry{Arm: 1, Tuple: tu}}
	if n := testing.AllocsPerRun(100, func() { arms.Assign(0, &tu); x.began(&ev) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if c := x.counters(); c[0].Flows == 0 || c[0].Units != 1 {
		t.Errorf("%+v", c)
	}
}

// withExperiment is established with an experiment and its watcher's ring, which somebody empties.
func withExperiment(t testing.TB, text string) (*Worker, *loopSource) {
	w, src := established(t, "preset: linux-default", dataAndAck(t)...)
	dir := t.TempDir()
	file := dir + "/exp.yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, pols, err := LoadExperiments(file, false, w.engine.Policy())
	if err != nil {
		t.Fatal(err)
	}
	x, err := newExperiments(set, pols, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.tick()
	w.adoptExperiments(w.now, x)
	w.watching = newWatcher(w.shared.clock, nil).ring(0)
	return w, src
}

// twoArms are the arms of a gateway's own policy twice.
const twoArms = `experiment: {name: two, arms: [{name: one, weight: 50, policy: gateway}, {name: other, weight: 50, policy: linux-strict}]}`

// TestExperimentsOnThePacketPath: with an experiment too, a known connection's segments allocate nothing, and neither does a connection
// that begins, but for what it allocates without.
func TestExperimentsOnThePacketPath(t *testing.T) {
	per := func(w *Worker, src *loopSource) float64 {
		turn := func() {
			src.left = batchSize
			w.tick()
			if _, err := w.turn(); err != nil {
				t.Fatal(err)
			}
			if w.watching != nil {
				w.watching.Release(w.watching.Len())
			}
		}
		turn()
		return allocations(20, turn)
	}
	w, src := withExperiment(t, twoArms)
	var syns [][]byte
	for i := range batchSize {
		syns = append(syns, clientSYN(t, i))
	}
	src.packets = syns
	if n := per(w, src); n != 0 { // further ones are SYN retransmissions of the arms' connections
		t.Errorf("%v allocations for %d SYNs", n, batchSize)
	}
	if w.engine.Len() != batchSize+1 {
		t.Fatalf("%d connections: the test measures something else", w.engine.Len())
	}
	if e := w.engine.Find(w.now, &[]conntrack.Tuple{tuple("10.1.0.1:1025", serverEnd)}[0]); e == nil || e.Arm == 0 {
		t.Fatal("no arm")
	}
}

// BenchmarkExperiment is BenchmarkPacket, and a connection that begins and ends by RST, without and with an experiment, per packet of batches
// of 64.
func BenchmarkExperiment(b *testing.B) {
	for _, c := range []struct {
		name string
		with bool
		rst  bool
	}{{"data/without", false, false}, {"data/with", true, false}, {"begin/without", false, true}, {"begin/with", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			w, src := withExperiment(b, twoArms)
			if !c.with {
				w.adoptExperiments(w.now, nil)
				w.watching = nil
			}
			if c.rst {
				from := "10.1.0.1:1025"
				src.packets = [][]byte{
					mustEncode(b, &conntrack.Segment{Tuple: tuple(from, serverEnd), Flags: conntrack.SYN, Seq: 100, Window: 64240}, nil),
					mustEncode(b, &conntrack.Segment{Tuple: tuple(serverEnd, from), Flags: conntrack.RST | conntrack.ACK, Seq: 0, Ack: 101}, nil),
				}
			}
			b.ReportAllocs()
			packets := 0
			for b.Loop() {
				src.left = 64
				packets += 64
				w.tick()
				if _, err := w.turn(); err != nil {
					b.Fatal(err)
				}
				if w.watching != nil {
					w.watching.Release(w.watching.Len())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
		})
	}
}

// TestUnitOfSYNACK: a connection that a SYN/ACK shows first is its receiver's, whichever port is the higher; arm and unit are of one end.
func TestUnitOfSYNACK(t *testing.T) {
	const server = "192.0.2.1:9100"
	b := newBench(t, "preset: observe\non: {synack-no-state: {packet: forward, state: create-liberal}}", false)
	b.runs(loaded(t, strings.Replace(halves, "drop.yaml", "gateway", 1), nil))
	spec := b.experiments.set.Specs[0]
	const n = 50
	for i := range n {
		client := fmt.Sprintf("10.1.0.%d:721", i)
		b.main.push(seg(t, server, client, conntrack.SYN|conntrack.ACK, 500, 101, ""))
		b.step()
		tu := tuple(client, server)
		e := b.engine.Find(b.now, &tu)
		if e == nil || e.Flags&conntrack.EntryPickedUp == 0 || e.Arm == 0 {
			t.Fatalf("%s: %+v", client, e)
		}
		if got, want := b.arms[e.Arm], spec.Arms[spec.ArmOf(time.Now(), &tu)].Name; got != want || fromClient(e) != tu {
			t.Fatalf("%s: arm %s, want %s; unit of %v", client, got, want, fromClient(e))
		}
	}
	units := uint64(0)
	for _, c := range b.experiments.counters() {
		units += c.Units
	}
	if units < n-2 || units > n+2 {
		t.Errorf("%d units, want %d", units, n)
	}
}
