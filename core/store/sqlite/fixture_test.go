package sqlite

import (
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// apply is the function of a store.Update.
type apply = func(*keyring.Record) ([]history.Event, error)

// newKey fills the record of a key with one active version.
func newKey(name string, now func() time.Time) apply {
	return func(r *keyring.Record) ([]history.Event, error) {
		h := tlog.RecordHash([]byte(name))
		*r = keyring.Record{
			ID: keyring.KeyID(h[:16]), Name: name, Created: now(),
			Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: 1 << 32, WrapWith: []string{"local"}},
		}
		return newVersion(now)(r)
	}
}

// newVersion appends a version and makes it primary.
func newVersion(now func() time.Time) apply {
	return func(r *keyring.Record) ([]history.Event, error) {
		n := r.NextVersion()
		if err := r.AddVersion(version(n, now())); err != nil {
			return nil, err
		}
		previous := r.Primary
		if err := r.SetPrimary(n, now()); err != nil {
			return nil, err
		}
		return []history.Event{
			{Type: history.Creation, Actor: "alice@host", Operation: "op", Version: n, Reason: "manual"},
			{Type: history.Rotation, Actor: "alice@host", Operation: "op", Version: n, PreviousVersion: previous, Reason: "manual"},
		}, nil
	}
}

func version(n uint32, now time.Time) keyring.Version {
	root := tlog.RecordHash([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return keyring.Version{
		Number: n, Label: keyring.VersionLabel(n), Algorithm: keyring.AES256GCM,
		Created: now, Reason: keyring.ReasonManual, KCV: keyring.KCV(root[:16]),
		Wraps: []keyring.Wrap{{
			Provider: "local", KEKID: "local:kek/0123456789abcdef", KEKVersion: "1",
			Blob: append(root[:], root[:]...), Created: now,
		}},
	}
}
