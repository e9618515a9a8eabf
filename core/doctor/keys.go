package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	keyRecord    check = "key.record"
	keyPrimary   check = "key.primary"
	keyUses      check = "key.uses"
	keyVersions  check = "key.versions"
	keyWraps     check = "key.wraps"
	keyProviders check = "key.providers"
	keyFIPS      check = "key.fips"
)

// KeyReader is the part of a store that Keys reads.
type KeyReader interface {
	ID() keyring.StoreID
	Names(ctx context.Context) ([]string, error)
	Key(ctx context.Context, name string) (store.Key, error)
	Events(ctx context.Context, q history.Query) (history.Page, error)
	// Held tells who holds uses of a key, on leases that have not expired at a time.
	Held(ctx context.Context, key string, now time.Time) ([]store.Holding, error)
}

// Wraps counts, by provider and key-encryption key, the wraps of the versions that
// are not destroyed.
type Wraps map[string]map[KEK]int

// Keys looks at every key: whether its record is the one that its newest event
// describes, whether it can encrypt and for how long, and whether each version can
// still be opened. A check that finds nothing says so once for all keys. The wraps
// are nil if a key could not be read.
func Keys(ctx context.Context, r KeyReader, c Circumstances) ([]Finding, Wraps) {
	names, err := r.Names(ctx)
	if err != nil {
		return []Finding{keyRecord.fail("", err.Error(), restore)}, nil
	}
	e := keyExamination{Circumstances: c, store: r.ID(), wraps: Wraps{}, seen: map[check]int{}}
	for _, p := range c.Providers {
		e.wraps[p] = map[KEK]int{}
	}
	whole := true
	for _, name := range names {
		key, err := r.Key(ctx, name)
		if err != nil {
			whole = false
			e.found(keyRecord.fail(name, err.Error(), restoreUnlessNewer(err)))
			continue
		}
		e.examine(key)
		e.primary(key, rotation.CheckRestored(ctx, r, &key.Record))
		e.usage(key)
		e.leases(ctx, r, key)
		e.clock(key)
	}
	if !whole {
		e.wraps = nil
	}
	return e.all(len(names)), e.wraps
}

// restoreUnlessNewer is what to do about a key that cannot be read.
func restoreUnlessNewer(err error) string {
	if errors.Is(err, store.ErrSchema) || errors.Is(err, keyring.ErrNewer) {
		return "use the build that wrote it, or a newer one"
	}
	return restore
}

type keyExamination struct {
	Circumstances
	store    keyring.StoreID
	wraps    Wraps
	findings []Finding
	// seen counts the findings of a check.
	seen map[check]int
}

func (e *keyExamination) found(f Finding) {
	e.findings = append(e.findings, f)
	e.seen[check(f.Check)]++
}

// all adds what is in order.
func (e *keyExamination) all(keys int) []Finding {
	var fine []Finding
	for _, c := range []struct {
		check check
		text  string
	}{
		{keyRecord, "each record is the one that its newest event describes"},
		{keyPrimary, "each has a version that encrypts"},
		{keyUses, "each primary is below half of its uses"},
		{keyVersions, "none has a version that is compromised or suspended"},
		{keyWraps, "each version is wrapped by providers that the config has"},
		{keyProviders, "each is to be wrapped by providers that the config has"},
		{keyUsage, "none is used so much that a rotation has to hurry, or far more than before"},
		{keyLeases, "uses are held by processes that can use them"},
		{keyClock, "none has a version that was made in the future"},
	} {
		if e.seen[c.check] == 0 {
			fine = append(fine, c.check.ok("", "%s: %s", count(keys, "key"), c.text))
		}
	}
	return append(fine, e.findings...)
}

func (e *keyExamination) examine(key store.Key) {
	e.record(key)
	e.states(key)
	for i := range key.Versions {
		e.version(key.Name, &key.Versions[i])
	}
	for _, p := range key.Settings.WrapWith {
		if !slices.Contains(e.Providers, p) {
			e.found(keyProviders.fail(key.Name, fmt.Sprintf("its rotation wraps with provider %q, which the config does not have", p),
				fmt.Sprintf("add the block of provider %q to the config again", p)))
		}
	}
}

