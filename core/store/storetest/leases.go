package storetest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

func (s *suite) acquire(count uint64) store.Lease {
	s.Helper()
	l, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: "p1", Count: count, TTL: time.Minute})
	if err != nil {
		s.Fatal(err)
	}
	return l
}

func (s *suite) giveBack(l store.Lease, used uint64) {
	s.Helper()
	if err := s.Return(s.Context(), l, used); err != nil {
		s.Fatal(err)
	}
}

func testLeases(s *suite) {
	s.create("payments")
	l := s.acquire(64)
	want := store.Lease{
		ID: l.ID, Key: "payments", Version: 1, Count: 64,
		Expires: s.clock.Now().Truncate(time.Microsecond).Add(time.Minute), Uses: 64,
	}
	if l != want {
		s.Errorf("Acquire = %+v, want %+v", l, want)
	}
	other := s.acquire(10)
	s.count("payments", 1, 74) // what is out counts as used

	s.giveBack(l, 5)
	s.count("payments", 1, 15)
	s.giveBack(l, 64) // returned before: changes nothing
	s.count("payments", 1, 15)
	if err := s.Return(s.Context(), other, 11); err == nil {
		s.Error("more uses were returned than granted")
	}
	s.count("payments", 1, 15)
	s.giveBack(other, 10)
	s.count("payments", 1, 15)

	// The next lease is not ended by one that was returned.
	next := s.acquire(7)
	s.giveBack(other, 0)
	s.count("payments", 1, 22)

	// Uses stay with their version.
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	s.count("payments", 1, 22)
	s.count("payments", 2, 0)
	s.giveBack(next, 1)
	s.count("payments", 1, 16)
	if l := s.acquire(3); l.Version != 2 {
		s.Errorf("a lease on version %d after the rotation", l.Version)
	}
	updated := s.change("payments", func(r *keyring.Record) { r.Settings.MinDecryptVersion = 1 })
	if updated.Uses[1] != 16 || updated.Uses[2] != 3 {
		s.Errorf("Update answers the uses %v", updated.Uses)
	}

	for _, r := range []store.LeaseRequest{
		{Key: "payments", Count: 1, TTL: time.Second},
		{Key: "payments", Owner: "p", TTL: time.Second},
		{Key: "payments", Owner: "p", Count: 1},
	} {
		if _, err := s.Acquire(s.Context(), r); err == nil {
			s.Errorf("incomplete request %+v was granted", r)
		}
	}
	long, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: "p1", Count: 1, TTL: time.Hour})
	if want := s.clock.Now().Truncate(time.Microsecond).Add(store.MaxLeaseTTL); err != nil || !long.Expires.Equal(want) {
		s.Errorf("a lease for an hour expires %v, want %v (%v)", long.Expires, want, err)
	}
}

// testLeaseExpires: a process that died may have used all that it held.
func testLeaseExpires(s *suite) {
	s.create("payments")
	unswept, swept := s.acquire(10), s.acquire(20)
	s.clock.Advance(time.Minute)
	s.count("payments", 1, 30)
	s.giveBack(unswept, 1) // too late
	s.count("payments", 1, 30)
	s.acquire(5)
	s.giveBack(swept, 0) // too late as well
	s.count("payments", 1, 35)
}

func testLeaseLimit(s *suite) {
	s.create("payments") // its limit is 1000
	s.giveBack(s.acquire(600), 600)
	last := s.acquire(500)
	if last.Count != 400 {
		s.Errorf("granted %d of 500 with 400 left", last.Count)
	}
	full := func() {
		s.Helper()
		_, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: "p2", Count: 1, TTL: time.Minute})
		if !errors.Is(err, keyring.ErrUsageLimit) {
			s.Errorf("at the limit: %v", err)
		}
	}
	full()
	s.giveBack(last, 399)
	if l := s.acquire(500); l.Count != 1 {
		s.Errorf("granted %d with 1 left", l.Count)
	}
	s.clock.Advance(time.Hour)
	full()
	s.count("payments", 1, 1000)

	s.change("payments", func(r *keyring.Record) { r.Settings.HardLimit = 999 }) // below what is used
	full()
	s.change("payments", func(r *keyring.Record) { r.Settings.HardLimit = keyring.MaxUses })
	if l := s.acquire(1 << 40); l.Count != keyring.MaxUses-1000 {
		s.Errorf("granted %d of the rest", l.Count)
	}
}

