package main

import (
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// keyRows are about what a new version costs, and whom the engine asks for what.
func (l *lab) keyRows() []row {
	return []row{
		absolute("adding a version to 1000, beside key manager and store", atMost(5000), nanoseconds, l.addVersion),
		absolute("key-manager calls: a rotation, one wrap", atMost(2), calls, l.callsOfRotation),
		absolute("key-manager calls: 8 goroutines open one version", atMost(1), calls, l.callsOfOpening),
		absolute("key-manager calls: 1000 encryptions and decryptions", atMost(0), calls, l.callsOfHotPath),
		absolute("key-manager calls: opening a store of 10,000 versions", atMost(0), calls, l.callsOfStore),
	}
}

// addVersion derives the cipher of a new version and puts it into the ring, which
// is all that follows a rotation in memory.
func (l *lab) addVersion(d time.Duration) float64 {
	s := l.subject()
	before := must(s.Describe(l.ctx, manyVersion)).Record
	after := store.Clone(&before)
	b := keyring.Binding{Store: s.store.ID(), Key: after.ID, Version: after.NextVersion(), Algorithm: keyring.AES256GCM}
	root := keyring.GenerateRoot()
	check(after.AddVersion(keyring.Version{
		Number: b.Version, Label: keyring.VersionLabel(b.Version), Algorithm: b.Algorithm, Created: after.Created,
		Reason: keyring.ReasonManual, KCV: must(root.KCV(b)), Wraps: before.Versions[0].Wraps,
	}))
	check(after.SetPrimary(b.Version, after.Created))
	return watch(func() float64 {
		ring := keyring.NewRing(&before)
		return repeat(func() {
			c := must(keyring.NewCipher(root, b, after.Name))
			ring.Update(&after)
			check(ring.SetCipher(c))
		}, 1)
	}, d)
}

func (l *lab) callsOfRotation(time.Duration) float64 {
	s := l.subject()
	name := s.ensureKey(l.ctx, "rotated")
	return s.km.during(func() { must(s.Rotate(l.ctx, name, keyring.ReasonManual, "")) })
}

// callsOfOpening has a process decrypt what another one encrypted.
func (l *lab) callsOfOpening(time.Duration) float64 {
	s := l.subject()
	ct := must(s.Encrypt(l.ctx, manyVersion, random(32), aad))
	other := must(l.newEngine(s.store, s.km))
	defer func() { check(other.Close(l.ctx)) }()
	return s.km.during(func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { must(other.Decrypt(l.ctx, ct, aad)) })
		}
		wg.Wait()
	})
}

func (l *lab) callsOfHotPath(time.Duration) float64 {
	s := l.subject()
	must(s.Encrypt(l.ctx, oneVersion, random(32), aad))
	return s.km.during(func() {
		for range 1000 {
			must(s.Decrypt(l.ctx, must(s.Encrypt(l.ctx, oneVersion, random(32), aad)), aad))
		}
	})
}

// callsOfStore opens the store and describes its key, as a process does that
// starts.
func (l *lab) callsOfStore(time.Duration) float64 {
	wide := l.wide()
	return wide.km.during(func() {
		st := must(sqlite.Open(l.ctx, sqlite.Config{Path: wide.path}))
		defer func() { check(st.Close()) }()
		e := must(l.newEngine(st, wide.km))
		must(e.Describe(l.ctx, manyVersion))
		check(e.Close(l.ctx))
	})
}
