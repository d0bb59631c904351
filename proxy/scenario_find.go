package proxy

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// Connection is a connection of a capture, by its ends: all that passed between them, one incarnation or several.
type Connection struct {
	Tuple  conntrack.Tuple // from the end that sent the first SYN, or else the first segment
	Frames int
	First  int      // frame
	Last   int      // frame
	Flows  []uint64 // ids that the table gave it under the policy, up to maxFlowIDs
	opened bool     // Tuple is that of a SYN
}

// maxFlowIDs bounds the flow ids that a connection is listed with.
const maxFlowIDs = 4

// CommunityID returns the connection's Community ID (version 1, seed 0).
func (c *Connection) CommunityID() string {
	return string(decisionlog.AppendCommunityID(nil, c.Tuple.From(), c.Tuple.To()))
}

// flowText names the connection's flow ids, "" for none.
func (c *Connection) flowText() string {
	switch len(c.Flows) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("flow %d", c.Flows[0])
	}
	var ids []string
	for _, id := range c.Flows {
		ids = append(ids, strconv.FormatUint(id, 10))
	}
	return "flows " + strings.Join(ids, ", ")
}

// String returns the connection as a line of a list.
func (c *Connection) String() string {
	return fmt.Sprintf("%-12s %6d frames, %d to %d  %s  %s", cmp.Or(c.flowText(), "no flow"), c.Frames, c.First, c.Last, c.CommunityID(), c.Tuple)
}

// FlowChoice says which connection of a capture is meant. Make it with [ParseFlowChoice] or [ChooseFrame].
type FlowChoice struct {
	text      string
	flow      uint64 // id, 0 for none
	frame     int    // number, 0 for none
	community string
	ends      *conntrack.Tuple // in either direction
	filter    *FlowFilter
}

// FlowChoiceHelp says what a flow can be called, for a verb's help.
const FlowChoiceHelp = `A flow is named by its number as replay prints it under the same policy (3), by its Community ID (1:LQU9qZlK+B5F3KDmev6m5PMibrg=), by
its ends ("10.0.0.1:721 > 192.0.2.9:515"), or by a filter as of flows (src=10.0.0.1 dport=515) that fits one only.`

// ParseFlowChoice reads what a user calls a flow.
func ParseFlowChoice(text string) (*FlowChoice, error) {
	c := &FlowChoice{text: text}
	text = strings.TrimSpace(text)
	if id, err := strconv.ParseUint(text, 10, 64); err == nil && id != 0 {
		c.flow, c.text = id, "flow "+text
		return c, nil
	}
	if from, to, ok := strings.Cut(text, ">"); ok {
		a, err1 := netip.ParseAddrPort(strings.TrimSpace(from))
		b, err2 := netip.ParseAddrPort(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || a.Addr().Unmap().Is4() != b.Addr().Unmap().Is4() {
			return nil, fmt.Errorf("flow: %q are no two ends, as 10.0.0.1:721 > 192.0.2.9:515", text)
		}
		key, _ := conntrack.MakeTuple(a, b).Canonical()
		c.ends = &key
		return c, nil
	}
	if sum, ok := strings.CutPrefix(text, "1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(sum); err != nil || len(raw) != 20 {
			return nil, fmt.Errorf("flow: %q is no Community ID: 1: and 20 bytes in base64", text)
		}
		c.community = text
		return c, nil
	}
	if !strings.Contains(text, "=") {
		return nil, fmt.Errorf("flow: %q is no number of a flow from 1, no Community ID, no two ends (10.0.0.1:721 > 192.0.2.9:515) and no filter (src=10.0.0.1 dport=515)", c.text)
	}
	var err error
	if c.filter, err = ParseFlowFilter(text); err != nil {
		return nil, err
	}
	if len(c.filter.arms) > 0 {
		return nil, fmt.Errorf("flow: %q: captures and logs are not searched by arm", c.text)
	}
	if c.filter.someStates || c.filter.All() {
		return nil, fmt.Errorf("flow: the filter %q says nothing of ends; a connection of a capture has no state of its own", text)
	}
	return c, nil
}

