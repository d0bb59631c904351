package capture

import (
	"errors"
	"fmt"
	"time"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 10.1).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 0x00000001
	blockPacket    = 0x00000002 // obsolete, still found in old files
	blockSimple    = 0x00000003
	blockStatistic = 0x00000005
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

	epbFlags     = 2
	epbDropCount = 4
	epbPacketID  = 5
	epbQueue     = 6

	isbStart  = 2
	isbEnd    = 3
	isbIfRecv = 4
	isbIfDrop = 5
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

// ErrCut is wrapped, with [ErrFormat], by the error about a file that ends inside a record: its writer was killed, or is writing.
var ErrCut = errors.New("cut off")

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

// Section is what a section header says about all that follows it, up to the next one. A text may be cut where the format cannot carry it.
type Section struct {
	Comment     string // opt_comment: by convention the program's version and the policy revision; several of a file are read as lines
	Application string // shb_userappl
}

// Interface describes one interface of a section.
type Interface struct {
	Name        string
	Description string
	Comment     string // opt_comment; several of a file are read as lines
	LinkType    LinkType
	SnapLen     uint32 // bytes; 0 = no limit
}

// Statistics are what an interface statistics block says of one interface.
type Statistics struct {
	Interface  int       // its number in the section, from 0
	Time       time.Time // of the statement
	Start, End time.Time // isb_starttime, isb_endtime; zero: not told
	Received   uint64    // isb_ifrecv: packets, those dropped included
	Dropped    uint64    // isb_ifdrop: packets of which nothing is in the file
}

// Options are the per-packet options of an enhanced packet block. The zero value writes none.
type Options struct {
	Comments  []string
	Direction Direction
	DropCount uint64 // packets lost between this one and the one before it on its interface (epb_dropcount); 0 is not written
	PacketID  uint64 // written if HasPacketID; the same id on several interfaces ties records together
	Queue     uint32 // written if HasQueue

	HasPacketID bool
	HasQueue    bool
}
