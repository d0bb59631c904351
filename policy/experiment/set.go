package experiment

import (
	"path"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Set is the experiments of a file: no two of them on the same traffic at the same time.
type Set struct {
	Name  string // of the file
	Specs []Spec
	first []uint8 // by experiment: the number of its first arm
}

// SetArm is an arm with its number in a set.
type SetArm struct {
	Number uint8 // from 1
	Spec   *Spec
	Arm    *Arm
	// PolicyRef is what [policy.Open] takes: a preset with or without choices, or a file's path, relative to where the set's own file
	// is; or [GatewayPolicy]. Of an A/A arm it is the control's.
	PolicyRef string
}

// configKey is the key of experiments in a file.
const configKey = "experiment"

// Parse reads a file of experiments, whose only key is experiment. It returns a nil Set exactly when there are problems, and then all of
// them at once. The name is for messages and for what the arms' policies are relative to. The policies are the caller's to load: see
// [Set.Arms].
func Parse(name string, data []byte) (*Set, policy.Problems) {
	doc := policy.ReadDocument(name, data)
	root, ok := doc.Root()
	if !ok {
		return nil, doc.Problems()
	}
	if root.IsNothing() {
		doc.Problem(root, "an empty file", "the key experiment")
	}
	set := &Set{Name: name}
	d := &decoder{doc: doc}
	found := false
	doc.Mapping(root, "the file", []string{configKey}, func(_ string, v policy.Value) {
		found = true
		set.Specs = d.specs(v)
	})
	if root.IsMapping() && !found && doc.Good() {
		doc.Problem(root, "no key experiment", "experiment: an experiment or a list of them")
	}
	return set.finish(d)
}

// ParseConfig is Parse of a file with other keys beside experiment, which it leaves alone. Without that key, or where its value is a text
// (another file's name), it returns nil without problems.
func ParseConfig(name string, data []byte) (*Set, policy.Problems) {
	doc := policy.ReadDocument(name, data)
	root, ok := doc.Root()
	if !ok {
		return nil, doc.Problems()
	}
	v, ok := root.Find(configKey)
	if _, isText := v.Scalar(); !ok || isText {
		return nil, doc.Problems()
	}
	set := &Set{Name: name}
	d := &decoder{doc: doc}
	set.Specs = d.specs(v)
	return set.finish(d)
}

// finish checks the experiments against each other.
func (set *Set) finish(d *decoder) (*Set, policy.Problems) {
	if !d.doc.Good() {
		return nil, d.doc.Problems()
	}
	d.overlaps(set.Specs)
	if !d.doc.Good() {
		return nil, d.doc.Problems()
	}
	set.number()
	return set, nil
}

// NewSet makes a set of specs that are good, as of a log.
func NewSet(name string, specs ...Spec) *Set {
	set := &Set{Name: name, Specs: specs}
	set.number()
	return set
}

func (set *Set) number() {
	n := uint8(1)
	for i := range set.Specs {
		set.first = append(set.first, n)
		n += uint8(len(set.Specs[i].Arms))
	}
}

// Arms returns the arms of all experiments, in the order of their numbers: that with number n is at n-1.
func (set *Set) Arms() []SetArm {
	var out []SetArm
	for i := range set.Specs {
		s := &set.Specs[i]
		for j := range s.Arms {
			a := &s.Arms[j]
			from := a
			if a.AA {
				from = &s.Arms[0]
			}
			out = append(out, SetArm{set.first[i] + uint8(j), s, a, set.resolve(from.Policy)})
		}
	}
	return out
}

// resolve makes a file's path relative to where the set's own is.
func (set *Set) resolve(ref string) string {
	if _, _, preset := policy.CutReference(ref); preset || ref == GatewayPolicy || path.IsAbs(ref) {
		return ref
	}
	return path.Join(path.Dir(set.Name), ref)
}

// Assign returns the number of the arm that a connection which begins at t belongs to, 0 for none. Its tuple is in original direction. It
// allocates nothing.
func (set *Set) Assign(t time.Time, tu *conntrack.Tuple) uint8 {
	for i := range set.Specs {
		if arm := set.Specs[i].ArmOf(t, tu); arm >= 0 {
			return set.first[i] + uint8(arm)
		}
	}
	return 0
}

// Find returns the experiment of a name, or nil.
func (set *Set) Find(name string) *Spec {
	for i := range set.Specs {
		if set.Specs[i].Name == name {
			return &set.Specs[i]
		}
	}
	return nil
}
