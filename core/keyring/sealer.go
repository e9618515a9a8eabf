package keyring

import (
	"sync/atomic"
	"unsafe"
)

const (
	// maxCells is how many counters a grant is spread over at most.
	maxCells = 1 << cellBits
	cellBits = 6
	// minCell is the fewest uses for which a counter of their own pays.
	minCell = 256
)

// Purpose is what uses are for. They are leased, spent and counted apart.
type Purpose int

const (
	// Encrypting is of new values.
	Encrypting Purpose = iota
	// Reencrypting is of values that were encrypted before.
	Reencrypting
	purposes
)

// Sealer is a version's cipher with a number of uses that the store granted.
//
// Every encryption counts, and one counter would be passed from core to core at
// each. So a large grant is spread over cells, and each goroutine counts in one of
// them for as long as that lasts. Uses never move between cells: at any moment what
// the cells hold is what is left, to the last one.
type Sealer struct {
	cipher  *Cipher
	granted uint64
	cells   []cell
	// homes say in which cell a goroutine counts; goroutines share a home by chance.
	homes [maxCells]atomic.Uint32
	// fresh is the first cell that is no goroutine's home yet.
	fresh atomic.Uint32
}

// cell is a counter, alone on a cache line: what one core writes here slows down
// no other.
type cell struct {
	left atomic.Int64 // below zero is none, too
	_    [56]byte
}

// NewSealer grants uses of c.
func NewSealer(c *Cipher, uses uint64) *Sealer {
	n := min(max(uses/minCell, 1), maxCells)
	s := &Sealer{cipher: c, granted: uses, cells: make([]cell, n)}
	for i := range s.cells {
		s.cells[i].left.Store(int64(uses / n))
	}
	s.cells[0].left.Add(int64(uses % n))
	s.fresh.Store(1)
	return s
}

// Take uses up n and answers the cipher to encrypt with, or nil if fewer are left. A
// Take that is refused because another one came in between spends what it got.
func (s *Sealer) Take(n uint64) *Cipher {
	want := int64(n)
	if want > 1 && s.left() < want {
		return nil
	}
	h := home(&s.homes)
	if want -= s.cells[h.Load()].take(want); want > 0 && !s.collect(h, want) {
		return nil
	}
	return s.cipher
}

// collect takes what the cell at h had no more of: from cells that are nobody's
// home, then from what is left in any. Where it ends is the new home.
func (s *Sealer) collect(h *atomic.Uint32, want int64) bool {
	for i := s.nextFresh(); i < len(s.cells); i = s.nextFresh() {
		if want -= s.cells[i].take(want); want == 0 {
			h.Store(uint32(i))
			return true
		}
	}
	for i := range s.cells {
		if s.cells[i].left.Load() <= 0 {
			continue
		}
		if want -= s.cells[i].take(want); want == 0 {
			h.Store(uint32(i))
			return true
		}
	}
	return false
}

// nextFresh answers the next cell that is nobody's home, len(s.cells) if there is
// none. Each is answered once.
func (s *Sealer) nextFresh() int {
	n := uint32(len(s.cells))
	if s.fresh.Load() >= n {
		return int(n)
	}
	return int(min(s.fresh.Add(1)-1, n))
}

func (s *Sealer) left() (n int64) {
	for i := range s.cells {
		n += max(s.cells[i].left.Load(), 0)
	}
	return n
}

// Revoke ends the grant and answers how many uses were spent of it, an
// encryption that is under way included.
func (s *Sealer) Revoke() (spent uint64) {
	spent = s.granted
	for i := range s.cells {
		spent -= uint64(max(s.cells[i].left.Swap(0), 0))
	}
	return spent
}

// take takes up to n and answers how many there were.
func (c *cell) take(n int64) int64 {
	before := c.left.Add(-n) + n
	return max(min(before, n), 0)
}

// home picks the home of the running goroutine by where its stack lies: those of
// goroutines that run at the same time differ, and nothing else about a goroutine
// is as cheap to ask. Two that fall together cost time and nothing else.
func home(homes *[maxCells]atomic.Uint32) *atomic.Uint32 {
	var here byte
	// Multiplying by 2^64 over the golden ratio spreads neighbours evenly.
	const golden = 0x9e3779b97f4a7c15
	page := uint64(uintptr(unsafe.Pointer(&here))) >> 10 //nolint:gosec // a number to hash, never followed
	return &homes[page*golden>>(64-cellBits)]
}
