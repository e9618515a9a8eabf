package rewrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// errUnproved: a version has no wrap by the new provider that this run saw open.
var errUnproved = errors.New("a version has no proved wrap")

// keyMigration is the migration of one key.
type keyMigration struct {
	*migration
	name string
	// proved holds, for each version, the new provider's wrap that was seen to open.
	proved map[uint32][]byte
	failed map[uint32]bool
}

// turn claims the key for one change.
func (k *keyMigration) turn(ctx context.Context, f func(context.Context, store.Intent) error) error {
	claimer := rotation.Claimer{Store: k.Store, Waiting: func() { k.OnStep(k.name, StepWaiting) }}
	in, err := claimer.Claim(ctx, store.Claim{
		Key: k.name, Kind: "migrate", Operation: k.id, Owner: k.owner, TTL: k.IntentTTL,
	})
	if err != nil {
		return err
	}
	k.OnStep(k.name, StepIntent)
	steps, cancel := context.WithTimeout(ctx, k.IntentTTL*3/4)
	defer cancel()
	err = f(steps, in)
	end, cancel := lasting(ctx, settleTimeout)
	defer cancel()
	return errors.Join(err, k.Store.End(end, in)) // a commit has ended it already
}

// commit changes the key under the claim.
func (k *keyMigration) commit(ctx context.Context, in store.Intent, apply func(*keyring.Record) ([]history.Event, error)) error {
	ctx, cancel := lasting(ctx, k.IntentTTL/4)
	defer cancel()
	_, err := k.Store.Update(ctx, store.Update{Name: k.name, Fence: &in, Apply: apply})
	return err
}

// widen has new versions wrapped by both providers, so that the set of those that are
// to be wrapped anew stops growing. The event is one of configuration: that a provider
// was added is said of wraps, once they are proved.
func (k *keyMigration) widen(ctx context.Context) error {
	key, err := k.Store.Key(ctx, k.name)
	if err != nil || slices.Contains(key.Settings.WrapWith, k.To) {
		return err
	}
	err = k.turn(ctx, func(ctx context.Context, in store.Intent) error {
		return k.commit(ctx, in, func(rec *keyring.Record) ([]history.Event, error) {
			with := rec.Settings.WrapWith
			if slices.Contains(with, k.To) {
				return nil, nil
			}
			e := k.event(history.ConfigChange, k.To)
			e.Details[detailWrapWithOld] = strings.Join(with, ",")
			// Beside the old one, whose place it gets in the end.
			with = slices.Insert(with, slices.Index(with, k.From)+1, k.To)
			e.Details[detailWrapWithNew] = strings.Join(with, ",")
			rec.Settings.WrapWith = with
			return []history.Event{e}, nil
		})
	})
	if err == nil {
		k.OnStep(k.name, StepWidened)
	}
	return err
}

// wrap gives every version a proved wrap by the new provider, in batches.
func (k *keyMigration) wrap(ctx context.Context) error {
	for {
		key, err := k.Store.Key(ctx, k.name)
		if err != nil {
			return err
		}
		k.Progress(Progress{Key: k.name, Done: k.done, Total: k.total})
		if len(k.unproved(&key.Record)) == 0 {
			return nil
		}
		if err := k.turn(ctx, k.batch); err != nil {
			return err
		}
	}
}

// unproved lists the versions that still need a wrap, or a look at the one they have.
func (k *keyMigration) unproved(rec *keyring.Record) []*keyring.Version {
	var versions []*keyring.Version
	for i := range rec.Versions {
		v := &rec.Versions[i]
		if v.State != keyring.Destroyed && !k.failed[v.Number] && !k.isProved(v) {
			versions = append(versions, v)
		}
	}
	return versions
}

func (k *keyMigration) isProved(v *keyring.Version) bool {
	w, ok := v.Wrap(k.To)
	return ok && bytes.Equal(w.Blob, k.proved[v.Number])
}

// batch wraps the next versions and commits their wraps. It ends early rather than
// outlive its claim.
func (k *keyMigration) batch(ctx context.Context, in store.Intent) error {
	key, err := k.Store.Key(ctx, k.name) // as it is now that nobody rotates it
	if err != nil {
		return err
	}
	versions := k.unproved(&key.Record)
	begun := k.Now()
	var moves []move
	for i, v := range versions[:min(batchSize, len(versions))] {
		if i > 0 && k.Now().Sub(begun) > k.IntentTTL/2 {
			break
		}
		mv, made, err := k.prove(ctx, k.binding(&key.Record, v), v)
		switch {
		case stops(ctx, err):
			return err
		case err != nil:
			k.failed[v.Number] = true
			k.report.Failed = append(k.report.Failed, failure(k.name, v.Number, err))
		case made:
			moves = append(moves, mv)
		}
		if err == nil {
			k.proved[v.Number] = mv.wrap.Blob
		}
		k.done++
	}
	if len(moves) == 0 {
		return nil
	}
	k.OnStep(k.name, StepProved)
	added := 0
	err = k.commit(ctx, in, func(rec *keyring.Record) ([]history.Event, error) {
		added = 0
		for _, mv := range moves {
			if mv.apply(rec) {
				added++
			}
		}
		if added == 0 {
			return nil, nil
		}
		return []history.Event{k.added(moves, added)}, nil
	})
	if err != nil {
		return err
	}
	k.report.Wrapped += added
	k.OnStep(k.name, StepMoved)
	return nil
}

