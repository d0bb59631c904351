package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
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
	for _, t := range []*conntrack.Instant{&e.Created, &e.LastSeen, &e.Refreshed, &e.Deadline} {
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

func pairs(entries []SavedEntry) iter.Seq2[*conntrack.Entry, string] {
	return func(yield func(*conntrack.Entry, string) bool) {
		for i := range entries {
			if !yield(&entries[i].Entry, entries[i].Rule) {
				return
			}
		}
	}
}

func savedState(t testing.TB, n int) ([]SavedEntry, StateMeta, []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	entries := make([]SavedEntry, n)
	for i := range entries {
		entries[i] = SavedEntry{Entry: randomEntry(r), Rule: []string{"", "print-servers", "rest"}[i%3]}
	}
	meta := StateMeta{Saved: time.Unix(1790000000, 5).UTC(), Instant: 7e12, BootID: "boot", Version: "v1", Rev: "sha256:12"}
	var b bytes.Buffer
	if err := SaveState(&b, meta, pairs(entries)); err != nil {
		t.Fatal(err)
	}
	return entries, meta, b.Bytes()
}

func TestStateRoundTrip(t *testing.T) {
	entries, meta, file := savedState(t, 50)
	st, err := LoadState(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if st.Meta != meta {
		t.Errorf("meta %+v, want %+v", st.Meta, meta)
	}
	if len(st.Entries) != len(entries) {
		t.Fatalf("%d entries, want %d", len(st.Entries), len(entries))
	}
	for i := range entries {
		want := entries[i]
		want.Entry.Epoch, want.Entry.Timers, want.Entry.Counted, want.Entry.Rule = 0, 0, 0, -1
		if !reflect.DeepEqual(st.Entries[i], want) {
			t.Fatalf("entry %d\n got %+v\nwant %+v", i, st.Entries[i], want)
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
	entries, meta, file := savedState(t, 1)
	other := bytes.Clone(file)
	other[len(stateMagic)] = 2
	if _, err := LoadState(bytes.NewReader(resum(other))); !errors.Is(err, ErrStateVersion) {
		t.Errorf("version 2: %v", err)
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
		bad := entries[0]
		spoil(&bad.Entry)
		var b bytes.Buffer
		if err := SaveState(&b, meta, pairs([]SavedEntry{bad})); err != nil {
			t.Fatal(err)
		}
		if st, err := LoadState(&b); st != nil || !errors.Is(err, ErrStateCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStateSaveReportsTheWritersError(t *testing.T) {
	entries, meta, _ := savedState(t, 1)
	r, w := io.Pipe()
	_ = r.Close()
	if err := SaveState(w, meta, pairs(entries)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

func TestStateRebase(t *testing.T) {
	saved := time.Unix(1790000000, 0)
	for _, c := range []struct {
		name   string
		boot   string
		now    conntrack.Instant
		wall   time.Time
		down   time.Duration
		idle   time.Duration // of an entry that was idle for 10 s when it was saved
		within time.Duration // what is left of its 60 s
	}{
		{"same boot", "a", 105e9, saved.Add(time.Hour), 5 * time.Second, 15 * time.Second, 45 * time.Second},
		{"rebooted", "b", 3e9, saved.Add(30 * time.Second), 30 * time.Second, 40 * time.Second, 20 * time.Second},
		{"rebooted, later clock", "b", 500e9, saved.Add(30 * time.Second), 30 * time.Second, 40 * time.Second, 20 * time.Second},
		{"wall clock went back", "b", 3e9, saved.Add(-time.Hour), 0, 10 * time.Second, 50 * time.Second},
		{"same boot id, another clock", "a", 3e9, saved.Add(20 * time.Second), 20 * time.Second, 30 * time.Second, 30 * time.Second},
		{"for ever", "b", 3e9, saved.AddDate(200, 0, 0), maxDown, maxDown + 10*time.Second, 50*time.Second - maxDown},
	} {
		st := &State{Meta: StateMeta{Saved: saved, Instant: 100e9, BootID: "a"}, Entries: []SavedEntry{
			{Entry: conntrack.Entry{Created: 1e9, LastSeen: 90e9, Refreshed: 90e9, Deadline: 150e9}},
			{Entry: conntrack.Entry{Deadline: conntrack.Never}},
		}}
		if down := st.Rebase(c.now, c.wall, c.boot); down != c.down {
			t.Errorf("%s: down for %v, want %v", c.name, down, c.down)
		}
		e := &st.Entries[0].Entry
		if idle := c.now.Sub(e.LastSeen); idle != c.idle {
			t.Errorf("%s: idle %v, want %v", c.name, idle, c.idle)
		}
		if left := e.Deadline.Sub(c.now); left != c.within {
			t.Errorf("%s: %v left, want %v", c.name, left, c.within)
		}
		if e.LastSeen != e.Refreshed || e.LastSeen.Sub(e.Created) != 89*time.Second {
			t.Errorf("%s: times moved apart: %+v", c.name, e)
		}
		if st.Entries[1].Entry.Deadline != conntrack.Never {
			t.Errorf("%s: never became %d", c.name, st.Entries[1].Entry.Deadline)
		}
	}
}

func TestStateFile(t *testing.T) {
	dir, clock := t.TempDir(), NewClock()
	path := filepath.Join(dir, "state")
	if st, err := LoadStateFile(path, clock); st != nil || err != nil {
		t.Fatalf("no file: %v, %v", st, err)
	}
	entries, _, _ := savedState(t, 4)
	if err := SaveStateFile(path, NewStateMeta(clock, "v1", "sha256:12"), pairs(entries)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	st, err := LoadStateFile(path, clock)
	if err != nil || len(st.Entries) != 4 {
		t.Fatalf("%v, %v", st, err)
	}
	if st.Entries[0].Entry.LastSeen != entries[0].Entry.LastSeen {
		t.Error("times moved although the clock went on")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a loaded file stays: %v", left)
	}
	if err := os.WriteFile(path, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := LoadStateFile(path, clock); st != nil || !errors.Is(err, ErrStateCorrupt) {
		t.Errorf("noise: %v, %v", st, err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
	if st, err := LoadStateFile(path, clock); st != nil || err != nil {
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
			st.Rebase(1, time.Unix(0, 0), "other")
			var out bytes.Buffer
			if err := SaveState(&out, st.Meta, pairs(st.Entries)); err != nil {
				t.Fatal(err)
			}
			again, err := LoadState(&out)
			if err != nil || len(again.Entries) != len(st.Entries) {
				t.Fatalf("what was loaded cannot be loaded again: %v", err)
			}
		}
	})
}

func pendingOf(n int) (*Pending, []SavedEntry) {
	entries := make([]SavedEntry, n)
	for i := range entries {
		entries[i].Entry = conntrack.Entry{ID: uint64(i + 1), Deadline: conntrack.Instant(i), Tuple: conntrack.MakeTuple(
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 721), netip.MustParseAddrPort("192.0.2.1:515"))}
	}
	p := NewPending()
	p.Load(entries)
	return p, entries
}

func TestPendingClaimsOnce(t *testing.T) {
	const n, workers = 2000, 4
	p, entries := pendingOf(n)
	var got atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range entries {
				tu := entries[i].Entry.Tuple
				if w%2 == 1 {
					tu = tu.Reverse()
				}
				if e, ok := p.Claim(&tu); ok {
					got.Add(1)
					if e.Entry.ID != uint64(i+1) {
						t.Errorf("claimed %d, want %d", e.Entry.ID, i+1)
					}
				}
			}
		}()
	}
	wg.Wait()
	if got.Load() != n || p.Any() || p.Len() != 0 || p.set.Load() != nil {
		t.Errorf("claimed %d of %d, %d left", got.Load(), n, p.Len())
	}
}

func TestPendingExpireTakeAll(t *testing.T) {
	p, entries := pendingOf(10)
	if n := p.Expire(4); n != 5 { // deadlines 0 to 4: a deadline is the first instant without the entry
		t.Errorf("%d expired", n)
	}
	if _, ok := p.Claim(&entries[4].Entry.Tuple); ok {
		t.Error("claimed an expired one")
	}
	if n := p.Take(func(e *SavedEntry) bool { return e.Entry.ID == 10 }); n != 1 {
		t.Errorf("%d taken", n)
	}
	var ids []uint64
	for e := range p.All {
		ids = append(ids, e.Entry.ID)
	}
	if !reflect.DeepEqual(ids, []uint64{6, 7, 8, 9}) || p.Len() != 4 {
		t.Errorf("left %v, %d", ids, p.Len())
	}
}

func TestPendingKeepsTheLatestOfATuple(t *testing.T) {
	tu := conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"))
	p := NewPending()
	if p.Any() || p.Load(nil) != 0 || p.Any() {
		t.Error("an empty set has something")
	}
	if n := p.Load([]SavedEntry{
		{Entry: conntrack.Entry{ID: 1, Tuple: tu, LastSeen: 5}},
		{Entry: conntrack.Entry{ID: 2, Tuple: tu.Reverse(), LastSeen: 7}},
		{Entry: conntrack.Entry{ID: 3, Tuple: tu, LastSeen: 6}},
	}); n != 1 {
		t.Fatalf("%d entries", n)
	}
	if e, ok := p.Claim(&tu); !ok || e.Entry.ID != 2 {
		t.Errorf("claimed %+v", e)
	}
}
