package storetest

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

func testCreateAndRead(s *suite) {
	made := s.create("payments")
	s.create("backup.2026")

	got := s.key("payments")
	if !reflect.DeepEqual(got, made) {
		s.Errorf("Key answers\n%+v\nand Update answered\n%+v", got, made)
	}
	want := s.newRecord("payments")
	want.Created = want.Created.Truncate(time.Microsecond)
	if !got.Created.Equal(want.Created) || got.Created.Location() != time.UTC {
		s.Errorf("created %v, want %v in UTC", got.Created, want.Created)
	}
	if got.Digest(s.ID()) != want.Digest(s.ID()) {
		s.Errorf("the record read back differs from the one written:\n%+v\n%+v", got.Record, want)
	}
	if want := map[uint32]uint64{1: 0}; !reflect.DeepEqual(got.Uses, want) {
		s.Errorf("uses %v, want %v", got.Uses, want)
	}

	names, err := s.Names(s.Context())
	if want := []string{"backup.2026", "payments"}; err != nil || !slices.Equal(names, want) {
		s.Errorf("Names = %q, %v; want %q", names, err, want)
	}
	id := keyID("payments")
	if name, err := s.KeyName(s.Context(), [8]byte(id[:8])); err != nil || name != "payments" {
		s.Errorf("KeyName = %q, %v", name, err)
	}
	if s.ID() == (keyring.StoreID{}) {
		s.Error("the store has no id")
	}
}

func testUnknownKey(s *suite) {
	s.create("other")
	if _, err := s.Key(s.Context(), "payments"); !errors.Is(err, keyring.ErrUnknownKey) {
		s.Errorf("Key: %v", err)
	}
	if _, err := s.KeyName(s.Context(), [8]byte{1}); !errors.Is(err, keyring.ErrUnknownKey) {
		s.Errorf("KeyName: %v", err)
	}
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Apply: func(*keyring.Record) ([]history.Event, error) {
		s.Error("Apply ran for a key that does not exist")
		return nil, nil
	}})
	if !errors.Is(err, keyring.ErrUnknownKey) {
		s.Errorf("Update: %v", err)
	}
}

func testKeyExists(s *suite) {
	before := s.create("payments")
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Create: true, Apply: func(*keyring.Record) ([]history.Event, error) {
		s.Error("Apply ran for a key that exists")
		return nil, nil
	}})
	if !errors.Is(err, store.ErrKeyExists) {
		s.Errorf("Update: %v", err)
	}
	if after := s.key("payments"); !reflect.DeepEqual(after, before) {
		s.Errorf("the key changed to %+v", after)
	}
}

// testUpdateAll changes everything that may change, at once.
func testUpdateAll(s *suite) {
	s.create("payments")
	s.clock.Advance(time.Hour)
	updated := s.change("payments", func(r *keyring.Record) {
		r.Settings = keyring.Settings{Algorithm: keyring.XChaCha20Poly1305, MinDecryptVersion: 1, HardLimit: 7, WrapWith: []string{"aws"}}
		s.addVersion(r)
		s.addVersion(r)
		v := &r.Versions[0]
		v.Label, v.Reason = "legacy", keyring.ReasonEmergency
		v.Wraps = []keyring.Wrap{
			{Provider: "gcp", KEKID: "projects/p", KEKVersion: "3", Blob: []byte("new"), Created: s.clock.Now()},
			{Provider: "vault", KEKID: "transit/keys/k", KEKVersion: "2", Blob: []byte("replaced"), Created: s.clock.Now()},
		}
	})
	got := s.key("payments")
	if !reflect.DeepEqual(got, updated) {
		s.Errorf("Key answers\n%+v\nand Update answered\n%+v", got, updated)
	}
	var states []keyring.State
	for _, v := range got.Versions {
		states = append(states, v.State)
	}
	if want := []keyring.State{keyring.Deactivated, keyring.Deactivated, keyring.Active}; !slices.Equal(states, want) || got.Primary != 3 {
		s.Errorf("states %v, primary %d; want %v, primary 3", states, got.Primary, want)
	}
	var providers []string
	for _, w := range got.Versions[0].Wraps {
		providers = append(providers, w.Provider+" "+string(w.Blob))
	}
	if want := []string{"gcp new", "vault replaced"}; !slices.Equal(providers, want) {
		s.Errorf("wraps %q, want %q", providers, want)
	}
	if got.Versions[0].Label != "legacy" || got.Settings.WrapWith[0] != "aws" || got.Settings.HardLimit != 7 {
		s.Errorf("not all of the change was written: %+v", got.Record)
	}
}

