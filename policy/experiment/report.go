package experiment

import (
	"encoding/json"
	"time"
)

// Report is what an experiment shows. Its JSON names are stable. Numbers that could not be made are left out; a note says why.
type Report struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Final   bool    `json:"final"` // fixed tests, made once; else sequences, which may be looked at at any time
	Alpha   float64 `json:"alpha"`
	Unit    string  `json:"unit"`
	Salt    string  `json:"salt"`
	Share   float64 `json:"share"` // of units that take part
	// Spec is the experiment as it was configured, in the form of its records.
	Spec       json.RawMessage `json:"spec,omitempty"`
	From       time.Time       `json:"from"` // of the connections that count
	To         time.Time       `json:"to"`
	Switchback *Alternates     `json:"switchback,omitempty"`
	Arms       []ArmReport     `json:"arms"`
	SRM        *SRMReport      `json:"srm,omitempty"`
	Effects    []Effect        `json:"effects"`
	Guardrails []Rail          `json:"guardrails,omitempty"`
	OverTime   []TimePoint     `json:"over_time,omitempty"`
	Segments   []Segment       `json:"segments,omitempty"`
	Excluded   Excluded        `json:"excluded"`
	Assignment Assignment      `json:"assignment"`
	Events     []Event         `json:"events,omitempty"`
	Loss       Loss            `json:"loss"`
	Caveats    []string        `json:"caveats"`

	behind []*behind
}

// VerdictKind says what may be concluded.
type VerdictKind string

// Kinds of verdicts.
const (
	Harm         VerdictKind = "harm"            // an arm is worse in something, in nothing better
	Better       VerdictKind = "better"          // an arm is better in something, in nothing worse
	Mixed        VerdictKind = "mixed"           // worse in one thing and better in another
	NoDifference VerdictKind = "no-difference"   // none was found, and one that matters would have been
	TooLittle    VerdictKind = "too-little-data" // none was found, but one that matters could hide
	Running      VerdictKind = "running"         // nothing is certain yet; the experiment goes on
	Withheld     VerdictKind = "withheld"        // the data cannot be trusted
)

// Found says whether the verdict is a reason to act: harm, data that cannot be trusted, or an experiment that does not answer its question.
func (k VerdictKind) Found() bool { return k == Harm || k == Mixed || k == Withheld || k == TooLittle }

// Verdict is the report's first sentence.
type Verdict struct {
	Kind     VerdictKind `json:"kind"`
	Sentence string      `json:"sentence"`
	Reasons  []string    `json:"reasons,omitempty"` // for which it is withheld
	Arms     []ArmWord   `json:"arms,omitempty"`
	DaysToGo float64     `json:"days_to_go,omitempty"` // about, at the rate so far; 0: not known
}

// ArmWord is what is concluded of one arm.
type ArmWord struct {
	Arm     string      `json:"arm"`
	Kind    VerdictKind `json:"kind"`
	Worse   []string    `json:"worse,omitempty"`  // metrics
	Better  []string    `json:"better,omitempty"` // metrics
	Halted  bool        `json:"halted,omitempty"` // it was stopped early
	Because string      `json:"because"`          // in words
}

// ArmReport is one arm.
type ArmReport struct {
	Name        string             `json:"name"`
	Control     bool               `json:"control,omitempty"`
	AA          bool               `json:"aa,omitempty"`
	Weight      float64            `json:"weight"` // share of the units
	Policy      string             `json:"policy"`
	Revs        []string           `json:"policy_revs,omitempty"`
	Differences []PolicyDifference `json:"differences,omitempty"` // from the control's policy
	Units       int                `json:"units"`
	Unfinished  int                `json:"unfinished"`       // connections that the log leaves open: counted as far as they went
	Halted      *time.Time         `json:"halted,omitempty"` // from when on its new connections went to control
	Load        Load               `json:"load"`
	Times       []TimeFigure       `json:"times,omitempty"`
}

// PolicyDifference is a value in which an arm's policy differs from the control's.
type PolicyDifference struct {
	Key     string `json:"key"`
	Control string `json:"control"`
	Arm     string `json:"arm"`
}

// TimeFigure is the distribution of a time in an arm.
type TimeFigure struct {
	Metric string  `json:"metric"`
	N      int     `json:"n"` // times that are kept
	Median float64 `json:"median_s"`
	P95    float64 `json:"p95_s"`
	Max    float64 `json:"max_s"`
	// ECDF are at most 120 steps of the empirical distribution function, and Band half the width of its Dvoretzky-Kiefer-Wolfowitz band
	// with the report's confidence, which counts units rather than their connections.
	ECDF []Step  `json:"ecdf,omitempty"`
	Band float64 `json:"band"`
}

// Step is a point of a distribution function: a share of P is at most S seconds.
type Step struct {
	S float64 `json:"s"`
	P float64 `json:"p"`
}

// SRMReport says whether arms have the units that their weights promise.
type SRMReport struct {
	Units      []int     `json:"units"` // by arm
	Expected   []float64 `json:"expected"`
	P          float64   `json:"p"`            // chi-square, for one look
	Sequential float64   `json:"p_sequential"` // valid at any time
	Alarm      bool      `json:"alarm"`
	Note       string    `json:"note,omitempty"`
}

// Estimate is a number with its interval, at the confidence 1 - alpha for itself alone.
type Estimate struct {
	Value float64 `json:"value"`
	Lo    float64 `json:"lo"`
	Hi    float64 `json:"hi"`
}

