package rewrap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// MigrationRequest says which keys go from which provider to which.
type MigrationRequest struct {
	Keys     []string
	From, To string
	// Keep leaves the keys wrapped by both.
	Keep bool
	Note string
	// Progress, if set, is called for each batch.
	Progress func(Progress)
}

// migration is one call of Migrate.
type migration struct {
	*Mover
	MigrationRequest
	id          string
	report      MigrationReport
	done, total int
}

// WrappedBy lists the keys that a provider wraps: a version of them, or those to come.
func (m *Mover) WrappedBy(ctx context.Context, name string) ([]string, error) {
	var names []string
	err := m.each(ctx, func(key store.Key) {
		if wrappedBy(&key.Record, name) {
			names = append(names, key.Name)
		}
	})
	return names, err
}

func wrappedBy(rec *keyring.Record, name string) bool {
	return slices.Contains(rec.Settings.WrapWith, name) || slices.ContainsFunc(rec.Versions, func(v keyring.Version) bool {
		_, ok := v.Wrap(name)
		return ok
	})
}

// Migrate moves keys from one provider to another without touching a ciphertext: every
// version is wrapped by both, the new wraps are proved, then the old ones go, in one
// transaction a key. Rotations go on meanwhile. It can be stopped anywhere and called
// again; a version that cannot be wrapped anew is reported, and its key stays with
// both. ErrNotWrapped if the provider does not wrap one of the keys.
func (m *Mover) Migrate(ctx context.Context, req MigrationRequest) (MigrationReport, error) {
	if req.Progress == nil {
		req.Progress = func(Progress) {}
	}
	g := migration{
		Mover: m, MigrationRequest: req, id: uuid.NewString(),
		report: MigrationReport{From: req.From, To: req.To, Failed: []Failure{}},
	}
	g.report.Operation = g.id
	if err := g.check(ctx); err != nil {
		return g.report, err
	}
	for _, name := range req.Keys {
		err := g.key(ctx, name)
		if errors.Is(err, keyring.ErrIntegrity) { // the record of this key was tampered with
			g.report.Failed = append(g.report.Failed, failure(name, 0, err))
			continue
		}
		if err != nil {
			return g.report, err
		}
	}
	return g.report, nil
}

// check refuses what cannot be meant, before anything is done.
func (g *migration) check(ctx context.Context) error {
	if err := (history.Event{Note: g.Note}).Check(); err != nil {
		return err
	}
	if g.From == g.To {
		return fmt.Errorf("migrate from provider %q to itself: name two providers", g.From)
	}
	for _, p := range []string{g.From, g.To} {
		if _, err := g.KeyManager(p); err != nil {
			return err
		}
	}
	if len(g.Keys) == 0 {
		return fmt.Errorf("%w %q: no key is", ErrNotWrapped, g.From)
	}
	for _, name := range g.Keys {
		key, err := g.Store.Key(ctx, name)
		switch {
		case errors.Is(err, keyring.ErrUnknownKey):
			return fmt.Errorf("%w: %q", keyring.ErrUnknownKey, name)
		case err != nil:
			return err
		case !wrappedBy(&key.Record, g.From):
			return fmt.Errorf("%w %q: key %q is wrapped by %q; if it was migrated already, there is nothing to do", ErrNotWrapped, g.From, name, key.Settings.WrapWith)
		}
		g.report.Keys++
		for i := range key.Versions {
			if key.Versions[i].State != keyring.Destroyed {
				g.report.Versions++
			}
		}
	}
	g.total = g.report.Versions
	return nil
}

// key migrates one key. Each change has a claim of its own, so that rotations get
// their turn in between.
func (g *migration) key(ctx context.Context, name string) error {
	k := &keyMigration{migration: g, name: name, proved: make(map[uint32][]byte), failed: make(map[uint32]bool)}
	for {
		if err := k.widen(ctx); err != nil {
			return err
		}
		if err := k.wrap(ctx); err != nil {
			return err
		}
		if g.Keep || len(k.failed) > 0 {
			return nil
		}
		// A version may have come, or a wrap gone, since the last look.
		if err := k.retire(ctx); !errors.Is(err, errUnproved) {
			return err
		}
	}
}

func (g *migration) event(t history.Type, p string) history.Event {
	return history.Event{
		Type: t, Time: g.Now(), Actor: g.Actor, Operation: g.id, Note: g.Note, Provider: p,
		Details: make(map[string]string),
	}
}
