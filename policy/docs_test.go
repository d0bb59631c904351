package policy

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"halfopen/conntrack"
)

const manual = "../docs/policy.md"

// keyTable writes a table of keys for the manual.
func keyTable(keys []key) string {
	var b strings.Builder
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		dflt := k.dflt
		if dflt == "" {
			dflt = "-"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, k.valueText(), dflt, k.meaning)
	}
	return b.String()
}

// valueText says what a key's value looks like.
func (k *key) valueText() string {
	words := ""
	if len(k.words) > 0 {
		words = "`" + strings.Join(k.words, "`, `") + "`"
	}
	switch k.kind {
	case kindDuration:
		return "a duration"
	case kindCount:
		return fmt.Sprintf("%s, %d to %d", k.unit, k.lo, k.hi)
	case kindWord:
		return words
	case kindTimer:
		return words + " or a duration"
	case kindPrefixes:
		return "an address or CIDR prefix, or a list of them"
	case kindPorts:
		return "a port, a range `LO-HI`, or a list of them"
	case kindRate:
		return k.unit + ", or `unlimited`"
	case kindRates:
		return k.unit + ", or `unlimited`; or a mapping from findings"
	case kindWords:
		return words + ", or a list of them"
	case kindElse:
		return "`forward`, `drop`, or a mapping of `packet` and `reply`"
	case kindSection:
		return "keys, below"
	case kindOptions:
		return "options, below"
	case kindChoice:
		return "a word"
	case kindValues:
		return "a mapping from words to keys of a policy other than `preset`, `description` and `options`"
	case kindFindings:
		return "findings with their actions, below"
	case kindRules:
		return "a list of rules, below"
	}
	return "text"
}

func findingTable() string {
	var b strings.Builder
	b.WriteString("| finding | catalogue | meaning | by itself |\n|---|---|---|---|\n")
	for f := range conntrack.NumFindings {
		i := *f.Info()
		ids := "-"
		if i.Dotted != "" {
			ids = "`" + strings.Join(strings.Fields(i.Dotted), "`, `") + "`"
		}
		if f.Base() != f {
			i.Word += "`, a kind of `" + f.Base().String()
		}
		natural := NaturalAction(f, Forward)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s, %s |\n", i.Word, ids, i.Meaning, natural.State, natural.TimerWord())
	}
	return b.String()
}

func groupTable() string {
	var b strings.Builder
	b.WriteString("| group | findings |\n|---|---|\n")
	for _, g := range groups() {
		var words []string
		for _, f := range g.findings {
			words = append(words, "`"+f.String()+"`")
		}
		if g.word == "all" {
			words = []string{"all but `probe-unanswered`, `idle-expired` with its kinds and `dead-connection`"}
		}
		fmt.Fprintf(&b, "| `%s` | %s: %s |\n", g.word, g.meaning, strings.Join(words, ", "))
	}
	return b.String()
}

func presetTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| preset | established | `syn-established` | `ack-for-syn` | description |\n|---|---|---|---|---|\n")
	for _, name := range Presets() {
		p := load(t, name)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, FormatDuration(p.Timeouts(-1)[conntrack.Established]),
			short(p, conntrack.SynEstablished), short(p, conntrack.AckForSyn), p.Description())
	}
	return b.String()
}

// optionTable lists the options that presets define, their default first.
func optionTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| preset | option | values | meaning |\n|---|---|---|---|\n")
	for _, name := range Presets() {
		for _, o := range load(t, name).Options() {
			if o.Defined.From != name {
				continue
			}
			words := []string{"`" + o.Default + "`"}
			for _, v := range o.Values {
				if v.Word != o.Default {
					words = append(words, "`"+v.Word+"`")
				}
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", name, o.Name, strings.Join(words, ", "), o.Meaning)
		}
	}
	return b.String()
}

func short(p *Policy, f conntrack.Finding) string {
	a := p.Action(-1, conntrack.Original, f)
	text := a.Packet.String()
	if a.Reply != ReplyNone {
		text += ", " + a.Reply.String()
	}
	if a.State != conntrack.Keep {
		text += ", " + a.State.String()
	}
	return text
}

// TestManualTables: the manual's tables are those of the language.
func TestManualTables(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{
		"keys:file": keyTable(fileKeys()), "keys:timeouts": keyTable(timeoutKeys()), "keys:window": keyTable(windowKeys()),
		"keys:limits": keyTable(limitKeys()), "keys:probes": keyTable(probeKeys()), "keys:caps": keyTable(capKeys()), "keys:adaptive": keyTable(adaptiveKeys()), "keys:inject": keyTable(injectKeys()), "keys:log": keyTable(logKeys()), "keys:action": keyTable(actionKeys()),
		"keys:rule": keyTable(ruleKeys()), "keys:match": keyTable(matchKeys()), "keys:option": keyTable(optionKeys()),
		"groups": groupTable(), "findings": findingTable(), "presets": presetTable(t), "options": optionTable(t),
	}
	marked := regexp.MustCompile(`(?s)<!-- ([a-z:]+) -->\n(.*?)<!-- /[a-z]+ -->`)
	seen := map[string]bool{}
	got := marked.ReplaceAllFunc(data, func(m []byte) []byte {
		name := string(marked.FindSubmatch(m)[1])
		seen[name] = true
		table, ok := tables[name]
		if !ok {
			t.Errorf("no table %q", name)
		}
		end, _, _ := strings.Cut(name, ":")
		return fmt.Appendf(nil, "<!-- %s -->\n%s<!-- /%s -->", name, table, end)
	})
	for name := range tables {
		if !seen[name] {
			t.Errorf("the manual has no place for table %q", name)
		}
	}
	if *update {
		if err := os.WriteFile(manual, got, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got, data) {
		t.Error("the manual's tables are out of date: run go test ./policy -update")
	}
}

// TestManualWords: every word of an action is explained.
func TestManualWords(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	for part, words := range map[string][]string{"packet": packetKeywords, "reply": replyWords[:], "peer": peerWords[:], "state": effectKeywords(), "timer": timerKeywords, "only_if": conditionWords[:]} {
		for _, w := range words {
			if !bytes.Contains(data, []byte("| "+part+" | `"+w+"` | ")) {
				t.Errorf("the manual does not explain %s: %s", part, w)
			}
		}
	}
}

// TestManualExamples: what the manual shows works.
func TestManualExamples(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(data, -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, m := range examples {
		if p, problems := Load("example.yaml", m[1], nil); p == nil {
			t.Errorf("%v", problems)
		}
	}
}
