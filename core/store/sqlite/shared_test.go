package sqlite

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/storetest"
)

// TestTwoStores: two stores on one file behave as one.
func TestTwoStores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyrotor.db")
	stores := []*Store{openAt(t, path, nil), openAt(t, path, nil)}
	if stores[0].ID() != stores[1].ID() {
		t.Fatalf("ids %v and %v", stores[0].ID(), stores[1].ID())
	}
	create(t, stores[0], "payments")

	const workers, each = 4, 10
	var wg sync.WaitGroup
	for i := range workers {
		s := stores[i%2]
		wg.Go(func() {
			for range each {
				if _, err := s.Update(t.Context(), store.Update{Name: "payments", Apply: newVersion(time.Now)}); err != nil {
					t.Error(err)
				}
				l, err := s.Acquire(t.Context(), store.LeaseRequest{Key: "payments", Owner: "p", Count: 5, TTL: time.Minute})
				if err != nil {
					t.Error(err)
				}
				if err := s.Return(t.Context(), l, 3); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				key, err := s.Key(t.Context(), "payments")
				if err != nil || key.Digest(s.ID()).String() != key.LastDigest {
					t.Errorf("read a record that is not the one of its last event: %v", err)
				}
			}
		})
	}
	wg.Wait()

	var digests []string
	for _, s := range stores {
		key, err := s.Key(t.Context(), "payments")
		if err != nil {
			t.Fatal(err)
		}
		var uses uint64
		for _, n := range key.Uses {
			uses += n
		}
		if key.Primary != 1+workers*each || uses != workers*each*3 {
			t.Errorf("primary %d, %d uses; want %d and %d", key.Primary, uses, 1+workers*each, workers*each*3)
		}
		digests = append(digests, key.LastDigest)
		if err := storetest.CheckLog(t.Context(), s); err != nil {
			t.Error(err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("digests %q", digests)
	}
}
