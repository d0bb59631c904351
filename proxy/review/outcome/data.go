package outcome

import (
	"encoding/json"
	"fmt"
	"time"

	"halfopen/policy/experiment"
)

// Data is what logs say beside outcomes.
type Data struct {
	Outcomes []experiment.Outcome `json:"-"` // of Read

	Connections uint64                 `json:"connections"` // outcomes with a flow id
	Attempts    uint64                 `json:"attempts"`    // outcomes without one
	Gateways    []Gateway              `json:"gateways"`    // one for each log, in the order given
	Experiments map[string]*Experiment `json:"experiments"` // by name
	Arms        map[string]*Arm        `json:"arms"`        // by name; "" is the traffic of no arm
	Reloads     []Reload               `json:"reloads,omitempty"`
	Loss        Loss                   `json:"loss"`
}

// Gateway is one log.
type Gateway struct {
	Name     string    `json:"name"` // the path given
	From, To time.Time // of its records; zero where it has none
	Runs     []string  `json:"runs"`
	Crashed  []string  `json:"crashed,omitempty"` // runs that a gap record says died
	Records  uint64    `json:"records"`
	Bytes    int64     `json:"bytes"` // of text
}

// Experiment is what the log's experiment records say of one experiment.
type Experiment struct {
	Name    string       `json:"name"`
	Records []SpecRecord `json:"records"`
	// Changes are differences between specs of the name that give units other arms ([experiment.Difference.Assignment]). Where there
	// is one the arms' units are not comparable over the whole log.
	Changes  []string `json:"changes,omitempty"`
	Problems []string `json:"problems,omitempty"` // of specs that cannot be read
}

// SpecRecord is one experiment record.
type SpecRecord struct {
	At      time.Time       `json:"at"`
	Gateway string          `json:"gateway"`
	Run     string          `json:"run"`
	File    string          `json:"file"`
	Line    int             `json:"line"`
	Event   string          `json:"event"` // start, end, stop, guardrail, changed
	Arm     string          `json:"arm,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Raw     json.RawMessage `json:"spec,omitempty"` // as the record has it

	Spec *experiment.Spec `json:"-"` // the same; nil: none, or none that can be read
}

// Arm is what the log says of an arm as a whole.
type Arm struct {
	Connections uint64 `json:"connections"` // outcomes
	// Gapped counts outcomes of connections that lived in a time of which a gap record says that segments or records were lost.
	Gapped uint64          `json:"gapped"`
	Revs   map[string]*Rev `json:"revs"` // revisions of the policy that decided its connections
}

// Rev is the use of a policy revision in an arm.
type Rev struct {
	Preset      string    `json:"preset"`
	Connections uint64    `json:"connections"`
	From        time.Time `json:"from"` // beginning of the first of them, and of the last
	To          time.Time `json:"to"`
}

// Reload is a reload of the policy.
type Reload struct {
	At          time.Time `json:"at"`
	Gateway     string    `json:"gateway"`
	OK          bool      `json:"ok"`
	Rev         string    `json:"policy_rev"`
	PreviousRev string    `json:"previous_rev"`
	Flows       string    `json:"flows"`
}

func newData() *Data {
	return &Data{Experiments: map[string]*Experiment{}, Arms: map[string]*Arm{},
		Loss: Loss{Suppressed: map[string]uint64{}, Omitted: map[string]uint64{}}}
}

// check refuses what is no log at all.
func (d *Data) check(logs []string) error {
	for i := range d.Gateways {
		g := &d.Gateways[i]
		if len(g.Runs) == 0 && g.Records == 0 {
			if n := d.refused(g.Name); n > 0 {
				return fmt.Errorf("outcome: %s: schema version %d, and this program reads %s", g.Name, n, readable)
			}
			return fmt.Errorf("outcome: no decision log in %s", g.Name)
		}
	}
	if len(logs) == 0 {
		return fmt.Errorf("outcome: no log given")
	}
	return nil
}
