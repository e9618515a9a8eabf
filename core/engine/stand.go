package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// What stands and falls with a KEK. The caller of a method of the monitor in this file
// holds mu, unless it says otherwise.

// wrapOf is a wrap of a version that is open, or was until the monitor closed it.
type wrapOf struct {
	key     *key
	version *keyring.Version
	wrap    keyring.Wrap
}

func kekOf(w keyring.Wrap) outage.ID { return outage.ID{Provider: w.Provider, KEK: w.KEKID} }

// relied goes through the versions that are open, or were until the monitor closed them.
func (k *key) relied(yield func(v *keyring.Version, open bool) bool) {
	rec := k.ring.Record()
	for i := range rec.Versions {
		v := &rec.Versions[i]
		c, err := k.ring.Opener(v.Number)
		if err != nil { // its state closed it
			delete(k.closed, v.Number)
			continue
		}
		if (c != nil || k.closed[v.Number]) && !yield(v, c != nil) {
			return
		}
	}
}

// rely notes which KEKs can open a version.
func (m *monitor) rely(k *key, v *keyring.Version, now time.Time) {
	for _, w := range v.Wraps {
		if _, err := m.engine.manager(w.Provider); err != nil {
			continue // the config has it no more: it is no loss if it does not answer
		}
		id := kekOf(w)
		if m.keks[id] == nil {
			m.keks[id] = &kek{
				KEK: outage.New(id, now), id: id,
				keys: make(map[*key]struct{}), operations: make(map[trouble]string),
			}
		}
		m.keks[id].keys[k] = struct{}{}
		m.keks[id].Rely(k.name, k.budget, w.KEKVersion)
	}
}

// relyAnew is for a key whose versions may have other wraps than before. One of which
// only such are left that fail is closed.
func (m *monitor) relyAnew(k *key, now time.Time) {
	for v, open := range k.relied {
		m.rely(k, v, now)
		if left, reasons := m.sift(k, v.Wraps, now); open && len(left) == 0 && len(reasons) > 0 {
			m.close(k, v.Number)
		}
	}
}

// lookThrough notes anew what relies on a KEK, and answers the wraps by each of its
// versions.
func (m *monitor) lookThrough(kek *kek) map[string][]wrapOf {
	wraps := make(map[string][]wrapOf)
	before := kek.keys
	kek.keys = make(map[*key]struct{})
	kek.Disregard()
	for k := range before {
		for v := range k.relied {
			for _, w := range v.Wraps {
				if kekOf(w) != kek.id {
					continue
				}
				kek.keys[k] = struct{}{}
				kek.Rely(k.name, k.budget, w.KEKVersion)
				wraps[w.KEKVersion] = append(wraps[w.KEKVersion], wrapOf{k, v, w})
			}
		}
	}
	return wraps
}

// holds reports whether some KEK stands behind an open version.
func (m *monitor) holds(k *key, v *keyring.Version, now time.Time) bool {
	watched := false
	for _, w := range v.Wraps {
		kek := m.keks[kekOf(w)]
		if kek != nil && kek.Holds(now, k.budget, w.KEKVersion) {
			return true
		}
		watched = watched || kek != nil
	}
	return !watched
}

// sift leaves out the wraps whose KEK is known to fail.
func (m *monitor) sift(k *key, wraps []keyring.Wrap, now time.Time) (left []keyring.Wrap, reasons []error) {
	for _, w := range wraps {
		if kek := m.keks[kekOf(w)]; kek != nil {
			if err := kek.Barred(now, k.name, k.budget, w.KEKVersion); err != nil {
				reasons = append(reasons, err)
				continue
			}
		}
		left = append(left, w)
	}
	return left, reasons
}

// closeUnheld closes the versions under a KEK that no other one stands behind.
func (m *monitor) closeUnheld(kek *kek, now time.Time) {
	for k := range kek.keys {
		for v, open := range k.relied {
			if open && !m.holds(k, v, now) {
				m.close(k, v.Number)
			}
		}
	}
}

