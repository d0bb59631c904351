package index

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// FilterError is a word of a filter that is not understood.
type FilterError struct {
	Key, Value string
	Problem    string // what is wrong with the value, or with the key where Value is ""
}

func (e *FilterError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("filter %s: %s", policy.Quote(e.Key), e.Problem)
	}
	return fmt.Sprintf("%s %s %s", e.Key, policy.Quote(e.Value), e.Problem)
}

// Keys are the words before the colon in a filter's text, in the order in which String writes them.
func Keys() []string {
	return []string{"since", "until", "event", "verdict", "reason", "rule", "arm", "rev", "disagrees", "outcome", "addr", "src", "dst", "port",
		"src-port", "dst-port", "flow", "community-id"}
}

// Events are the event types that a filter may ask for.
func Events() []string {
	return []string{"decision", "flow", "inject", "reload", "stats", "gap", "experiment"}
}

// Verdicts are the verdicts that a filter may ask for.
func Verdicts() []string {
	return []string{decisionlog.VerdictForward, decisionlog.VerdictDrop, decisionlog.VerdictRewrite, decisionlog.VerdictHold}
}

// ParseFilter reads a filter's text: words key:value separated by blanks, for example
//
//	reason:syn-established,late-after-expiry src:10.0.0.0/8 since:1h
//
// Several values of a key are separated by commas, or the key is given again. A value in double quotes may hold blanks and commas
// (\" and \\ inside). The keys are those of [Keys]; since and until take a time, or a duration before now. The error is a *FilterError.
func ParseFilter(text string, now time.Time) (Filter, error) {
	var f Filter
	for {
		text = strings.TrimLeft(text, " \t\n\r")
		if text == "" {
			return f, nil
		}
		end := strings.IndexAny(text, ": \t\n\r\"")
		if end < 0 || text[end] != ':' {
			word, _, _ := strings.Cut(text, " ")
			return f, &FilterError{Key: word, Problem: "expected key:value, for example reason:syn-established"}
		}
		key := text[:end]
		values, rest, err := parseValues(key, text[end+1:], " \t\n\r")
		if err != nil {
			return f, err
		}
		for _, v := range values {
			if err := f.Set(key, v, now); err != nil {
				return f, err
			}
		}
		text = rest
	}
}

// SetList adds values that are separated by commas to the field of a key; one in double quotes may hold commas. The error is a
// *FilterError.
func (f *Filter) SetList(key, text string, now time.Time) error {
	values, _, err := parseValues(key, text, "")
	if err != nil {
		return err
	}
	for _, v := range values {
		if err := f.Set(key, v, now); err != nil {
			return err
		}
	}
	return nil
}

// parseValues takes the values of a key off the front of a text, up to one of the octets of stop.
func parseValues(key, text, stop string) (values []string, rest string, err error) {
	for {
		var v strings.Builder
		quoted := strings.HasPrefix(text, `"`)
		if quoted {
			text = text[1:]
		}
		i := 0
		for ; i < len(text); i++ {
			c := text[i]
			if quoted && c == '\\' && i+1 < len(text) {
				i++
				v.WriteByte(text[i])
				continue
			}
			if quoted && c == '"' || !quoted && (c == ',' || strings.IndexByte(stop, c) >= 0) {
				break
			}
			v.WriteByte(c)
		}
		if quoted {
			if i == len(text) {
				return nil, "", &FilterError{key, text, "has an opening quote and no closing one"}
			}
			i++
		}
		values = append(values, v.String())
		if i == len(text) || text[i] != ',' {
			if quoted && i < len(text) && strings.IndexByte(stop, text[i]) < 0 {
				return nil, "", &FilterError{key, text[i:], "behind a closing quote, expected a blank or a comma"}
			}
			return values, text[i:], nil
		}
		text = text[i+1:]
	}
}

// Set adds a value to the field of a key, as ParseFilter does. The error is a *FilterError.
func (f *Filter) Set(key, value string, now time.Time) error {
	bad := func(problem string) error { return &FilterError{key, value, problem} }
	if !slices.Contains(Keys(), key) {
		return &FilterError{Key: key, Problem: "is no key of a filter, expected " + policy.OneOf(key, Keys())}
	}
	if value == "" {
		return &FilterError{Key: key, Problem: "has no value"}
	}
	switch key {
	case "since", "until":
		t, err := ParseTime(value, now)
		if err != nil {
			return bad("is no time, expected a duration before now (1h30m) or a time (2026-11-23T18:00:00Z)")
		}
		if key == "since" {
			f.Since = t
		} else {
			f.Until = t
		}
	case "addr", "src", "dst":
		p, problem := parsePrefix(value)
		if problem != "" {
			return bad(problem)
		}
		list := map[string]*[]netip.Prefix{"addr": &f.Addr, "src": &f.Src, "dst": &f.Dst}[key]
		*list = append(*list, p)
	case "port", "src-port", "dst-port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return bad("is no port, expected a number from 0 to 65535")
		}
		list := map[string]*[]uint16{"port": &f.Port, "src-port": &f.SrcPort, "dst-port": &f.DstPort}[key]
		*list = append(*list, uint16(n))
	case "flow":
		return f.setFlow(value)
	case "community-id":
		if !isCommunityID(value) {
			return bad("is no Community ID, expected 1: and 28 letters, as the log's community_id")
		}
		f.CommunityID = append(f.CommunityID, value)
	default:
		return f.setWord(key, value)
	}
	return nil
}

