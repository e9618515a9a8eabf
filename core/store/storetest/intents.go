package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

func claim(key, owner string) store.Claim {
	return store.Claim{Key: key, Kind: "rotate", Operation: "op-" + owner, Owner: owner, TTL: time.Minute}
}

func (s *suite) begin(c store.Claim) store.Intent {
	s.Helper()
	in, err := s.Begin(s.Context(), c)
	if err != nil {
		s.Fatal(err)
	}
	return in
}

// rotate is an update under a fence.
func (s *suite) rotate(fence store.Intent) error {
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Fence: &fence, Apply: func(r *keyring.Record) ([]history.Event, error) {
		s.addVersion(r)
		return []history.Event{{Type: history.Rotation}}, nil
	}})
	return err
}

func (s *suite) claims(want ...store.Intent) {
	s.Helper()
	got, err := s.Intents(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if len(got) != len(want) {
		s.Fatalf("claims %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			s.Errorf("claim %+v, want %+v", got[i], want[i])
		}
	}
}

func testClaims(s *suite) {
	s.claims()
	first := s.begin(claim("payments", "p1")) // the key need not exist
	started := s.clock.Now().Truncate(time.Microsecond)
	want := store.Intent{
		Key: "payments", Kind: "rotate", Operation: "op-p1", Owner: "p1",
		Token: first.Token, Started: started, Expires: started.Add(time.Minute),
	}
	if first != want || first.Token == 0 {
		s.Errorf("Begin = %+v, want %+v", first, want)
	}

	s.clock.Advance(20 * time.Second)
	for _, owner := range []string{"p1", "p2"} {
		_, err := s.Begin(s.Context(), claim("payments", owner))
		var held *store.HeldError
		if !errors.As(err, &held) || held.Intent != first || held.Wait != 40*time.Second {
			s.Errorf("a second claim by %s: %v", owner, err)
		}
	}
	kek := claim("kek/prod", "p2") // what is claimed need not be a key
	kek.Detail = `{"expected":"3"}`
	other := s.begin(kek)
	if other.Detail != kek.Detail {
		s.Errorf("the detail of a claim reads %q", other.Detail)
	}
	s.claims(first, other)

	if err := s.End(s.Context(), first); err != nil {
		s.Error(err)
	}
	if err := s.End(s.Context(), first); err != nil {
		s.Errorf("ended twice: %v", err)
	}
	s.claims(other)
	again := s.begin(claim("payments", "p2"))
	if again.Token <= other.Token || other.Token <= first.Token {
		s.Errorf("tokens %d, %d, %d do not grow", first.Token, other.Token, again.Token)
	}
	if err := s.End(s.Context(), first); err != nil {
		s.Error(err)
	}
	s.claims(other, again) // the old holder cannot end the new claim

	for _, c := range []store.Claim{
		{Kind: "rotate", Owner: "p", TTL: time.Second},
		{Key: "k", Owner: "p", TTL: time.Second},
		{Key: "k", Kind: "rotate", TTL: time.Second},
		{Key: "k", Kind: "rotate", Owner: "p"},
	} {
		if _, err := s.Begin(s.Context(), c); err == nil {
			s.Errorf("incomplete claim %+v was granted", c)
		}
	}
}

// testClaimReplaced: a claim whose owner is gone need not expire first.
func testClaimReplaced(s *suite) {
	s.create("payments")
	first := s.begin(claim("payments", "p1"))
	next := claim("payments", "p2")
	next.Replace = first.Token + 1
	var held *store.HeldError
	if _, err := s.Begin(s.Context(), next); !errors.As(err, &held) {
		s.Errorf("a claim that names another token: %v", err)
	}
	next.Replace = first.Token
	second := s.begin(next)
	if second.Token <= first.Token {
		s.Errorf("token %d does not grow from %d", second.Token, first.Token)
	}
	s.claims(second)
	if err := s.rotate(first); !errors.Is(err, store.ErrFenced) {
		s.Errorf("the replaced owner's commit: %v", err)
	}
	if err := s.rotate(second); err != nil {
		s.Error(err)
	}
}

// testClaimKept: who must settle what an expired claim was about gets to read it.
func testClaimKept(s *suite) {
	about := claim("kek/prod", "p1")
	about.Detail = `{"expected":"3"}`
	first := s.begin(about)
	s.clock.Advance(time.Hour)
	next := claim("kek/prod", "p2")
	next.KeepExpired = true
	var held *store.HeldError
	if _, err := s.Begin(s.Context(), next); !errors.As(err, &held) || held.Intent != first || held.Wait != 0 {
		s.Errorf("an expired claim that is kept: %v", err)
	}
	next.Replace = first.Token + 1
	if _, err := s.Begin(s.Context(), next); !errors.As(err, &held) {
		s.Errorf("a claim that names another token: %v", err)
	}
	s.claims(first)
	next.Replace = first.Token
	second := s.begin(next)
	s.claims(second)
	if err := s.End(s.Context(), second); err != nil {
		s.Fatal(err)
	}
	next.Replace = 0
	s.claims(s.begin(next)) // where nothing is left, nothing is kept
}

// testClaimRenewed: who renews must be the one who holds it, though it may have expired.
func testClaimRenewed(s *suite) {
	first := s.begin(claim("kek/prod", "p1"))
	renewal := claim("kek/prod", "p1")
	renewal.Renew, renewal.Replace = true, first.Token
	second := s.begin(renewal)
	s.claims(second)
	s.clock.Advance(time.Hour)
	renewal.Replace = second.Token
	third := s.begin(renewal)
	if third.Token <= second.Token || second.Token <= first.Token || !third.Expires.After(s.clock.Now()) {
		s.Errorf("renewed from %+v over %+v to %+v", first, second, third)
	}
	if _, err := s.Begin(s.Context(), renewal); !errors.Is(err, store.ErrFenced) {
		s.Errorf("renewed what was replaced: %v", err)
	}
	s.claims(third)
	if err := s.End(s.Context(), third); err != nil {
		s.Fatal(err)
	}
	renewal.Replace = third.Token
	if _, err := s.Begin(s.Context(), renewal); !errors.Is(err, store.ErrFenced) {
		s.Errorf("renewed what was ended: %v", err)
	}
	s.claims()
}

func testFence(s *suite) {
	s.create("payments")
	in := s.begin(claim("payments", "p1"))
	if err := s.rotate(in); err != nil {
		s.Fatal(err)
	}
	s.claims() // the commit ended it
	if err := s.rotate(in); !errors.Is(err, store.ErrFenced) {
		s.Errorf("the same claim committed twice: %v", err)
	}
	in = s.begin(claim("payments", "p1"))
	_, err := s.Update(s.Context(), store.Update{Name: "payments", Fence: &in, Apply: func(*keyring.Record) ([]history.Event, error) {
		return nil, nil // nothing to do after all
	}})
	if err != nil {
		s.Error(err)
	}
	s.claims()
	in = s.begin(claim("orders", "p1"))
	if err := s.rotate(in); !errors.Is(err, store.ErrFenced) {
		s.Errorf("a claim on another key: %v", err)
	}
	forged := s.begin(claim("payments", "p1"))
	forged.Token++
	if err := s.rotate(forged); !errors.Is(err, store.ErrFenced) {
		s.Errorf("another token: %v", err)
	}
	forged.Token--
	forged.Owner = "p2"
	if err := s.rotate(forged); !errors.Is(err, store.ErrFenced) {
		s.Errorf("another owner: %v", err)
	}
	if got := s.key("payments"); got.Primary != 2 {
		s.Errorf("primary %d after one fenced rotation", got.Primary)
	}
}

func testFenceLostByTakeover(s *suite) {
	s.create("payments")
	first := s.begin(claim("payments", "p1"))
	s.clock.Advance(time.Minute)
	second := s.begin(claim("payments", "p2"))
	if second.Token <= first.Token {
		s.Errorf("token %d does not grow from %d", second.Token, first.Token)
	}
	s.claims(second)
	if err := s.rotate(first); !errors.Is(err, store.ErrFenced) {
		s.Errorf("the late owner's commit: %v", err)
	}
	if err := s.End(s.Context(), first); err != nil {
		s.Error(err)
	}
	if err := s.rotate(second); err != nil {
		s.Error(err)
	}
	if got := s.key("payments"); got.Primary != 2 {
		s.Errorf("primary %d, want 2", got.Primary)
	}
}

func testFenceLostByTime(s *suite) {
	s.create("payments")
	in := s.begin(claim("payments", "p1"))
	s.clock.Advance(time.Minute - time.Microsecond)
	if err := s.rotate(in); err != nil {
		s.Errorf("a microsecond early: %v", err)
	}
	in = s.begin(claim("payments", "p1"))
	s.clock.Advance(time.Minute)
	if err := s.rotate(in); !errors.Is(err, store.ErrFenced) {
		s.Errorf("expired: %v", err)
	}
	s.claims(in) // expired ones are listed
}

func testRacingClaims(s *suite) {
	var granted atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.Begin(s.Context(), claim("payments", numbered("p", i)))
			var held *store.HeldError
			switch {
			case err == nil:
				granted.Add(1)
			case !errors.As(err, &held):
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if n := granted.Load(); n != 1 {
		s.Errorf("%d of 8 racing claims were granted", n)
	}
}
