package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// BlockOf returns the number of the switchback's block that t falls in, from 0 at the start; negative before it.
func (s *Spec) BlockOf(t time.Time) int64 {
	d := t.Sub(s.Start)
	k := int64(d / s.Switchback.Block)
	if d%s.Switchback.Block < 0 {
		k--
	}
	return k
}

// BlockStart returns when a block begins.
func (s *Spec) BlockStart(k int64) time.Time {
	return s.Start.Add(time.Duration(k) * s.Switchback.Block)
}

// ArmOfBlock returns the place in s.Arms of the arm that has block k of a switchback, [NoArm] before the start. Each run of len(s.Arms)
// blocks has every arm once, in an order of its own: by the octets of
//
//	SHA-256(salt, 0x00, seed, run, arm)
//
// where seed, run (k divided by the number of arms) and arm (from 0) are eight octets each, big-endian.
func (s *Spec) ArmOfBlock(k int64) int {
	n := int64(len(s.Arms))
	if k < 0 || n == 0 || n > MaxArms {
		return NoArm
	}
	run, rank := k/n, int(k%n)
	var keys [MaxArms][sha256.Size]byte
	for i := range s.Arms {
		var buf [maxSalt + 1 + maxUnit]byte
		b := s.salted(&buf)
		b = binary.BigEndian.AppendUint64(b, s.Switchback.Seed)
		b = binary.BigEndian.AppendUint64(b, uint64(run))
		b = binary.BigEndian.AppendUint64(b, uint64(i))
		keys[i] = sha256.Sum256(b)
	}
	for i := range s.Arms { // the arm before which rank others come
		before := 0
		for j := range s.Arms {
			if bytes.Compare(keys[j][:], keys[i][:]) < 0 {
				before++
			}
		}
		if before == rank {
			return i
		}
	}
	return NoArm
}
