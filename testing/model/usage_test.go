package model

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/faults"
)

// usage is some processes on one store, and what they truly did.
type usage struct {
	path      string
	km        *faults.KeyManager
	store     *sqlite.Store
	processes []*counted
	tokens    map[uint32][]byte
	used      map[uint32]tally
	lost      map[uint32]tally // what crashed processes held
}

// counted is a process, and what it holds.
type counted struct {
	*engine.Engine
	store  *sqlite.Store
	ledger *faults.Ledger
}

// TestUsage: whatever processes do, stop and crash, no use is missing in what is
// on record, of either kind; and what is there beyond the truth is what crashed
// processes held.
func TestUsage(t *testing.T) {
	km := faults.NewLocal(t)
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.db")
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: empty})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		u := &usage{
			path: filepath.Join(dir, fmt.Sprint(n)), km: km,
			tokens: make(map[uint32][]byte), used: make(map[uint32]tally), lost: make(map[uint32]tally),
		}
		if err := copyFile(u.path, empty); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(u.path)
		rapid.SyncTest(t, u.test)
	})
}

func (u *usage) test(t *rapid.T) {
	u.store = u.open(t)
	defer func() { _ = u.store.Close() }()
	u.processes = []*counted{u.start(t), u.start(t)}
	limit := rapid.SampledFrom([]uint64{0, 90, 500, 20_000}).Draw(t, "limit")
	settings := keyring.Settings{WrapWith: []string{firstProvider}, HardLimit: limit}
	if _, err := u.processes[0].CreateKey(t.Context(), "payments", settings, ""); err != nil {
		t.Fatal(err)
	}
	t.Repeat(map[string]func(*rapid.T){
		"":             u.check,
		"encrypt":      func(t *rapid.T) { u.encrypt(t, rapid.IntRange(1, 100).Draw(t, "times"), 1) },
		"encrypt much": func(t *rapid.T) { u.encrypt(t, 1, uint64(rapid.IntRange(2, 3).Draw(t, "MiB"))) },
		"re-encrypt":   u.reencrypt,
		"rotate":       u.rotate,
		"suspend":      func(t *rapid.T) { u.setState(t, keyring.Active, keyring.Suspended) },
		"activate":     func(t *rapid.T) { u.setState(t, keyring.Suspended, keyring.Active) },
		"wait": func(t *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 6 * time.Second, store.MaxLeaseTTL}).Draw(t, "for"))
		},
		"crash": u.crash,
		"stop":  u.stop,
	})
	for _, p := range u.processes {
		u.close(t, p)
	}
	synctest.Wait()
	u.compare(t, true)
}

