package rewrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// move is a proved wrap that is to be committed.
type move struct {
	version uint32
	// old is the blob that it replaces, nil if there was none.
	old  []byte
	wrap keyring.Wrap
}

// apply changes the record if what was there still is. A version that was destroyed
// meanwhile gets no wrap again.
func (mv move) apply(rec *keyring.Record) bool {
	v, ok := rec.Version(mv.version)
	if !ok || v.State == keyring.Destroyed {
		return false
	}
	var old []byte
	if w, ok := v.Wrap(mv.wrap.Provider); ok {
		old = w.Blob
	}
	if !bytes.Equal(old, mv.old) {
		return false
	}
	v.PutWrap(mv.wrap)
	return true
}

// binding is what the wraps of a version are bound to.
func (m *Mover) binding(rec *keyring.Record, v *keyring.Version) keyring.Binding {
	return keyring.Binding{Store: m.Store.ID(), Key: rec.ID, Version: v.Number, Algorithm: v.Algorithm}
}

// rewrap brings all wraps by the provider to the primary version.
func (op *kekOperation) rewrap(ctx context.Context, primary string) (KEKReport, error) {
	p := pass{kekOperation: op, primary: primary, report: KEKReport{
		Provider: op.Provider, KEKID: op.kekID, KEKVersion: primary,
		Failed: []Failure{}, Operation: op.claim.Operation,
	}}
	var names []string
	err := op.each(ctx, func(key store.Key) {
		wraps, stale := p.stale(&key.Record)
		if wraps > 0 {
			p.report.Keys++
			p.report.Versions += wraps
		}
		if len(stale) > 0 {
			names = append(names, key.Name)
			p.total += len(stale)
		}
	})
	for _, name := range names {
		if err != nil {
			break
		}
		err = p.key(ctx, name)
	}
	return p.report, err
}

// pass is one run over the wraps of a provider.
type pass struct {
	*kekOperation
	primary     string
	report      KEKReport
	done, total int
	// settled are the versions of the current key that need no other look, because they
	// were moved or cannot be.
	settled map[uint32]bool
}

// stale lists the versions whose wrap is not known to stand under the primary, and
// counts the provider's wraps.
func (p *pass) stale(rec *keyring.Record) (wraps int, stale []*keyring.Version) {
	for i := range rec.Versions {
		v := &rec.Versions[i]
		w, ok := v.Wrap(p.Provider)
		if !ok {
			continue
		}
		wraps++
		if (w.KEKID != p.kekID || w.KEKVersion != p.primary) && !p.settled[v.Number] {
			stale = append(stale, v)
		}
	}
	return wraps, stale
}

// key rewraps one key, in batches, until nothing is left to do. Versions that somebody
// else changed in the meantime are looked at again.
func (p *pass) key(ctx context.Context, name string) error {
	p.settled = make(map[uint32]bool)
	for {
		key, err := p.Store.Key(ctx, name)
		if err != nil {
			return err
		}
		_, stale := p.stale(&key.Record)
		p.Progress(Progress{Key: name, Done: p.done, Total: p.total})
		if len(stale) == 0 {
			return nil
		}
		if err := p.renew(ctx); err != nil {
			return err
		}
		moves, err := p.move(ctx, &key.Record, stale[:min(batchSize, len(stale))])
		if err != nil {
			return err
		}
		if err := p.commit(ctx, name, moves); err != nil {
			return err
		}
	}
}

// settle books a version as dealt with, for better or worse.
func (p *pass) settle(key string, version uint32, err error) {
	p.settled[version] = true
	p.done++
	if err != nil {
		p.report.Failed = append(p.report.Failed, failure(key, version, err))
	}
}

// move has the key manager rewrap versions of a key, and proves what it answers.
func (p *pass) move(ctx context.Context, rec *keyring.Record, versions []*keyring.Version) ([]move, error) {
	items := make([]provider.UnwrapItem, 0, len(versions))
	for _, v := range versions {
		w, _ := v.Wrap(p.Provider)
		items = append(items, provider.UnwrapItem{
			Wrapped: provider.Wrapped{KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob},
			AAD:     p.binding(rec, v).WrapAAD(),
		})
	}
	results, err := p.km.Rewrap(ctx, items)
	if err == nil && len(results) != len(items) {
		err = provider.Errorf(provider.Internal, "it answered %d results for %d wraps", len(results), len(items))
	}
	if err != nil {
		return nil, fmt.Errorf("rewrap key %q with provider %q: %w", rec.Name, p.Provider, err)
	}
	var moves []move
	for i, v := range versions {
		mv, err := p.prove(ctx, rec, v, results[i])
		if stops(ctx, err) {
			return nil, err
		}
		if err != nil {
			p.settle(rec.Name, v.Number, err)
			continue
		}
		moves = append(moves, mv)
	}
	if len(moves) > 0 {
		p.step(StepProved)
	}
	return moves, nil
}

// prove believes nothing of an answer to Rewrap.
func (p *pass) prove(ctx context.Context, rec *keyring.Record, v *keyring.Version, answer provider.WrapResult) (move, error) {
	old, _ := v.Wrap(p.Provider)
	mv := move{version: v.Number, old: old.Blob, wrap: keyring.Wrap{
		Provider: p.Provider, KEKID: answer.Wrapped.KEKID, KEKVersion: answer.Wrapped.KEKVersion,
		Blob: answer.Wrapped.Blob, Created: p.Now(),
	}}
	err := answer.Err
	switch {
	case err != nil:
	case mv.wrap.KEKID != p.kekID:
		err = fmt.Errorf("%w: it wrapped with the key %q instead of %q", keyring.ErrIntegrity, mv.wrap.KEKID, p.kekID)
	case len(mv.wrap.Blob) == 0:
		err = fmt.Errorf("%w: the new wrap is empty", keyring.ErrIntegrity)
	default:
		err = wrapping.Verify(ctx, p.km, p.binding(rec, v), v.KCV, &mv.wrap)
	}
	if got := mv.wrap.KEKVersion; err == nil && got != "" && got != p.primary {
		err = provider.Errorf(provider.VersionChanged, "it wrapped with version %q of its key, and the primary is %q; try again later", got, p.primary)
	}
	if err != nil {
		err = fmt.Errorf("rewrap version %d of key %q with provider %q: %w", v.Number, rec.Name, p.Provider, err)
	}
	return mv, err
}

// commit replaces the wraps of one key, where the old ones are still there.
func (p *pass) commit(ctx context.Context, name string, moves []move) error {
	if len(moves) == 0 {
		return nil
	}
	var moved []uint32
	_, err := p.Store.Update(ctx, store.Update{Name: name, Apply: func(rec *keyring.Record) ([]history.Event, error) {
		moved = nil
		for _, mv := range moves {
			if mv.apply(rec) {
				moved = append(moved, mv.version)
			}
		}
		if len(moved) == 0 {
			return nil, nil
		}
		e := p.event(history.Rewrapped, p.primary)
		e.Count = uint64(len(moved))
		return []history.Event{e}, nil
	}})
	if errors.Is(err, keyring.ErrIntegrity) { // the record of this key was tampered with
		for _, mv := range moves {
			p.settle(name, mv.version, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, version := range moved {
		p.settle(name, version, nil)
	}
	p.report.Rewrapped += len(moved)
	p.step(StepMoved)
	return nil
}