// Figure is an arm's figure in a metric: of shares and ratios the numerator over the denominator, of times what the difference beside it is
// of: the median, with a sequence the mean.
type Figure struct {
	Value float64 `json:"value"`
	Num   float64 `json:"num"`
	Den   float64 `json:"den"`
	Units int     `json:"units"`      // that the metric applies to
	Any   int     `json:"units_with"` // of them, with something in the numerator
	// Examples are three of the connections behind it; [Report.Behind] has more.
	Examples []Example `json:"examples,omitempty"`
}

// Effect is what an arm does to a metric, against the control.
type Effect struct {
	Arm         string `json:"arm"`
	Metric      string `json:"metric"`
	What        string `json:"what"`
	Kind        string `json:"kind"` // share, time or ratio
	Unit        string `json:"unit,omitempty"`
	AA          bool   `json:"aa,omitempty"`
	Descriptive bool   `json:"descriptive,omitempty"` // it compares connections that the arm itself selected: it decides nothing

	Control *Figure `json:"control,omitempty"`
	Treated *Figure `json:"treated,omitempty"`

	// Difference is of the figure; of times of the median, and P95 of the 95th percentile. Of is what shares are of: connections, or
	// units where only units are enough for an interval.
	Difference *Estimate `json:"difference,omitempty"`
	P95        *Estimate `json:"difference_p95,omitempty"`
	Of         string    `json:"of,omitempty"`
	Test       Method    `json:"test,omitempty"`
	P          *float64  `json:"p,omitempty"`
	Adjusted   *float64  `json:"p_holm,omitempty"` // over all metrics and arms that decide

	// Sequence covers the difference (of times: of the mean) at every moment at once; P is then always valid. It is what is shown while an
	// experiment runs.
	Sequence *Estimate `json:"sequence,omitempty"`

	LossBound *Bound `json:"loss_bound,omitempty"`
	Found     bool   `json:"found"`
	Small     bool   `json:"small,omitempty"` // found, and too small to matter: it decides nothing
	Noise     bool   `json:"noise,omitempty"` // the A/A arm differs in it too: it decides nothing
	Note      string `json:"note,omitempty"`  // why a number is missing, or what it is

	// above says by its sign which way what was found goes, where the difference shown may go another: of times tested by rank the chance that
	// one of the arm is above one of the control, less a half; of a sequence the difference at the look that P is of.
	above float64
}

// Bound is between what a difference of shares lies whatever the connections that the log may have lost, or has wrong, are, and of whatever arm.
type Bound struct {
	Lo float64 `json:"lo"`
	Hi float64 `json:"hi"`
}

// Method is how a difference was tested.
type Method string

// Methods.
const (
	MethodRatio       Method = "ratio-by-unit"         // difference of two ratios, units being drawn; Student's t
	MethodShare       Method = "share-by-unit"         // difference of two shares, units being drawn, for few events
	MethodFisherUnits Method = "fisher-by-unit"        // Fisher's exact test on units with and without any; few events
	MethodFisher      Method = "fisher"                // the same on connections, of units that have one each
	MethodRank        Method = "mann-whitney"          // of units that have one time each
	MethodRankUnits   Method = "rank-by-unit"          // the same, clustered by unit
	MethodBlocks      Method = "switchback-blocks"     // by block, over schedules
	MethodSequence    Method = "confidence-sequence"   // while the experiment runs
	MethodNothing     Method = "nothing-to-be-counted" // no arm has any
)

// Alternates is the switchback of a report.
type Alternates struct {
	BlockS float64 `json:"block_s"`
	Seed   uint64  `json:"seed"`
	Blocks []int   `json:"blocks"` // with connections, by arm
}

// Rail is a guardrail's state for an arm.
type Rail struct {
	Arm      string     `json:"arm"`
	Metric   string     `json:"metric"`
	Max      float64    `json:"max"`
	Absolute bool       `json:"absolute"`
	Alpha    float64    `json:"alpha"`
	Now      *float64   `json:"now,omitempty"` // the difference, or with Absolute the arm's figure
	Crossed  *time.Time `json:"crossed,omitempty"`
	Gateway  string     `json:"gateway,omitempty"` // that crossed it
	Detail   string     `json:"detail,omitempty"`
}

// TimePoint are the arms' figures in a stretch of time.
type TimePoint struct {
	From time.Time  `json:"from"`
	To   time.Time  `json:"to"`
	Arms []ArmPoint `json:"arms"`
}

// ArmPoint is an arm's figures in a stretch of time or in a segment, of metrics that apply to some connection there.
type ArmPoint struct {
	Arm         string             `json:"arm"`
	Connections int                `json:"connections"`
	Figures     map[string]float64 `json:"figures,omitempty"`
}

// Segment is a part of the traffic.
type Segment struct {
	Kind    string          `json:"kind"` // port, family or gateway
	Value   string          `json:"value"`
	Arms    []ArmPoint      `json:"arms"`
	Effects []SegmentEffect `json:"effects,omitempty"`
}

// SegmentEffect is a difference in a segment. Many are looked at: one in twenty lies outside its interval by chance.
type SegmentEffect struct {
	Arm        string   `json:"arm"`
	Metric     string   `json:"metric"`
	Difference Estimate `json:"difference"`
}

// Assignment is the check of recorded arms against the units' hash.
type Assignment struct {
	Checked int     `json:"checked"`
	Wrong   int     `json:"wrong"`
	Share   float64 `json:"wrong_share"`
}

// EffectOf returns the effect of an arm in a metric, nil where the report has none.
func (r *Report) EffectOf(arm string, m Metric) *Effect {
	for i := range r.Effects {
		if r.Effects[i].Arm == arm && r.Effects[i].Metric == m.String() {
			return &r.Effects[i]
		}
	}
	return nil
}