func testLeaseNeedsPrimary(s *suite) {
	request := store.LeaseRequest{Key: "payments", Owner: "p1", Count: 1, TTL: time.Minute}
	if _, err := s.Acquire(s.Context(), request); !errors.Is(err, keyring.ErrUnknownKey) {
		s.Errorf("no such key: %v", err)
	}
	s.create("payments")
	s.change("payments", func(r *keyring.Record) {
		if err := r.SetState(1, keyring.Suspended, s.clock.Now()); err != nil {
			s.Fatal(err)
		}
	})
	if _, err := s.Acquire(s.Context(), request); !errors.Is(err, keyring.ErrNoPrimary) {
		s.Errorf("suspended: %v", err)
	}
}

// testRacingLeases: together they never get more than there is.
func testRacingLeases(s *suite) {
	s.create("payments")
	var granted atomic.Uint64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 3 {
				l, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: numbered("p", i), Count: 70, TTL: time.Minute})
				if err != nil && !errors.Is(err, keyring.ErrUsageLimit) {
					s.Error(err)
				}
				granted.Add(l.Count)
			}
		})
	}
	wg.Wait()
	if n := granted.Load(); n != 1000 {
		s.Errorf("%d uses were granted of 1000", n)
	}
	s.count("payments", 1, 1000)
}

// testReencrypting: uses by re-encryption are part of all uses, and told apart from
// the grant to the day when nobody knows the lease any more.
func testReencrypting(s *suite) {
	s.create("payments")
	ask := store.LeaseRequest{Key: "payments", Owner: "p1", Count: 50, TTL: time.Minute, Reencrypting: true}
	lease := func() store.Lease {
		s.Helper()
		l, err := s.Acquire(s.Context(), ask)
		if err != nil {
			s.Fatal(err)
		}
		return l
	}
	s.giveBack(s.acquire(10), 10)
	back, lost := lease(), lease()
	if lost.Uses != 110 || lost.Reencrypted != 100 {
		s.Errorf("the second grant: %d uses, %d by re-encryption", lost.Uses, lost.Reencrypted)
	}
	s.reencrypted(110, 100)
	if l := s.acquire(5); l.Uses != 115 || l.Reencrypted != 100 {
		s.Errorf("a grant for encryption: %d uses, %d by re-encryption", l.Uses, l.Reencrypted)
	}
	s.giveBack(back, 20)
	s.reencrypted(85, 70)
	s.clock.Advance(time.Minute)
	s.giveBack(back, 20)  // books what has expired
	s.reencrypted(85, 70) // all of it, as the kind of uses that it was
	s.giveBack(s.acquire(1), 0)
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	s.reencrypted(85, 70)
	if facts, err := s.Facts(s.Context(), "payments"); err != nil || facts[0].Uses != 0 || facts[0].Reencrypted != 0 {
		s.Errorf("facts of the new primary: %+v, %v", facts, err)
	}
}

// reencrypted compares what is known of the first version of payments.
func (s *suite) reencrypted(uses, part uint64) {
	s.Helper()
	k := s.key("payments")
	if k.Uses[1] != uses || k.Reencrypted[1] != part {
		s.Errorf("%d uses, %d by re-encryption, want %d and %d", k.Uses[1], k.Reencrypted[1], uses, part)
	}
	facts, err := s.Facts(s.Context(), "payments")
	if err != nil || len(facts) != 1 {
		s.Fatalf("facts %+v, %v", facts, err)
	}
	if f := facts[0]; f.Version == 1 && (f.Uses != uses || f.Reencrypted != part) {
		s.Errorf("the facts say %d uses, %d by re-encryption, want %d and %d", f.Uses, f.Reencrypted, uses, part)
	}
}

// testLeased: what is out on lease is told by version, and until it expires.
func testLeased(s *suite) {
	s.create("payments")
	first := s.acquire(64)
	s.acquire(10)
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	s.acquire(7)
	s.leased(1, 74)
	s.leased(2, 7)
	s.leased(3, 0)
	s.giveBack(first, 5)
	s.leased(1, 10)
	s.clock.Advance(time.Minute)
	s.leased(1, 0)
	s.leased(2, 0)
	s.count("payments", 1, 15) // expired leases count as used
}

func (s *suite) leased(version uint32, want uint64) {
	s.Helper()
	if got, err := s.Leased(s.Context(), "payments", version); err != nil || got != want {
		s.Errorf("out on lease of version %d: %d, %v, want %d", version, got, err, want)
	}
}

