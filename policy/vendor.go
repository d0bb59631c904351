package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"halfopen/conntrack"
)

// VendorWord is a product's own word for a value of a policy: of a timer, an option, a counter, a log message.
type VendorWord struct {
	Word  string
	Keys  []string // paths in a policy file, as timeouts.established, on.syn-established or options.tcp-rst
	Value string   // which all of them have
}

// quotedWord is how a policy file's comments set off the vendor's words.
var quotedWord = regexp.MustCompile("`([^`]+)`")

// VendorWords returns the vendor's own words for what is in force: the options, and the words that stand in backquotes in
// the comments on values. They come in the order of a policy file, and of one word with several values each value.
func (p *Policy) VendorWords() []VendorWord {
	var out []VendorWord
	for _, o := range p.options {
		out = append(out, VendorWord{o.Name, []string{"options." + o.Name}, o.Value})
	}
	for _, f := range p.noted() {
		for _, m := range quotedWord.FindAllStringSubmatch(p.notes[f.key].Text, -1) {
			i := slices.IndexFunc(out, func(w VendorWord) bool { return w.Word == m[1] && w.Value == f.value })
			if i < 0 {
				out = append(out, VendorWord{m[1], []string{f.key}, f.value})
			} else if !slices.Contains(out[i].Keys, f.key) {
				out[i].Keys = append(out[i].Keys, f.key)
			}
		}
	}
	// Of a word with several values each stands with the others.
	first := map[string]int{}
	for i, w := range out {
		if _, ok := first[w.Word]; !ok {
			first[w.Word] = i
		}
	}
	slices.SortStableFunc(out, func(a, b VendorWord) int { return cmp.Compare(first[a.Word], first[b.Word]) })
	return out
}

// noted returns the values that can have a comment, by the paths of their notes, in the order of a policy file. A comment on a
// finding is one on its kinds: those with the same action are left out.
func (p *Policy) noted() []fact {
	l := p.limits
	facts := slices.Concat(p.facts(-1, conntrack.Original), p.fileFacts())
	section := func(name string) string {
		var parts []string
		for _, f := range facts {
			if key, ok := strings.CutPrefix(f.key, name+"."); ok {
				parts = append(parts, key+": "+f.value)
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	facts = slices.DeleteFunc(facts, func(f fact) bool { return f.asBase })
	return append(facts, []fact{
		{key: "limits", value: fmt.Sprintf("{flows: %d, embryonic: %d, tombstones: %d, per_source: %d}", l.Flows, l.Embryonic, l.Tombstones, l.PerSource)},
		{key: "on_full", value: p.onFull.String()},
		{key: "adaptive", value: section("adaptive")},
		{key: "inject", value: section("inject")},
		{key: "adopt", value: FormatDuration(p.adopt)},
		{key: "late", value: FormatDuration(p.windows[0].TombLate)},
	}...)
}
