package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Scenario is an incident that the lab can rebuild.
type Scenario struct {
	Name    string
	Summary string // one sentence
	About   string // one paragraph: what the incident is, and who meets it
	Phases  []PhaseSpec

	needs   func() error                  // what must be installed; nil: nothing
	prepare func(*stage, PhaseSpec) error // before a phase's gateways start; nil: nothing
}

// PhaseSpec is one phase of a scenario.
type PhaseSpec struct {
	Name  string
	Title string // what happens, one sentence

	expires bool     // the gateway's idle timer is shortened to idleTimer and ends before the incident
	set     []string // overrides of the gateway's policy keys (run --set)
	run     func(context.Context, *stage) error
}

// idleTimer is what the gateway's idle timer of hours is shortened to where a phase waits for its end.
const idleTimer = 2 * time.Second

// unasked switches off what a policy may ask the ends before it forgets a connection: the old one must outlive the gateway's memory.
func unasked() []string { return []string{"probes.tries=0"} }

// Overrides returns the policy overrides (PATH=VALUE) that the phase's gateway runs with.
func (p PhaseSpec) Overrides() []string {
	if !p.expires {
		return p.set
	}
	return append([]string{"timeouts.established=" + idleTimer.String()}, p.set...)
}

// Scenarios returns every scenario, in the order in which they are listed.
func Scenarios() []Scenario {
	return []Scenario{
		silenceOnTheWire(), portReuse(), serverReboot(), idleExpiry(), natScenario(), lpdScenario(),
	}
}

// Find returns the scenario of that name; the error names the ones there are.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("lab: no scenario %q (there are %s)", name, strings.Join(names, ", "))
}

func silenceOnTheWire() Scenario {
	return Scenario{
		Name:    "silence-on-the-wire",
		Summary: "a client falls silent without a FIN and dials again from the same port",
		About: "A host that crashes, loses its link or is switched off says nothing: the gateway and the server go on holding the connection. " +
			"When the client is back and takes the same port again (LPD has eleven of them, NFS and rsh clients reserve theirs as well), its SYN meets an old " +
			"connection. Two Linux ends heal themselves, by an ACK of the old numbers that the client answers with a RST, if whatever " +
			"stands between them lets both pass.",
		Phases: []PhaseSpec{
			{
				Name:  "remembered",
				Title: "the client is back while gateway and server still hold the old connection",
				run: func(ctx context.Context, s *stage) error {
					return s.silentThenBack(ctx, 500*time.Millisecond)
				},
			},
			{
				Name:    "forgotten",
				Title:   "the client is back after the gateway's idle timer; the server still holds the old connection",
				expires: true,
				set:     unasked(),
				run: func(ctx context.Context, s *stage) error {
					return s.silentThenBack(ctx, idleTimer+time.Second)
				},
			},
		},
	}
}

// silentThenBack is the incident: a working connection, silence, and a dial from the same port.
func (s *stage) silentThenBack(ctx context.Context, away time.Duration) error {
	if _, err := s.serve(false); err != nil {
		return err
	}
	old, err := s.established(ctx)
	if err != nil {
		return err
	}
	if err := old.Silence(); err != nil {
		return err
	}
	if err := pause(ctx, away); err != nil {
		return err
	}
	return s.redial(ctx)
}

func portReuse() Scenario {
	return Scenario{
		Name:    "port-reuse",
		Summary: "a client takes the port of a connection that has just ended, or half ended",
		About: "Ports come back sooner than timers end: behind address translation, on a busy proxy, with a program that binds its source port. " +
			"The gateway remembers the old connection in some state of closing. A firewall that takes the new SYN for a stray of the old " +
			"connection delays it or refuses it; RFC 6191 and RFC 9293 say when the ends themselves would accept it.",
		Phases: []PhaseSpec{
			{
				Name:  "after-fin",
				Title: "the client sent a FIN and vanished; the server never closed its side",
				run: func(ctx context.Context, s *stage) error {
					return s.reuse(ctx, true, func(old *End, _ *Service) error {
						if err := old.Finish(); err != nil {
							return err
						}
						if err := pause(ctx, 300*time.Millisecond); err != nil { // the server's ACK of the FIN
							return err
						}
						return old.Silence()
					})
				},
			},
			{
				Name:  "time-wait",
				Title: "both sides closed, the server first: its end and the gateway are in TIME_WAIT",
				run: func(ctx context.Context, s *stage) error {
					return s.reuse(ctx, false, func(old *End, srv *Service) error {
						srv.HangUp()
						if err := old.Drained(5 * time.Second); err != nil {
							return err
						}
						return old.Close()
					})
				},
			},
			{
				Name:  "after-rst",
				Title: "the client reset the connection",
				run: func(ctx context.Context, s *stage) error {
					return s.reuse(ctx, false, func(old *End, _ *Service) error { return old.Reset() })
				},
			},
		},
	}
}

