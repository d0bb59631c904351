package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/proxy/lab/habits"
)

// crowdNet is where the clients of an experiment live: RFC 2544's range for tests. The client's namespace takes every address of it.
const crowdNet = "198.18.0.0/15"

// servicePorts are where the services of an experiment listen.
var servicePorts = map[habits.Service]uint16{habits.Plain: 515, habits.Keepalive: 516}

// crowdSysctl is what is different from other scenarios: a client's kernel gives a dial up after one more SYN and two seconds, so that
// an experiment does not take longer than it must.
var crowdSysctl = map[string]string{"ipv4/tcp_syn_retries": "1"}

// Lived is what a client experienced on one connection.
type Lived struct {
	Talk      int            `json:"talk"`
	Attempt   int            `json:"attempt"` // 2 for the connection that was tried because the first failed
	Client    int            `json:"client"`
	Arm       string         `json:"arm,omitempty"`
	Habit     string         `json:"habit"`
	From      netip.AddrPort `json:"from"`
	To        netip.AddrPort `json:"to"`
	Late      float64        `json:"late_s"` // behind the plan
	Dialled   time.Time      `json:"dialled"`
	Connected bool           `json:"connected"`
	ConnectS  float64        `json:"connect_s"` // until connected or given up
	// ResponseS are the seconds that each request's response took; of the last one, if Unanswered, how long the client waited.
	ResponseS  []float64 `json:"response_s,omitempty"`
	Unanswered bool      `json:"unanswered,omitempty"`
	Received   int       `json:"received"` // bytes
	Ended      string    `json:"ended"`    // the last step that was done, or "dial" or "reset" where the connection was given up
	Error      string    `json:"error,omitempty"`
	// GaveUp: this was the client's last attempt and it failed.
	GaveUp bool `json:"gave_up,omitempty"`
}

// Failed reports whether the client gave this connection up.
func (l *Lived) Failed() bool { return !l.Connected || l.Unanswered }

// Served is what a server experienced on one connection.
type Served struct {
	Talk     int            `json:"talk"` // 0: no request came
	Attempt  int            `json:"attempt"`
	From     netip.AddrPort `json:"from"`
	To       netip.AddrPort `json:"to"`
	Accepted time.Time      `json:"accepted"`
	Requests int            `json:"requests"`
	Sent     int            `json:"sent"`  // bytes
	Ended    string         `json:"ended"` // client-fin, hangs-up, loses, error, or held to the end
	Error    string         `json:"error,omitempty"`
}

// testimony is what both ends of all conversations experienced.
type testimony struct {
	lived  []*Lived
	served []*Served
}

// request is what a client says: its number, what the server is to do after the response, and how much to answer.
type request struct {
	talk    uint32
	attempt uint8
	end     habits.ServerEnd
	after   time.Duration // in milliseconds on the wire
	size    int           // of the whole request, and of the response
}

const requestSize = 4 + 1 + 1 + 4 + 4

func (r *request) encode() []byte {
	b := make([]byte, max(r.size, requestSize))
	binary.BigEndian.PutUint32(b, r.talk)
	b[4], b[5] = r.attempt, byte(r.end)
	binary.BigEndian.PutUint32(b[6:], uint32(r.after.Milliseconds()))
	binary.BigEndian.PutUint32(b[10:], uint32(len(b)))
	return b
}

// maxRequest bounds what a server takes for a request.
const maxRequest = 1 << 20

func (r *request) decode(b []byte) error {
	*r = request{
		talk: binary.BigEndian.Uint32(b), attempt: b[4], end: habits.ServerEnd(b[5]),
		after: time.Duration(binary.BigEndian.Uint32(b[6:])) * time.Millisecond, size: int(binary.BigEndian.Uint32(b[10:])),
	}
	if r.size < requestSize || r.size > maxRequest || r.end > habits.Loses {
		return fmt.Errorf("a request that no client sends: %x", b[:requestSize])
	}
	return nil
}

// crowd is the clients of an experiment at work.
type crowd struct {
	ns       *Namespace
	plan     *habits.Plan
	patience time.Duration
	began    time.Time

	mu    sync.Mutex
	lived []*Lived
	fatal error // of the lab itself
}

// settleCrowd gives the client's namespace the crowd's addresses and the gateway the way to them.
func (t *Topology) settleCrowd() error {
	lo, err := t.Client.link.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lab: lo in %s: %w", t.Client.Name, err)
	}
	_, all, err := net.ParseCIDR(crowdNet)
	if err != nil {
		return err
	}
	return errors.Join(
		t.Client.local(lo, all),
		t.Gateway.route("192.0.2.10", crowdNet),
		t.Client.sysctl(true, crowdSysctl))
}

