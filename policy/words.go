package policy

import (
	"strings"
)

// nearest returns the word that is closest to w by edit distance, "" where none is close enough to be what was meant.
// Underscores count as hyphens and case does not count.
func nearest(w string, words []string) string {
	norm := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	if len(w) > 64 {
		return ""
	}
	best, at := "", 1<<30
	for _, c := range words {
		d := distance(norm(w), norm(c))
		if d < at {
			best, at = c, d
		}
	}
	if at > max(1, min(len(w), len(best))/3) {
		return ""
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal
// string alignment).
func distance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}

// oneOf returns "a, b or c", with the nearest word to w where there is one.
func oneOf(w string, words []string) string {
	s := list(words)
	if n := nearest(w, words); n != "" {
		s += " (did you mean " + quote(n) + "?)"
	}
	return s
}

// list returns "a, b or c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// wordIndex returns the place of a word in a table of words, or -1.
func wordIndex(w string, words []string) int {
	for i, c := range words {
		if c == w {
			return i
		}
	}
	return -1
}
