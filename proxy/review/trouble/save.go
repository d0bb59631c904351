package trouble

import (
	"encoding/json"
	"errors"
	"fmt"
)

// saveVersion is the version of a saved Tracker's form.
const saveVersion = 1

// saved is a Tracker put away.
type saved struct {
	Version     int            `json:"version"`
	Run         string         `json:"run"`
	First       int64          `json:"first"`
	Now         int64          `json:"now"`
	Connections uint64         `json:"connections"`
	Tracks      []savedTrack   `json:"tracks"`
	Waiting     []savedWaiting `json:"waiting"`
	Tries       []savedTry     `json:"tries"` // those of a pair in their order
}

type savedTrack struct {
	Facts Facts `json:"facts"`
	Place place `json:"place"`
	Over  bool  `json:"over,omitempty"`
}

// place is the map that a track is kept in.
type place uint8

const (
	nowhere place = iota // it waits, and no more
	inOpen
	inRecent
	inLate
	inLoose
)

type savedWaiting struct {
	Track int   `json:"track"`
	Due   int64 `json:"due"`
}

type savedTry struct {
	Track  int  `json:"track"`
	Dial   bool `json:"dial,omitempty"`
	Linked bool `json:"linked"`
}

// Save puts the Tracker away, so that [LoadTracker] can go on where it stands. What it takes is bounded as the Tracker is.
func (t *Tracker) Save() ([]byte, error) {
	s := saved{Version: saveVersion, Run: t.run, First: t.first, Now: t.now, Connections: t.connections}
	number := map[*track]int{}
	put := func(k *track, at place) {
		n, there := number[k]
		if !there {
			n = len(s.Tracks)
			number[k] = n
			s.Tracks = append(s.Tracks, savedTrack{Facts: k.Facts, Over: k.over})
		}
		if at != nowhere {
			s.Tracks[n].Place = at
		}
	}
	for _, m := range [...]struct {
		of map[uint64]*track
		at place
	}{{t.open, inOpen}, {t.recent, inRecent}, {t.late, inLate}} {
		for _, k := range m.of {
			put(k, m.at)
		}
	}
	for _, k := range t.loose {
		put(k, inLoose)
	}
	for _, w := range t.waiting {
		put(w.k, nowhere)
		s.Waiting = append(s.Waiting, savedWaiting{number[w.k], w.due})
	}
	for _, l := range t.pairs {
		for y := l.first; y != nil; y = y.next {
			s.Tries = append(s.Tries, savedTry{number[y.of], y == y.of.dial, true})
		}
	}
	for k, n := range number { // attempts that cannot be linked any more
		for _, y := range [...]*try{k.own, k.dial} {
			if y != nil && y.list == nil {
				s.Tries = append(s.Tries, savedTry{n, y == k.dial, false})
			}
		}
	}
	b, err := json.Marshal(&s)
	if err != nil {
		return nil, fmt.Errorf("trouble: %w", err)
	}
	return b, nil
}

// errSaved says that what was saved is not what Save writes.
var errSaved = errors.New("trouble: not a saved tracker of this version")

// LoadTracker returns the Tracker that data was saved of.
func LoadTracker(data []byte, found func(*Case)) (*Tracker, error) {
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("trouble: %w", err)
	}
	if s.Version != saveVersion {
		return nil, errSaved
	}
	t := NewTracker(found)
	t.run, t.first, t.now, t.connections = s.Run, s.First, s.Now, s.Connections
	tracks := make([]*track, len(s.Tracks))
	for i := range s.Tracks {
		k := &track{Facts: s.Tracks[i].Facts, over: s.Tracks[i].Over}
		tracks[i] = k
		switch s.Tracks[i].Place {
		case inOpen:
			t.open[k.FlowID] = k
		case inRecent:
			t.recent[k.FlowID] = k
		case inLate:
			t.late[k.FlowID] = k
		case inLoose:
			t.loose[ends{k.Client, k.Server}] = k
		}
	}
	for _, w := range s.Waiting {
		if w.Track < 0 || w.Track >= len(tracks) || tracks[w.Track].waits {
			return nil, errSaved
		}
		tracks[w.Track].waits = true
		t.waiting = append(t.waiting, waiting{tracks[w.Track], w.Due})
	}
	for _, y := range s.Tries {
		if y.Track < 0 || y.Track >= len(tracks) {
			return nil, errSaved
		}
		k := tracks[y.Track]
		a, to := k.Own, &k.own
		if y.Dial {
			a, to = k.Dial, &k.dial
		}
		switch {
		case a == nil || *to != nil:
			return nil, errSaved
		case y.Linked:
			*to = t.begin(k, a)
		default:
			*to = &try{of: k, a: a}
		}
	}
	return t, nil
}