// added is the event of a batch. It names the KEK version if there is but one.
func (k *keyMigration) added(moves []move, n int) history.Event {
	e := k.event(history.ProviderAdded, k.To)
	first := moves[0].wrap
	e.Count, e.KEKVersion, e.Details[detailKEKID] = uint64(n), first.KEKVersion, first.KEKID
	for _, mv := range moves {
		if mv.wrap.KEKVersion != first.KEKVersion || mv.wrap.KEKID != first.KEKID {
			e.KEKVersion = ""
		}
	}
	return e
}

// prove answers a wrap by the new provider that opens: the one that is there, or else
// a new one.
func (k *keyMigration) prove(ctx context.Context, b keyring.Binding, v *keyring.Version) (mv move, made bool, err error) {
	mv.version = v.Number
	if w, ok := v.Wrap(k.To); ok {
		km, err := k.KeyManager(k.To)
		if err != nil {
			return mv, false, err
		}
		root, err := wrapping.Open(ctx, km, b, *w, v.KCV)
		if err == nil {
			root.Wipe()
			mv.wrap = *w
			return mv, false, nil
		}
		if stops(ctx, err) {
			return mv, false, err
		}
		mv.old = w.Blob
	}
	root, err := k.open(ctx, b, v)
	if err != nil {
		return mv, false, err
	}
	defer root.Wipe()
	wrapper := wrapping.Wrapper{KeyManager: k.KeyManager, Now: k.Now}
	m, err := wrapper.Make(ctx, b, []string{k.To}, root)
	if err != nil {
		return mv, false, fmt.Errorf("wrap version %d of key %q with provider %q: %w", v.Number, k.name, k.To, err)
	}
	mv.wrap = m.Wraps[0]
	return mv, true, nil
}

// open opens a version by the old provider's wrap, or by any other but the new one's.
func (k *keyMigration) open(ctx context.Context, b keyring.Binding, v *keyring.Version) (keyring.Root, error) {
	var wraps []keyring.Wrap
	if w, ok := v.Wrap(k.From); ok {
		wraps = append(wraps, *w)
	}
	for _, w := range v.Wraps {
		if w.Provider != k.From && w.Provider != k.To {
			wraps = append(wraps, w)
		}
	}
	var errs []error
	for _, w := range wraps {
		km, err := k.KeyManager(w.Provider)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		root, err := wrapping.Open(ctx, km, b, w, v.KCV)
		if err == nil {
			return root, nil
		}
		errs = append(errs, err)
	}
	return keyring.Root{}, fmt.Errorf("open version %d of key %q: %w", v.Number, k.name, errors.Join(errs...))
}

// retire takes the old provider out of the settings and off every version, in the one
// transaction that sees that all of them are wrapped by the new one.
func (k *keyMigration) retire(ctx context.Context) error {
	retired := 0
	err := k.turn(ctx, func(ctx context.Context, in store.Intent) error {
		return k.commit(ctx, in, func(rec *keyring.Record) ([]history.Event, error) {
			retired = 0
			if !slices.Contains(rec.Settings.WrapWith, k.To) || len(k.unproved(rec)) > 0 {
				return nil, errUnproved
			}
			if !wrappedBy(rec, k.From) {
				return nil, nil // another process was here first
			}
			e := k.event(history.ProviderRetired, k.From)
			e.Details[detailWrapWithOld] = strings.Join(rec.Settings.WrapWith, ",")
			rec.Settings.WrapWith = slices.DeleteFunc(rec.Settings.WrapWith, func(p string) bool { return p == k.From })
			e.Details[detailWrapWithNew] = strings.Join(rec.Settings.WrapWith, ",")
			for i := range rec.Versions {
				if rec.Versions[i].DropWrap(k.From) {
					retired++
				}
			}
			e.Count = uint64(retired)
			return []history.Event{e}, nil
		})
	})
	if err != nil {
		return err
	}
	k.report.Retired += retired
	k.OnStep(k.name, StepRetired)
	return nil
}
