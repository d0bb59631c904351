package experiment

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"halfopen/conntrack"
)

func tuple(src, dst string) conntrack.Tuple {
	return conntrack.MakeTuple(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
}

func someTuples() []conntrack.Tuple {
	return []conntrack.Tuple{tuple("10.0.0.1:721", "10.0.1.9:515"), tuple("[2001:db8::1]:4000", "[2001:db8:1::2]:443"), {}}
}

// two is a spec of two equal arms.
func two(name string) *Spec {
	return &Spec{Name: name, Salt: name, Share: perHundred, Arms: []Arm{{Name: "a", Weight: 5000, Policy: GatewayPolicy}, {Name: "b", Weight: 5000, Policy: "observe"}}}
}

// TestPlaceGolden: the assignment never changes. The numbers were computed with Python's hashlib, from the documented formula alone:
//
//	h = hashlib.sha256(salt + b"\0" + unit).digest()
//	int.from_bytes(h[:8], "big") % 10000, int.from_bytes(h[8:16], "big") % 10000
func TestPlaceGolden(t *testing.T) {
	for _, tt := range []struct {
		unit       Unit
		salt       string
		tu         conntrack.Tuple
		bytes      string
		text       string
		arm, share int
	}{
		{UnitClient64, "idle-5m", tuple("10.0.0.1:721", "10.0.1.9:515"), "00000000000000000000ffff0a000001", "10.0.0.1", 4063, 807},
		{UnitClient, "idle-5m", tuple("10.0.0.1:721", "10.0.1.9:515"), "00000000000000000000ffff0a000001", "10.0.0.1", 4063, 807},
		{UnitPair, "idle-5m", tuple("10.0.0.1:721", "10.0.1.9:515"), "00000000000000000000ffff0a00000100000000000000000000ffff0a000109", "10.0.0.1 > 10.0.1.9", 6279, 1418},
		{UnitFlow, "idle-5m", tuple("10.0.0.1:721", "10.0.1.9:515"), "00000000000000000000ffff0a00000100000000000000000000ffff0a00010902d10203", "10.0.0.1:721 > 10.0.1.9:515", 4920, 4322},
		{UnitClient64, "idle-5m", tuple("[2001:db8::1:2:3:4]:4000", "[2001:db8:1::2]:443"), "20010db8000000000000000000000000", "2001:db8::/64", 4402, 2000},
		{UnitClient64, "idle-5m", tuple("[2001:db8:0:ff:ffff:ffff:ffff:ffff]:4000", "10.0.1.9:515"), "20010db8000000ff0000000000000000", "2001:db8:0:ff::/64", 8025, 6475},
		{UnitClient, "idle-5m", tuple("[2001:db8::1:2:3:4]:4000", "[2001:db8:1::2]:443"), "20010db8000000000001000200030004", "2001:db8::1:2:3:4", 726, 5525},
		{UnitFlow, "idle-5m", tuple("[2001:db8::1:2:3:4]:4000", "[2001:db8:1::2]:443"), "20010db800000000000100020003000420010db80001000000000000000000020fa001bb", "[2001:db8::1:2:3:4]:4000 > [2001:db8:1::2]:443", 9940, 3353},
		{UnitClient64, "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss", tuple("255.255.255.255:0", "0.0.0.0:65535"), "00000000000000000000ffffffffffff", "255.255.255.255", 7082, 8142},
		{UnitPair, "sälz", tuple("[2001:db8::1]:1", "10.0.0.1:2"), "20010db800000000000000000000000100000000000000000000ffff0a000001", "2001:db8::1 > 10.0.0.1", 8419, 7648},
	} {
		s := &Spec{Unit: tt.unit, Salt: tt.salt}
		k := tt.unit.Key(&tt.tu)
		if got := hex.EncodeToString(k.Bytes()); got != tt.bytes {
			t.Errorf("%s of %v: %s", tt.unit, tt.tu, got)
		}
		if got := s.UnitOf(&tt.tu); got != tt.text {
			t.Errorf("%s of %v: %s", tt.unit, tt.tu, got)
		}
		if arm, share := s.Place(&tt.tu); arm != tt.arm || share != tt.share {
			t.Errorf("%s of %v: %d, %d", tt.unit, tt.tu, arm, share)
		}
	}
}

// TestKeyAndText: two connections have the same unit exactly if its text is the same.
func TestKeyAndText(t *testing.T) {
	var tuples []conntrack.Tuple
	for _, src := range []string{"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1", "[::a00:1]:1"} {
		for _, dst := range []string{"10.0.0.9:515", "10.0.0.9:516", "10.0.0.8:515", "[2001:db8::9]:515"} {
			tuples = append(tuples, tuple(src, dst))
		}
	}
	for u := range numUnits {
		texts := map[string]UnitKey{}
		keys := map[UnitKey]string{}
		for _, tu := range tuples {
			text, k := u.Text(&tu), u.Key(&tu)
			if was, ok := texts[text]; ok && was != k {
				t.Errorf("%s: %s has two keys", u, text)
			}
			if was, ok := keys[k]; ok && was != text {
				t.Errorf("%s: %s and %s have one key", u, was, text)
			}
			texts[text], keys[k] = k, text
		}
		if want := [numUnits]int{5, 6, 18, 28}[u]; len(keys) != want {
			t.Errorf("%s: %d units, want %d", u, len(keys), want)
		}
	}
}

func TestArmOf(t *testing.T) {
	start := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	s := &Spec{Salt: "s", Share: 2500, Start: start, End: start.Add(time.Hour), Arms: []Arm{{Weight: 1000}, {Weight: 2000}, {Weight: 7000}}}
	seen := map[int]int{}
	for i := range 20000 {
		tu := conntrack.Tuple{Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 14: byte(i >> 8), 15: byte(i)}, DstPort: 515}
		arm, share := s.Place(&tu)
		want := NoArm
		switch {
		case share >= 2500:
		case arm < 1000:
			want = 0
		case arm < 3000:
			want = 1
		default:
			want = 2
		}
		got := s.ArmOf(start.Add(time.Minute), &tu)
		if got != want {
			t.Fatalf("%v: arm %d, want %d", tu, got, want)
		}
		seen[got]++
		for _, at := range []time.Time{{}, start.Add(-1), start.Add(time.Hour), time.Unix(-1<<60, 0), time.Unix(1<<60, 0)} {
			if s.ArmOf(at, &tu) != NoArm {
				t.Fatalf("an arm at %v", at)
			}
		}
		if s.ArmOf(start, &tu) != want || s.ArmOf(start.Add(time.Hour-1), &tu) != want {
			t.Fatal("at the edges")
		}
	}
	if len(seen) != 4 {
		t.Error(seen)
	}
}

