package experiment

import (
	"net/netip"
	"slices"
	"time"
)

// Example is a connection behind a figure.
type Example struct {
	Flow    uint64         `json:"flow_id,omitempty"` // 0: an attempt without an entry
	Met     uint64         `json:"met,omitempty"`     // of such an attempt: the connection in its way
	Gateway string         `json:"gateway,omitempty"`
	Start   time.Time      `json:"start"`
	Client  netip.AddrPort `json:"client"`
	Server  netip.AddrPort `json:"server"`
	Value   float64        `json:"value"` // what it adds to the numerator
}

// maxBehind is how many connections are kept behind a figure: those that add the most to it, of equals the first.
const maxBehind = 200

// behind are the connections behind the figures of one arm.
type behind [NumMetrics][]Example

func (b *behind) add(o *Outcome, v *values) {
	for m := range NumMetrics {
		n := v.num[m]
		if !v.ok[m] || n <= 0 {
			continue
		}
		list := b[m]
		if len(list) >= maxBehind && n <= list[len(list)-1].Value {
			continue
		}
		at, _ := slices.BinarySearchFunc(list, n, func(e Example, n float64) int {
			if e.Value >= n { // the most first, equals in the order in which they came
				return -1
			}
			return 1
		})
		list = slices.Insert(list, at, Example{o.Flow, o.Met, o.Gateway, o.Start.UTC(), o.Client, o.Server, round(n)})
		b[m] = list[:min(len(list), maxBehind)]
	}
}

// Behind returns connections behind a figure of an arm, at most 200: those that add the most to it.
func (r *Report) Behind(arm string, m Metric) []Example {
	for i := range r.Arms {
		if r.Arms[i].Name == arm && i < len(r.behind) && m < NumMetrics {
			return r.behind[i][m]
		}
	}
	return nil
}

// Map puts what the functions give in place of addresses and of texts that may hold addresses, before it is shown to those who may not
// see them.
func (r *Report) Map(end func(netip.AddrPort) netip.AddrPort, text func(string) string) {
	examples := func(list []Example) []Example {
		out := slices.Clone(list)
		for i := range out {
			out[i].Client, out[i].Server = end(out[i].Client), end(out[i].Server)
		}
		return out
	}
	mapped := make([]*behind, len(r.behind))
	for i, b := range r.behind {
		mapped[i] = &behind{}
		for m := range b {
			mapped[i][m] = examples(b[m])
		}
	}
	r.behind = mapped
	for i := range r.Effects {
		for _, f := range []*Figure{r.Effects[i].Control, r.Effects[i].Treated} {
			if f != nil {
				f.Examples = examples(f.Examples)
			}
		}
		r.Effects[i].Note = text(r.Effects[i].Note)
	}
	r.Events = slices.Clone(r.Events)
	for i := range r.Events {
		r.Events[i].Detail = text(r.Events[i].Detail)
	}
	for i := range r.Guardrails {
		r.Guardrails[i].Detail = text(r.Guardrails[i].Detail)
	}
	for i := range r.Arms {
		for k := range r.Arms[i].Differences {
			d := &r.Arms[i].Differences[k]
			d.Key, d.Control, d.Arm = text(d.Key), text(d.Control), text(d.Arm)
		}
	}
	for i := range r.Caveats {
		r.Caveats[i] = text(r.Caveats[i])
	}
	for i := range r.Verdict.Arms {
		r.Verdict.Arms[i].Because = text(r.Verdict.Arms[i].Because)
	}
	for i := range r.Verdict.Reasons {
		r.Verdict.Reasons[i] = text(r.Verdict.Reasons[i])
	}
	r.Spec = []byte(text(string(r.Spec)))
	r.Verdict.Sentence = text(r.Verdict.Sentence)
}
