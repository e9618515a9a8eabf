package core

import (
	"context"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// VersionInfo is everything that there is to say of one version of a key.
type VersionInfo struct {
	// Key and KeyID are the key's.
	Key   string
	KeyID keyring.KeyID
	// Version has its state, dates, reason and wraps. A wrap's Blob is opened by the key
	// manager alone.
	keyring.Version
	// Primary: it is the one that encrypts.
	Primary bool
	// Encrypts and Decrypts say what it may be used for now.
	Encrypts, Decrypts bool
	// Age is the time since it was made.
	Age time.Duration
	// Uses are counted against HardLimit; Reencrypted is the part that re-encryption had.
	Uses, Reencrypted, HardLimit uint64
	// Events are those of the history that are about it, the newest first, at most
	// store.MaxEvents.
	Events []history.Event
}

// VersionInfo answers everything about one version. keyring.ErrUnknownKey,
// keyring.ErrUnknownVersion.
func (kr *Keyrotor) VersionInfo(ctx context.Context, key string, version uint32) (VersionInfo, error) {
	described, err := kr.Describe(ctx, key)
	if err != nil {
		return VersionInfo{}, err
	}
	v, ok := described.Version(version)
	if !ok {
		return VersionInfo{}, fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, key, version)
	}
	info, err := kr.versionInfo(ctx, described, v)
	if err != nil {
		return VersionInfo{}, err
	}
	page, err := kr.History(ctx, history.Query{Key: key, Version: version, Limit: store.MaxEvents})
	if err != nil {
		return VersionInfo{}, err
	}
	for _, b := range page.Events {
		e, err := history.Decode(b)
		if err != nil {
			return VersionInfo{}, err
		}
		info.Events = append(info.Events, e)
	}
	return info, nil
}

// ActiveVersions answers the versions of a key that decrypt now, the primary first, then
// the newest. They come without their events. keyring.ErrUnknownKey.
func (kr *Keyrotor) ActiveVersions(ctx context.Context, key string) ([]VersionInfo, error) {
	described, err := kr.Describe(ctx, key)
	if err != nil {
		return nil, err
	}
	var primary, others []VersionInfo
	for i := range described.Versions {
		// The newest has the highest number.
		info, err := kr.versionInfo(ctx, described, &described.Versions[len(described.Versions)-1-i])
		switch {
		case err != nil:
			return nil, err
		case info.Primary:
			primary = append(primary, info)
		case info.Decrypts:
			others = append(others, info)
		}
	}
	return append(primary, others...), nil
}

func (kr *Keyrotor) versionInfo(ctx context.Context, key store.Key, v *keyring.Version) (VersionInfo, error) {
	now, err := kr.store.Now(ctx)
	if err != nil {
		return VersionInfo{}, err
	}
	primary := v.Number == key.Primary && v.State == keyring.Active
	return VersionInfo{
		Key: key.Name, KeyID: key.ID, Version: *v, Primary: primary,
		Encrypts: primary && key.Uses[v.Number] < key.Settings.HardLimit, Decrypts: key.CheckDecrypt(v.Number) == nil,
		Age: now.Sub(v.Created), Uses: key.Uses[v.Number], Reencrypted: key.Reencrypted[v.Number], HardLimit: key.Settings.HardLimit,
	}, nil
}
