package capture

import (
	"strconv"
	"strings"
)

// Place says where a packet of an annotated capture stood when it was recorded: on which of the capture's interfaces.
type Place uint8

// Places.
const (
	// Received is a packet as its queue handed it over, with what was decided about it: interface "queue0 in".
	Received Place = iota
	// Released is a packet that was received earlier and leaves now, or leaves otherwise than it came: interface "queue0 out". The
	// verdict may also be that it does not leave.
	Released
	// Emitted is a packet that the gateway made: interface "emitted".
	Emitted
	numPlaces
)

// emittedName is the name of the interface of what the gateway made.
const emittedName = "emitted"

// name is the name of the interface of a place.
func (p Place) name(queue uint16) string {
	switch p {
	case Received:
		return "queue" + strconv.Itoa(int(queue)) + " in"
	case Released:
		return "queue" + strconv.Itoa(int(queue)) + " out"
	}
	return emittedName
}

// Packet is one packet of an annotated capture, without its bytes.
type Packet struct {
	Note    Note
	Time    int64 // unix nanoseconds, wall clock, of the decision's record
	Place   Place
	Queue   uint16 // not of what was emitted
	OrigLen uint32 // bytes of the whole IP packet
	By      *Decider
	// Indexes of the interfaces that it came in by and is about to leave by, 0 for none; the writer looks their names up. Note.In and
	// Note.Out, where set, are the names.
	InDev, OutDev uint32
}

// id is the packet's number in the capture: the lower half of the id of the decision about it. What the decision caused has the same.
func (p *Packet) id() uint64 {
	switch n := &p.Note; {
	case !n.Settles.IsZero():
		return n.Settles.Lo
	case !n.Cause.IsZero():
		return n.Cause.Lo
	default:
		return n.ID.Lo
	}
}

// Decider says whose decisions a capture tells: the policy that is enforced and, where there is one, the one whose decisions stand behind
// "would". It must not change once a packet names it.
type Decider struct {
	Policy, Preset, Rev                string // name or file, preset it descends from, revision
	WouldPolicy, WouldPreset, WouldRev string
}

// String is one line of words, as in comments: policy=site.yaml preset=openbsd-pf policy_rev=sha256:...
func (d *Decider) String() string {
	var w words
	w.text("policy", d.Policy)
	w.text("preset", d.Preset)
	w.text("policy_rev", d.Rev)
	w.text("would_policy", d.WouldPolicy)
	w.text("would_preset", d.WouldPreset)
	w.text("would_policy_rev", d.WouldRev)
	return strings.TrimPrefix(string(w.b), " ")
}

// ParseDecider reads the words that [Decider.String] wrote, which stand in an interface's description. It is false where no revision is
// named.
func ParseDecider(s string) (d Decider, ok bool) {
	for s != "" {
		var key, value string
		if key, value, s, ok = nextWord(s); !ok {
			continue
		}
		switch key {
		case "policy":
			d.Policy = value
		case "preset":
			d.Preset = value
		case "policy_rev":
			d.Rev = value
		case "would_policy":
			d.WouldPolicy = value
		case "would_preset":
			d.WouldPreset = value
		case "would_policy_rev":
			d.WouldRev = value
		}
	}
	return d, d.Rev != ""
}

// application is how the captures of this program name their maker; the version follows.
const application = "halfopen"

// Note is the note in the frame's comments, and false where there is none.
func (f *Frame) Note() (Note, bool) {
	for _, c := range f.Options.Comments {
		if n, ok := ParseNote(c); ok {
			return n, true
		}
	}
	return Note{}, false
}

// OwnDeed reports whether the frame is a gateway's own doing, as an annotated capture tells it: a packet that it made or rewrote, or one that
// was received before and was released now. Such a frame never reached the gateway's queue. The note tells, and where somebody has removed that,
// the interface's name.
func (r *Reader) OwnDeed(f *Frame) bool {
	if len(f.Options.Comments) == 0 {
		// nearly all captures
	} else if n, ok := f.Note(); ok {
		return n.Verdict == Inject || !n.Settles.IsZero() || !n.Cause.IsZero()
	}
	if ng, ok := r.src.(*pcapng); !ok || !ng.ours {
		return false
	}
	return f.Interface == emittedName || strings.HasPrefix(f.Interface, "queue") && strings.HasSuffix(f.Interface, " out")
}

// Decider is who decided about the frame, as the description of its interface tells.
func (r *Reader) Decider(f *Frame) (Decider, bool) {
	i, _ := r.InterfaceAt(f.InterfaceID)
	return ParseDecider(i.Description)
}
