package rotation

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// A store that comes out of a backup does not know of the versions that were made
// after it. Were one of its keys simply rotated, the new version would have the
// number of a lost one; and its old primary may have been used up, suspended or
// found to be compromised since. So a restored key encrypts nothing and is not
// rotated, until a recovery gives it a version above every number ever seen. It is
// the record that says so: it has no primary, and its history tells why.

// ErrRestored: the key came out of a backup and was not recovered yet. It is a
// keyring.ErrNoPrimary too.
var ErrRestored = fmt.Errorf("%w since it was restored from a backup", keyring.ErrNoPrimary)

// Events reads the history.
type Events interface {
	Events(ctx context.Context, q history.Query) (history.Page, error)
}

// CheckRestored fails with ErrRestored if no version was made since the key came out
// of a backup. Whoever gives a key a primary asks first; a key that has one needs
// no look at the history.
func CheckRestored(ctx context.Context, events Events, r *keyring.Record) error {
	if r.Primary != 0 {
		return nil
	}
	page, err := events.Events(ctx, history.Query{Key: r.Name, Type: history.Restored, Limit: 1})
	if err != nil || len(page.Events) == 0 {
		return err
	}
	e, err := history.Decode(page.Events[0])
	if err != nil {
		return err
	}
	if r.NextVersion() > e.Version+1 {
		return nil
	}
	return fmt.Errorf("%w: %q, by backup %s of %s: run `keyrotor recover`",
		ErrRestored, r.Name, e.Details[detailBackup], e.Details[detailBackupCreated])
}

// Restoration is what happened to a store that comes out of a backup.
type Restoration struct {
	// Backup is the backup's id, and Created when it was made.
	Backup    string
	Created   time.Time
	Actor     string
	Operation string
	Time      time.Time
}

// The details of the events of a restoration. The names are final; `primary` is that
// of the key in the backup, and missing if it had none.
const (
	detailBackup        = "backup"
	detailBackupCreated = "backup_created"
	detailPrimary       = "primary"
)

// RestoredStore is a store before anybody uses it.
type RestoredStore interface {
	store.Keys
	store.Intents
	store.Events
}

// RestoredKey is a key that has no primary any more, and the one that it had; 0 if
// it had none.
type RestoredKey struct {
	Key     string
	Primary uint32
}

// Mark takes the primary from every key of a restored store, writes down why, and
// drops claims: whoever held them worked on another database.
func (r Restoration) Mark(ctx context.Context, s RestoredStore) ([]RestoredKey, error) {
	claims, err := s.Intents(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range claims {
		if err := s.End(ctx, in); err != nil {
			return nil, err
		}
	}
	names, err := s.Names(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]RestoredKey, 0, len(names))
	for _, name := range names {
		key := RestoredKey{Key: name}
		_, err := s.Update(ctx, store.Update{Name: name, Apply: func(rec *keyring.Record) ([]history.Event, error) {
			key.Primary = rec.Primary
			return r.deactivate(rec)
		}})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, s.Append(ctx, nil, []history.Event{r.event()})
}

func (r Restoration) deactivate(rec *keyring.Record) ([]history.Event, error) {
	e := r.event()
	e.Version = rec.NextVersion() - 1
	if rec.Primary != 0 {
		e.Details[detailPrimary] = strconv.FormatUint(uint64(rec.Primary), 10)
		if err := rec.SetState(rec.Primary, keyring.Deactivated, r.Time); err != nil {
			return nil, err
		}
	}
	return []history.Event{e}, nil
}

// event is the one of the store. Those of the keys also say which version is the
// newest.
func (r Restoration) event() history.Event {
	return history.Event{
		Type: history.Restored, Time: r.Time, Actor: r.Actor, Operation: r.Operation,
		Details: map[string]string{
			detailBackup: r.Backup, detailBackupCreated: r.Created.UTC().Format(time.RFC3339Nano),
		},
	}
}