// ChooseFrame means the connection that a frame belongs to, from 1.
func ChooseFrame(n int) *FlowChoice { return &FlowChoice{text: fmt.Sprintf("frame %d", n), frame: n} }

// String returns the choice in the user's words.
func (c *FlowChoice) String() string { return c.text }

// means reports whether a connection of a capture is meant.
func (c *FlowChoice) means(con *Connection) bool {
	if c.Picks(con.Tuple, 0) {
		return true
	}
	return slices.ContainsFunc(con.Flows, func(id uint64) bool { return c.Picks(con.Tuple, id) })
}

// Picks reports whether a connection is meant: by its ends, from the one that opened it, and one of its flow ids or 0.
func (c *FlowChoice) Picks(tu conntrack.Tuple, id uint64) bool {
	switch {
	case c.flow != 0:
		return id == c.flow
	case c.ends != nil:
		key, _ := tu.Canonical()
		return key == *c.ends
	case c.community != "":
		return string(decisionlog.AppendCommunityID(nil, tu.From(), tu.To())) == c.community
	case c.filter != nil:
		return c.filter.Match(&conntrack.Entry{Tuple: tu, ID: id})
	}
	return false
}

// maxConnections bounds the connections of a capture that can be told apart by what they are called.
const maxConnections = 1 << 16

// census counts the connections of a capture.
type census struct {
	choices []*FlowChoice
	byKey   map[conntrack.Tuple]*Connection
	order   []*Connection
	beyond  int // frames of connections beyond the bound
	// By choice: what a flow id, a frame or ends have led to, nil for nothing yet.
	chosen []*Connection
}

func newCensus(choices []*FlowChoice) *census {
	return &census{choices: choices, byKey: map[conntrack.Tuple]*Connection{}, chosen: make([]*Connection, len(choices))}
}

// frame counts a decided frame.
func (c *census) frame(f *ReplayFrame) error {
	var key conntrack.Tuple
	if f.Segment != nil {
		key, _ = f.Segment.Tuple.Canonical()
	}
	meant := -1 // the choice that this frame leads to
	for i, choice := range c.choices {
		switch asked := choice.frame == f.N; {
		case asked && f.Segment == nil:
			return fmt.Errorf("frame %d %s: no gateway is asked about it", f.N, skipText(f.Reason))
		case asked && nameless(f.Segment):
			return fmt.Errorf("frame %d does not tell its ends (%s)", f.N, f.Segment.Defect)
		case f.Segment == nil:
		case asked, choice.flow != 0 && choice.flow == f.Flow, choice.ends != nil && *choice.ends == key:
			meant = i
		}
	}
	if f.Segment == nil || nameless(f.Segment) {
		return nil
	}
	con := c.byKey[key]
	if con == nil {
		if len(c.order) >= maxConnections && meant < 0 {
			c.beyond++
			return nil
		}
		con = &Connection{Tuple: f.Segment.Tuple, First: f.N}
		c.byKey[key], c.order = con, append(c.order, con)
	}
	if meant >= 0 {
		c.chosen[meant] = con
	}
	if !con.opened && f.Segment.Kind() == conntrack.KindSYN {
		con.Tuple, con.opened = f.Segment.Tuple, true
	}
	con.Frames++
	con.Last = f.N
	if f.Flow != 0 && len(con.Flows) < maxFlowIDs && !slices.Contains(con.Flows, f.Flow) {
		con.Flows = append(con.Flows, f.Flow)
	}
	return nil
}

// meant returns the connections that choice number i means.
func (c *census) meant(i int) (list []*Connection) {
	if c.chosen[i] != nil {
		return []*Connection{c.chosen[i]}
	}
	for _, con := range c.order {
		if c.choices[i].means(con) {
			list = append(list, con)
		}
	}
	return list
}