// close takes a version's cipher out of the ring, and gives the uses back that are held
// of it. Its KEKs are watched as before: it is for them to say when it can be opened.
func (m *monitor) close(k *key, number uint32) {
	if k.closed == nil {
		k.closed = make(map[uint32]bool)
	}
	k.closed[number] = true
	k.ring.DropCipher(number)
	if k.ring.Record().Primary == number {
		m.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(m.ctx, returnMargin/2)
			defer cancel()
			m.engine.dropStale(ctx, k)
		})
	}
}

// budgetOf answers the budget of a key. It is not to fail a call that it is out of
// bounds.
func (e *Engine) budgetOf(name string) outage.Budget {
	b := e.budget(name)
	if err := b.Check(); err != nil {
		e.log.Error("the outage budget is not possible; the default is taken", "key", name, "error", err)
		return outage.DefaultBudget()
	}
	return b
}

// observed is a key manager that rotation uses. The monitor hears of its refusals; of
// its successes it hears when the rotation is announced.
type observed struct {
	wrapping.KeyManager
	name    string
	monitor *monitor
}

func (e *Engine) observed(name string) (wrapping.KeyManager, error) {
	km, err := e.manager(name)
	if err != nil {
		return nil, err
	}
	return observed{km, name, e.monitor}, nil
}

// Unwrap implements provider.KeyManager.
func (o observed) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	results, err := o.KeyManager.Unwrap(ctx, items)
	for i, item := range items {
		refused := err
		if err == nil && i < len(results) {
			refused = results[i].Err
		}
		if refused != nil {
			o.monitor.failed(outage.ID{Provider: o.name, KEK: item.Wrapped.KEKID}, item.Wrapped.KEKVersion, refused)
		}
	}
	return results, err
}

// prove has a KEK open a wrap, in the background.
func (m *monitor) prove(kek *kek, w wrapOf) {
	m.tasks.Go(func() {
		err := m.engine.revalidate(m.ctx, w)
		moved := outage.Revokes(err) && m.engine.moved(m.ctx, w)
		m.mu.Lock()
		defer m.mu.Unlock()
		if moved {
			kek.Withdrawn(m.clock.Now(), w.wrap.KEKVersion)
		} else {
			kek.Answered(m.clock.Now(), w.wrap.KEKVersion, err)
		}
		m.wake()
	})
}

// moved reports whether a wrap that was refused is not in use any more: another process
// may have moved it meanwhile, and disabled what it was under. Nobody holds mu.
func (e *Engine) moved(ctx context.Context, w wrapOf) bool {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if err := e.refreshIfChanged(ctx, w.key); err != nil {
		e.log.Warn("the store does not tell whether a refused wrap is still in use", "key", w.key.name, "error", err)
		return false
	}
	v, ok := w.key.ring.Record().Version(w.version.Number)
	return !ok || !slices.ContainsFunc(v.Wraps, func(other keyring.Wrap) bool {
		return kekOf(other) == kekOf(w.wrap) && bytes.Equal(other.Blob, w.wrap.Blob)
	})
}

// revalidate opens a wrap for nothing but to see that it opens. Nobody holds mu.
func (e *Engine) revalidate(ctx context.Context, w wrapOf) error {
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	km, err := e.manager(w.wrap.Provider)
	if err != nil {
		return err
	}
	binding := w.key.binding(w.version)
	root, err := wrapping.Open(limited, km, binding, w.wrap, w.version.KCV)
	root.Wipe()
	switch {
	case err == nil:
		return nil
	case limited.Err() != nil:
		return provider.Errorf(provider.Unavailable, "no answer within %s: %v", openTimeout, err)
	case errors.Is(err, keyring.ErrIntegrity):
		return provider.Errorf(provider.Integrity, "%w", err)
	default:
		return fmt.Errorf("revalidate version %d of key %q: %w", w.version.Number, w.key.name, err)
	}
}

// status is for a caller who does not hold mu.
func (m *monitor) status() []KeyManagerStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []KeyManagerStatus
	if m.stopped {
		return nil
	}
	for _, kek := range m.keks {
		list = append(list, kek.Status())
	}
	slices.SortFunc(list, func(a, b KeyManagerStatus) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.KEKID, b.KEKID))
	})
	return list
}