// TestSetAssign: the first matching experiment assigns, numbers are those of Arms, and the place of a file's experiments means nothing.
func TestSetAssign(t *testing.T) {
	set := parse(t, `experiment:
- {name: one, match: {dst_port: 80}, arms: [{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe}]}
- {name: two, match: {dst_port: 81}, arms: [{name: c, weight: 50, policy: gateway}, {name: d, weight: 50, policy: observe}]}
`)
	swapped := NewSet("x", set.Specs[1], set.Specs[0])
	seen := map[uint8]int{}
	for i := range 4000 {
		tu := conntrack.Tuple{Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 14: byte(i >> 8), 15: byte(i)}, DstPort: 80 + uint16(i%3)}
		n := set.Assign(time.Unix(0, 0), &tu)
		seen[n]++
		if m := swapped.Assign(time.Unix(0, 0), &tu); (n == 0) != (m == 0) || n != 0 && set.Arms()[n-1].Arm.Name != swapped.Arms()[m-1].Arm.Name {
			t.Fatalf("%d and %d", n, m)
		}
		if want := (i % 3) * 2; n != 0 && (int(n) <= want || int(n) > want+2) || n == 0 && i%3 != 2 {
			t.Fatalf("port %d: arm %d", tu.DstPort, n)
		}
	}
	if len(seen) != 5 {
		t.Error(seen)
	}
}

// Populations of addresses: sequential ones of either family, and ones without any order.
func populations() map[string]func(i int) [16]byte {
	return map[string]func(i int) [16]byte{
		"IPv4 in sequence": func(i int) (a [16]byte) {
			a[10], a[11], a[12] = 0xff, 0xff, 10
			a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
			return a
		},
		"IPv6 /64s in sequence": func(i int) (a [16]byte) {
			copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8})
			binary.BigEndian.PutUint32(a[4:], uint32(i))
			a[15] = 1
			return a
		},
		"at random": func(i int) [16]byte {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("addresses"), uint64(i)))
			h[0] = 0x20 // none IPv4-mapped
			return [16]byte(h[:16])
		},
	}
}

// chi2Bounds are the 0.0005 and the 0.9995 quantile of chi-square with df degrees, by Wilson and Hilferty's approximation (good to a
// thousandth at the degrees used here): a two-sided test at 0.001.
func chi2Bounds(df float64) (lo, hi float64) {
	const z = 3.2905 // of the normal distribution at 0.9995
	at := func(z float64) float64 { return df * math.Pow(1-2/(9*df)+z*math.Sqrt(2/(9*df)), 3) }
	return at(-z), at(z)
}

func checkChi2(t *testing.T, what string, chi2, df float64) {
	t.Helper()
	if lo, hi := chi2Bounds(df); chi2 < lo || chi2 > hi {
		t.Errorf("%s: chi-square %.1f with %v degrees of freedom, bounds %.1f to %.1f", what, chi2, df, lo, hi)
	}
}