func (u *usage) open(t *rapid.T) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: u.path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (u *usage) start(t *rapid.T) *counted {
	p := &counted{store: u.open(t)}
	p.ledger = faults.NewLedger(p.store)
	var err error
	p.Engine, err = engine.New(engine.Config{
		Store: p.ledger, Actor: "test@host", KeyManager: func(string) (wrapping.KeyManager, error) { return u.km, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// close ends a process by itself: it holds nothing any more.
func (u *usage) close(t *rapid.T, p *counted) {
	if err := errors.Join(p.Close(context.Background()), p.store.Close()); err != nil {
		t.Error(err)
	}
	if n := len(p.ledger.Leases()); n > 0 {
		t.Errorf("%d leases are out after a clean stop", n)
	}
}

func (u *usage) process(t *rapid.T) int {
	return rapid.IntRange(0, len(u.processes)-1).Draw(t, "process")
}

func (u *usage) stop(t *rapid.T) {
	i := u.process(t)
	u.close(t, u.processes[i])
	u.processes[i] = u.start(t)
}

// crash cuts a process off from the store, with all that it holds.
func (u *usage) crash(t *rapid.T) {
	i := u.process(t)
	p := u.processes[i]
	p.ledger.Fail(errors.New("the process is gone"))
	for _, l := range p.ledger.Leases() {
		lost := u.lost[l.Version]
		lost[kindOf(l.Reencrypting)] += l.Count
		u.lost[l.Version] = lost
	}
	_ = p.Close(context.Background())
	_ = p.store.Close()
	u.processes[i] = u.start(t)
}

// encrypt lets two goroutines of a process encrypt values of so many uses, or one if
// they take several each.
func (u *usage) encrypt(t *rapid.T, times int, uses uint64) {
	p := u.processes[u.process(t)]
	plaintext := make([]byte, uses<<20-1)
	if uses == 1 {
		plaintext = nil
	}
	var mu sync.Mutex
	u.together(t, times, uses, func() error {
		token, err := p.Encrypt(t.Context(), "payments", plaintext, nil)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		parsed, err := keyring.ParseToken(token)
		if err == nil {
			u.use(parsed.Version, keyring.Encrypting, uses)
			if uses == 1 {
				u.tokens[parsed.Version] = token
			}
		}
		return err
	})
}

func (u *usage) reencrypt(t *rapid.T) {
	p := u.processes[u.process(t)]
	if len(u.tokens) == 0 {
		t.Skip("nothing to re-encrypt")
	}
	versions := make([]uint32, 0, len(u.tokens))
	for v := range u.tokens {
		versions = append(versions, v)
	}
	slices.Sort(versions)
	old := u.tokens[rapid.SampledFrom(versions).Draw(t, "version")]
	var mu sync.Mutex
	u.together(t, rapid.IntRange(1, 100).Draw(t, "times"), 1, func() error {
		token, changed, err := p.Reencrypt(t.Context(), nil, old, nil)
		if err != nil || !changed {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		parsed, err := keyring.ParseToken(token)
		if err == nil {
			u.use(parsed.Version, keyring.Reencrypting, 1)
		}
		return err
	})
}

func (u *usage) use(version uint32, p keyring.Purpose, n uint64) {
	used := u.used[version]
	used[p] += n
	u.used[version] = used
}

// together calls f so many times, and stops where the key encrypts nothing more.
func (u *usage) together(t *rapid.T, times int, uses uint64, f func() error) {
	goroutines := 2
	// In FIPS 140 mode each that draws at the same time needs a generator of its own, and
	// a new one cannot be seeded in a bubble, in which time stands still.
	if uses > 1 || fips140.Enabled() {
		goroutines = 1
	}
	var left atomic.Int64
	left.Store(int64(times))
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				err := f()
				switch {
				case errors.Is(err, keyring.ErrNoPrimary), errors.Is(err, keyring.ErrUsageLimit), errors.Is(err, keyring.ErrState):
					return
				case err != nil:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (u *usage) rotate(t *rapid.T) {
	if _, err := u.processes[u.process(t)].Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
}

// setState moves the newest version that is in one state to another.
func (u *usage) setState(t *rapid.T, from, to keyring.State) {
	k, err := u.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range slices.Backward(k.Versions) {
		if v.State == from {
			if _, err := u.processes[u.process(t)].SetState(t.Context(), "payments", v.Number, to, ""); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Skip("no version is so")
}

func (u *usage) check(t *rapid.T) { u.compare(t, false) }

// compare holds what is on record against the truth.
func (u *usage) compare(t *rapid.T, stopped bool) {
	k, err := u.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range k.Versions {
		n := v.Number
		if k.Uses[n] > k.Settings.HardLimit {
			t.Fatalf("version %d: %d uses are on record, and the limit is %d", n, k.Uses[n], k.Settings.HardLimit)
		}
		recorded := tallies(k)[n]
		for p, used := range u.used[n] {
			if recorded[p] < used || stopped && recorded[p] > used+u.lost[n][p] {
				t.Fatalf("version %d: purpose %d has %d uses on record, and had %d; crashed processes held %d", n, p, recorded[p], used, u.lost[n][p])
			}
		}
	}
}
