package decisionlog

// TriggerShadow is the trigger of a decision record that is there for its shadows alone: the decision itself is counted by its flow, or
// a rate held its record back, or time was the cause and the policy in force had nothing to decide. It explains no message.
const TriggerShadow = "shadow"

// Would is what another policy than the one in force would have done: the one under trial (--dry-run), or a shadow.
type Would struct {
	Verdict   string // empty: of the policy under trial, there is none; of a shadow, time was the cause
	Reason    string
	Rule      string
	Preset    string // of the policy under trial
	PolicyRev string
	Action    Action
	Reply     Made
	Peer      Made
	Stripped  uint16
	Diverged  bool // an earlier decision of the flow differed already: not what would have happened
}

// Shadow is what a shadow policy would have done about the decision that carries it.
type Shadow struct {
	Would
	Policy  string
	Trigger string // where time was the cause
	Agrees  bool   // it does the same: the verdict, what is stripped, and which kinds of packets are made
	Relaxed bool   // the shadow has missed segments of the flow: not what it would have done
}

// ShadowStats is what a shadow policy has been counted doing beside the policy in force since the run began. Segments is the sum of
// Agreed, Disagreed, Diverged and Relaxed.
type ShadowStats struct {
	Policy, Preset, PolicyRev string
	LiveRev                   string // of the policy in force meanwhile
	Trial                     bool   // the policy under trial of --dry-run
	Segments                  uint64 // that it has decided
	Agreed                    uint64
	Disagreed                 uint64  // connections, by the segment of their first disagreement
	Timed                     uint64  // connections whose first disagreement time alone has caused
	Diverged                  uint64  // segments behind a first disagreement
	Relaxed                   uint64  // segments that it disagrees on without being in a position to
	TimedRelaxed              uint64  // the same of what time alone causes
	Shed                      uint64  // segments that it was not shown, because the gateway was busy
	Sheds                     uint64  // how often that began
	ShedFrom, ShedTo          int64   // Unix nanoseconds: when it first began, and when it last ended or was under way
	Unrecorded                uint64  // first disagreements without a record
	Forgotten                 uint64  // connections whose disagreement was forgotten, for want of room: a later one counts as a first
	Tracked                   uint64  // connections that it has taken up
	Injected                  uint64  // packets that it would have made
	Verdicts, Reasons, Ended  []Count // of all its decisions; of its connections that ended
	// By both findings, the policy's own first, joined by a blank; of what time causes, "nothing" for who did nothing.
	Agreements    []Count
	Disagreements []Count
}

// objects writes an array of n objects under key k, nothing where n is 0.
func (e *enc) objects(k string, n int, one func(i int)) {
	if n == 0 {
		return
	}
	e.array(k)
	for i := range n {
		e.comma()
		one(i)
	}
	e.endArray()
}

func (e *enc) shadows(list []Shadow) {
	e.objects("shadow", len(list), func(i int) { list[i].encode(e) })
}

// encode writes the object would.
func (w *Would) encode(e *enc) {
	if w.Verdict == "" {
		return
	}
	e.open("would")
	w.found(e)
	e.strIf("preset", w.Preset)
	e.strIf("policy_rev", w.PolicyRev)
	w.deeds(e)
	e.boolIf("diverged", w.Diverged)
	e.close()
}

// encode writes an element of the array shadow.
func (s *Shadow) encode(e *enc) {
	e.b = append(e.b, '{')
	e.str("policy", s.Policy)
	e.strIf("policy_rev", s.PolicyRev)
	e.strIf("trigger", s.Trigger)
	s.found(e)
	s.deeds(e)
	e.bool("agrees", s.Agrees)
	e.bool("diverged", s.Diverged)
	e.boolIf("relaxed", s.Relaxed)
	e.close()
}

// found writes what the policy finds.
func (w *Would) found(e *enc) {
	e.strIf("verdict", w.Verdict)
	e.str("reason", w.Reason)
	e.strIf("rule", w.Rule)
}

