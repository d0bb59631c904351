package conntrack

const (
	poolBits = 8
	poolSize = 1 << poolBits
)

// pool holds values by number, without pointers to them, in pieces that never move.
type pool[T any] struct {
	pieces []*poolPiece[T]
	piece  func() *poolPiece[T] // as of a Memory; nil for the heap
	used   uint32
	free   uint32 // the last that was put back, plus one; 0 for none
}

type poolPiece[T any] struct {
	value [poolSize]T
	next  [poolSize]uint32
}

func (p *pool[T]) at(i uint32) *T { return &p.pieces[i>>poolBits].value[i&(poolSize-1)] }

// take returns the number of a value that nobody has.
func (p *pool[T]) take() uint32 {
	if p.free != 0 {
		i := p.free - 1
		p.free = p.pieces[i>>poolBits].next[i&(poolSize-1)]
		return i
	}
	if p.used == uint32(len(p.pieces))*poolSize {
		var piece *poolPiece[T]
		if p.piece != nil {
			piece = p.piece()
		}
		p.pieces = append(p.pieces, orHeap(piece))
	}
	p.used++
	return p.used - 1
}

// put gives a value back.
func (p *pool[T]) put(i uint32) {
	p.pieces[i>>poolBits].next[i&(poolSize-1)] = p.free
	p.free = i + 1
}