func testUpdateFails(s *suite) {
	before := s.create("payments")
	size, root, err := s.Root(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	errApply := errors.New("no")
	_, err = s.Update(s.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		s.addVersion(r)
		return []history.Event{{Type: history.Rotation}}, errApply
	}})
	if !errors.Is(err, errApply) {
		s.Errorf("Update: %v, want the error of Apply", err)
	}
	if after := s.key("payments"); !reflect.DeepEqual(after, before) {
		s.Errorf("the key changed to %+v", after)
	}
	if n, r, err := s.Root(s.Context()); err != nil || n != size || r != root {
		s.Errorf("the log went from %d %v to %d %v, %v", size, root, n, r, err)
	}
}

// testUpdateRefused: whatever Apply does, some things never reach a store.
func testUpdateRefused(s *suite) {
	before := s.create("payments")
	for name, apply := range map[string]func(*keyring.Record){
		"renamed":             func(r *keyring.Record) { r.Name = "other" },
		"another id":          func(r *keyring.Record) { r.ID[0]++ },
		"another creation":    func(r *keyring.Record) { r.Created = r.Created.Add(time.Second) },
		"version removed":     func(r *keyring.Record) { r.Versions, r.Primary = nil, 0 },
		"version renumbered":  func(r *keyring.Record) { r.Versions[0].Number, r.Versions[0].Label, r.Primary = 2, "v2", 2 },
		"primary missing":     func(r *keyring.Record) { r.Versions[0].State, r.Primary = keyring.Suspended, 9 },
		"two active":          func(r *keyring.Record) { s.addVersion(r); r.Versions[0].State = keyring.Active },
		"active, not primary": func(r *keyring.Record) { r.Primary = 0 },
		"unknown state":       func(r *keyring.Record) { r.Versions[0].State, r.Primary = "retired", 0 },
		"label taken":         func(r *keyring.Record) { s.addVersion(r); r.Versions[0].Label, r.Versions[1].Label = "x", "x" },
		"versions descend":    func(r *keyring.Record) { s.addVersion(r); s.addVersion(r); slices.Reverse(r.Versions[1:]) },
		"provider twice":      func(r *keyring.Record) { r.Versions[0].Wraps[0].Provider = "vault" },
		"wraps unordered":     func(r *keyring.Record) { slices.Reverse(r.Versions[0].Wraps) },
		"empty wrap":          func(r *keyring.Record) { r.Versions[0].Wraps[0].Blob = nil },
		"no wrap left":        func(r *keyring.Record) { r.Versions[0].Wraps = nil },
		"not UTF-8":           func(r *keyring.Record) { r.Versions[0].Label = "\xff" },
		"NUL byte":            func(r *keyring.Record) { r.Settings.WrapWith = []string{"a\x00b"} },
		"no limit":            func(r *keyring.Record) { r.Settings.HardLimit = 0 },
		"limit over int64":    func(r *keyring.Record) { r.Settings.HardLimit = 1 << 63 },
		"unknown reason":      func(r *keyring.Record) { r.Versions[0].Reason = "whim" },
	} {
		_, err := s.Update(s.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
			apply(r)
			return []history.Event{{Type: history.ConfigChange}}, nil
		}})
		if !errors.Is(err, store.ErrRecord) {
			s.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Apply: func(r *keyring.Record) ([]history.Event, error) {
		s.addVersion(r)
		return nil, nil
	}})
	if !errors.Is(err, store.ErrRecord) || !strings.Contains(err.Error(), "without an event") {
		s.Errorf("a change without an event: %v", err)
	}
	for name, badRecord := range map[string]keyring.Record{
		"another name": s.newRecord("payments"),
		"no id":        func() keyring.Record { r := s.newRecord("new"); r.ID = keyring.KeyID{}; return r }(),
	} {
		_, err = s.Update(s.Context(), store.Update{Name: "new", Create: true, Apply: func(r *keyring.Record) ([]history.Event, error) {
			*r = badRecord
			return []history.Event{{Type: history.Creation}}, nil
		}})
		if !errors.Is(err, store.ErrRecord) {
			s.Errorf("created with %s: %v", name, err)
		}
	}
	if after := s.key("payments"); !reflect.DeepEqual(after, before) {
		s.Errorf("the key changed to %+v", after)
	}
	if events, _ := s.events(); len(events) != 1 {
		s.Errorf("%d events after one creation", len(events))
	}
}

