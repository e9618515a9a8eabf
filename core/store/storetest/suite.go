// Package storetest is the suite that every store passes, so that an engine is a
// matter of speed and operation and never of meaning.
package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// Open makes a new, empty store that tells the time by now. It closes the store
// when the test ends.
type Open func(t *testing.T, now func() time.Time) store.Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*suite){
		"Clock":                testClock,
		"CreateAndRead":        testCreateAndRead,
		"UnknownKey":           testUnknownKey,
		"KeyExists":            testKeyExists,
		"UpdateAll":            testUpdateAll,
		"UpdateFails":          testUpdateFails,
		"UpdateRefused":        testUpdateRefused,
		"UpdateLeavesCaller":   testUpdateLeavesCaller,
		"Destroy":              testDestroy,
		"States":               testStates,
		"Revision":             testRevision,
		"Digest":               testDigest,
		"Claims":               testClaims,
		"ClaimReplaced":        testClaimReplaced,
		"ClaimKept":            testClaimKept,
		"ClaimRenewed":         testClaimRenewed,
		"Fence":                testFence,
		"FenceLostByTakeover":  testFenceLostByTakeover,
		"FenceLostByTime":      testFenceLostByTime,
		"RacingClaims":         testRacingClaims,
		"Leases":               testLeases,
		"LeaseExpires":         testLeaseExpires,
		"LeaseLimit":           testLeaseLimit,
		"LeaseNeedsPrimary":    testLeaseNeedsPrimary,
		"RacingLeases":         testRacingLeases,
		"EventFilters":         testEventFilters,
		"EventPages":           testEventPages,
		"EventsCarryTheRecord": testEventsCarryTheRecord,
		"EventRefused":         testEventRefused,
		"EventsOfNoKey":        testEventsOfNoKey,
		"Attempts":             testAttempts,
		"Leased":               testLeased,
		"Held":                 testHeld,
		"LeasesGoBack":         testBack,
		"Reencrypting":         testReencrypting,
		"Facts":                testFacts,
		"DueSlots":             testDueSlots,
		"PolicyChecks":         testPolicyChecks,
		"Feed":                 testFeed,
		"Subscribers":          testSubscribers,
		"Route":                testRoute,
		"Heads":                testHeads,
		"Hold":                 testHold,
		"Settle":               testSettle,
		"Sweep":                testSweep,
		"RacingDeliverers":     testRacingDeliverers,
		"Root":                 testRoot,
		"Prune":                testPrune,
		"PruneAgain":           testPruneAgain,
		"PruneKeeps":           testPruneKeeps,
		"PruneOutages":         testPruneOutages,
		"PruneUnrouted":        testPruneUnrouted,
		"PruneUnordered":       testPruneUnordered,
		"PruneName":            testPruneName,
		"RacingPrunes":         testRacingPrunes,
		"RacingUpdates":        testRacingUpdates,
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)}
			test(&suite{T: t, Store: open(t, c.Now), clock: c})
		})
	}
}

// suite is one test with a store of its own.
type suite struct {
	*testing.T
	store.Store
	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func testClock(s *suite) {
	s.clock.Advance(time.Hour)
	if now, err := s.Now(s.Context()); err != nil || !now.Equal(s.clock.Now()) {
		s.Errorf("the store's clock says %s, %v; want %s", now, err, s.clock.Now())
	}
}

// create makes a key with one active version.
func (s *suite) create(name string) store.Key {
	s.Helper()
	key, err := s.Update(s.Context(), store.Update{Name: name, Create: true, Apply: func(r *keyring.Record) ([]history.Event, error) {
		*r = s.newRecord(name)
		return []history.Event{{Type: history.Creation, Actor: "alice@host", Operation: "op-create", Version: 1, Reason: "initial"}}, nil
	}})
	if err != nil {
		s.Fatal(err)
	}
	return key
}

func (s *suite) newRecord(name string) keyring.Record {
	now := s.clock.Now()
	r := keyring.Record{
		ID: keyID(name), Name: name, Created: now,
		Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: 1000, WrapWith: []string{"local", "vault"}},
	}
	s.addVersion(&r)
	return r
}

// keyID is an id that only this name has.
func keyID(name string) keyring.KeyID {
	h := tlog.RecordHash([]byte(name))
	return keyring.KeyID(h[:16])
}

// addVersion appends a version and makes it primary, as a rotation does.
func (s *suite) addVersion(r *keyring.Record) {
	s.Helper()
	now, n := s.clock.Now(), r.NextVersion()
	err := r.AddVersion(keyring.Version{
		Number: n, Label: keyring.VersionLabel(n), Algorithm: keyring.AES256GCM,
		Created: now, Reason: keyring.ReasonManual, KCV: keyring.KCV{byte(n), 2, 3},
		Wraps: []keyring.Wrap{
			{Provider: "local", KEKID: "file/1", KEKVersion: "1", Blob: []byte{1, 2, byte(n)}, Created: now},
			{Provider: "vault", KEKID: "transit/keys/k", Blob: []byte{9, 0, byte(n)}, Created: now},
		},
	})
	if err != nil {
		s.Fatal(err)
	}
	if err := r.SetPrimary(n, now); err != nil {
		s.Fatal(err)
	}
}

// change runs an update that must succeed, with one event that says so.
func (s *suite) change(name string, apply func(*keyring.Record)) store.Key {
	s.Helper()
	key, err := s.Update(s.Context(), store.Update{Name: name, Apply: func(r *keyring.Record) ([]history.Event, error) {
		apply(r)
		return []history.Event{{Type: history.ConfigChange, Operation: "op-change"}}, nil
	}})
	if err != nil {
		s.Fatal(err)
	}
	return key
}

// key reads a key that must exist.
func (s *suite) key(name string) store.Key {
	s.Helper()
	key, err := s.Key(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	return key
}

// events reads the whole history, oldest first.
func (s *suite) events() (decoded []history.Event, raw [][]byte) {
	s.Helper()
	q := history.Query{Limit: store.MaxEvents}
	var newestFirst []json.RawMessage
	for {
		page, err := s.Events(s.Context(), q)
		if err != nil {
			s.Fatal(err)
		}
		newestFirst = append(newestFirst, page.Events...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	for _, b := range slices.Backward(newestFirst) {
		e, err := history.Decode(b)
		if err != nil {
			s.Fatal(err)
		}
		decoded, raw = append(decoded, e), append(raw, b)
	}
	return decoded, raw
}

// checkRoot compares the store's root with that of a tree built from the bytes.
func (s *suite) checkRoot() {
	s.Helper()
	if err := CheckLog(s.Context(), s.Store); err != nil {
		s.Error(err)
	}
}

// count asserts the uses of a version.
func (s *suite) count(name string, version uint32, want uint64) {
	s.Helper()
	if got := s.key(name).Uses[version]; got != want {
		s.Errorf("version %d of %q has %d uses, want %d", version, name, got, want)
	}
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s%d", prefix, i) }
