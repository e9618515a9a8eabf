package keyring

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

func ringWith(t *testing.T, versions uint32) (*Ring, *Record) {
	t.Helper()
	rec := newTestRecord()
	for n := uint32(1); n <= versions; n++ {
		if err := rec.AddVersion(newTestVersion(n)); err != nil {
			t.Fatal(err)
		}
		if err := rec.SetPrimary(n, time.UnixMicro(1)); err != nil {
			t.Fatal(err)
		}
	}
	return NewRing(rec), rec
}

func cloneRecord(r *Record) *Record {
	next := *r
	next.Versions = append([]Version(nil), r.Versions...)
	return &next
}

func TestRingKeepsOpenedVersions(t *testing.T) {
	ring, rec := ringWith(t, 2)
	c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: 1, Algorithm: AES256GCM}, rec.Name)
	if got, err := ring.Opener(1); got != nil || err != nil {
		t.Fatalf("not opened yet: %v, %v", got, err)
	}
	if err := ring.SetCipher(c); err != nil {
		t.Fatal(err)
	}
	next := cloneRecord(rec)
	if err := next.AddVersion(newTestVersion(5)); err != nil { // 3 and 4 were skipped
		t.Fatal(err)
	}
	ring.Update(next)
	if got, err := ring.Opener(1); got != c || err != nil {
		t.Errorf("after an update: %v, %v", got, err)
	}
	for _, n := range []uint32{0, 3, 4, 6, 1 << 31} {
		if _, err := ring.Opener(n); !errors.Is(err, ErrUnknownVersion) {
			t.Errorf("version %d: %v", n, err)
		}
	}
	suspended := cloneRecord(next)
	if err := suspended.SetState(1, Suspended, time.UnixMicro(2)); err != nil {
		t.Fatal(err)
	}
	ring.Update(suspended)
	for range 2 {
		if got, err := ring.Opener(1); got != nil || !errors.Is(err, ErrState) {
			t.Errorf("suspended: %v, %v", got, err)
		}
		if err := ring.SetCipher(c); !errors.Is(err, ErrState) { // of an unwrap that arrived late
			t.Errorf("opening a suspended version: %v", err)
		}
	}
}

// TestRingSharesNoPlace: views share slots as long as one continues the other, and
// no version gets what was opened for another one that stood in its place.
func TestRingSharesNoPlace(t *testing.T) {
	ring, rec := ringWith(t, 3)
	for n := uint32(1); n <= 3; n++ {
		if err := ring.SetCipher(mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: n, Algorithm: AES256GCM}, rec.Name)); err != nil {
			t.Fatal(err)
		}
	}
	var views []*view
	for _, c := range []struct{ numbers, opened []uint32 }{
		{[]uint32{1, 2, 3, 4}, []uint32{1, 2, 3}},
		{[]uint32{1, 2, 3}, []uint32{1, 2, 3}},
		{[]uint32{1, 2, 3, 5}, []uint32{1, 2, 3}},
		{[]uint32{1, 2, 9}, []uint32{1, 2}},
		{[]uint32{1, 2}, []uint32{1, 2}},
		{[]uint32{1, 2, 7, 8}, []uint32{1, 2}},
		{[]uint32{1, 2, 3}, []uint32{1, 2}},
	} {
		next := cloneRecord(rec)
		next.Versions = nil
		for _, n := range c.numbers {
			v := newTestVersion(n)
			v.State = Deactivated
			next.Versions = append(next.Versions, v)
		}
		ring.Update(next)
		for n := uint32(1); n <= 9; n++ {
			got, err := ring.Opener(n)
			if opened := slices.Contains(c.opened, n); (got != nil) != opened || got != nil && got.Version() != n {
				t.Errorf("%v: version %d: %v; opened before: %v", c.numbers, n, got, opened)
			}
			if there := slices.Contains(c.numbers, n); there != (err == nil) || !there && !errors.Is(err, ErrUnknownVersion) {
				t.Errorf("%v: version %d: %v", c.numbers, n, err)
			}
			if hot := ring.Opened(n); hot != nil && hot != got {
				t.Errorf("%v: version %d is %v, and %v on the hot path", c.numbers, n, got, hot)
			}
		}
		views = append(views, ring.view.Load())
	}
	for _, v := range views {
		for i, s := range v.slots {
			if s.number != v.record.Versions[i].Number {
				t.Errorf("a former view was changed: version %d is at the place of %d", s.number, v.record.Versions[i].Number)
			}
		}
	}
}

// TestRingMinimum: raising the minimum closes versions that were open.
func TestRingMinimum(t *testing.T) {
	ring, rec := ringWith(t, 2)
	c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: 1, Algorithm: AES256GCM}, rec.Name)
	if err := ring.SetCipher(c); err != nil || ring.Opened(1) != c {
		t.Fatalf("not open: %v", err)
	}
	raised := cloneRecord(rec)
	raised.Settings.MinDecryptVersion = 2
	ring.Update(raised)
	if got, err := ring.Opener(1); got != nil || ring.Opened(1) != nil || !errors.Is(err, ErrState) {
		t.Errorf("below the minimum: %v, %v", got, err)
	}
}