// testUpdateLeavesCaller: the record is the store's own, before and after.
func testUpdateLeavesCaller(s *suite) {
	blob := []byte("blob")
	var kept *keyring.Record
	s.create("payments")
	got := s.change("payments", func(r *keyring.Record) {
		r.Versions[0].Wraps[0].Blob = blob
		kept = r
	})
	blob[0] = 'X'
	kept.Versions[0].Label = "changed later"
	if b := got.Versions[0].Wraps[0].Blob; string(b) != "blob" || got.Versions[0].Label != "v1" {
		s.Errorf("the answer shares memory with the caller: %q %q", b, got.Versions[0].Label)
	}
}

func testDestroy(s *suite) {
	s.create("payments")
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	for _, to := range []keyring.State{keyring.Quarantined, keyring.Destroyed} {
		s.change("payments", func(r *keyring.Record) {
			if err := r.SetState(1, to, s.clock.Now()); err != nil {
				s.Fatal(err)
			}
		})
	}
	got := s.key("payments")
	if len(got.Versions) != 2 || got.Versions[0].State != keyring.Destroyed || got.Versions[0].Wraps != nil {
		s.Errorf("a destroyed version keeps its row and no wrap: %+v", got.Versions)
	}
	if len(got.Versions[1].Wraps) != 2 {
		s.Errorf("the other version lost its wraps: %+v", got.Versions[1])
	}
}

// testStates: how many versions of every key are in each state.
func testStates(s *suite) {
	s.states()
	s.create("payments")
	s.create("orders")
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	s.change("orders", func(r *keyring.Record) {
		if err := r.SetState(1, keyring.Suspended, s.clock.Now()); err != nil {
			s.Fatal(err)
		}
	})
	s.states(
		store.StateCount{Key: "orders", State: keyring.Suspended, Versions: 1},
		store.StateCount{Key: "payments", State: keyring.Active, Versions: 1},
		store.StateCount{Key: "payments", State: keyring.Deactivated, Versions: 2},
	)
}

func (s *suite) states(want ...store.StateCount) {
	s.Helper()
	if got, err := s.States(s.Context()); err != nil || !slices.Equal(got, want) {
		s.Errorf("states %+v, %v, want %+v", got, err, want)
	}
}

func testRevision(s *suite) {
	revision := func() uint64 {
		s.Helper()
		n, err := s.Revision(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		return n
	}
	empty := revision()
	s.create("payments")
	created := revision()
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	changed := revision()
	if created <= empty || changed <= created {
		s.Errorf("revisions %d, %d, %d do not grow", empty, created, changed)
	}
	if _, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: "p1", Count: 1, TTL: time.Minute}); err != nil {
		s.Fatal(err)
	}
	if n := revision(); n != changed {
		s.Errorf("a lease moved the revision from %d to %d, and every process would read its keys again", changed, n)
	}
}

// testRacingUpdates: none is lost, and the log stays whole.
func testRacingUpdates(s *suite) {
	const workers, each = 4, 8
	var names []string
	for i := range 2 {
		names = append(names, numbered("key-", i))
		s.create(names[i])
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				_, err := s.Update(s.Context(), store.Update{Name: names[i%2], Apply: func(r *keyring.Record) ([]history.Event, error) {
					s.addVersion(r)
					return []history.Event{{Type: history.Creation}, {Type: history.Rotation}}, nil
				}})
				if err != nil {
					s.Error(err)
				}
				if _, err := s.Key(s.Context(), names[i%2]); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		key := s.key(name)
		if want := uint32(1 + workers/2*each); key.Primary != want || len(key.Versions) != int(want) {
			s.Errorf("%s: primary %d of %d versions, want %d", name, key.Primary, len(key.Versions), want)
		}
		if key.Digest(s.ID()).String() != key.LastDigest {
			s.Errorf("%s: the record is not the one of its last event", name)
		}
	}
	s.checkRoot()
}
