package outcome

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// Loss is what the logs lack, and admit.
type Loss struct {
	Gaps        []Gap  `json:"gaps,omitempty"` // the first maxGaps
	GapRecords  uint64 `json:"gap_records"`    // of all
	GapMessages uint64 `json:"gap_messages"`   // exact ones
	GapAtMost   uint64 `json:"gap_at_most"`    // bound upper or unknown

	// Suppressed counts, by finding, decisions whose record a rate limit held back.
	Suppressed map[string]uint64 `json:"suppressed,omitempty"`
	// Omitted counts records lost in a full ring or on a full disk, by event type.
	Omitted map[string]uint64 `json:"omitted,omitempty"`

	BadLines  uint64                 `json:"bad_lines"` // lines that are no record
	Cut       uint64                 `json:"cut"`       // of them last lines of a file, cut short
	BadSample []*decisionlog.BadLine `json:"-"`         // the first of them
	Schemas   []Schema               `json:"schemas,omitempty"`
	Steps     []Step                 `json:"steps,omitempty"` // of the clock, backwards; the first maxSteps
	StepCount uint64                 `json:"step_count"`
	// Missed counts segments after the end of connections that had been told for want of room ([Options.Held]).
	Missed uint64 `json:"missed"`
	Early  uint64 `json:"early"` // connections told before the log's end for want of room
	// Loose counts segments of which nobody knew a connection, and RSTs that answered them: they belong to no outcome.
	Loose       uint64 `json:"loose"`
	LooseResets uint64 `json:"loose_resets"`
}

// Gap is a gap record.
type Gap struct {
	Gateway string    `json:"gateway"`
	Run     string    `json:"run"`
	Where   string    `json:"where"`
	Bound   string    `json:"bound"`
	Count   uint64    `json:"count"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Detail  string    `json:"detail,omitempty"`
}

// Schema is a file that was not read because its records are of a shape that this program does not know.
type Schema struct {
	Gateway string `json:"gateway"`
	File    string `json:"file"`
	Version int    `json:"version"`
}

// Step is a step of a gateway's clock backwards, as its records' timestamps show it.
type Step struct {
	Gateway string        `json:"gateway"`
	Run     string        `json:"run"`
	At      time.Time     `json:"at"` // before it
	Back    time.Duration `json:"back"`
}

// Bounds of what is told one by one.
const (
	maxGaps      = 10000
	maxSteps     = 100
	maxBadSample = 20
)

// readable are the schema versions that are read.
var readable = fmt.Sprintf("version %d", decisionlog.SchemaVersion)

// refused returns the schema version of a file of the gateway that was not read, 0 for none.
func (d *Data) refused(gateway string) int {
	for _, s := range d.Loss.Schemas {
		if s.Gateway == gateway {
			return s.Version
		}
	}
	return 0
}

// Overlap returns the time in which every log has records; ok is false where there is none, so that arms cannot be compared over
// gateways at the same time.
func (d *Data) Overlap() (from, to time.Time, ok bool) {
	for i := range d.Gateways {
		g := &d.Gateways[i]
		if g.From.IsZero() {
			continue
		}
		if from.IsZero() || g.From.After(from) {
			from = g.From
		}
		if to.IsZero() || g.To.Before(to) {
			to = g.To
		}
	}
	return from, to, !from.IsZero() && from.Before(to)
}

// Caveats are sentences about what the logs lack, and what that can do to a comparison of arms; none where nothing is lacking.
func (d *Data) Caveats() []string {
	var out []string
	say := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	l := &d.Loss
	if l.GapRecords > 0 {
		atMost := ""
		if l.GapAtMost > 0 {
			atMost = fmt.Sprintf(" and at most %d more", l.GapAtMost)
		}
		say("The log admits %d segments%s that it does not explain (%s). Of the connections %s lived meanwhile: what happened to them may be missing.",
			l.GapMessages, atMost, human.Count(l.GapRecords, "gap record"), d.gapped())
	}
	if n, what := sum(l.Suppressed); n > 0 {
		say("A rate limit held back the records of %s (%s). Interventions, RSTs and the other figures of flow records count them all the same; attempts that met an old connection, challenges, segments after an end and the time of an intervention are known from such records only, and are undercounted in whichever arm has more of them.",
			human.Count(n, "decision"), what)
	}
	if n, what := sum(l.Omitted); n > 0 {
		say("Lost before they reached the disk: %s (%s): connections whose last record is among them are told as far as the log goes.", human.Count(n, "record"), what)
	}
	if l.BadLines > 0 {
		say("%d lines are no records (%d of them cut short at the end of a file), and were left out.", l.BadLines, l.Cut)
	}
	if n := len(l.Schemas); n > 0 {
		say("%d files were not read: their schema version is %d, and this program reads %s.", n, l.Schemas[0].Version, readable)
	}
	if l.StepCount > 0 {
		back := slices.MaxFunc(l.Steps, func(a, b Step) int { return int(a.Back/time.Millisecond - b.Back/time.Millisecond) }).Back
		say("A gateway's clock stepped back (%s, at most by %s). Durations are by its monotonic clock and stay right; when connections began, and what is told by time of day, is uncertain by as much.",
			human.Count(l.StepCount, "time"), back.Round(time.Millisecond))
	}
	if len(d.Gateways) > 1 {
		if _, _, ok := d.Overlap(); !ok {
			say("The logs do not overlap in time: differences between gateways cannot be told from differences between times.")
		}
	}
	for _, g := range d.Gateways {
		if n := len(g.Crashed); n > 0 {
			say("%s died without a last word (%s): connections that lived then have no end in the log.", g.Name, human.Count(n, "time"))
		}
	}
	if l.Missed > 0 {
		say("%d segments came after the end of connections that had to be told before, for want of room: still-there is undercounted.", l.Missed)
	}
	return out
}

// gapped names the share of each arm's connections that lived during a gap.
func (d *Data) gapped() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.Arms)) {
		a := d.Arms[name]
		if a.Connections > 0 {
			parts = append(parts, fmt.Sprintf("%.1f%% of those %s", 100*float64(a.Gapped)/float64(a.Connections), armName(name)))
		}
	}
	slices.SortFunc(parts, func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}

func armName(name string) string {
	if name == "" {
		return "in no arm"
	}
	return "in arm " + quoted(name)
}

// sum adds counts up and names the largest.
func sum(counts map[string]uint64) (n uint64, what string) {
	var words []string
	for w, c := range counts {
		n += c
		words = append(words, w)
	}
	slices.SortFunc(words, func(a, b string) int {
		if counts[a] != counts[b] {
			return int(min(max(int64(counts[b])-int64(counts[a]), -1), 1))
		}
		return strings.Compare(a, b)
	})
	for i, w := range words {
		if i == 4 {
			what += ", ..."
			break
		}
		if i > 0 {
			what += ", "
		}
		what += fmt.Sprintf("%s %d", w, counts[w])
	}
	return n, what
}