// testHeld: what is out is told by version and process.
func testHeld(s *suite) {
	s.create("payments")
	ask := func(owner string, count uint64, reencrypting bool, ttl time.Duration) store.Lease {
		s.Helper()
		l, err := s.Acquire(s.Context(), store.LeaseRequest{Key: "payments", Owner: owner, Count: count, TTL: ttl, Reencrypting: reencrypting})
		if err != nil {
			s.Fatal(err)
		}
		return l
	}
	ask("p2", 10, false, time.Minute)
	first := ask("p1", 20, false, time.Minute)
	last := ask("p1", 5, true, 2*time.Minute)
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	next := ask("p1", 3, true, time.Minute)
	held := func(want ...store.Holding) {
		s.Helper()
		if got, err := s.Held(s.Context(), "payments"); err != nil || !slices.Equal(got, want) {
			s.Errorf("held are %+v, %v, want %+v", got, err, want)
		}
	}
	held(
		store.Holding{Version: 1, Owner: "p1", Leases: 2, Uses: 25, Reencrypting: 5, Expires: last.Expires},
		store.Holding{Version: 1, Owner: "p2", Leases: 1, Uses: 10, Expires: first.Expires},
		store.Holding{Version: 2, Owner: "p1", Leases: 1, Uses: 3, Reencrypting: 3, Expires: next.Expires},
	)
	s.giveBack(first, 20)
	s.clock.Advance(time.Minute)
	held(store.Holding{Version: 1, Owner: "p1", Leases: 1, Uses: 5, Reencrypting: 5, Expires: last.Expires})
	if got, err := s.Held(s.Context(), "nothing"); err != nil || len(got) > 0 {
		s.Errorf("of a key that does not exist %+v, %v are held", got, err)
	}
}

// testBack: a request gives leases back in the same step, before it is granted or not.
func testBack(s *suite) {
	s.create("payments") // its limit is 1000
	ask := store.LeaseRequest{Key: "payments", Owner: "p1", Count: 50, TTL: time.Minute, Reencrypting: true}
	reencrypting, err := s.Acquire(s.Context(), ask)
	if err != nil {
		s.Fatal(err)
	}
	all := s.acquire(1000)
	if all.Count != 950 {
		s.Errorf("granted %d with 950 left", all.Count)
	}
	ask.Back = []store.Returned{{Lease: all, Used: 951}}
	if _, err := s.Acquire(s.Context(), ask); err == nil {
		s.Error("more uses were returned than granted")
	}
	s.leased(1, 1000)
	ask.Back = []store.Returned{{Lease: all, Used: 900}, {Lease: reencrypting, Used: 20}}
	l, err := s.Acquire(s.Context(), ask)
	if err != nil || l.Count != 50 || l.Uses != 970 || l.Reencrypted != 70 {
		s.Errorf("granted %+v, %v", l, err)
	}
	s.reencrypted(970, 70)
	s.leased(1, 50)
	ask.Back = append(ask.Back, store.Returned{Lease: l, Used: 50}) // two of them are no more
	if l, err = s.Acquire(s.Context(), ask); err != nil || l.Count != 30 {
		s.Errorf("granted %+v, %v", l, err)
	}
	ask.Back = []store.Returned{{Lease: l, Used: 30}}
	if _, err := s.Acquire(s.Context(), ask); !errors.Is(err, keyring.ErrUsageLimit) {
		s.Errorf("at the limit: %v", err)
	}
	s.leased(1, 0)
	s.reencrypted(1000, 100)
	s.change("payments", func(r *keyring.Record) { s.addVersion(r) })
	second := s.acquire(5)
	s.change("payments", func(r *keyring.Record) {
		if err := r.SetState(2, keyring.Suspended, s.clock.Now()); err != nil {
			s.Fatal(err)
		}
	})
	ask.Back = []store.Returned{{Lease: second, Used: 2}}
	if _, err := s.Acquire(s.Context(), ask); !errors.Is(err, keyring.ErrNoPrimary) {
		s.Errorf("without a primary: %v", err)
	}
	s.count("payments", 2, 2)
	ask.Key, ask.Back = "nothing", nil
	if _, err := s.Acquire(s.Context(), ask); !errors.Is(err, keyring.ErrUnknownKey) {
		s.Errorf("no such key: %v", err)
	}
}

// testAttempts: refused decryptions are counted for good, by version.
func testAttempts(s *suite) {
	s.create("payments")
	s.create("orders")
	for _, n := range []uint64{3, 0, 4} {
		if err := s.CountAttempts(s.Context(), "payments", 1, n); err != nil {
			s.Fatal(err)
		}
	}
	for _, c := range []struct {
		key     string
		version uint32
		want    uint64
	}{{"payments", 1, 7}, {"payments", 2, 0}, {"orders", 1, 0}, {"nothing", 1, 0}} {
		if got, err := s.Attempts(s.Context(), c.key, c.version); err != nil || got != c.want {
			s.Errorf("attempts on version %d of %s: %d, %v, want %d", c.version, c.key, got, err, c.want)
		}
	}
	if err := s.CountAttempts(s.Context(), "payments", 2, 1); !errors.Is(err, keyring.ErrUnknownVersion) {
		s.Errorf("counted on a version that does not exist: %v", err)
	}
}