// reuse ends a working connection in some way and dials again from its port.
func (s *stage) reuse(ctx context.Context, hold bool, end func(*End, *Service) error) error {
	srv, err := s.serve(hold)
	if err != nil {
		return err
	}
	old, err := s.established(ctx)
	if err != nil {
		return err
	}
	if err := end(old, srv); err != nil {
		return fmt.Errorf("lab: end the old connection: %w", err)
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	return s.redial(ctx)
}

func serverReboot() Scenario {
	return Scenario{
		Name:    "server-reboot",
		Summary: "the server loses its connections without a word and is back at once",
		About: "A server that crashes or fails over to a peer without shared connections knows nothing of them when it is back. The client finds out by the RST that " +
			"answers its next data, if the gateway lets it through. A client that restarted as well dials anew, and then the gateway is " +
			"the only one that still holds the old connection.",
		Phases: []PhaseSpec{
			{
				Name:  "client-sends",
				Title: "the client, which knows nothing of it, sends on the old connection, learns of the reset and dials again",
				run:   rebootThenData,
			},
			{
				Name:  "client-dials",
				Title: "the client restarted as well and dials from the same port, which only the gateway still remembers",
				run: func(ctx context.Context, s *stage) error {
					return s.reuse(ctx, false, func(old *End, srv *Service) error {
						srv.Forget()
						return old.Silence()
					})
				},
			},
		},
	}
}

func rebootThenData(ctx context.Context, s *stage) error {
	srv, err := s.serve(false)
	if err != nil {
		return err
	}
	old, err := s.established(ctx)
	if err != nil {
		return err
	}
	srv.Forget()
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	s.begin()
	start := time.Now()
	err = old.Say("are you there?", sayLimit)
	s.fact("old_connection_error", errorText(err))
	s.fact("seconds_until_client_knew", seconds(time.Since(start)))
	if err := old.Silence(); err != nil {
		return err
	}
	return s.redial(ctx)
}

func idleExpiry() Scenario {
	return Scenario{
		Name:    "idle-expiry",
		Summary: "the gateway's idle timer runs out on a connection that both ends still hold",
		About: "Database pools, SSH sessions and message brokers hold connections that say nothing for hours, and no end tells the gateway. After its idle timer the gateway has forgotten them while both " +
			"ends still hold them. What it does with the next segment, and whether it told anybody, decides between a connection that goes on, " +
			"one that fails at once and one that hangs.",
		Phases: []PhaseSpec{
			{
				Name:    "client-sends",
				Title:   "the client is the first to speak again",
				expires: true,
				run:     func(ctx context.Context, s *stage) error { return s.speakLate(ctx, true) },
			},
			{
				Name:    "server-sends",
				Title:   "the server is the first to speak again",
				expires: true,
				run:     func(ctx context.Context, s *stage) error { return s.speakLate(ctx, false) },
			},
		},
	}
}

// speakLate lets one end speak on the old connection after the gateway forgot it. "Connected" then says whether data still gets through.
func (s *stage) speakLate(ctx context.Context, clientSpeaks bool) error {
	srv, err := s.serve(false)
	if err != nil {
		return err
	}
	old, err := s.established(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, idleTimer+time.Second); err != nil {
		return err
	}
	s.begin()
	start := time.Now()
	if clientSpeaks {
		err = old.Say("are you there?", sayLimit)
	} else if err = srv.Say("are you there?"); err == nil {
		err = old.Hear(len("are you there?"), sayLimit)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.phase.Client.Connected = err == nil
	s.phase.Client.Seconds = seconds(time.Since(start))
	s.fact("data_arrived", err == nil)
	s.fact("error", errorText(err))
	if err != nil {
		s.fact("gave_up", map[bool]string{true: "client", false: "server"}[clientSpeaks])
	}
	s.fact("server_still_holds", srv.Held() > 0)
	return nil
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// port is the server's: LPD's (RFC 1179, section 3.1).
const port = 515

// firstClientPort is the first of the source ports that LPD clients use (RFC 1179, section 3.1: 721 to 731). Each phase has its own,
// so that what an earlier phase left in a kernel cannot meet it.
const firstClientPort = 721

func withPort(a netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(a, p) }
