package capture

import (
	"errors"
	"fmt"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 10.1).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 0x00000001
	blockPacket    = 0x00000002 // obsolete, still found in old files
	blockSimple    = 0x00000003
	blockEnhanced  = 0x00000006
)

// Option codes. The first two are common to all blocks, the rest belong to the block that their name begins with.
const (
	optEnd     = 0
	optComment = 1

	shbUserAppl = 4

	ifName        = 2
	ifDescription = 3
	ifTsResol     = 9
	ifOS          = 12
	ifTsOffset    = 14

	epbFlags    = 2
	epbPacketID = 5
	epbQueue    = 6
)

// byteOrderMagic opens a section header and tells the section's byte order.
const byteOrderMagic = 0x1a2b3c4d

// maxOption is the longest option value that fits the format's 16-bit length after padding; longer comments are cut.
const maxOption = 0xfffc

// MaxFrame is the largest frame, in bytes, that [Reader] accepts and [Writer] writes. It is libpcap's MAXIMUM_SNAPLEN (262144), which
// covers GSO super-packets; a length beyond it is taken for damage, never for a reason to allocate.
const MaxFrame = 262144

// maxBlock bounds the pcapng blocks that are read into memory: one frame and its options.
const maxBlock = MaxFrame + 1<<20

// maxInterfaces bounds the interfaces of one section.
const maxInterfaces = 1 << 16

// ErrFormat is wrapped by every error about a capture that is not, or not any more, well-formed.
var ErrFormat = errors.New("capture: malformed file")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Direction is the direction of a frame at its interface (bits 0-1 of epb_flags).
type Direction uint8

// Directions of epb_flags.
const (
	Unknown  Direction = 0
	Inbound  Direction = 1
	Outbound Direction = 2
)

// String returns "unknown", "in" or "out".
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "in"
	case Outbound:
		return "out"
	}
	return "unknown"
}

// Section is what a section header says about the whole file.
type Section struct {
	Comment     string // opt_comment: by convention the program's version and the policy revision
	Application string // shb_userappl
}

// Interface describes one interface of a capture.
type Interface struct {
	Name        string
	Description string
	LinkType    LinkType
	SnapLen     uint32 // bytes; 0 = no limit
}

// Options are the per-packet options of an enhanced packet block. The zero value writes none.
type Options struct {
	Comments  []string
	Direction Direction
	PacketID  uint64 // written if HasPacketID; the same id on several interfaces ties records together
	Queue     uint32 // written if HasQueue

	HasPacketID bool
	HasQueue    bool
}
