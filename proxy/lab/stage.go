package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Limits of what an end waits for.
const (
	// dialLimit is above giveUpSeconds, so that it is the kernel that gives up.
	dialLimit = (giveUpSeconds + 4) * time.Second
	// sayLimit bounds the wait for an echo on a connection whose fate is the question.
	sayLimit = 6 * time.Second
	// settle lets the last segments of a phase reach the captures.
	settle = 150 * time.Millisecond
)

// stage is where a phase plays: the topology, the addresses and what the phase has found out.
type stage struct {
	top     *Topology
	client  netip.AddrPort // this phase's
	dialed  netip.AddrPort // what the client dials; under DNAT not the server's own
	server  netip.AddrPort // the server's own
	phase   *Phase
	dir     string // for files that stay
	scratch string // for files that do not
	undo    []func()
}

// cleanup ends what the phase left running, last first.
func (s *stage) cleanup() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

func (s *stage) fact(name string, v any) { s.phase.Facts[name] = v }

// begin marks the incident: what the ends do from here on is counted.
func (s *stage) begin() {
	if s.phase.incident.IsZero() {
		s.phase.incident = time.Now()
	}
}

// serve starts the phase's server.
func (s *stage) serve(hold bool) (*Service, error) {
	srv, err := s.top.Server.Serve(s.server, hold)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, srv.Close)
	return srv, nil
}

// established dials the connection that the phase is about, and uses it in both directions.
func (s *stage) established(ctx context.Context) (*End, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	e, err := s.top.Client.Dial(ctx, s.client, s.dialed)
	if err != nil {
		return nil, fmt.Errorf("lab: the first connection, before any incident, failed: %w", err)
	}
	s.undo = append(s.undo, func() { _ = e.Silence() })
	for _, line := range []string{"print job 1\n", "and its data\n"} {
		if err := e.Say(line, sayLimit); err != nil {
			return nil, fmt.Errorf("lab: the first connection, before any incident, carries no data: %w", err)
		}
	}
	return e, pause(ctx, 60*time.Millisecond) // longer than a delayed ACK (TCP_DELACK_MIN, 40 ms)
}

// redial is the incident's second dial, from the same port. It records whether and when it connected, and whether data then flows.
func (s *stage) redial(ctx context.Context) error {
	s.begin()
	dctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	start := time.Now()
	e, err := s.top.Client.Dial(dctx, s.client, s.dialed)
	took := time.Since(start)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.phase.Client.Connected = err == nil
	s.phase.Client.Seconds = seconds(took)
	if err != nil {
		if !lostCause(err) {
			return fmt.Errorf("lab: second dial: %w", err)
		}
		s.fact("client_error", errorText(err))
		s.fact("gave_up", "client")
		return nil
	}
	defer func() { _ = e.Silence() }()
	err = e.Say("print job 2\n", sayLimit)
	s.fact("data_flows", err == nil)
	return nil
}

// lostCause reports errors that are a dial's result; anything else is the lab's own failure.
func lostCause(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.ETIMEDOUT)
}

// errorText names an error as its errno's text, without addresses; "" for nil.
func errorText(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", sayLimit)
	}
	return err.Error()
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
