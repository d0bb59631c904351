package conntrack

import (
	"strings"
	"time"
)

// profile is what many entries have in common: how they are governed, and what the ends' SYNs negotiated. A record holds its number.
type profile struct {
	timeout, lead time.Duration
	rule          int32
	epoch, gap    uint32
	mss           [2]uint16
	timers        uint16
	strip, maxMSS uint16
	scale         [2]uint8
	arm           uint8
}

// profiles holds each profile that a record refers to, once, and some that lately none does. Number 0 is none.
type profiles struct {
	list   []usedProfile
	number map[profile]uint32
	free   []uint32
	idle   [idleProfiles]uint32 // those that were left last, a ring; 0 for none
	oldest int                  // of idle
}

// idleProfiles is how many profiles without records are kept: a connection may change its timeout with each segment, and back, as
// Linux's do while data is not acknowledged.
const idleProfiles = 32

type usedProfile struct {
	profile
	records int32
	resting bool   // it is in idle, though perhaps in use again
	turned  uint32 // the profile that a record last had after this one, 0 for none: most that leave it go there
}

func (p *profiles) init() {
	p.list = make([]usedProfile, 1)
	p.number = make(map[profile]uint32)
}

// take returns the number of a profile for one more record, and whether there was one.
func (p *profiles) take(of *profile) (uint32, bool) {
	if n, ok := p.number[*of]; ok {
		p.list[n].records++
		return n, true
	}
	var n uint32
	if k := len(p.free); k > 0 {
		n, p.free = p.free[k-1], p.free[:k-1]
	} else if n = uint32(len(p.list)); n < maxProfile {
		p.list = append(p.list, usedProfile{})
	} else {
		return 0, false
	}
	p.list[n] = usedProfile{profile: *of, records: 1}
	p.number[*of] = n
	return n, true
}

// put says that one record less has profile n.
func (p *profiles) put(n uint32) {
	u := &p.list[n]
	if u.records--; u.records > 0 || n == 0 || u.resting {
		return
	}
	u.resting = true
	left := p.idle[p.oldest]
	p.idle[p.oldest] = n
	p.oldest = (p.oldest + 1) % idleProfiles
	if left == 0 {
		return
	}
	u = &p.list[left]
	if u.resting = false; u.records == 0 {
		delete(p.number, u.profile)
		p.free = append(p.free, left)
	}
}

// turn returns the number of a profile for a record that has profile n, 0 for none, and goes over to it.
func (p *profiles) turn(n uint32, want *profile) (uint32, bool) {
	to, ok := p.list[n].turned, true
	if u := &p.list[to]; to != 0 && (u.records > 0 || u.resting) && u.profile == *want {
		u.records++
	} else if to, ok = p.take(want); !ok {
		return 0, false
	}
	p.list[n].turned = to
	if n != 0 {
		p.put(n)
	}
	return to, true
}

// turned is turn where the records that had profile n before went over to the profile of e; else nothing has happened.
func (p *profiles) turned(n uint32, e *Entry) (uint32, bool) {
	to := p.list[n].turned
	u := &p.list[to]
	if to == 0 || u.records == 0 && !u.resting || !u.profile.of(e) {
		return 0, false
	}
	u.records++
	if n != 0 {
		p.put(n)
	}
	return to, true
}

func (e *Entry) profiled() profile {
	return profile{timeout: e.Timeout, lead: e.Lead, rule: e.Rule, epoch: e.Epoch, gap: e.gap, mss: e.MSS, timers: e.Timers,
		strip: e.Strip, maxMSS: e.MaxMSS, scale: [2]uint8{e.Side[0].Scale, e.Side[1].Scale}, arm: e.Arm}
}

// of reports whether p is the profile of e.
func (p *profile) of(e *Entry) bool {
	return p.timeout == e.Timeout && p.lead == e.Lead && p.rule == e.Rule && p.epoch == e.Epoch && p.gap == e.gap && p.mss == e.MSS &&
		p.timers == e.Timers && p.strip == e.Strip && p.maxMSS == e.MaxMSS && p.scale[0] == e.Side[0].Scale && p.scale[1] == e.Side[1].Scale &&
		p.arm == e.Arm
}

