package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"halfopen/policy"
	"halfopen/policy/explain"
	"halfopen/proxy/capture"
)

// frameTrace is the frame of a replay that is to be explained, and what is found out about it.
type frameTrace struct {
	n     int
	trace *policy.Trace // nil where the frame is no segment that a gateway would be asked about
	facts []explain.Fact
	shown ReplayFrame
}

// errExplained ends a replay at the frame that was asked for.
var errExplained = errors.New("the frame was reached")

// look notes what only the capture tells of the frame.
func (t *frameTrace) look(f *capture.Frame, r *replay) {
	if f.N != t.n {
		return
	}
	captured := fmt.Sprintf("%d bytes, all captured", f.OrigLen)
	if len(f.Data) < f.OrigLen {
		captured = fmt.Sprintf("%d bytes, %d captured", f.OrigLen, len(f.Data))
	}
	place := f.LinkType.String()
	if f.Interface != "" {
		place = f.Interface + ", " + place
	}
	at := stamp(r.clock.now) + fmt.Sprintf(", %s after the first frame", r.clock.now.Sub(r.clock.first).Round(time.Microsecond))
	t.facts = append(t.facts, explain.Fact{Key: "frame", Value: place + ", " + captured}, explain.Fact{Key: "time", Value: at})
}

// skipText says why no gateway would be asked about a frame.
func skipText(why string) string {
	switch why {
	case SkipInterface:
		return "is of another interface than the one asked for"
	case SkipOwnDeed:
		return "was made or released by the gateway that captured it"
	case SkipLinkType:
		return "is of a link type that cannot be opened"
	case SkipNotIP:
		return "carries no IP packet"
	case SkipNotTCP:
		return "is not TCP"
	case SkipFragment:
		return "is a fragment other than the first"
	}
	return "is skipped (" + why + ")"
}

// ExplainFrame replays a capture up to frame n, from 1, and explains what becomes of that one. Shadows, log, Frame and Progress of
// the configuration are not used.
func ExplainFrame(ctx context.Context, cfg ReplayConfig, n int) (*explain.Explanation, error) {
	t := &frameTrace{n: n}
	cfg.explain, cfg.Shadows, cfg.LogDir, cfg.Progress = t, nil, "", nil
	cfg.Frame = func(f *ReplayFrame) error {
		if f.N < n {
			return nil
		}
		t.shown = *f
		return errExplained
	}
	r, err := RunReplay(ctx, cfg)
	switch {
	case err == nil && len(r.Problems) > 0:
		return nil, fmt.Errorf("explain: frame %d was not reached: %s", n, r.Problems[len(r.Problems)-1].Text)
	case err == nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		return nil, fmt.Errorf("explain: %s has %d frames, there is no frame %d", cfg.Capture, r.Packets, n)
	case !errors.Is(err, errExplained):
		return nil, err
	case t.trace == nil:
		return nil, fmt.Errorf("explain: frame %d of %s %s: no gateway is asked about it", n, cfg.Capture, skipText(t.shown.Reason))
	}
	x := explain.Step(t.trace, nil)
	x.Input = fmt.Sprintf("frame %d of %s", n, cfg.Capture)
	if t.shown.Arm != "" {
		t.facts = append(t.facts, explain.Fact{Key: "arm", Value: t.shown.Arm})
	}
	x.Prepend(explain.Decode, t.facts...)
	if t.shown.Counterfactual {
		x.Notes = append(x.Notes, "an earlier decision of this policy would have changed what this connection does; the capture shows what happened without it")
	}
	if r.OutOfOrder > 0 {
		x.Notes = append(x.Notes, fmt.Sprintf("%d frames up to this one are older than one before them; the clock does not go back", r.OutOfOrder))
	}
	return x, nil
}
