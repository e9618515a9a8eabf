// Package destruction ends key versions, for good and with proof that nothing needs
// them any more. A version goes through a gate twice:
//
//	schedule → (quarantine: decryption refused, attempts counted) → run
//
// Both times nobody may hold uses of it, and a census of the registered data must
// find no token of it and leave nothing out. In between, for a period, every attempt
// to decrypt with it is refused and counted, and one is enough to stop the
// destruction: whoever still has its ciphertexts shows up while they can be saved.
//
// What this cannot see: ciphertexts outside of the registered data that nobody
// touches within the period, those in binary form, and a process that is cut off
// from the store and goes on with what it has in memory.
//
// Destroying deletes the version's wraps from the store, and no more than that: a
// backup of the database from before, together with the key-encryption key, still
// opens the version. The receipt says so.
package destruction

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	// DefaultPeriod is how long a version stays in quarantine: a month has every
	// job in it that runs monthly.
	DefaultPeriod = 30 * 24 * time.Hour
	// MinPeriod is the least. Every lease is over by then, and every process has
	// heard of the quarantine.
	MinPeriod = time.Hour
)

// commitTimeout bounds a commit, which the end of a caller's context does not cut
// short.
const commitTimeout = 10 * time.Second

// Store is what destruction needs to persist.
type Store interface {
	store.Clock
	store.Keys
	store.Leases
	store.Attempts
	store.Events
	store.Log
}

// Config is what a Destroyer works with. Store, Keys and Actor are required.
type Config struct {
	Store Store
	// Keys is asked by the census.
	Keys reencrypt.Keys
	// Paths are the registered data. Without any, nothing can be destroyed but by
	// force.
	Paths []string
	// Actor goes into every event, e.g. "user@host".
	Actor string
	// Progress, if set, is told of each census.
	Progress func(reencrypt.Progress)
	// Changed, if set, receives each key that was changed.
	Changed func(store.Key)
}

// Destroyer schedules, cancels and runs destructions. It holds no state of its own
// and may be used concurrently.
type Destroyer struct{ Config }

// New checks the configuration.
func New(c Config) (*Destroyer, error) {
	if c.Store == nil || c.Keys == nil || c.Actor == "" {
		return nil, errors.New("destruction: Store, Keys and Actor are required")
	}
	if err := (history.Event{Actor: c.Actor}).Check(); err != nil {
		return nil, fmt.Errorf("destruction: %w", err)
	}
	if c.Changed == nil {
		c.Changed = func(store.Key) {}
	}
	return &Destroyer{c}, nil
}

// Schedule puts a version that is deactivated, suspended or compromised into
// quarantine, from where it can be destroyed after a period: DefaultPeriod if it is
// zero, and MinPeriod at least. *RefusedError if the gate is closed.
func (d *Destroyer) Schedule(ctx context.Context, name string, version uint32, period time.Duration, note string) (Scheduled, error) {
	if period == 0 {
		period = DefaultPeriod
	}
	if period < MinPeriod {
		return Scheduled{}, fmt.Errorf("a period of %s in quarantine: at least %s", period, MinPeriod)
	}
	if err := (history.Event{Note: note}).Check(); err != nil {
		return Scheduled{}, err
	}
	key, v, err := d.version(ctx, name, version)
	if err != nil {
		return Scheduled{}, err
	}
	if err := mayBeScheduled(name, v); err != nil {
		return Scheduled{}, err
	}
	found, err := d.examine(ctx, name, version, nil)
	if err != nil {
		return Scheduled{}, err
	}
	if err := found.refusal(name, version); err != nil {
		return Scheduled{}, err
	}
	now, err := d.now(ctx)
	if err != nil {
		return Scheduled{}, err
	}
	s := schedule{
		from: v.State, scheduled: now, due: now.Add(period), attempts: found.attempts, census: found.census,
	}
	event := d.event(history.DestroyScheduled, now, version, note)
	event.Details = s.details()
	if key, err = d.commit(ctx, name, v, always(event), keyring.Quarantined); err != nil {
		return Scheduled{}, err
	}
	return s.view(&key.Record, v, event), nil
}