// fileProfile enters the profile of e, and reports whether it could.
func (t *Table) fileProfile(r *record, e *Entry) bool {
	was := r.profile & low20
	if was != 0 && t.profiles.list[was].of(e) {
		return true
	}
	n, ok := t.profiles.turned(was, e)
	if !ok {
		is := e.profiled()
		n, ok = t.profiles.turn(was, &is)
	}
	if !ok {
		t.dropProfile(r)
		return false
	}
	r.profile = r.profile&^low20 | n
	return true
}

// dropProfile lets go of the profile of a record that has none.
func (t *Table) dropProfile(r *record) {
	if n := r.profile & low20; n != 0 {
		t.profiles.put(n)
		r.profile &^= low20
	}
}

func (e *Entry) unfileProfile(t *Table, n uint32) {
	p := &t.profiles.list[n].profile
	e.Timeout, e.Lead, e.Rule, e.Epoch, e.gap, e.MSS, e.Timers = p.timeout, p.lead, p.rule, p.epoch, p.gap, p.mss, p.timers
	e.Strip, e.MaxMSS, e.Arm = p.strip, p.maxMSS, p.arm
	e.Side[0].Scale, e.Side[1].Scale = p.scale[0], p.scale[1]
}

// histories numbers the histories that entries have: those of a gateway's connections are few. Number 0 is the empty one.
type histories struct {
	list []history
}

// maxHistories is what a record's number can tell apart.
const maxHistories = 1 << 16

// history is one, and which follow it.
type history struct {
	text [16]byte
	n    uint8
	seen uint8                       // letters that it has, by their FastFirst bits
	then [len(historyLetters)]uint16 // by letter; 0 for one that was not met yet
}

// historyLetters are all that an entry's history consists of, each at most once.
const historyLetters = "SHRDAFshrdaf"

func (h *histories) init() { h.list = make([]history, 1) }

func (h *histories) read(e *Entry) {
	x := &h.list[e.history]
	e.History, e.HistoryN = x.text, x.n
}

// find writes the number of e's history, and reports whether it has one.
func (h *histories) find(e *Entry) bool {
	if x := &h.list[e.history]; x.n == e.HistoryN && x.text == e.History {
		return true
	}
	if int(e.HistoryN) > len(e.History) {
		return false
	}
	at := e.history // as a rule a letter is behind what was there
	if x := &h.list[at]; x.n > e.HistoryN || string(x.text[:x.n]) != string(e.History[:x.n]) {
		at = 0
	}
	for _, c := range e.History[h.list[at].n:e.HistoryN] {
		l := letterNumbers[c]
		if l < 0 {
			return false
		}
		next := h.list[at].then[l]
		if next == 0 {
			if len(h.list) == maxHistories {
				return false
			}
			next = uint16(len(h.list))
			x := history{text: h.list[at].text, n: h.list[at].n + 1}
			x.text[x.n-1] = c
			x.seen = h.list[at].seen | firstOf(c)
			h.list = append(h.list, x)
			h.list[at].then[l] = next
		}
		at = next
	}
	e.history = at
	return h.list[at].text == e.History
}

// firstOf returns the FastFirst bit of a letter, 0 where it has none.
func firstOf(c byte) uint8 {
	switch c {
	case 'D':
		return FastFirstData << Original
	case 'd':
		return FastFirstData << Reply
	case 'A':
		return FastFirstACK << Original
	case 'a':
		return FastFirstACK << Reply
	}
	return 0
}

// letterNumbers are the letters' numbers, -1 for what is none.
var letterNumbers = func() (numbers [256]int8) {
	for c := range numbers {
		numbers[c] = int8(strings.IndexByte(historyLetters, byte(c)))
	}
	return numbers
}()
