package decisionlog

// A record has a place for each kind of event and is long, 1.6 KB, of which a flow's uses a quarter. Who makes or copies one touches what
// its event uses and nothing else: what an earlier record has left in the other places is read by nobody.

// Begin makes an old record an empty one of an event. What it held of other events stays where it is and is not told.
func (r *Record) Begin(ev EventType) {
	r.copyCommon(&none)
	r.Event = ev
	r.Shadow = nil
	switch ev {
	case EventDecision:
		r.TCP, r.Decision = TCP{}, Decision{}
	case EventFlow:
		r.Flow = Flow{}
	case EventInject:
		r.TCP, r.Inject = TCP{}, Inject{}
	}
}

var none Record

// copy makes r tell what from tells. Of r's own it keeps the room for shadows.
func (r *Record) copy(from *Record) {
	r.copyCommon(from)
	r.Shadow = append(r.Shadow[:0], from.Shadow...)
	switch from.Event {
	case EventDecision:
		r.TCP, r.Decision = from.TCP, from.Decision
	case EventFlow:
		r.Flow = from.Flow
	case EventInject:
		r.TCP, r.Inject = from.TCP, from.Inject
	}
}

// copyCommon copies what is not one event's, or is short.
func (r *Record) copyCommon(from *Record) {
	r.Time, r.Event, r.Dir, r.FlowID, r.PcapCnt = from.Time, from.Event, from.Dir, from.FlowID, from.PcapCnt
	r.Src, r.Dst = from.Src, from.Dst
	r.InIface, r.OutIface = from.InIface, from.OutIface
	r.Reload, r.Stats, r.Gap, r.Experiment, r.header = from.Reload, from.Stats, from.Gap, from.Experiment, from.header
}
