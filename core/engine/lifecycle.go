package engine

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// changeTimeout bounds what is done after a change was committed, which nobody's
// context is to cut short.
const changeTimeout = 5 * time.Second

// StateChanged is what SetState did.
type StateChanged struct {
	// Key is the key afterwards.
	Key     store.Key
	Version uint32
	From    keyring.State
	To      keyring.State
	// Deposed is the version that was the primary until this one became it.
	Deposed uint32
	// Operation is empty if the version was in that state already: then nothing was
	// changed, and there is no event.
	Operation string
}

// SetState moves a version to another state, here at once and in other processes
// within the interval of their polling. Active makes it the primary. Quarantine and
// destruction have their own way, see package destruction.
//
// Errors: keyring.ErrUnknownKey, ErrUnknownVersion, ErrState if that state must not
// follow the one that the version is in, and rotation.ErrRestored if the version is
// to be the primary of a key that needs a recovery.
func (e *Engine) SetState(ctx context.Context, name string, version uint32, to keyring.State, note string) (StateChanged, error) {
	if to == keyring.Active {
		if err := e.recovered(ctx, name); err != nil {
			return StateChanged{}, err
		}
	}
	var done StateChanged
	operation := uuid.NewString()
	key, err := e.change(ctx, name, func(rec *keyring.Record) ([]history.Event, error) {
		v, ok := rec.Version(version)
		if !ok {
			return nil, fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, name, version)
		}
		done = StateChanged{Version: version, From: v.State, To: to}
		if v.State == to {
			return nil, nil
		}
		done.Operation = operation
		now := e.rotator.Now().UTC().Truncate(time.Microsecond)
		event := history.Event{
			Type: history.StateChange, Time: now, Actor: e.rotator.Actor, Operation: operation, Version: version, Note: note,
			Details: map[string]string{"from": string(v.State), "to": string(to)},
		}
		if to == keyring.Active {
			done.Deposed = rec.Primary
			return activate(rec, event)
		}
		if v.State == keyring.Quarantined || to == keyring.Quarantined || to == keyring.Destroyed {
			return nil, fmt.Errorf("%w: version %d of key %q is %s, and %s is for `keyrotor key destroy` to decide on", keyring.ErrState, version, name, v.State, to)
		}
		return []history.Event{event}, rec.SetState(version, to, now)
	})
	if err != nil {
		return StateChanged{}, err
	}
	done.Key = key
	return done, nil
}

// activate makes the event's version the primary. A version that was the primary
// until then changes its state, too, and gets an event of its own.
func activate(rec *keyring.Record, event history.Event) ([]history.Event, error) {
	if least := rec.Settings.MinDecryptVersion; event.Version < least {
		return nil, fmt.Errorf("%w: version %d of key %q is below its minimum decryption version %d: what it encrypts could not be read",
			keyring.ErrState, event.Version, rec.Name, least)
	}
	deposed := rec.Primary
	if err := rec.SetPrimary(event.Version, event.Time); err != nil || deposed == 0 {
		return []history.Event{event}, err
	}
	before := event
	before.Version = deposed
	before.Details = map[string]string{"from": string(keyring.Active), "to": string(keyring.Deactivated)}
	return []history.Event{before, event}, nil
}

// Settings are those of a key that may be changed; nil leaves one as it is.
type Settings struct {
	MinDecryptVersion *uint32
	BlockReads        *bool
	// HardLimit is from 1 to keyring.MaxUses. One below what a version has been used
	// stops it, when what is leased of it is spent.
	HardLimit *uint64
}

// Setting is one that was changed.
type Setting struct {
	Name, Old, New string
}

// Configured is what Configure did.
type Configured struct {
	// Key is the key afterwards.
	Key     store.Key
	Changes []Setting
	// Operation is empty if there was nothing to change: then there is no event.
	Operation string
}

// Configure changes settings of a key, here at once and in other processes within
// the interval of their polling. keyring.ErrUnknownVersion and ErrState if the
// minimum decryption version does not exist, or would keep the primary from being
// read.
func (e *Engine) Configure(ctx context.Context, name string, s Settings, note string) (Configured, error) {
	var done Configured
	operation := uuid.NewString()
	key, err := e.change(ctx, name, func(rec *keyring.Record) ([]history.Event, error) {
		changes, err := s.apply(rec)
		done = Configured{Changes: changes}
		if err != nil || len(changes) == 0 {
			return nil, err
		}
		done.Operation = operation
		event := history.Event{
			Type: history.ConfigChange, Time: e.rotator.Now(), Actor: e.rotator.Actor, Operation: operation, Note: note,
			Details: make(map[string]string),
		}
		for _, c := range changes { // the names are final
			event.Details[c.Name+".old"], event.Details[c.Name+".new"] = c.Old, c.New
		}
		return []history.Event{event}, nil
	})
	if err != nil {
		return Configured{}, err
	}
	done.Key = key
	return done, nil
}

// apply changes the record, and answers what differs from before.
func (s Settings) apply(rec *keyring.Record) ([]Setting, error) {
	var changes []Setting
	settings := &rec.Settings
	if least := s.MinDecryptVersion; least != nil && *least != settings.MinDecryptVersion {
		switch {
		case *least >= rec.NextVersion():
			return nil, fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, rec.Name, *least)
		case rec.Primary > 0 && *least > rec.Primary:
			return nil, fmt.Errorf("%w: the primary of key %q is version %d: with a minimum decryption version of %d, what it encrypts could not be read",
				keyring.ErrState, rec.Name, rec.Primary, *least)
		}
		changes = append(changes, Setting{
			"min_decrypt_version", strconv.FormatUint(uint64(settings.MinDecryptVersion), 10), strconv.FormatUint(uint64(*least), 10),
		})
		settings.MinDecryptVersion = *least
	}
	if block := s.BlockReads; block != nil && *block != settings.BlockReads {
		changes = append(changes, Setting{"block_reads", strconv.FormatBool(settings.BlockReads), strconv.FormatBool(*block)})
		settings.BlockReads = *block
	}
	if limit := s.HardLimit; limit != nil && *limit != settings.HardLimit {
		if *limit == 0 || *limit > keyring.MaxUses {
			return nil, fmt.Errorf("key %q: a hard limit of %d uses; it must be from 1 to %d", rec.Name, *limit, uint64(keyring.MaxUses))
		}
		changes = append(changes, Setting{"hard_limit", strconv.FormatUint(settings.HardLimit, 10), strconv.FormatUint(*limit, 10)})
		settings.HardLimit = *limit
	}
	return changes, nil
}

// change updates a key that must exist. What is refused is refused before the
// update, where nearly always nobody comes between, and in words of its own.
func (e *Engine) change(ctx context.Context, name string, apply func(*keyring.Record) ([]history.Event, error)) (store.Key, error) {
	stored, err := e.Describe(ctx, name)
	if err != nil {
		return store.Key{}, err
	}
	trial := store.Clone(&stored.Record)
	if _, err := apply(&trial); err != nil {
		return store.Key{}, err
	}
	key, err := e.store.Update(ctx, store.Update{Name: name, Apply: apply})
	if err != nil {
		return store.Key{}, err
	}
	e.Changed(key)
	return key, nil
}

// Changed takes over a change of a key that this process committed beside the
// engine, so that it acts here at once. key is what the commit answered. Uses that
// are held of a version that encrypts no longer go back to the store.
func (e *Engine) Changed(key store.Key) {
	k, ok := e.keys.Load().byName[key.Name]
	if !ok {
		return // what is not in memory is read when it is needed
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	e.adopt(ctx, k, key)
	e.dropStale(ctx, k)
}
