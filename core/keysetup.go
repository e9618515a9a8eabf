package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store"
)

// ErrOtherKey: the key exists, and its first two versions are not those that were given.
var ErrOtherKey = errors.New("the key has another version there")

// GivenKey is a master key that somebody brings along. It prints as nothing.
type GivenKey struct {
	root       keyring.Root
	passphrase secret.Bytes
	derived    bool // from passphrase, however short that is
}

// MasterKey is one whose bytes are known. [keyring.ParseRoot] reads them: as they are with
// keyring.FormRaw, or in hex or base64.
func MasterKey(root keyring.Root) GivenKey { return GivenKey{root: root} }

// Passphrase is one that comes from a passphrase, by Argon2id or in FIPS 140 mode by
// PBKDF2. The salt stands in the history, so that the same passphrase makes the same key
// again.
func Passphrase(p secret.Bytes) GivenKey { return GivenKey{passphrase: p, derived: true} }

// String implements fmt.Stringer.
func (g GivenKey) String() string { return secret.Redacted }

// Wipe overwrites the secret.
func (g GivenKey) Wipe() {
	g.root.Wipe()
	g.passphrase.Wipe()
}

// check refuses what could not be anybody's key.
func (g GivenKey) check() error {
	if g.derived {
		return keyring.CheckPassphrase(g.passphrase)
	}
	if g.root.Len() != keyring.RootSize {
		return fmt.Errorf("%w: it has %d bytes; %d are needed", keyring.ErrMaterial, g.root.Len(), keyring.RootSize)
	}
	return g.root.Check()
}

// imported is the key as an import takes it, which wipes it.
func (g GivenKey) imported() (engine.Imported, error) {
	if !g.derived {
		return engine.Imported{Root: keyring.Root{Bytes: g.root.Clone()}}, nil
	}
	kdf := keyring.NewKDF()
	root, err := kdf.Root(g.passphrase)
	return engine.Imported{Root: root, KDF: &kdf}, err
}

// KeySetup is a key whose two master keys come from elsewhere: the one that was in use,
// and the one that is to be.
type KeySetup struct {
	Key string
	// Old becomes version 1 and New version 2. Both are wiped when the call ends.
	Old, New GivenKey
	// OldLabel and NewLabel name the versions; "v1" and "v2" if they are empty. Any line
	// of text will do, but "v" with a number is for the version of that number.
	OldLabel, NewLabel string
	// KeyOptions count when the key is made.
	KeyOptions
}

// KeySetupResult is what SetupKeyRotation came to.
type KeySetupResult struct {
	Key store.Key
	// Old and New are the numbers of the versions that have the given keys.
	Old, New uint32
	// Made are those of them that this call made: none if all was there already.
	Made []uint32
}

// SetupKeyRotation registers two master keys as the first two versions of a key: the
// new one encrypts, the old one still decrypts. The history has two creations and one
// rotation.
//
// The same call again changes nothing, and completes one that was cut off between the
// two versions. ErrOtherKey if the key exists and a version of it is not the one that was
// given; nothing is changed then.
func (kr *Keyrotor) SetupKeyRotation(ctx context.Context, s KeySetup) (KeySetupResult, error) {
	defer s.Old.Wipe()
	defer s.New.Wipe()
	if err := s.check(); err != nil {
		return KeySetupResult{}, err
	}
	var made []uint32
	for {
		key, version, err := kr.setUp(ctx, s)
		switch {
		case errors.Is(err, store.ErrKeyExists), errors.Is(err, rotation.ErrRotated):
			continue // another process was faster: look what there is now
		case err != nil:
			return KeySetupResult{}, err
		case version == 0:
			return KeySetupResult{Key: key, Old: key.Versions[0].Number, New: key.Versions[1].Number, Made: made}, nil
		}
		made = append(made, version)
	}
}

