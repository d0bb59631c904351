package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// randomEntry fills every exported field of an entry, so that one that the file forgets is missed by the round trip.
func randomEntry(r *rand.Rand) conntrack.Entry {
	var e conntrack.Entry
	fill(r, reflect.ValueOf(&e).Elem())
	e.State = conntrack.State(1 + r.IntN(int(conntrack.NumStates)-1))
	e.LastDir, e.Candidate.Dir = conntrack.Direction(r.IntN(2)), conntrack.Direction(r.IntN(2))
	e.LastKind = conntrack.Kind(r.IntN(int(conntrack.NumKinds)))
	e.HistoryN = uint8(r.IntN(len(e.History) + 1))
	e.Side[0].Scale, e.Side[1].Scale, e.Candidate.Scale = uint8(r.IntN(15)), uint8(r.IntN(15)), uint8(r.IntN(15))
	for _, t := range []*conntrack.Instant{&e.Created, &e.LastSeen, &e.Refreshed, &e.Deadline, &e.Watch, &e.Candidate.Since} {
		*t = conntrack.Instant(r.Int64N(1 << 60))
	}
	e.Timeout = time.Duration(r.Int64N(1 << 60))
	return e
}

func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(r, v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(true)
	default:
		if v.CanInt() {
			v.SetInt(r.Int64() | 1) // truncated to the field's width, never zero
		} else {
			v.SetUint(r.Uint64() | 1)
		}
	}
}

func each(flows []policy.Saved) iter.Seq[*policy.Saved] {
	return func(yield func(*policy.Saved) bool) {
		for i := range flows {
			if !yield(&flows[i]) {
				return
			}
		}
	}
}

func savedState(t testing.TB, n int) ([]policy.Saved, StateMeta, []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	flows := make([]policy.Saved, n)
	for i := range flows {
		flows[i] = policy.Saved{Entry: randomEntry(r), Timeouts: conntrack.Timeouts{conntrack.Established: time.Duration(i%3) * time.Hour}}
	}
	meta := StateMeta{Saved: time.Unix(1790000000, 5).UTC(), Instant: 7e12, BootID: "boot", Version: "v1", Rev: "sha256:12", Arms: []string{"", "a"}}
	var b bytes.Buffer
	if err := SaveState(&b, meta, each(flows)); err != nil {
		t.Fatal(err)
	}
	return flows, meta, b.Bytes()
}

