package fastpath

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// The values of the maps, as bpf/maps.h has them; a test compares the two by the object's BTF.

type mapKey struct {
	Src, Dst     [16]byte
	Sport, Dport [2]byte // network order
	Ifindex      uint32
}

type mapPlace struct {
	Slot, Tag, Dir uint32
}

type mapArm struct {
	Armed, Epoch             uint64
	Tag, Worker, Flags, Zero uint32
	Rules                    conntrack.FastRules
	Start                    conntrack.Fast
}

// Bits of mapArm.Flags.
const armRedirect = 1 << 0 // segments may be sent out by the program

type mapFlow struct {
	Lock, Zero     uint32
	Punt, Loaded   uint64
	Packets, Bytes [2]uint64
	State          conntrack.Fast
}

type mapWorker struct {
	Beat  conntrack.Instant
	Epoch uint64
	Zero  [6]uint64
}

type mapStats struct {
	Packets, Bytes, Foreign, Redirected uint64
	Normal                              [8]uint64
	Punts                               [64]uint64
}

// Key is how one direction of a flow looks where it comes in: before the host's own destination translation.
type Key struct {
	Tuple   conntrack.Tuple
	Ifindex uint32
}

func (k *Key) encode() mapKey {
	m := mapKey{Src: k.Tuple.Src, Dst: k.Tuple.Dst, Ifindex: k.Ifindex}
	binary.BigEndian.PutUint16(m.Sport[:], k.Tuple.SrcPort)
	binary.BigEndian.PutUint16(m.Dport[:], k.Tuple.DstPort)
	return m
}

// shared is an array map in memory that the program reads and this process writes, without a system call.
type shared[T any] struct {
	memory []byte
	values []T
}

// share maps an array into memory.
func share[T any](m *ebpf.Map) (shared[T], error) {
	var v T
	size := int(unsafe.Sizeof(v))
	if int(m.ValueSize()) != size {
		return shared[T]{}, fmt.Errorf("map %s: values of %d bytes, expected %d", m, m.ValueSize(), size)
	}
	n := int(m.MaxEntries())
	page := unix.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (n*size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return shared[T]{}, fmt.Errorf("map %s into memory: %w", m, err)
	}
	return shared[T]{memory, unsafe.Slice((*T)(unsafe.Pointer(&memory[0])), n)}, nil
}

func (s *shared[T]) close() error {
	memory := s.memory
	s.memory, s.values = nil, nil
	if memory == nil {
		return nil
	}
	return unix.Munmap(memory)
}

// freeze makes the program punt what comes of the flow from now on. What it began before that it may still finish; a read under the
// flow's lock waits for it.
func (a *mapArm) freeze() { atomic.SwapUint64(&a.Armed, 0) }
