package lab

import "time"

// Report is the result of one scenario: what `halfopen lab run -o json` prints.
type Report struct {
	Scenario  string   `json:"scenario"`
	Policy    string   `json:"policy"`
	FarPolicy string   `json:"far_policy,omitempty"`
	Phases    []*Phase `json:"phases"`
	Captures  Captures `json:"captures"`
	Log       string   `json:"log"`               // directory of the gateway's decision log
	FarLog    string   `json:"far_log,omitempty"` // directory of the far gateway's

	Impairment string `json:"impairment,omitempty"` // what the client's and the server's link were told to do to segments
	Harm       *Harm  `json:"harm,omitempty"`       // and what they did
}

// Captures names the pcapng files, one a link, all phases in one file.
type Captures struct {
	Inside  string `json:"inside"`
	Outside string `json:"outside"`
	Between string `json:"between,omitempty"` // with two gateways
	// Directories of the annotated captures that the gateways wrote, where they were asked to.
	Gateway    string `json:"gateway,omitempty"`
	FarGateway string `json:"far_gateway,omitempty"`
}

// Phase is one incident. All counts but the facts' begin with the incident itself (the second dial, the late data), not with what
// led to it, and are read from the captures; only the decisions come from halfopen's own log.
type Phase struct {
	Name       string         `json:"name"`
	Client     ClientView     `json:"client"`
	Server     ServerView     `json:"server"`
	Gateway    GatewayView    `json:"gateway"`
	FarGateway *GatewayView   `json:"far_gateway,omitempty"`
	Facts      map[string]any `json:"facts"`

	expiry     bool // the gateway's idle timer should end before the incident: the facts say whether it did
	fromTrace  bool // whether and when the client connected is read from the trace: a program dialled, not the lab
	translated bool // addresses are translated: the facts list injected segments as each end sees them

	decisive []*Decision // what the incident turned on at the gateway

	title    string     // what happens in this phase
	trace    []*passage // all of the phase
	incident time.Time  // when the incident began
	mark     int        // index in trace of the incident's first segment
}

// ClientView is what the client experienced and did.
type ClientView struct {
	Connected        bool    `json:"connected"`
	Seconds          float64 `json:"seconds"` // until connected or given up
	SYNSent          int     `json:"syn_sent"`
	BareACKsReceived int     `json:"bare_acks_received"` // before the connection stood
	RSTSent          int     `json:"rst_sent"`           // before the connection stood
}

// ServerView is what reached the server and what it answered.
type ServerView struct {
	SYNReceived  int `json:"syn_received"`
	BareACKsSent int `json:"bare_acks_sent"` // before it answered with a SYN/ACK
}

// GatewayView is what a gateway did with the segments that reached it.
type GatewayView struct {
	Decisions map[string]int `json:"decisions"` // records of the log, by reason
	Injected  int            `json:"injected"`  // seen leaving, never seen entering
	Forwarded int            `json:"forwarded"` // seen on both sides
	Dropped   int            `json:"dropped"`   // seen entering, never seen leaving
}

// view counts what the parties saw from the incident on.
func (p *Phase) view() {
	incident := p.trace[p.mark:]
	answered, stood := false, false
	for _, s := range incident {
		fromEnd, arrived := s.injectedBy() < 0, s.droppedBy() < 0
		switch {
		case s.toServer && s.syn():
			count(&p.Client.SYNSent, fromEnd)
			count(&p.Server.SYNReceived, arrived)
		case s.toServer && s.flags&flagRST != 0:
			count(&p.Client.RSTSent, fromEnd && !stood)
		case !s.toServer && s.synACK():
			answered = answered || fromEnd
			stood = stood || arrived
		case !s.toServer && s.bareACK():
			count(&p.Client.BareACKsReceived, arrived && !stood)
			count(&p.Server.BareACKsSent, fromEnd && !answered)
		}
	}
	if p.fromTrace {
		p.Client.connect(incident)
	}
	far, near := p.FarGateway, &p.Gateway
	if far != nil {
		far.count(incident, 0)
		near.count(incident, 1)
		return
	}
	near.count(incident, 0)
}

// connect reads from the trace when the client's dial succeeded: from its first SYN to the first SYN/ACK that reached it.
func (c *ClientView) connect(incident []*passage) {
	var first *passage
	for _, s := range incident {
		switch {
		case s.toServer && s.syn() && s.injectedBy() < 0 && first == nil:
			first = s
		case !s.toServer && s.synACK() && s.droppedBy() < 0 && first != nil:
			c.Connected, c.Seconds = true, seconds(s.end.Sub(first.at))
			return
		}
	}
}

func count(n *int, really bool) {
	if really {
		*n++
	}
}

// count reads from the trace what gateway number g did.
func (v *GatewayView) count(trace []*passage, g int) {
	for _, s := range trace {
		switch {
		case s.injectedBy() == g:
			v.Injected++
		case s.droppedBy() == g:
			v.Dropped++
		case s.passedBy(g):
			v.Forwarded++
		}
	}
}
