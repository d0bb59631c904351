package conntrack

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkFastPass is what the model does about a segment: data in one direction and its acknowledgment in the other, by turns.
func BenchmarkFastPass(b *testing.B) {
	for name, check := range map[string]SeqCheck{"strict": SeqStrict, "kernel": SeqKernel} {
		b.Run(name, func(b *testing.B) {
			caps := Caps{Retransmitted: 5 * time.Minute, Unacknowledged: 5 * time.Minute, ZeroWindow: 5 * time.Minute}
			rules, en := Rules{Check: check}, variations()[0]
			rg := newRig(b, Config{Max: 4})
			for _, line := range []string{"> S 0 ts 1 0", "< S. 0 ack 1 ts 1 0", "> . 1 ack 1 ts 1 0", "> P. 1+10 ack 1 ts 1 0", "< P. 1+10 ack 11 ts 1 0", "> . 11 ack 11 ts 1 0", "< . 11 ack 11 ts 1 0"} {
				rg.step(parseSegment(b, strings.Fields(line), en), &rules, NumEffects)
			}
			tu := parseSegment(b, []string{">", "S", "0"}, en).Tuple
			p := Params{Timeouts: testTimeouts(), Check: check, Caps: &caps}
			f, r, why := rg.look(tu).Entry.Fast(&rules, &p)
			if why != FastReady {
				b.Fatal(why)
			}
			data := Segment{Tuple: tu, Flags: ACK, Len: 10, Bytes: 62, Seq: f.Side[0].End, Ack: f.Side[1].End, Window: 1000, Options: Options{Has: OptTimestamp, TSVal: 1}}
			ack := Segment{Tuple: tu.Reverse(), Flags: ACK, Bytes: 52, Seq: f.Side[1].End, Ack: f.Side[0].End, Window: 1000, Options: Options{Has: OptTimestamp, TSVal: 1}}
			now := rg.now
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now++
				var punt FastPunt
				if i&1 == 0 {
					punt = f.Pass(&r, now, Original, &data)
					data.Seq += 10
				} else {
					ack.Ack = f.Side[0].End
					punt = f.Pass(&r, now, Reply, &ack)
				}
				if punt != FastPassed {
					b.Fatal(punt)
				}
			}
		})
	}
}