// testUniform: n units of each population fall evenly on the 10,000 places of the weights and of the share, on pairs of those (100 by
// 100), and independently of another experiment's places.
func testUniform(t *testing.T, n int) {
	for name, address := range populations() {
		const coarse = 100
		var arms, shares [perHundred]int
		var joint, other [coarse][coarse]int
		s, o := two("one"), two("two")
		for i := range n {
			tu := conntrack.Tuple{Src: address(i), DstPort: 515}
			arm, share := s.Place(&tu)
			arms[arm]++
			shares[share]++
			joint[arm*coarse/perHundred][share*coarse/perHundred]++
			arm2, _ := o.Place(&tu)
			other[arm*coarse/perHundred][arm2*coarse/perHundred]++
		}
		even := func(counts []int) (chi2 float64) {
			want := float64(n) / float64(len(counts))
			for _, c := range counts {
				chi2 += (float64(c) - want) * (float64(c) - want) / want
			}
			return chi2
		}
		checkChi2(t, name+": places on the weights", even(arms[:]), perHundred-1)
		checkChi2(t, name+": places on the share", even(shares[:]), perHundred-1)
		checkChi2(t, name+": share against arms", contingency(&joint, n), (coarse-1)*(coarse-1))
		checkChi2(t, name+": one experiment against another", contingency(&other, n), (coarse-1)*(coarse-1))
	}
}

// contingency is the chi-square of a table against the product of its margins.
func contingency(table *[100][100]int, n int) (chi2 float64) {
	var rows, columns [100]float64
	for i := range table {
		for j, c := range table[i] {
			rows[i] += float64(c)
			columns[j] += float64(c)
		}
	}
	for i := range table {
		for j, c := range table[i] {
			want := rows[i] * columns[j] / float64(n)
			chi2 += (float64(c) - want) * (float64(c) - want) / want
		}
	}
	return chi2
}

func TestUniformSample(t *testing.T) { testUniform(t, 200_000) }

// TestUniformCatches: the same check finds an assignment that leans or that two experiments share.
func TestUniformCatches(t *testing.T) {
	var same [100][100]int
	for i := range 100_000 {
		same[i%100][i%100]++
	}
	chi2 := contingency(&same, 100_000)
	if _, hi := chi2Bounds(99 * 99); chi2 < hi {
		t.Errorf("%.0f", chi2)
	}
	lo, hi := chi2Bounds(9999)
	if math.Abs(lo-9540.8) > 2 || math.Abs(hi-10470.5) > 2 { // from tables: 9999 -+ 3.2905 * sqrt(2*9999), bent
		t.Errorf("%.1f %.1f", lo, hi)
	}
}

// TestNeighbours: addresses next to each other are no more in the same arm than any.
func TestNeighbours(t *testing.T) {
	for name, address := range populations() {
		s := two("neighbours")
		same, n := 0, 100_000
		last := -1
		for i := range n + 1 {
			tu := conntrack.Tuple{Src: address(i)}
			arm := s.ArmOf(time.Time{}, &tu)
			if arm == last {
				same++
			}
			last = arm
		}
		if sd := math.Sqrt(float64(n) / 4); math.Abs(float64(same)-float64(n)/2) > 3.29*sd {
			t.Errorf("%s: %d of %d neighbours in one arm", name, same, n)
		}
	}
}

func TestAssignAllocatesNothing(t *testing.T) {
	set := parse(t, good)
	switching := parse(t, exp("switchback: {block: 10m, seed: 3}\n  start: 2026-12-01T08:00:00Z"))
	at := time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)
	tu := tuple("10.0.0.1:721", "10.0.1.9:515")
	for name, set := range map[string]*Set{"units": set, "switchback": switching} {
		if n := testing.AllocsPerRun(100, func() { set.Assign(at, &tu) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	at := time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)
	tu := tuple("10.0.0.1:721", "10.0.1.9:515")
	for _, bb := range []struct{ name, text string }{
		{"client-64", exp("share: 99")}, {"flow", exp("unit: flow")}, {"other traffic", exp("match: {dst_port: 1}")},
		{"switchback", exp("switchback: {block: 10m, seed: 3}\n  start: 2026-12-01T08:00:00Z")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			set, problems := Parse("x", []byte(bb.text))
			if set == nil {
				b.Fatal(problems)
			}
			b.ReportAllocs()
			for b.Loop() {
				set.Assign(at, &tu)
			}
		})
	}
}

// TestFromClient: of a connection whose SYN nobody saw both ends' segments name the same client, and so the same arm.
func TestFromClient(t *testing.T) {
	s := two("mid-stream")
	for i := range 2000 {
		tu := tuple(fmt.Sprintf("10.0.%d.%d:%d", i>>8, i&255, 1024+i), "192.0.2.9:515")
		a, b := FromClient(tu), FromClient(tu.Reverse())
		if a != tu || b != tu || s.ArmOf(time.Time{}, &a) != s.ArmOf(time.Time{}, &b) {
			t.Fatalf("%v: %v and %v", tu, a, b)
		}
	}
	if tu := tuple("10.0.0.1:515", "10.0.0.2:515"); FromClient(tu) != tu || FromClient(tu.Reverse()) != tu.Reverse() {
		t.Error("with equal ports it is the sender")
	}
}