func (e *keyExamination) record(key store.Key) {
	switch err := key.Verify(e.store, key.LastDigest); {
	case errors.Is(err, keyring.ErrNewer):
		e.found(keyRecord.fail(key.Name, err.Error(), "use the build that wrote it, or a newer one"))
	case err != nil:
		e.found(keyRecord.fail(key.Name, err.Error(), "find out who changed the database; "+restore))
	default:
		if err := key.Check(); err != nil {
			e.found(keyRecord.fail(key.Name, err.Error(), restore))
		}
	}
}

// primary looks whether the key can encrypt. The error says why it may not be rotated
// like any other.
func (e *keyExamination) primary(key store.Key, restored error) {
	rotate := "run `keyrotor key rotate " + key.Name + "`"
	v, err := key.PrimaryVersion()
	switch {
	case errors.Is(restored, rotation.ErrRestored):
		e.found(keyPrimary.fail(key.Name, restored.Error(), "run `keyrotor recover`"))
		return
	case restored != nil:
		e.found(keyPrimary.fail(key.Name, restored.Error(), restore))
		return
	case err != nil:
		e.found(keyPrimary.fail(key.Name, "no version encrypts", rotate))
		return
	}
	uses, limit := key.Uses[v.Number], key.Settings.HardLimit
	evidence := fmt.Sprintf("version %d has %d of %d uses", v.Number, uses, limit)
	switch {
	case uses >= limit:
		e.found(keyUses.fail(key.Name, evidence+", and encrypts no more", rotate))
	case uses > limit/2:
		e.found(keyUses.warn(key.Name, evidence, rotate))
	}
}

// states lists the versions that somebody has still to act on.
func (e *keyExamination) states(key store.Key) {
	for i := range key.Versions {
		v := &key.Versions[i]
		switch v.State { //nolint:exhaustive // the others need no word
		case keyring.Compromised:
			reads := "and still opens its ciphertexts"
			if key.Settings.BlockReads {
				reads = "and reads of it are blocked"
			}
			e.found(keyVersions.warn(key.Name, fmt.Sprintf("version %d is compromised, %s", v.Number, reads),
				fmt.Sprintf("run `keyrotor reencrypt PATH...` over all that holds its ciphertexts, then `keyrotor key destroy schedule %s %d`", key.Name, v.Number)))
		case keyring.Suspended:
			e.found(keyVersions.warn(key.Name, fmt.Sprintf("version %d is suspended, so its ciphertexts do not open", v.Number),
				fmt.Sprintf("decide what becomes of it: `keyrotor key state %s %d deactivated` lets it decrypt again", key.Name, v.Number)))
		}
	}
}

// version looks at the wraps of one version, and counts them.
func (e *keyExamination) version(name string, v *keyring.Version) {
	if v.State == keyring.Destroyed {
		return
	}
	var gone []string
	for _, w := range v.Wraps {
		if !slices.Contains(e.Providers, w.Provider) {
			gone = append(gone, w.Provider)
			continue
		}
		e.wraps[w.Provider][KEK{w.KEKID, w.KEKVersion}]++
	}
	switch next := fmt.Sprintf("add the block of provider %s to the config again", strings.Join(gone, ", ")); {
	case len(v.Wraps) == 0:
		e.found(keyWraps.fail(name, fmt.Sprintf("version %d has no wrap: nothing opens its ciphertexts", v.Number), restore))
	case len(gone) == len(v.Wraps):
		e.found(keyWraps.fail(name, fmt.Sprintf("version %d is wrapped by %s alone, which the config does not have: nothing opens its ciphertexts",
			v.Number, strings.Join(gone, ", ")), next))
	case len(gone) > 0:
		e.found(keyWraps.warn(name, fmt.Sprintf("version %d is wrapped by %s, too, which the config does not have", v.Number, strings.Join(gone, ", ")), next))
	}
	if e.FIPS && v.Algorithm == keyring.XChaCha20Poly1305 {
		e.found(keyFIPS.fail(name, fmt.Sprintf("version %d is for %s, which FIPS 140 mode does not have: its ciphertexts do not open in this process", v.Number, v.Algorithm),
			"re-encrypt what it protects outside FIPS 140 mode, under a key for "+string(keyring.AES256GCM)))
	}
}
