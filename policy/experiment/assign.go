package experiment

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"halfopen/conntrack"
)

// NoArm is the arm of connections that take no part.
const NoArm = -1

// ArmOf returns the place in s.Arms of the arm that a connection which begins at t belongs to, [NoArm] for none: it began before the
// experiment or after it, does not match, or is outside the share. The tuple is in original direction. The same values give the same
// arm on every gateway, after every restart and in replay, whatever the clock did before. It allocates nothing.
func (s *Spec) ArmOf(t time.Time, tu *conntrack.Tuple) int {
	if !s.Running(t) || !s.Matches(tu) {
		return NoArm
	}
	if s.Switchback != nil {
		return s.ArmOfBlock(s.BlockOf(t))
	}
	arm, taking := s.Place(tu)
	if taking >= s.Share {
		return NoArm
	}
	for i := range s.Arms {
		if arm -= s.Arms[i].Weight; arm < 0 {
			return i
		}
	}
	return NoArm // the weights' sum is less than it must be
}

// Place returns where a connection's unit stands on the weights of the arms and on the share, each from 0 to 9,999. The unit belongs to
// the first arm whose weight, with those of the arms before it, is more than the first, and takes part if the second is less than the
// share. They are the first and the second eight octets, as big-endian numbers modulo 10,000, of
//
//	SHA-256(salt, 0x00, canonical bytes of the unit)
//
// for which see [UnitKey.Bytes]. 2^64 is so much more than 10,000 that no remainder is favoured by more than one in 10^15.
func (s *Spec) Place(tu *conntrack.Tuple) (arm, taking int) {
	h := s.hash(tu)
	return int(binary.BigEndian.Uint64(h[:8]) % perHundred), int(binary.BigEndian.Uint64(h[8:16]) % perHundred)
}

// hash is the hash of a connection's unit.
func (s *Spec) hash(tu *conntrack.Tuple) [sha256.Size]byte {
	var unit [maxUnit]byte
	n := s.Unit.put(&unit, tu)
	var buf [maxSalt + 1 + maxUnit]byte
	return sha256.Sum256(append(s.salted(&buf), unit[:n]...))
}

// UnitHash returns octets 17 to 24 of the same hash as a number, which have no part in the assignment: for counting units.
func (s *Spec) UnitHash(tu *conntrack.Tuple) uint64 {
	h := s.hash(tu)
	return binary.BigEndian.Uint64(h[16:24])
}

// salted begins what is hashed: the salt and an octet of 0.
func (s *Spec) salted(buf *[maxSalt + 1 + maxUnit]byte) []byte {
	n := copy(buf[:maxSalt], s.Salt)
	return buf[:n+1]
}

// Running reports whether connections that begin at t are assigned.
func (s *Spec) Running(t time.Time) bool {
	return (s.Start.IsZero() || !t.Before(s.Start)) && (s.End.IsZero() || t.Before(s.End))
}

// Analysed reports whether a connection that began at t counts in the analysis: the experiment runs and has warmed up. From is when the
// assignment began where the experiment has no start of its own: when the gateway started.
func (s *Spec) Analysed(t, from time.Time) bool {
	if !s.Start.IsZero() {
		from = s.Start
	}
	if !s.Running(t) || t.Before(from) {
		return false
	}
	if s.Switchback != nil {
		from = s.BlockStart(s.BlockOf(t))
	}
	return t.Sub(from) >= s.WarmUp
}