// Canceled is a destruction that will not take place.
type Canceled struct {
	Key     string        `json:"key"`
	Version uint32        `json:"version"`
	State   keyring.State `json:"state"`
	// Operation is shared with the event.
	Operation string `json:"operation_id"`
}

// Cancel takes a version out of quarantine, back to the state that it had before.
func (d *Destroyer) Cancel(ctx context.Context, name string, version uint32, note string) (Canceled, error) {
	_, v, err := d.version(ctx, name, version)
	if err != nil {
		return Canceled{}, err
	}
	if v.State != keyring.Quarantined {
		return Canceled{}, fmt.Errorf("%w: version %d of key %q is %s: no destruction of it is scheduled", keyring.ErrState, version, name, v.State)
	}
	s, _, err := d.schedule(ctx, name, v)
	if err != nil {
		return Canceled{}, err
	}
	now, err := d.now(ctx)
	if err != nil {
		return Canceled{}, err
	}
	event := d.event(history.DestroyCanceled, now, version, note)
	event.Details = map[string]string{"from": string(v.State), "to": string(s.from)}
	if _, err := d.commit(ctx, name, v, always(event), s.from); err != nil {
		return Canceled{}, err
	}
	return Canceled{Key: name, Version: version, State: s.from, Operation: event.Operation}, nil
}

// Run destroys a version whose period in quarantine is over. *RefusedError if the
// gate is closed.
func (d *Destroyer) Run(ctx context.Context, name string, version uint32, note string) (Receipt, error) {
	key, v, err := d.version(ctx, name, version)
	if err != nil {
		return Receipt{}, err
	}
	if v.State != keyring.Quarantined {
		if err := mayBeScheduled(name, v); err != nil {
			return Receipt{}, err
		}
		return Receipt{}, fmt.Errorf("%w: version %d of key %q is %s: schedule its destruction first", keyring.ErrState, version, name, v.State)
	}
	s, _, err := d.schedule(ctx, name, v)
	if err != nil {
		return Receipt{}, err
	}
	found, err := d.examine(ctx, name, version, &s)
	if err != nil {
		return Receipt{}, err
	}
	if err := found.refusal(name, version); err != nil {
		return Receipt{}, err
	}
	return d.destroy(ctx, &key.Record, v, destroyed{schedule: &s, census: &found.census}, note)
}

// ErrNote: a destruction is forced without a word about why.
var ErrNote = errors.New("forcing a destruction needs a note that says why")

// Force destroys a version without a census, whatever was attempted and without
// waiting, scheduled or not. Uses of it that are out on lease stop it all the same: a
// value could be encrypted that nobody can ever read. The history says what was
// skipped.
func (d *Destroyer) Force(ctx context.Context, name string, version uint32, note string) (Receipt, error) {
	if note == "" {
		return Receipt{}, ErrNote
	}
	key, v, err := d.version(ctx, name, version)
	if err != nil {
		return Receipt{}, err
	}
	end := destroyed{forced: true}
	if v.State == keyring.Quarantined {
		s, _, err := d.schedule(ctx, name, v)
		if err != nil {
			return Receipt{}, err
		}
		count, err := d.Store.Attempts(ctx, name, version)
		if err != nil {
			return Receipt{}, err
		}
		end.schedule, end.attempts = &s, count-min(count, s.attempts)
	} else if err := mayBeScheduled(name, v); err != nil {
		return Receipt{}, err
	}
	leased, err := d.leased(ctx, name, version)
	if err != nil {
		return Receipt{}, err
	}
	if err := (findings{reasons: leased}).refusal(name, version); err != nil {
		return Receipt{}, err
	}
	return d.destroy(ctx, &key.Record, v, end, note)
}