// check refuses what must not come to light after the first version is made.
func (s KeySetup) check() error {
	err := keyring.CheckName(s.Key)
	if err == nil {
		err = (history.Event{Note: s.Note}).Check()
	}
	if err != nil {
		return err
	}
	if err := s.Old.check(); err != nil {
		return fmt.Errorf("the old key: %w", err)
	}
	if err := s.New.check(); err != nil {
		return fmt.Errorf("the new key: %w", err)
	}
	if s.Old.root.Equal(s.New.root.Bytes) && s.Old.passphrase.Equal(s.New.passphrase) {
		return fmt.Errorf("%w: the old key and the new one are the same: a rotation is to end the use of what was there", keyring.ErrWeak)
	}
	versions := keyring.Record{Name: s.Key}
	for i, label := range []string{s.OldLabel, s.NewLabel} {
		number := uint32(i + 1)
		if label == "" {
			label = keyring.VersionLabel(number)
		}
		if err := versions.CheckLabel(number, label); err != nil {
			return err
		}
		versions.Versions = append(versions.Versions, keyring.Version{Number: number, Label: label})
	}
	return nil
}

// setUp makes the first version that is missing, and answers its number; 0 if none is.
func (kr *Keyrotor) setUp(ctx context.Context, s KeySetup) (store.Key, uint32, error) {
	key, err := kr.Describe(ctx, s.Key)
	if errors.Is(err, keyring.ErrUnknownKey) {
		i, err := s.Old.imported()
		if err != nil {
			return store.Key{}, 0, err
		}
		i.Label = s.OldLabel
		key, err = kr.ImportKey(ctx, s.Key, i, s.KeyOptions)
		return key, key.Primary, err
	}
	if err != nil {
		return store.Key{}, 0, err
	}
	if err := kr.compare(ctx, key, 0, "old", s.Old, s.OldLabel); err != nil {
		return store.Key{}, 0, err
	}
	if len(key.Versions) > 1 {
		return key, 0, kr.compare(ctx, key, 1, "new", s.New, s.NewLabel)
	}
	i, err := s.New.imported()
	if err != nil {
		return store.Key{}, 0, err
	}
	i.Label, i.Number = s.NewLabel, key.NextVersion()
	result, err := kr.ImportVersion(ctx, s.Key, i, keyring.ReasonManual, s.Note)
	return result.Key, result.Primary, err
}

// compare answers ErrOtherKey unless a version is the given key, under the label that is
// given, if there is one.
func (kr *Keyrotor) compare(ctx context.Context, key store.Key, index int, which string, g GivenKey, label string) error {
	v := key.Versions[index]
	other := fmt.Errorf("%w: version %d of key %q is not the %s key that is given", ErrOtherKey, v.Number, key.Name, which)
	root := keyring.Root{Bytes: g.root.Clone()}
	if g.derived {
		kdf, err := kr.kdf(ctx, key.Name, v.Number)
		if errors.Is(err, keyring.ErrMaterial) {
			return fmt.Errorf("%w: it does not come from a passphrase, or its creation event is gone", other)
		}
		if err != nil {
			return err
		}
		if root, err = kdf.Root(g.passphrase); err != nil {
			return err
		}
	}
	defer root.Wipe()
	given, err := root.KCV(keyring.Binding{Store: kr.store.ID(), Key: key.ID, Version: v.Number, Algorithm: v.Algorithm})
	switch {
	case err != nil:
		return err
	case given != v.KCV:
		return fmt.Errorf("%w: its key check value is %s, that of the given one would be %s; give the keys that it was set up with, or choose another name", other, v.KCV, given)
	case label != "" && label != v.Label:
		return fmt.Errorf("%w: version %d of key %q is the %s key that is given, and its label is %q, not %q: labels do not change", ErrOtherKey, v.Number, key.Name, which, v.Label, label)
	}
	return nil
}

// kdf is how a version came from a passphrase.
func (kr *Keyrotor) kdf(ctx context.Context, key string, version uint32) (keyring.KDF, error) {
	page, err := kr.History(ctx, history.Query{Key: key, Version: version, Type: history.Creation, Limit: 1})
	if err != nil {
		return keyring.KDF{}, err
	}
	if len(page.Events) == 0 {
		return keyring.KDF{}, fmt.Errorf("%w: the history has no creation of version %d of key %q", keyring.ErrMaterial, version, key)
	}
	e, err := history.Decode(page.Events[0])
	if err != nil {
		return keyring.KDF{}, err
	}
	return keyring.ParseKDF(e.Details)
}
