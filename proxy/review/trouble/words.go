package trouble

// kinds are the kinds in the order of a report.
var kinds = [...]Kind{OldConnection, NeverConnected, LateSegments, Stalled, GatewayReset, Retries, EndReset}

// wording is what a report says of a kind.
type wording struct {
	title, sentence string
	variants        map[string]string
}

var words = map[Kind]wording{
	OldConnection: {"answered by an old connection",
		"The client dialled from a port on which somebody still held an old connection, was answered with that connection's numbers instead of a SYN/ACK, and did not get through.",
		map[string]string{
			"gateway":   "The gateway still remembered the old connection and answered the SYN itself, in the server's name.",
			"forwarded": "The gateway still remembered the old connection and forwarded the SYN; what the server answered, if anything, was no SYN/ACK.",
			"server":    "The gateway forwarded the SYN; the server, or a box before it, still held the old connection and answered with a bare ACK of its numbers.",
		}},
	NeverConnected: {"never connected",
		"The client tried to connect and did not get through.",
		map[string]string{
			"refused":           "The server answered the SYN with a RST.",
			"unanswered":        "Nothing came back from the server.",
			"dropped":           "The gateway dropped every SYN.",
			"gateway-refused":   "The gateway refused the SYN with a RST or ICMP.",
			"handshake-dropped": "The gateway dropped a later part of the handshake.",
			"unfinished":        "The server answered, and the client did not complete the handshake.",
		}},
	LateSegments: {"cut off",
		"The gateway did not know a connection any more whose users were still there, and did not let through what they sent.",
		map[string]string{
			"dropped": "The gateway had forgotten the connection, and dropped what came.",
			"refused": "The gateway had forgotten the connection, and answered with a RST.",
			"denied":  "The policy had denied these ends for a while.",
			"unknown": "The gateway never knew the connection, which is older than it or began another way.",
		}},
	Stalled: {"stalled and died",
		"The connection stood; then an end repeated its data or asked for window, nothing new came through, and that was its end.",
		map[string]string{
			"no-answer":       "The gateway let everything pass; the other end did not answer, or its answers did not come this way.",
			"gateway-dropped": "The gateway dropped segments of the connection.",
			"dead":            "An end did not answer the gateway's probes either.",
		}},
	GatewayReset: {"reset by the gateway",
		"The gateway broke a standing connection off with a RST.",
		map[string]string{
			"decision": "A segment of the connection was the cause.",
			"idle":     "The connection's idle timer had run out.",
		}},
	Retries: {"connected after retries",
		"The client got through, but not with its first SYN.",
		map[string]string{
			"syn-again":      "The client repeated its SYN.",
			"old-connection": "An old connection on the client's port was in the way at first.",
			"dialled-again":  "An attempt failed; the client dialled again, from another port or with other numbers.",
		}},
	EndReset: {"reset by an end",
		"An end broke the connection off with a RST, and neither had closed it before.",
		map[string]string{
			"client": "The client broke it off.",
			"server": "The server broke it off.",
		}},
}

// Title names the trouble in a few words.
func (c *Case) Title() string { return words[c.Kind].title }

// Sentence says how it came about.
func (c *Case) Sentence() string { return words[c.Kind].variants[c.Variant] }
