package proxy

import (
	"errors"
	"testing"
	"time"

	"halfopen/conntrack"
)

// fakeHost is a host's connection table that counts what it is asked.
type fakeHost struct {
	entries     []natEntry
	gets, walks int
	err         error
}

func (h *fakeHost) lookup() natLookup {
	return natLookup{
		get: func(tu conntrack.Tuple) (natEntry, bool, error) {
			h.gets++
			for _, e := range h.entries {
				if e.original == tu || e.reply == tu {
					return e, true, h.err
				}
			}
			return natEntry{}, false, h.err
		},
		walk: func(from, to conntrack.Tuple) (natEntry, bool, error) {
			h.walks++
			for _, e := range h.entries {
				if f := e.forward(); f.Src == from.Src && f.SrcPort == from.SrcPort && f.Dst == to.Src && f.DstPort == to.SrcPort {
					return e, true, h.err
				}
			}
			return natEntry{}, false, h.err
		},
		done: func() error { return nil },
	}
}

func translator(t *testing.T, h *fakeHost, kinds NATKinds, now *time.Time) *Translator {
	t.Helper()
	tr, err := NewTranslator(TranslatorConfig{
		Detect: func() (NATKinds, error) { return kinds, nil },
		Now:    func() time.Time { return *now },
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.host = h.lookup()
	return tr
}

func TestWire(t *testing.T) {
	client, server, virtual, outer := "192.0.2.1:721", "10.9.9.9:515", "203.0.113.80:80", "198.51.100.1:40001"
	plainEntry := natEntry{tuple(client, server), tuple(server, client)}
	snat := natEntry{tuple(client, server), tuple(server, outer)}
	dnat := natEntry{tuple(client, virtual), tuple(server, client)}
	both := natEntry{tuple(client, virtual), tuple(server, outer)}
	// Another flow of the host whose tuple is, by chance, that of this one at the forward hook.
	stranger := natEntry{tuple(client, server), tuple("10.7.7.7:7", outer)}
	all4 := SourceNAT4 | DestinationNAT4
	for _, c := range []struct {
		name                   string
		kinds                  NATKinds
		entries                []natEntry
		toServer, toClient     string // "" for ErrNoTranslation
		fromServer, fromClient string
		gets, walks            int
	}{
		{"no NAT on the host", 0, []natEntry{both}, server, client, server, client, 0, 0},
		{"NAT of the other family", SourceNAT6 | DestinationNAT6, []natEntry{both}, server, client, server, client, 0, 0},
		{"untranslated flow", all4, []natEntry{plainEntry}, server, client, server, client, 2, 0},
		{"source", SourceNAT4, []natEntry{snat}, server, client, server, outer, 3, 0},
		{"destination", DestinationNAT4, []natEntry{dnat}, server, client, virtual, client, 3, 0},
		{"both", all4, []natEntry{both}, server, client, virtual, outer, 4, 2},
		{"both, beside a stranger", all4, []natEntry{stranger, both}, server, client, virtual, outer, 4, 2},
		{"no entry, source", SourceNAT4, nil, "", client, server, "", 4, 0},
		{"no entry, destination", DestinationNAT4, nil, server, "", "", client, 4, 0},
		{"no entry, both", all4, nil, "", "", "", "", 4, 4},
		{"a stranger alone", all4, []natEntry{stranger}, "", "", "", "", 4, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			h := &fakeHost{entries: c.entries}
			tr := translator(t, h, c.kinds, &now)
			judge := func(tu conntrack.Tuple, dir conntrack.Direction, from, to string) {
				t.Helper()
				got, err := tr.Wire(tu, dir)
				if from == "" || to == "" {
					if !errors.Is(err, ErrNoTranslation) {
						t.Errorf("%v: %v, %v; want ErrNoTranslation", tu, got, err)
					}
					return
				}
				if err != nil || got != tuple(from, to) {
					t.Errorf("%v: %v, %v; want %s > %s", tu, got, err, from, to)
				}
			}
			judge(tuple(client, server), conntrack.Original, c.fromClient, c.toServer)
			judge(tuple(server, client), conntrack.Reply, c.fromServer, c.toClient)
			if h.gets != c.gets || h.walks != c.walks {
				t.Errorf("%d lookups and %d walks, want %d and %d", h.gets, h.walks, c.gets, c.walks)
			}
		})
	}
}

func TestWireKeepsFamiliesApart(t *testing.T) {
	now := time.Unix(1000, 0)
	h := &fakeHost{}
	tr := translator(t, h, SourceNAT6, &now)
	six := tuple("[2001:db8::1]:721", "[2001:db8:1::9]:515")
	if got, err := tr.Wire(six, conntrack.Reply); err != nil || got != six || h.gets != 2 {
		t.Errorf("%v, %v after %d lookups", got, err, h.gets)
	}
	if got, err := tr.Wire(six, conntrack.Original); !errors.Is(err, ErrNoTranslation) {
		t.Errorf("%v, %v; want ErrNoTranslation", got, err)
	}
	if four := tuple("192.0.2.1:721", "10.9.9.9:515"); tr.kinds.family(&four) != 0 {
		t.Error("NAT of IPv6 concerns IPv4")
	}
}

// TestRulesAreRechecked: the host's firewall loads its rules after the gateway has started.
func TestRulesAreRechecked(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := translator(t, &fakeHost{}, 0, &now)
	tu := tuple("192.0.2.1:721", "10.9.9.9:515")
	tr.config.Detect = func() (NATKinds, error) { return SourceNAT4, nil }
	now = now.Add(9 * time.Second)
	if _, err := tr.Wire(tu, conntrack.Original); err != nil {
		t.Errorf("rules were looked at after 9 s: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := tr.Wire(tu, conntrack.Original); !errors.Is(err, ErrNoTranslation) {
		t.Errorf("rules were not looked at after 10 s: %v", err)
	}
	broken := errors.New("broken")
	tr.config.Detect = func() (NATKinds, error) { return 0, broken }
	now = now.Add(10 * time.Second)
	if _, err := tr.Wire(tu, conntrack.Reply); !errors.Is(err, broken) {
		t.Errorf("failed detection gives %v", err)
	}
}

// TestWireDistrustsDirection: a flow that was picked up from the wrong end has its directions exchanged here, not at the host.
func TestWireDistrustsDirection(t *testing.T) {
	now := time.Unix(1000, 0)
	both := natEntry{tuple("192.0.2.1:721", "203.0.113.80:80"), tuple("10.9.9.9:515", "198.51.100.1:40001")}
	tr := translator(t, &fakeHost{entries: []natEntry{both}}, SourceNAT4|DestinationNAT4, &now)
	got, err := tr.Wire(tuple("192.0.2.1:721", "10.9.9.9:515"), conntrack.Reply)
	if want := tuple("198.51.100.1:40001", "10.9.9.9:515"); err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestTranslationsAreKeptBriefly(t *testing.T) {
	now := time.Unix(1000, 0)
	h := &fakeHost{entries: []natEntry{{tuple("192.0.2.1:721", "10.9.9.9:515"), tuple("10.9.9.9:515", "198.51.100.1:40001")}}}
	tr := translator(t, h, SourceNAT4, &now)
	ask := func(want string, lookups int) {
		t.Helper()
		got, err := tr.Wire(tuple("192.0.2.1:721", "10.9.9.9:515"), conntrack.Original)
		if err != nil || got.From().String() != want || h.gets != lookups {
			t.Errorf("%v, %v after %d lookups; want %s after %d", got, err, h.gets, want, lookups)
		}
	}
	ask("198.51.100.1:40001", 1)
	h.entries[0].reply = tuple("10.9.9.9:515", "198.51.100.1:40002") // a new connection on the same ports
	now = now.Add(249 * time.Millisecond)
	ask("198.51.100.1:40001", 1)
	now = now.Add(time.Millisecond)
	ask("198.51.100.1:40002", 2)
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	ask("198.51.100.1:40002", 3)
	for i := range 2 * maxTranslations {
		tr.remember(now, tuple("192.0.2.1:1", "10.9.9.9:1"), conntrack.Tuple{})
		tu := tuple("192.0.2.1:1", "10.9.9.9:1")
		tu.SrcPort, tu.Dst[15] = uint16(i), byte(i>>16)
		tr.remember(now, tu, tu)
	}
	if len(tr.cache) > maxTranslations {
		t.Errorf("%d translations are kept, at most %d may be", len(tr.cache), maxTranslations)
	}
}

func TestWalksAreRare(t *testing.T) {
	now := time.Unix(1000, 0)
	h := &fakeHost{}
	tr := translator(t, h, SourceNAT4|DestinationNAT4, &now)
	busy := 0
	for i := range 100 {
		tu := tuple("192.0.2.1:721", "10.9.9.9:515")
		tu.SrcPort = uint16(i)
		if _, err := tr.Wire(tu, conntrack.Original); errors.Is(err, ErrTranslationBusy) {
			busy++
		} else if !errors.Is(err, ErrNoTranslation) {
			t.Fatal(err)
		}
	}
	if h.walks != 10 || busy != 95 {
		t.Errorf("%d walks and %d refusals in a second, want 10 and 95", h.walks, busy)
	}
	now = now.Add(time.Second)
	if _, err := tr.Wire(tuple("192.0.2.1:1", "10.9.9.9:515"), conntrack.Original); !errors.Is(err, ErrNoTranslation) || h.walks != 12 {
		t.Errorf("%v after %d walks in the next second", err, h.walks)
	}
}

func TestLookupErrors(t *testing.T) {
	now := time.Unix(1000, 0)
	broken := errors.New("broken")
	h := &fakeHost{err: broken}
	tr := translator(t, h, SourceNAT4, &now)
	if _, err := tr.Wire(tuple("192.0.2.1:1", "10.9.9.9:515"), conntrack.Reply); !errors.Is(err, broken) {
		t.Errorf("a failed lookup gives %v", err)
	}
	// Where detection fails nothing may be taken for untranslated.
	tr.config.Detect = func() (NATKinds, error) { return 0, broken }
	if err := tr.Refresh(); !errors.Is(err, broken) || tr.Kinds() != SourceNAT4|DestinationNAT4|SourceNAT6|DestinationNAT6 {
		t.Errorf("after failed detection: %v, kinds %b", err, tr.Kinds())
	}
}

func TestDecodeNATEntryOfNoise(t *testing.T) {
	for _, b := range [][]byte{nil, {2}, {2, 0, 0, 0}, {2, 0, 0, 0, 4, 0, 1, 0x80}, {2, 0, 0, 0, 200, 0, 1, 0x80}, {2, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 9, 0x80}} {
		if e, ok := decodeNATEntry(b); ok {
			t.Errorf("% x: %v", b, e)
		}
	}
}
