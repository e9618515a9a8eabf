package core

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/reencrypt"
	"github.com/keyrotor/keyrotor/core/rotation"
)

// RecoverOptions say which version numbers were in use when the store was lost.
type RecoverOptions struct {
	// Paths are files, and folders of files, whose tokens tell; so do those that the
	// config file registers. Binary ciphertexts in them are not seen.
	Paths []string
	// Seen are the highest numbers that somebody knows, by key.
	Seen map[string]uint32
	// Progress, if set, is told how far the reading of the files is.
	Progress func(reencrypt.Progress)
}

// Recovery says what a recovery did.
type Recovery struct {
	// Keys are those that needed one, in order.
	Keys []RecoveredKey
	// Read says what the files told. Nothing was recovered if one failed.
	Read reencrypt.HighestReport
}

// RecoveredKey is a key with its new version, or the reason why it has none.
type RecoveredKey struct {
	Key string
	// Newest is the last version that came out of the backup, and Seen the highest
	// ever seen. The numbers above Newest up to Seen are skipped.
	Newest, Seen uint32
	// Where the files name version Seen; no file if they do not.
	Where reencrypt.Place
	// Result is that of the rotation.
	Result rotation.Result
	Err    error
}

// ErrUnread: a file could not be searched for versions.
var ErrUnread = errors.New("not all of the files could be read")

// ErrImplausible: a file names a version that a key can hardly have had.
var ErrImplausible = errors.New("implausible version number")

// maxSkip is how many versions may have been made since the backup, by the word of a
// file alone. A token can be written by anybody, and numbers are never used again.
const maxSkip = 100_000

// Recover gives every key that came out of a backup a new primary, with a number
// above each that was ever seen. One that fails holds up no other, and a recovery
// that was cut off goes on where it was. If a file cannot be read, nothing is
// recovered: it may name the highest version.
func (kr *Keyrotor) Recover(ctx context.Context, o RecoverOptions) (Recovery, error) {
	if err := kr.checkSeen(ctx, o.Seen); err != nil {
		return Recovery{}, err
	}
	waiting, err := kr.Unrecovered(ctx)
	if err != nil || len(waiting) == 0 {
		return Recovery{}, err
	}
	names := make([]string, 0, len(waiting))
	for _, k := range waiting {
		names = append(names, k.Key)
	}
	var r Recovery
	if r.Read, err = reencrypt.Highest(ctx, names, slices.Concat(o.Paths, kr.Config.DataPaths()), o.Progress); err != nil {
		return r, err
	}
	if n := len(r.Read.Failed); n > 0 {
		return r, fmt.Errorf("%w (%d failed): no key was recovered, since they may name the highest version: make them readable, or leave them out", ErrUnread, n)
	}
	for _, k := range waiting {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.Keys = append(r.Keys, kr.recover(ctx, k, r.Read.Keys[k.Key], o.Seen[k.Key]))
	}
	return r, nil
}

// checkSeen refuses a key that was mistyped.
func (kr *Keyrotor) checkSeen(ctx context.Context, seen map[string]uint32) error {
	for name := range seen {
		if _, err := kr.Describe(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (kr *Keyrotor) recover(ctx context.Context, k engine.UnrecoveredKey, found reencrypt.Sighting, told uint32) RecoveredKey {
	r := RecoveredKey{Key: k.Key, Newest: k.Newest, Seen: max(k.Newest, found.Version, told)}
	if found.Version == r.Seen {
		r.Where = found.Place
	}
	if uint64(found.Version) > max(uint64(k.Newest)+maxSkip, uint64(told)) {
		r.Err = fmt.Errorf("%w: %s names version %d of key %q, and the newest in the backup is %d: if that is right, say so with --seen %s=%d; else take the token out",
			ErrImplausible, found.Place, found.Version, k.Key, k.Newest, k.Key, found.Version)
		return r
	}
	r.Result, r.Err = kr.RecoverKey(ctx, k.Key, r.Seen)
	return r
}
