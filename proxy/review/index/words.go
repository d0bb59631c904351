package index

import (
	"database/sql"
	"fmt"
	"strings"
)

// words numbers the words of a log: verdicts, reasons, rules, states and whatever else comes from a small set. Word 0 is the
// empty one. Numbers are the ids of table words.
type words struct {
	ids   map[string]uint32
	text  []string
	saved int // words that the table has
}

func newWords() *words {
	return &words{ids: map[string]uint32{"": 0}, text: []string{""}, saved: 1}
}

// id gives a word's number, a new one to a new word.
func (w *words) id(b []byte) uint32 {
	if id, ok := w.ids[string(b)]; ok {
		return id
	}
	id := uint32(len(w.text))
	s := string(b)
	w.ids[s] = id
	w.text = append(w.text, s)
	return id
}

// find is the number of a word that the log holds.
func (w *words) find(s string) (uint32, bool) {
	id, ok := w.ids[s]
	return id, ok
}

// word is a number's word.
func (w *words) word(id uint32) string {
	if int(id) < len(w.text) {
		return w.text[id]
	}
	return ""
}

// load takes in the words that the table has and w lacks. w must have none that the table lacks.
func (w *words) load(q querier) error {
	rows, err := q.Query("SELECT id, word FROM words WHERE id >= ? ORDER BY id", len(w.text))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var s string
		if err := rows.Scan(&id, &s); err != nil {
			return err
		}
		if id != len(w.text) {
			return fmt.Errorf("index: word %d follows word %d", id, len(w.text)-1)
		}
		w.ids[s] = uint32(id)
		w.text = append(w.text, s)
	}
	w.saved = len(w.text)
	return rows.Err()
}

// save writes the words that the table lacks.
func (w *words) save(tx *sql.Tx) error {
	for ; w.saved < len(w.text); w.saved++ {
		if _, err := tx.Exec("INSERT INTO words (id, word) VALUES (?, ?)", w.saved, w.text[w.saved]); err != nil {
			return err
		}
	}
	return nil
}

// matching lists the numbers of the words that fit.
func (w *words) matching(fits func(string) bool) []uint32 {
	var out []uint32
	for id, s := range w.text {
		if fits(s) {
			out = append(out, uint32(id))
		}
	}
	return out
}

// querier is a database or a transaction of it.
type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) *sql.Row
}

// placeholders is "?, ?, ?".
func placeholders(n int) string {
	return strings.TrimSuffix(strings.Repeat("?, ", n), ", ")
}