func TestRingDropsSealerOfFormerPrimary(t *testing.T) {
	ring, rec := ringWith(t, 1)
	c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: 1, Algorithm: AES256GCM}, rec.Name)
	if err := ring.SetCipher(c); err != nil {
		t.Fatal(err)
	}
	both := func(there bool) {
		t.Helper()
		for _, p := range []Purpose{Encrypting, Reencrypting} {
			if (ring.Sealer(p) != nil) != there {
				t.Errorf("purpose %d: a sealer is there: %v", p, !there)
			}
		}
	}
	ring.SetSealer(Encrypting, NewSealer(c, 10))
	if ring.Sealer(Reencrypting) != nil {
		t.Error("uses for encryption are there for re-encryption")
	}
	ring.SetSealer(Reencrypting, NewSealer(c, 10))
	ring.Update(cloneRecord(rec)) // changes nothing
	both(true)
	ring.DropSealers()
	both(false)
	for _, p := range []Purpose{Encrypting, Reencrypting} {
		ring.SetSealer(p, NewSealer(c, 10))
	}
	next := cloneRecord(rec)
	if err := next.AddVersion(newTestVersion(2)); err != nil {
		t.Fatal(err)
	}
	if err := next.SetPrimary(2, time.UnixMicro(2)); err != nil {
		t.Fatal(err)
	}
	ring.Update(next)
	both(false)
	for _, p := range []Purpose{Encrypting, Reencrypting} {
		ring.SetSealer(p, NewSealer(c, 10)) // of a lease that arrived late
	}
	both(false)
}

// TestRingDropCipher: a version that was closed neither decrypts nor encrypts, and a
// lease that arrives late does not bring it back.
func TestRingDropCipher(t *testing.T) {
	ring, rec := ringWith(t, 2)
	var opened []*Cipher
	for n := uint32(1); n <= 2; n++ {
		c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: n, Algorithm: AES256GCM}, rec.Name)
		if err := ring.SetCipher(c); err != nil {
			t.Fatal(err)
		}
		opened = append(opened, c)
	}
	ring.SetSealer(Reencrypting, NewSealer(opened[1], 10))
	ring.DropCipher(1)
	ring.DropCipher(7)
	if got, err := ring.Opener(1); got != nil || err != nil || ring.Opened(1) != nil {
		t.Errorf("closed: %v, %v", got, err)
	}
	if ring.Opened(2) == nil || ring.Sealer(Reencrypting) == nil {
		t.Error("another version was closed, too")
	}
	ring.DropCipher(2)
	if ring.Sealer(Reencrypting) != nil {
		t.Error("a closed version encrypts")
	}
	ring.SetSealer(Reencrypting, NewSealer(opened[1], 10))
	if ring.Sealer(Reencrypting) != nil {
		t.Error("a closed version encrypts again")
	}
	if err := ring.SetCipher(opened[1]); err != nil {
		t.Fatal(err)
	}
	if ring.SetSealer(Reencrypting, NewSealer(opened[1], 10)); ring.Sealer(Reencrypting) == nil || ring.Opened(2) == nil {
		t.Error("what was opened again does not work")
	}
}

// TestRingDropRaces: a lease that arrives at the moment in which its version is closed
// is not kept.
func TestRingDropRaces(t *testing.T) {
	_, rec := ringWith(t, 1)
	c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: 1, Algorithm: AES256GCM}, rec.Name)
	for range 20_000 {
		ring := NewRing(rec)
		if err := ring.SetCipher(c); err != nil {
			t.Fatal(err)
		}
		start := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			<-start
			ring.SetSealer(Encrypting, NewSealer(c, 10))
		})
		wg.Go(func() {
			<-start
			ring.DropCipher(1)
		})
		close(start)
		wg.Wait()
		if ring.Sealer(Encrypting) != nil {
			t.Fatal("a closed version encrypts")
		}
	}
}

// TestRingLetsGo: a version that decrypts nothing more is not kept in memory, whenever
// its unwrap arrives.
func TestRingLetsGo(t *testing.T) {
	_, rec := ringWith(t, 1)
	c := mustCipher(t, GenerateRoot(), Binding{Key: rec.ID, Version: 1, Algorithm: AES256GCM}, rec.Name)
	suspended := cloneRecord(rec)
	if err := suspended.SetState(1, Suspended, time.UnixMicro(2)); err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		ring := NewRing(rec)
		start := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			<-start
			_ = ring.SetCipher(c) // refused or not
		})
		wg.Go(func() {
			<-start
			ring.Update(suspended)
		})
		close(start)
		wg.Wait()
		if kept := ring.view.Load().slots[0].cipher.Load(); kept != nil {
			t.Fatal("the cipher of a suspended version is kept")
		}
	}
}
