package outcome

import (
	"strings"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// wordID is the number of a word; 0 is the empty one.
type wordID = uint32

// word is a word of the log and what it can mean.
type word struct {
	text    string
	finding conntrack.Finding // NumFindings: none
	base    conntrack.Finding
	state   stateClass
	flags   segFlags // where it is flags
}

// stateClass is what a state of a connection says of its handshake.
type stateClass uint8

const (
	stateNone      stateClass = iota // no entry, or no state
	stateEmbryonic                   // before the end of the handshake
	stateStands                      // after it, closing ones too
	stateClosed                      // reset
	stateDenied
)

// segFlags are control bits.
type segFlags uint8

const (
	flagSYN segFlags = 1 << iota
	flagACK
	flagFIN
	flagRST
)

// words numbers words. What a log can have of them is bounded by its policies; beyond maxWords a word is told as "...".
type words struct {
	ids  map[string]wordID
	list []word
	last [256]wordID // by slot: neighbours in a log often share it
}

const maxWords = 1 << 16

func newWords() *words {
	w := &words{ids: map[string]wordID{"": 0}}
	w.list = append(w.list, word{finding: conntrack.NumFindings, base: conntrack.NumFindings})
	w.id([]byte("..."))
	return w
}

// id returns a word's number.
func (w *words) id(b []byte) wordID {
	if id, ok := w.ids[string(b)]; ok {
		return id
	}
	if len(w.list) >= maxWords {
		return 1
	}
	s := string(b)
	n := word{text: s, finding: conntrack.NumFindings, base: conntrack.NumFindings, state: classOf(s)}
	if f, ok := conntrack.FindingByWord(s); ok {
		n.finding, n.base = f, f.Base()
	}
	for i, c := range "S.FR" {
		if strings.ContainsRune(s, c) {
			n.flags |= 1 << i
		}
	}
	id := wordID(len(w.list))
	w.ids[s] = id
	w.list = append(w.list, n)
	return id
}

// at returns a field's word.
func (w *words) at(f *decisionlog.Fields, s decisionlog.Slot) *word { return &w.list[w.idAt(f, s)] }

// idAt returns the number of a field's word.
func (w *words) idAt(f *decisionlog.Fields, s decisionlog.Slot) wordID {
	b := f.Text(s)
	if n := w.last[s]; w.list[n].text == string(b) {
		return n
	}
	id := w.id(b)
	w.last[s] = id
	return id
}

// text returns a number's word.
func (w *words) text(id wordID) string { return w.list[id].text }

func classOf(s string) stateClass {
	for st := conntrack.StateNone + 1; st < conntrack.NumStates; st++ {
		if st.String() != s {
			continue
		}
		switch {
		case st == conntrack.Close:
			return stateClosed
		case st == conntrack.Denied:
			return stateDenied
		case st.Embryonic():
			return stateEmbryonic
		}
		return stateStands
	}
	return stateNone
}