// destroy deletes the wraps, with an event that the receipt is read from. It names the
// wraps that are there at that moment: they may have been moved while the gate was looked
// at.
func (d *Destroyer) destroy(ctx context.Context, rec *keyring.Record, v *keyring.Version, end destroyed, note string) (Receipt, error) {
	now, err := d.now(ctx)
	if err != nil {
		return Receipt{}, err
	}
	event := d.event(history.Destroyed, now, v.Number, note)
	path := []keyring.State{keyring.Destroyed}
	if v.State != keyring.Quarantined {
		path = []keyring.State{keyring.Quarantined, keyring.Destroyed}
	}
	_, err = d.commit(ctx, rec.Name, v, func(v *keyring.Version) history.Event {
		event.Details = end.details(v)
		return event
	}, path...)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := d.Receipt(context.WithoutCancel(ctx), rec.Name, v.Number)
	if err != nil {
		return Receipt{}, fmt.Errorf("version %d of key %q is destroyed, and its receipt could not be read: %w: `keyrotor key destroy receipt %s %d` writes it again",
			v.Number, rec.Name, err, rec.Name, v.Number)
	}
	return receipt, nil
}

// version reads a version. The record is not to be changed.
func (d *Destroyer) version(ctx context.Context, name string, version uint32) (store.Key, *keyring.Version, error) {
	if err := keyring.CheckName(name); err != nil {
		return store.Key{}, nil, err
	}
	key, err := d.Store.Key(ctx, name)
	if err != nil {
		return store.Key{}, nil, err
	}
	v, ok := key.Version(version)
	if !ok {
		return store.Key{}, nil, fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, name, version)
	}
	return key, v, nil
}

// mayBeScheduled says what is in the way of a version's destruction beside the gate.
func mayBeScheduled(name string, v *keyring.Version) error {
	next := ""
	switch v.State {
	case keyring.Deactivated, keyring.Suspended, keyring.Compromised:
		return nil
	case keyring.Active:
		next = "; rotate the key first"
	case keyring.Quarantined:
		next = ": its destruction is scheduled already"
	case keyring.Destroyed:
		next = " already"
	case keyring.PreActive:
	}
	return fmt.Errorf("%w: version %d of key %q is %s%s", keyring.ErrState, v.Number, name, v.State, next)
}

// now is the store's time as records and events keep it.
func (d *Destroyer) now(ctx context.Context) (time.Time, error) {
	now, err := d.Store.Now(ctx)
	return now.UTC().Truncate(time.Microsecond), err
}

func (d *Destroyer) event(t history.Type, at time.Time, version uint32, note string) history.Event {
	return history.Event{Type: t, Time: at, Actor: d.Actor, Operation: uuid.NewString(), Version: version, Note: note}
}

// always is an event that does not depend on what is found at the commit.
func always(event history.Event) func(*keyring.Version) history.Event {
	return func(*keyring.Version) history.Event { return event }
}

// commit moves a version along a path of states, if its state is still the one that was
// seen. event is told of the version as it is before that.
func (d *Destroyer) commit(ctx context.Context, name string, seen *keyring.Version, event func(*keyring.Version) history.Event, path ...keyring.State) (store.Key, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	key, err := d.Store.Update(ctx, store.Update{Name: name, Apply: func(rec *keyring.Record) ([]history.Event, error) {
		v, ok := rec.Version(seen.Number)
		if !ok || v.State != seen.State || !v.StateChanged.Equal(seen.StateChanged) {
			return nil, fmt.Errorf("%w: version %d of key %q was changed by somebody else meanwhile; look at it and start again", keyring.ErrState, seen.Number, name)
		}
		e := event(v)
		for _, to := range path {
			if err := rec.SetState(seen.Number, to, e.Time); err != nil {
				return nil, err
			}
		}
		return []history.Event{e}, nil
	}})
	if err == nil {
		d.Changed(key)
	}
	return key, err
}
