package conntrack

import (
	"encoding/binary"
	"testing"
	"time"
)

// FuzzTable reads bytes as segments, effects, pauses and gaps on three tuples. Nothing may panic, and the parts of the table must
// agree throughout.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 10, 0, 1, 18, 0, 0, 0, 5, 0, 0, 0, 2, 10, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 6, 10, 0})
	f.Add([]byte{6, 16, 0, 0, 0, 1, 0, 0, 0, 0, 200, 8, 7, 17, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 9, 9, 0, 4, 0, 0, 0, 2, 0, 0, 0, 6, 10, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		rg := newRig(t, Config{Max: 3, MaxEmbryonic: 2, Tombstones: 2})
		for n := 0; len(data) >= 12 && n < 500; n++ {
			b := data[:12]
			data = data[12:]
			tu := tupleN(int(b[0]>>1) % 3)
			if b[0]&1 != 0 {
				tu = tu.Reverse()
			}
			s := &Segment{Tuple: tu, Flags: Flags(b[1]), Seq: Seq(binary.BigEndian.Uint32(b[2:])), Ack: Seq(binary.BigEndian.Uint32(b[6:])),
				Window: uint16(b[10]) << 8, Len: uint32(b[10]) << (b[11] & 7), Bytes: 40}
			s.Options = Options{Has: OptionSet(b[11]), WScale: b[10], NSACK: b[10] & 7, SACK: [4]SACKBlock{{s.Ack, s.Ack.Add(uint32(b[11]) << 24)}}}
			if b[11]&0x40 != 0 {
				s.Defect = DefectShortTCP
			}
			rules := Rules{Check: SeqCheck(b[11] % 4), RST: RSTRule(b[10] % 6), ACK: ACKRule(b[10] % 3), Retransmits: b[11] >> 6, Near: uint32(b[10]), SynBand: uint32(b[11])}
			rg.p.Check = rules.Check
			rg.now = rg.now.Add(time.Duration(b[10]) << (b[11] % 36))
			switch b[0] >> 5 {
			case 7:
				rg.table.Relax()
			case 6:
				rg.table.Advance(rg.now, int(b[10]))
			case 5:
				rg.table.Room(rg.now)
				rg.table.Evict(rg.now, b[10]&1 != 0)
			}
			effect := Effect(b[11] % byte(NumEffects+1))
			var v View
			rg.table.Lookup(rg.now, &tu, &v)
			c := Classify(rg.now, &v, s, &rules)
			if v.Entry == nil && v.Dir != Original && v.Expired == nil || c.Finding >= NumFindings || !c.Finding.Info().Packet {
				t.Fatalf("%+v %v", v, c.Finding)
			}
			if effect == NumEffects {
				effect = c.Finding.Info().Effect
			}
			before := v.Entry
			ch := rg.table.Commit(rg.now, &v, s, c.Finding, effect, Timer{TimerOp(b[10] % 3), time.Duration(b[11]) * time.Second}, &rg.p)
			if ch.Entry != nil {
				rg.live[ch.Entry.ID] = true
				if ch.Entry.State != ch.After || ch.After == StateNone || ch.Entry.LastSeen != rg.now {
					t.Fatalf("%+v", ch)
				}
				for i := range ch.Entry.Side {
					if w := ch.Entry.Side[i].MaxWin; w > maxWindow {
						t.Fatalf("window %d", w)
					}
				}
			} else if before != nil && ch.Effect != Delete {
				t.Fatalf("%v took the entry away", ch.Effect)
			}
			checkTable(t, rg.table)
		}
	})
}
