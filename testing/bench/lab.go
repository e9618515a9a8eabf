package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// lab is what rows share: built when a row first needs it, taken down at the end.
type lab struct {
	// ctx ends when the run is interrupted. As in a service, whoever is given it must
	// be prepared for that.
	ctx     context.Context //nolint:containedctx // of the run, and the lab is one run
	dir     string
	closers []func() error

	// subject is the engine whose hot path is measured.
	subject func() *subject
	// refs are what the hot path is compared with.
	refs func() *references
	// wide is a store with a key of very many versions, closed.
	wide func() wideStore
	// plugins is a folder with built plugins, and the pins of those.
	plugins func() pluginDir
}

func newLab(ctx context.Context) (*lab, error) {
	dir, err := os.MkdirTemp("", "keyrotor-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{ctx: ctx, dir: dir}
	l.later(func() error { return os.RemoveAll(dir) })
	l.subject = sync.OnceValue(l.newSubject)
	l.refs = sync.OnceValue(newReferences)
	l.wide = sync.OnceValue(l.newWideStore)
	l.plugins = sync.OnceValue(l.buildPlugins)
	return l, nil
}

// later has something done at the end, before what was registered before it.
func (l *lab) later(f func() error) { l.closers = append(l.closers, f) }

func (l *lab) close() error {
	var errs []error
	for _, f := range slices.Backward(l.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

const (
	oneVersion  = "one"
	manyVersion = "many"
	// versions is how many a key has that has many.
	versions = 1000
	// wideVersions is how many a large store has.
	wideVersions = 10_000
)

// subject is an engine on a real store, with usage counting on.
type subject struct {
	*engine.Engine
	store *sqlite.Store
	km    *countingManager
}

// newSubject has a key of one version and one of many.
func (l *lab) newSubject() *subject {
	s := l.openSubject("hot.db")
	for _, name := range []string{oneVersion, manyVersion} {
		s.ensureKey(l.ctx, name)
	}
	addVersions(l.ctx, s.store, s.km, manyVersion, versions)
	// Leases grow with the rate; a service that is busy has large ones.
	for range 1 << 20 {
		must(s.AppendEncryptBinary(l.ctx, nil, oneVersion, nil, nil))
	}
	return s
}

// openSubject makes a store and what stands on it.
func (l *lab) openSubject(file string) *subject {
	km := l.newManager(file + ".kek")
	st := must(sqlite.Open(l.ctx, sqlite.Config{Path: l.path(file)}))
	l.later(st.Close)
	e := must(l.newEngine(st, km))
	l.later(func() error { return e.Close(context.WithoutCancel(l.ctx)) })
	return &subject{e, st, km}
}

// newEngine is another process, as far as the store can tell.
func (l *lab) newEngine(st *sqlite.Store, km *countingManager) (*engine.Engine, error) {
	return engine.New(engine.Config{
		Store: st, Actor: "bench@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil },
	})
}

// ensureKey makes a key of one version unless it is there.
func (s *subject) ensureKey(ctx context.Context, name string) string {
	_, err := s.Describe(ctx, name)
	if errors.Is(err, keyring.ErrUnknownKey) {
		_, err = s.CreateKey(ctx, name, keyring.Settings{WrapWith: []string{"local"}}, "")
	}
	check(err)
	return name
}

// addVersions gives a key its versions in one transaction; rotations would do the
// same, slowly.
func addVersions(ctx context.Context, st *sqlite.Store, km provider.KeyManager, name string, count uint32) {
	must(st.Update(ctx, store.Update{Name: name, Apply: func(rec *keyring.Record) ([]history.Event, error) {
		for n := rec.NextVersion(); n <= count; n++ {
			b := keyring.Binding{Store: st.ID(), Key: rec.ID, Version: n, Algorithm: keyring.AES256GCM}
			root := keyring.GenerateRoot()
			kcv, err := root.KCV(b)
			if err != nil {
				return nil, err
			}
			wrapped, err := km.Wrap(ctx, []provider.WrapItem{{Plaintext: root.Bytes, AAD: b.WrapAAD()}})
			if err != nil {
				return nil, err
			}
			w := wrapped[0].Wrapped
			err = rec.AddVersion(keyring.Version{
				Number: n, Label: keyring.VersionLabel(n), Algorithm: keyring.AES256GCM, Created: rec.Created,
				Reason: keyring.ReasonManual, KCV: kcv,
				Wraps: []keyring.Wrap{{Provider: "local", KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob, Created: rec.Created}},
			})
			if err != nil {
				return nil, err
			}
			if err := rec.SetPrimary(n, rec.Created); err != nil {
				return nil, err
			}
		}
		return []history.Event{{Type: history.Rotation, Actor: "bench", Version: count}}, nil
	}}))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