// setFlow takes a flow's number or its Community ID.
func (f *Filter) setFlow(value string) error {
	if isCommunityID(value) {
		f.CommunityID = append(f.CommunityID, value)
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return &FilterError{"flow", value, "is no flow, expected a number as the log's flow_id, or a Community ID"}
	}
	f.Flow = append(f.Flow, n)
	return nil
}

func (f *Filter) setWord(key, value string) error {
	closed := map[string][]string{"event": Events(), "verdict": Verdicts()}[key]
	if closed != nil && !slices.Contains(closed, value) {
		what := map[string]string{"event": "an event type", "verdict": "a verdict"}[key]
		return &FilterError{key, value, "is not " + what + ", expected " + policy.OneOf(value, closed)}
	}
	list := map[string]*[]string{"event": &f.Event, "verdict": &f.Verdict, "reason": &f.Reason, "rule": &f.Rule, "arm": &f.Arm,
		"rev": &f.Rev, "disagrees": &f.Disagrees, "outcome": &f.Outcome}[key]
	*list = append(*list, value)
	return nil
}

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (p netip.Prefix, problem string) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, "is no address, expected one (10.2.0.7, 2001:db8::1) or a prefix (10.0.0.0/8)"
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), ""
}

// isCommunityID knows the form of a Community ID of version 1.
func isCommunityID(s string) bool {
	return len(s) == 30 && strings.HasPrefix(s, "1:") && strings.HasSuffix(s, "=") && !strings.ContainsAny(s, " \t,\"")
}

// ParseTime reads a duration before now (1h30m, 7d), a time with or without its zone's colon, or a day (UTC where no zone is said).
func ParseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999",
		"2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", s)
}

// String is the filter as text that ParseFilter reads back: the same filter, whatever the time is then.
func (f *Filter) String() string {
	var words []string
	add := func(key string, values []string) {
		if len(values) == 0 {
			return
		}
		for i, v := range values {
			values[i] = quoteValue(v)
		}
		words = append(words, key+":"+strings.Join(values, ","))
	}
	instant := func(t time.Time) []string {
		if t.IsZero() {
			return nil
		}
		return []string{t.UTC().Format(time.RFC3339Nano)}
	}
	add("since", instant(f.Since))
	add("until", instant(f.Until))
	add("event", slices.Clone(f.Event))
	add("verdict", slices.Clone(f.Verdict))
	add("reason", slices.Clone(f.Reason))
	add("rule", slices.Clone(f.Rule))
	add("arm", slices.Clone(f.Arm))
	add("rev", slices.Clone(f.Rev))
	add("disagrees", slices.Clone(f.Disagrees))
	add("outcome", slices.Clone(f.Outcome))
	add("addr", texts(f.Addr))
	add("src", texts(f.Src))
	add("dst", texts(f.Dst))
	add("port", ports(f.Port))
	add("src-port", ports(f.SrcPort))
	add("dst-port", ports(f.DstPort))
	flows := make([]string, len(f.Flow))
	for i, n := range f.Flow {
		flows[i] = strconv.FormatUint(n, 10)
	}
	add("flow", flows)
	add("community-id", slices.Clone(f.CommunityID))
	return strings.Join(words, " ")
}

func texts(ps []netip.Prefix) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
		if p.IsSingleIP() {
			out[i] = p.Addr().String()
		}
	}
	return out
}

func ports(ns []uint16) []string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = strconv.Itoa(int(n))
	}
	return out
}

func quoteValue(v string) string {
	if v != "" && !strings.ContainsAny(v, ", \t\n\r\"\\") {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}

// checkReason says what is wrong with a reason that is no finding and that no record has.
func checkReason(word string, inLog func(string) bool) error {
	if _, ok := conntrack.FindingByWord(word); ok || inLog(word) {
		return nil
	}
	var words []string
	for f := range conntrack.NumFindings {
		words = append(words, f.String())
	}
	problem := "is not a finding, and no record of this log has it"
	if _, hint, ok := strings.Cut(policy.OneOf(word, words), " (did you mean "); ok {
		problem = "is not a finding; did you mean " + strings.TrimSuffix(hint, ")")
	}
	return &FilterError{"reason", word, problem}
}
