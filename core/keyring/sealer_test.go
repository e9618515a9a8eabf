package keyring

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// sizes of grants, around each number of cells that behaves differently.
var sizes = []uint64{0, 1, 63, 64, 2*minCell - 1, 2 * minCell, 2*minCell + 1, 7*minCell + 3, maxCells*minCell - 1, maxCells * minCell, 3*maxCells*minCell + 17}

// TestSealerGivesOutAll: one caller gets every use of a grant, and not one more, and
// is refused at no cost.
func TestSealerGivesOutAll(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	for _, granted := range sizes {
		for _, n := range []uint64{1, 3, 64} {
			s := NewSealer(c, granted)
			var taken uint64
			for s.Take(n) == c {
				taken++
			}
			if taken != granted/n {
				t.Errorf("%d times %d of %d uses were given out, want %d times", taken, n, granted, granted/n)
			}
			if spent := s.Revoke(); spent != n*taken {
				t.Errorf("%d times %d of %d were given out, and %d are spent", taken, n, granted, spent)
			}
		}
	}
}

// TestSealerRevoke: what was not taken comes back, from every cell.
func TestSealerRevoke(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	for _, granted := range sizes {
		for taken := range min(granted, 2000) {
			if taken%97 != 0 {
				continue
			}
			s := NewSealer(c, granted)
			for range taken {
				s.Take(1)
			}
			if spent := s.Revoke(); spent != taken {
				t.Fatalf("%d of %d were taken, and %d are spent", taken, granted, spent)
			}
			if s.Take(1) != nil {
				t.Fatal("a revoked sealer gives out uses")
			}
			if spent := s.Revoke(); spent != granted {
				t.Fatalf("revoked twice: %d of %d", spent, granted)
			}
		}
	}
}

// TestSealerCollects: what idle goroutines left in their cells is there for others.
func TestSealerCollects(t *testing.T) {
	const granted, goroutines, each = maxCells * minCell, 100, 50
	c := newTestCipher(t, AES256GCM)
	s := NewSealer(c, granted)
	takeTogether(s, goroutines, each, 1)
	for n := uint64(goroutines * each); n < granted; n++ {
		if s.Take(1) == nil {
			t.Fatalf("refused after %d of %d", n, granted)
		}
	}
	if s.Take(1) != nil {
		t.Error("more were given out than granted")
	}
}

// TestSealerSpreads: goroutines that encrypt at the same time count apart.
func TestSealerSpreads(t *testing.T) {
	s := NewSealer(newTestCipher(t, AES256GCM), maxCells*minCell)
	takeTogether(s, 8, 2*minCell, 1)
	homes := make(map[uint32]bool)
	for i := range s.homes {
		homes[s.homes[i].Load()] = true
	}
	if len(homes) < 4 { // of 9: none, and one each unless stacks fall together
		t.Errorf("8 goroutines have %d cells", len(homes)-1)
	}
}

// TestSealerMovesOn: who has spent a cell goes to one that is nobody's, stays
// there, and goes to what others left only when there is none.
func TestSealerMovesOn(t *testing.T) {
	s := NewSealer(newTestCipher(t, AES256GCM), 4*minCell)
	a, b := &s.homes[5], &s.homes[7]
	want := func(what string, homes [2]uint32, left [4]int64) {
		t.Helper()
		if got := [2]uint32{a.Load(), b.Load()}; got != homes {
			t.Errorf("%s: homes %v, want %v", what, got, homes)
		}
		for i := range s.cells {
			if got := s.cells[i].left.Load(); got != left[i] {
				t.Errorf("%s: cell %d has %d, want %d", what, i, got, left[i])
			}
		}
	}
	collect := func(h *atomic.Uint32, n int64, ok bool) {
		t.Helper()
		if s.collect(h, n) != ok {
			t.Errorf("collecting %d: %v", n, !ok)
		}
	}
	s.cells[0].take(minCell - 1)
	collect(a, 1, true)
	collect(b, 2, true)
	want("fresh cells", [2]uint32{1, 2}, [4]int64{1, minCell - 1, minCell - 2, minCell})
	collect(a, 1, true)
	want("the last fresh cell", [2]uint32{3, 2}, [4]int64{1, minCell - 1, minCell - 2, minCell - 1})
	collect(a, minCell+1, true)
	want("what others left", [2]uint32{2, 2}, [4]int64{-minCell, -1, minCell - 3, minCell - 1})
}

// takeTogether has goroutines that exist at the same time take n uses each so many
// times, and answers how many Takes succeeded.
func takeTogether(s *Sealer, goroutines, times int, n uint64) (taken uint64) {
	var ok atomic.Uint64
	var ready, done sync.WaitGroup
	ready.Add(goroutines)
	for range goroutines {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			for range times {
				if s.Take(n) != nil {
					ok.Add(1)
				}
			}
		})
	}
	done.Wait()
	return ok.Load()
}

// TestSealerUnderFire: whoever takes how much at the same time as whoever revokes,
// no more is given out than granted, and what was given out is spent.
func TestSealerUnderFire(t *testing.T) {
	c := newTestCipher(t, AES256GCM)
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.SampledFrom(sizes).Draw(t, "granted")
		takers := rapid.SliceOfN(rapid.SampledFrom([]uint64{1, 1, 1, 3, 64}), 1, 6).Draw(t, "takers")
		times := rapid.IntRange(1, 3000).Draw(t, "times")
		revoke := rapid.Bool().Draw(t, "revoke meanwhile")

		s := NewSealer(c, granted)
		var taken, lost atomic.Uint64 // lost at most, by who was refused
		refused := make([]bool, len(takers))
		var spent uint64
		var wg sync.WaitGroup
		for i, n := range takers {
			wg.Go(func() {
				for range times {
					if s.Take(n) != nil {
						taken.Add(n)
					} else {
						lost.Add(n - 1)
						refused[i] = true
					}
				}
			})
		}
		if revoke {
			spent = s.Revoke()
		}
		wg.Wait()
		if !revoke {
			spent = s.Revoke()
		}
		if spent > granted || taken.Load() > spent || spent > taken.Load()+lost.Load() {
			t.Fatalf("%d taken, %d spent of %d, by who was refused %d at most", taken.Load(), spent, granted, lost.Load())
		}
		for i, n := range takers {
			if refused[i] && !revoke && granted-spent >= n {
				t.Fatalf("%d at a time were refused, and %d of %d are left", n, granted-spent, granted)
			}
		}
	})
}
