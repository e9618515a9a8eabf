package keyring

import (
	"errors"
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
	ring.SetSealer(NewSealer(c, 10))
	ring.Update(cloneRecord(rec))
	if ring.Sealer() == nil {
		t.Fatal("an update that changed nothing took the sealer away")
	}
	next := cloneRecord(rec)
	if err := next.AddVersion(newTestVersion(2)); err != nil {
		t.Fatal(err)
	}
	if err := next.SetPrimary(2, time.UnixMicro(2)); err != nil {
		t.Fatal(err)
	}
	ring.Update(next)
	if ring.Sealer() != nil {
		t.Error("the former primary still encrypts")
	}
	ring.SetSealer(NewSealer(c, 10)) // of a lease that arrived late
	if ring.Sealer() != nil {
		t.Error("the former primary encrypts again")
	}
}