func TestStateRoundTrip(t *testing.T) {
	flows, meta, file := savedState(t, 50)
	st, err := LoadState(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(st.Meta, meta) {
		t.Errorf("meta %+v, want %+v", st.Meta, meta)
	}
	if len(st.Flows) != len(flows) {
		t.Fatalf("%d flows, want %d", len(st.Flows), len(flows))
	}
	for i := range flows {
		want := flows[i]
		want.Entry.Epoch, want.Entry.Timers, want.Entry.Counted, want.Entry.Rule, want.Entry.FastSlot, want.Entry.FastUntold = 0, 0, 0, -1, 0, [2]int64{}
		want.Entry.FastLook, want.Entry.FastEvery = 0, 0
		want.Entry.Wake, want.Entry.Lead, want.Entry.Answered, want.Entry.Probe = 0, 0, 0, conntrack.Probe{} // asked anew after a restore
		if !reflect.DeepEqual(st.Flows[i], want) {
			t.Fatalf("flow %d\n got %+v\nwant %+v", i, st.Flows[i], want)
		}
	}
}

func TestStateCutShortAnywhere(t *testing.T) {
	_, _, file := savedState(t, 3)
	for n := range file {
		if st, err := LoadState(bytes.NewReader(file[:n])); st != nil || !errors.Is(err, ErrStateCorrupt) {
			t.Fatalf("%d of %d bytes: %v, %v", n, len(file), st, err)
		}
	}
}

func TestStateAnyBitFlipped(t *testing.T) {
	_, _, file := savedState(t, 2)
	for i := range file {
		for bit := range 8 {
			if (i+bit)%breadth != 0 {
				continue
			}
			b := bytes.Clone(file)
			b[i] ^= 1 << bit
			if st, err := LoadState(bytes.NewReader(b)); st != nil || err == nil {
				t.Fatalf("byte %d bit %d: loaded", i, bit)
			}
		}
	}
	if _, err := LoadState(bytes.NewReader(append(bytes.Clone(file), 0))); !errors.Is(err, ErrStateCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

// resum makes the sum right again, so that what lies behind it is tested.
func resum(file []byte) []byte {
	n := len(file) - 4
	return binary.LittleEndian.AppendUint32(file[:n:n], crc32.Checksum(file[:n], castagnoli))
}

func TestStateOtherVersionAndImpossibleEntries(t *testing.T) {
	flows, meta, file := savedState(t, 1)
	other := bytes.Clone(file)
	other[len(stateMagic)] = stateVersion - 1
	if _, err := LoadState(bytes.NewReader(resum(other))); !errors.Is(err, ErrStateVersion) {
		t.Errorf("version %d: %v", stateVersion-1, err)
	}
	for name, spoil := range map[string]func(*conntrack.Entry){
		"state":     func(e *conntrack.Entry) { e.State = conntrack.NumStates },
		"no state":  func(e *conntrack.Entry) { e.State = conntrack.StateNone },
		"direction": func(e *conntrack.Entry) { e.LastDir = 2 },
		"candidate": func(e *conntrack.Entry) { e.Candidate.Dir = 2 },
		"kind":      func(e *conntrack.Entry) { e.LastKind = conntrack.NumKinds },
		"history":   func(e *conntrack.Entry) { e.HistoryN = 17 },
		"scale":     func(e *conntrack.Entry) { e.Side[1].Scale = 15 },
		"time":      func(e *conntrack.Entry) { e.LastSeen = 1 << 62 },
		"deadline":  func(e *conntrack.Entry) { e.Deadline = -1 << 62 },
		"timeout":   func(e *conntrack.Entry) { e.Timeout = -1 },
	} {
		bad := flows[0]
		spoil(&bad.Entry)
		var b bytes.Buffer
		if err := SaveState(&b, meta, each([]policy.Saved{bad})); err != nil {
			t.Fatal(err)
		}
		if st, err := LoadState(&b); st != nil || !errors.Is(err, ErrStateCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStateSaveReportsTheWritersError(t *testing.T) {
	flows, meta, _ := savedState(t, 1)
	r, w := io.Pipe()
	_ = r.Close()
	if err := SaveState(w, meta, each(flows)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

func TestStateAway(t *testing.T) {
	saved := time.Unix(1790000000, 0)
	m := StateMeta{Saved: saved, Instant: 100e9, BootID: "a"}
	for _, c := range []struct {
		name string
		boot string
		now  conntrack.Instant
		wall time.Time
		want time.Duration
	}{
		{"same boot: the wall clock does not count", "a", 105e9, saved.Add(time.Hour), 5 * time.Second},
		{"rebooted", "b", 3e9, saved.Add(30 * time.Second), 30 * time.Second},
		{"rebooted, long up", "b", 500e9, saved.Add(30 * time.Second), 30 * time.Second},
		{"rebooted, wall clock went back", "b", 3e9, saved.Add(-time.Hour), 0},
		{"same boot id, another clock", "a", 3e9, saved.Add(20 * time.Second), 20 * time.Second},
		{"boot id unknown", "", 105e9, saved.Add(20 * time.Second), 20 * time.Second},
		{"for ever", "b", 3e9, saved.AddDate(200, 0, 0), maxAway},
	} {
		if got := m.Away(c.now, c.wall, c.boot); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestStateFile(t *testing.T) {
	dir, clock := t.TempDir(), NewClock()
	path := filepath.Join(dir, "state")
	if st, err := LoadStateFile(path); st != nil || err != nil {
		t.Fatalf("no file: %v, %v", st, err)
	}
	flows, _, _ := savedState(t, 4)
	before := clock.Now()
	if err := SaveStateFile(path, NewStateMeta(clock, "v1", "sha256:12"), each(flows)); err != nil {
		t.Fatal(err)
	}
	after := clock.Now()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	st, err := LoadStateFile(path)
	if err != nil || len(st.Flows) != 4 {
		t.Fatalf("%v, %v", st, err)
	}
	if at := st.SavedAt(clock); at < before || at > after {
		t.Errorf("saved at %d, want %d to %d", at, before, after)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a loaded file stays: %v", left)
	}
	if err := os.WriteFile(path, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := LoadStateFile(path); st != nil || !errors.Is(err, ErrStateCorrupt) {
		t.Errorf("noise: %v, %v", st, err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
	if st, err := LoadStateFile(path); st != nil || err != nil {
		t.Errorf("second try: %v, %v", st, err)
	}
}

func FuzzLoadState(f *testing.F) {
	_, _, file := savedState(f, 2)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add([]byte(stateMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, resum(append(bytes.Clone(b), 0, 0, 0, 0))} { // the second reaches what the sum hides
			st, err := LoadState(bytes.NewReader(in))
			if (st == nil) == (err == nil) {
				t.Fatalf("%v and %v", st, err)
			}
			if st == nil {
				continue
			}
			NewPending().Load(st.Flows, st.SavedAt(NewClock()), 1)
			var out bytes.Buffer
			if err := SaveState(&out, st.Meta, each(st.Flows)); err != nil {
				t.Fatal(err)
			}
			again, err := LoadState(&out)
			if err != nil || len(again.Flows) != len(st.Flows) {
				t.Fatalf("what was loaded cannot be loaded again: %v", err)
			}
		}
	})
}

// pendingOf holds n flows, saved at 1000; the time of flow i is over i after that.
func pendingOf(n int) (*Pending, []policy.Saved) {
	flows := make([]policy.Saved, n)
	for i := range flows {
		flows[i].Entry = conntrack.Entry{ID: uint64(i), Deadline: conntrack.Instant(i), LastSeen: -7, Tuple: conntrack.MakeTuple(
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 721), netip.MustParseAddrPort("192.0.2.1:515"))}
	}
	p := NewPending()
	p.Load(flows, 1000, 1000) // flow 0 is over
	return p, flows
}

func TestPendingClaimsOnce(t *testing.T) {
	const n, workers = 2000, 4
	p, flows := pendingOf(n)
	var got atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range flows {
				tu := flows[i].Entry.Tuple
				if w%2 == 1 {
					tu = tu.Reverse()
				}
				if f, away, ok := p.Claim(1000, &tu); ok {
					got.Add(1)
					if f.Entry.ID != uint64(i) || away != 0 {
						t.Errorf("claimed %d after %v, want %d", f.Entry.ID, away, i)
					}
				}
			}
		}()
	}
	wg.Wait()
	if got.Load() != n-1 || p.Any() || p.Len() != 0 || p.set.Load() != nil {
		t.Errorf("claimed %d of %d, %d left", got.Load(), n-1, p.Len())
	}
}

func TestPendingTimeGoesOn(t *testing.T) {
	p, flows := pendingOf(12)
	if n := p.Expire(1004); n != 4 || p.Len() != 7 { // 1 to 4: a deadline is the first instant without the flow
		t.Errorf("%d expired, %d left", n, p.Len())
	}
	if n := p.Expire(1004); n != 0 || p.set.Load().due.Load() != 1005 {
		t.Errorf("%d expired twice, the next is due at %d", n, p.set.Load().due.Load())
	}
	if _, _, ok := p.Claim(1006, &flows[6].Entry.Tuple); ok {
		t.Error("claimed a flow whose time is over")
	}
	if f, away, ok := p.Claim(1006, &flows[7].Entry.Tuple); !ok || f.Entry.ID != 7 || away != 6 {
		t.Errorf("flow 7: %v, %v", away, ok)
	}
	if n := p.Take(func(e *conntrack.Entry) bool { return e.ID == 10 }); n != 1 {
		t.Errorf("%d taken", n)
	}
	var left []string
	for f := range p.Left(1008) { // saved anew at 1008: flow 9 has 1 left, and its last segment is 8+7 ago
		left = append(left, fmt.Sprint(f.Entry.ID, f.Entry.Deadline, f.Entry.LastSeen))
	}
	if fmt.Sprint(left) != "[9 1 -15 11 3 -15]" || p.Len() != 4 {
		t.Errorf("left %v, %d", left, p.Len())
	}
	if n := p.Expire(2000); n != 4 || p.Any() || p.Expire(2000) != 0 {
		t.Errorf("%d expired at the end, %d left", n, p.Len())
	}
}

func TestPendingKeepsTheLatestOfATuple(t *testing.T) {
	tu := conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"))
	p := NewPending()
	if p.Any() || p.Load(nil, 0, 0) != 0 || p.Any() {
		t.Error("an empty set has something")
	}
	if n := p.Load([]policy.Saved{
		{Entry: conntrack.Entry{ID: 1, Tuple: tu, LastSeen: -5, Deadline: conntrack.Never}},
		{Entry: conntrack.Entry{ID: 2, Tuple: tu.Reverse(), LastSeen: -2, Deadline: 1}},
		{Entry: conntrack.Entry{ID: 3, Tuple: tu, LastSeen: -3, Deadline: 1}},
	}, 0, 0); n != 1 {
		t.Fatalf("%d flows", n)
	}
	if f, _, ok := p.Claim(0, &tu); !ok || f.Entry.ID != 2 {
		t.Errorf("claimed %+v", f)
	}
}
