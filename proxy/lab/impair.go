package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Impairment is what a wire does to TCP segments. Everything else (ARP, neighbour discovery, ICMP) passes unharmed. The zero value
// harms nothing.
type Impairment struct {
	Loss      float64       // probability, 0 to 1, that a segment is lost
	Duplicate float64       // that one arrives twice, the second time up to Delay later
	Reorder   float64       // that one is held back while those behind it pass, for up to Delay
	Delay     time.Duration // above 0 where Duplicate or Reorder are
	Latency   time.Duration // that every segment takes; Delay comes on top of it
	Seed      uint64        // the same seed gives the n-th segment of a direction the same fate

	// Whole lets GSO super-packets pass, and harms them, as wholes. Otherwise the link's ends send none, and each segment has a fate
	// of its own.
	Whole bool
}

// defaultDelay is how long a segment is held back where nothing is said: several of a veth's round trips, less than the least
// retransmission timeout (TCP_RTO_MIN, 200 ms).
const defaultDelay = 5 * time.Millisecond

// maxDelay bounds Delay and Latency: a segment on its way is memory.
const maxDelay = 10 * time.Second

// ParseImpairment reads what [Impairment.String] writes, in any order: "loss=2%,duplicate=1%,reorder=3%,delay=5ms,latency=4ms,seed=7".
// What is not named is 0, the delay 5ms and the seed 1.
func ParseImpairment(text string) (Impairment, error) {
	im := Impairment{Delay: defaultDelay, Seed: 1}
	for _, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return im, fmt.Errorf("impairment %q: %q is not NAME=VALUE", text, part)
		}
		var err error
		switch name {
		case "loss":
			im.Loss, err = parsePercent(value)
		case "duplicate":
			im.Duplicate, err = parsePercent(value)
		case "reorder":
			im.Reorder, err = parsePercent(value)
		case "delay":
			if im.Delay, err = parseDelay(value); err == nil && im.Delay == 0 {
				err = fmt.Errorf("%s is out of range: above 0s", value)
			}
		case "latency":
			im.Latency, err = parseDelay(value)
		case "seed":
			im.Seed, err = strconv.ParseUint(value, 10, 64)
		default:
			err = errors.New("want loss, duplicate, reorder, delay, latency or seed")
		}
		if err != nil {
			return im, fmt.Errorf("impairment %q: %s: %w", text, name, err)
		}
	}
	return im, nil
}

func parseDelay(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > maxDelay) {
		err = fmt.Errorf("%s is out of range: at most %v", text, maxDelay)
	}
	return d, err
}

func parsePercent(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("%q: want a percentage, 0%% to 100%%", text)
	}
	return p / 100, nil
}

// String returns the form that [ParseImpairment] reads.
func (im Impairment) String() string {
	percent := func(p float64) string { return strconv.FormatFloat(p*100, 'g', 6, 64) + "%" }
	return fmt.Sprintf("loss=%s,duplicate=%s,reorder=%s,delay=%v,latency=%v,seed=%d", percent(im.Loss), percent(im.Duplicate),
		percent(im.Reorder), im.Delay, im.Latency, im.Seed)
}

// fate is what becomes of one segment: after how long each of its copies goes on. None: it is lost.
type fate struct {
	copies [2]time.Duration
	n      int
}

// dice throws the fates of one direction of a wire.
type dice struct {
	im  Impairment
	rng *rand.Rand
}

// newDice returns the dice of a stream: each direction of each wire has its own.
func newDice(im Impairment, stream uint64) *dice {
	return &dice{im: im, rng: rand.New(rand.NewPCG(im.Seed, stream))}
}

// throw always draws as many numbers, so that a rate that changes leaves the other fates as they were.
func (d *dice) throw() (f fate) {
	lost, twice, late := d.rng.Float64() < d.im.Loss, d.rng.Float64() < d.im.Duplicate, d.rng.Float64() < d.im.Reorder
	first, second := d.delay(), d.delay()
	if lost {
		return f
	}
	if f.n = 1; late {
		f.copies[0] = first
	}
	if twice {
		f.copies[1], f.n = second, 2
	}
	return f
}

// delay is between a tenth of Delay and all of it: one of nothing would reorder nothing.
func (d *dice) delay() time.Duration {
	part := 0.1 + 0.9*d.rng.Float64()
	return time.Duration(part * float64(d.im.Delay))
}
