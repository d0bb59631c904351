package conntrack

// Memory is where a table takes its large arrays from, as its owner arranges it: on huge pages, for instance, which make a look-up among
// millions of flows faster because the processor finds what is where at once. Each function returns a zeroed piece that is at least as long
// in one place as the table lives and that nobody else has, or nil: then the table takes one from Go's heap. Pieces are free of pointers,
// so they need not be memory that Go's garbage collector knows. A table calls them on the goroutine that it belongs to, each time that it
// grows, and gives nothing back.
type Memory interface {
	Flows() *FlowPiece
	Prefixes() *PrefixPiece
	Index() *IndexPiece
	Timers() *TimerPiece
	Extras() *ExtrasPiece
}

// Kinds of pieces. Who makes them needs to know nothing of them but their size, and that they begin at a multiple of PieceAlign.
type (
	// PrefixPiece is what a FlowPiece has beside it where its flows are not IPv4.
	PrefixPiece [chunkSize]prefix
	// IndexPiece is a part of the index by which flows are found.
	IndexPiece [blockSegments]segment
	// TimerPiece is a part of the timer wheel.
	TimerPiece = poolPiece[timers]
	// ExtrasPiece holds what some flows have beside their records.
	ExtrasPiece = poolPiece[extras]
)

// PieceAlign is what the address of a piece should be a multiple of, in bytes: two lines of a cache, which processors fetch together.
const PieceAlign = 128

// heap is no Memory: everything comes from Go's heap.
type heap struct{}

func (heap) Flows() *FlowPiece      { return nil }
func (heap) Prefixes() *PrefixPiece { return nil }
func (heap) Index() *IndexPiece     { return nil }
func (heap) Timers() *TimerPiece    { return nil }
func (heap) Extras() *ExtrasPiece   { return nil }

// orHeap returns a piece that a Memory gave, or one of the heap where it gave none.
func orHeap[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}