// attend plays the plan. It returns when every conversation is over.
func (c *crowd) attend(ctx context.Context) error {
	c.began = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for i := range c.plan.Talks {
		t := &c.plan.Talks[i]
		all.Go(func() {
			if err := c.talk(ctx, t); err != nil {
				c.mu.Lock()
				if c.fatal == nil {
					c.fatal = fmt.Errorf("lab: talk %d (%s) of client %d: %w", t.ID, t.Habit, t.Client, err)
				}
				c.mu.Unlock()
				cancel()
			}
		})
	}
	all.Wait()
	if c.fatal != nil && ctx.Err() == nil {
		return c.fatal
	}
	return errors.Join(c.fatal, context.Cause(ctx))
}

// talk has one conversation, and where it fails another. An error is the lab's own, not the conversation's.
func (c *crowd) talk(ctx context.Context, t *habits.Talk) error {
	if err := pause(ctx, time.Until(c.began.Add(t.At))); err != nil {
		return err
	}
	first := &Lived{Talk: t.ID, Attempt: 1, Client: t.Client, Habit: t.Habit, From: netip.AddrPortFrom(habits.Address(t.Client), t.Port)}
	first.Late = seconds(time.Since(c.began.Add(t.At)))
	err := c.attempt(ctx, t, t.Steps, first)
	first.GaveUp = first.Failed() && t.RetryPort == 0
	if err != nil || !first.Failed() || first.GaveUp {
		return errors.Join(err, c.note(first))
	}
	if err := errors.Join(c.note(first), pause(ctx, retryAfter)); err != nil {
		return err
	}
	steps := t.Steps // what a failed dial was for is done all over; of a broken conversation (requests come first in it) the one that got no response
	if first.Connected {
		steps = []habits.Step{{Do: habits.Say, Bytes: t.Steps[len(first.ResponseS)-1].Bytes}, {Wait: 50 * time.Millisecond, Do: habits.Close}}
	}
	second := &Lived{Talk: t.ID, Attempt: 2, Client: t.Client, Habit: t.Habit, From: netip.AddrPortFrom(first.From.Addr(), t.RetryPort)}
	err = c.attempt(ctx, t, steps, second)
	second.GaveUp = second.Failed()
	return errors.Join(err, c.note(second))
}

// retryAfter is how soon a client tries again.
const retryAfter = 200 * time.Millisecond

func (c *crowd) note(l *Lived) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lived = append(c.lived, l)
	return nil
}

// attempt dials and does the steps, and writes into l what came of it.
func (c *crowd) attempt(ctx context.Context, t *habits.Talk, steps []habits.Step, l *Lived) error {
	l.To = withPort(server4, servicePorts[t.Service])
	dialCtx, cancel := context.WithTimeout(ctx, crowdDial)
	defer cancel()
	end, at, err := c.ns.dial(dialCtx, l.From, l.To)
	if at.IsZero() { // no socket was made
		return cmp.Or(err, errors.New("no socket"))
	}
	l.Dialled, l.ConnectS = at, seconds(time.Since(at))
	if err != nil {
		l.Ended, l.Error = "dial", plain(err)
		return ownFault(ctx, err)
	}
	l.Connected = true
	last := lastSay(steps)
	for i, s := range steps {
		if err := pause(ctx, s.Wait); err != nil {
			return errors.Join(err, end.Silence())
		}
		l.Ended = s.Do.String()
		switch s.Do {
		case habits.Say:
			r := request{talk: uint32(t.ID), attempt: uint8(l.Attempt), size: s.Bytes}
			if i == last {
				r.end, r.after = t.Server, t.ServerAfter
			}
			b := r.encode()
			began := time.Now()
			err := end.Say(string(b), c.patience)
			l.ResponseS = append(l.ResponseS, seconds(time.Since(began)))
			if err != nil {
				l.Unanswered, l.Ended, l.Error = true, "reset", plain(err)
				return end.Reset()
			}
			l.Received += len(b)
		case habits.Close:
			err := end.Finish()
			if err == nil {
				err = end.Drained(closeLimit)
			}
			l.Error = plain(err)
			end.Close()
		case habits.Hangup:
			l.Error = plain(end.Drained(closeLimit))
			end.Close()
		case habits.Vanish:
			return end.Silence()
		}
	}
	return nil
}

// Limits on what a client waits for.
const (
	crowdDial  = 20 * time.Second // its kernel gives up long before
	closeLimit = time.Second      // for the server's FIN
)

func lastSay(steps []habits.Step) int {
	last := -1
	for i, s := range steps {
		if s.Do == habits.Say {
			last = i
		}
	}
	return last
}

// ownFault tells a dial that failed for the lab's own reasons (an address or port that cannot be had) from one that the network failed.
func ownFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, e := range []error{unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EACCES, unix.EINVAL, unix.EMFILE, unix.ENETUNREACH} {
		if errors.Is(err, e) {
			return err
		}
	}
	return nil
}

// plain is an error's last word: the addresses stand beside it already.
func plain(err error) string {
	if err == nil {
		return ""
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}