// deeds writes what it would do.
func (w *Would) deeds(e *enc) {
	w.Action.encode(e)
	w.Reply.encode(e, "reply")
	w.Peer.encode(e, "peer")
	e.stripped(w.Stripped)
}

func (e *enc) shadowStats(list []ShadowStats) {
	e.objects("shadows", len(list), func(i int) { list[i].encode(e) })
}

func (s *ShadowStats) encode(e *enc) {
	e.b = append(e.b, '{')
	e.str("policy", s.Policy)
	e.strIf("preset", s.Preset)
	e.strIf("policy_rev", s.PolicyRev)
	e.strIf("live_rev", s.LiveRev)
	e.boolIf("trial", s.Trial)
	e.num("segments", s.Segments)
	e.num("agreed", s.Agreed)
	e.num("disagreed", s.Disagreed)
	e.num("disagreed_by_time", s.Timed)
	e.num("diverged", s.Diverged)
	e.num("relaxed", s.Relaxed)
	e.num("relaxed_by_time", s.TimedRelaxed)
	e.num("shed", s.Shed)
	e.numIf("sheds", s.Sheds)
	e.when("shed_from", s.ShedFrom)
	e.when("shed_to", s.ShedTo)
	e.numIf("unrecorded", s.Unrecorded)
	e.numIf("forgotten", s.Forgotten)
	e.num("tracked", s.Tracked)
	e.num("injected", s.Injected)
	e.counts("verdicts", s.Verdicts)
	e.counts("reasons", s.Reasons)
	e.counts("ended", s.Ended)
	e.counts("agreements", s.Agreements)
	e.counts("disagreements", s.Disagreements)
	e.close()
}

// WouldEvent is the object would.
type WouldEvent struct {
	Verdict   string       `json:"verdict"`
	Reason    string       `json:"reason"`
	Rule      string       `json:"rule"`
	Preset    string       `json:"preset"`
	PolicyRev string       `json:"policy_rev"`
	Action    *ActionEvent `json:"action"`
	Reply     *MadeEvent   `json:"reply"`
	Peer      *MadeEvent   `json:"peer"`
	Stripped  []string     `json:"stripped"`
	Diverged  bool         `json:"diverged"`
}

// ShadowEvent is an element of the array shadow.
type ShadowEvent struct {
	WouldEvent
	Policy  string `json:"policy"`
	Trigger string `json:"trigger"`
	Agrees  bool   `json:"agrees"`
	Relaxed bool   `json:"relaxed"`
}

// Differs reports whether the shadow would have done something else, and that stands for what would have happened.
func (s *ShadowEvent) Differs() bool { return !s.Agrees && !s.Diverged && !s.Relaxed }

// ShadowStatsEvent is an element of the array stats.shadows.
type ShadowStatsEvent struct {
	Policy        string            `json:"policy"`
	Preset        string            `json:"preset"`
	PolicyRev     string            `json:"policy_rev"`
	LiveRev       string            `json:"live_rev"`
	Trial         bool              `json:"trial"`
	Segments      uint64            `json:"segments"`
	Agreed        uint64            `json:"agreed"`
	Disagreed     uint64            `json:"disagreed"`
	Timed         uint64            `json:"disagreed_by_time"`
	Diverged      uint64            `json:"diverged"`
	Relaxed       uint64            `json:"relaxed"`
	TimedRelaxed  uint64            `json:"relaxed_by_time"`
	Shed          uint64            `json:"shed"`
	Sheds         uint64            `json:"sheds"`
	ShedFrom      Time              `json:"shed_from"`
	ShedTo        Time              `json:"shed_to"`
	Unrecorded    uint64            `json:"unrecorded"`
	Forgotten     uint64            `json:"forgotten"`
	Tracked       uint64            `json:"tracked"`
	Injected      uint64            `json:"injected"`
	Verdicts      map[string]uint64 `json:"verdicts"`
	Reasons       map[string]uint64 `json:"reasons"`
	Ended         map[string]uint64 `json:"ended"`
	Agreements    map[string]uint64 `json:"agreements"`
	Disagreements map[string]uint64 `json:"disagreements"`
}
