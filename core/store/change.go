package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Change is what an engine writes to turn one record into the next. It points
// into the records that it was made from.
type Change struct {
	// Key: the key is new, or its settings or primary changed.
	Key bool
	// Versions are new or changed, wraps aside. The active one comes last, so
	// that no order of writing ever has two.
	Versions []VersionChange
	// Drop are the wraps that go, Put those that are new or replaced.
	Drop, Put []VersionWrap
}

// VersionChange is a version to write.
type VersionChange struct {
	*keyring.Version
	New bool
}

// VersionWrap is one wrap of one version.
type VersionWrap struct {
	*keyring.Wrap
	Version uint32
}

// Empty reports whether there is nothing to write.
func (c Change) Empty() bool {
	return !c.Key && len(c.Versions) == 0 && len(c.Drop) == 0 && len(c.Put) == 0
}

// Diff compares a record with the one that is to replace it; the old one of a new
// key is the zero Record. Both are canonical. ErrRecord if the next record is not
// one that may follow: every engine refuses the same.
func Diff(old, next *keyring.Record) (Change, error) {
	if err := checkRecord(next); err != nil {
		return Change{}, err
	}
	if err := checkSuccession(old, next); err != nil {
		return Change{}, err
	}
	c := Change{Key: keyChanged(old, next)}
	for i := range next.Versions {
		v := &next.Versions[i]
		before := &keyring.Version{}
		if i < len(old.Versions) {
			before = &old.Versions[i]
		}
		if i >= len(old.Versions) || versionChanged(before, v) {
			c.Versions = append(c.Versions, VersionChange{Version: v, New: i >= len(old.Versions)})
		}
		c.wraps(before, v)
	}
	slices.SortStableFunc(c.Versions, func(a, b VersionChange) int {
		return activeLast(a.State) - activeLast(b.State)
	})
	return c, nil
}

func activeLast(s keyring.State) int {
	if s == keyring.Active {
		return 1
	}
	return 0
}

func keyChanged(old, next *keyring.Record) bool {
	a, b := old.Settings, next.Settings
	return old.ID != next.ID || old.Primary != next.Primary || a.Algorithm != b.Algorithm ||
		a.MinDecryptVersion != b.MinDecryptVersion || a.BlockReads != b.BlockReads || a.HardLimit != b.HardLimit ||
		!slices.Equal(a.WrapWith, b.WrapWith)
}

func versionChanged(a, b *keyring.Version) bool {
	return a.Label != b.Label || a.State != b.State || a.Algorithm != b.Algorithm ||
		!a.Created.Equal(b.Created) || !a.Activated.Equal(b.Activated) ||
		!a.StateChanged.Equal(b.StateChanged) || a.Reason != b.Reason || a.KCV != b.KCV
}

// wraps merges two lists that ascend by provider.
func (c *Change) wraps(old, next *keyring.Version) {
	before, after := old.Wraps, next.Wraps
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Provider < after[0].Provider:
			c.Drop = append(c.Drop, VersionWrap{&before[0], next.Number})
			before = before[1:]
		case len(before) == 0 || after[0].Provider < before[0].Provider:
			c.Put = append(c.Put, VersionWrap{&after[0], next.Number})
			after = after[1:]
		default:
			if wrapChanged(&before[0], &after[0]) {
				c.Put = append(c.Put, VersionWrap{&after[0], next.Number})
			}
			before, after = before[1:], after[1:]
		}
	}
}

func wrapChanged(a, b *keyring.Wrap) bool {
	return a.KEKID != b.KEKID || a.KEKVersion != b.KEKVersion ||
		!a.Created.Equal(b.Created) || !bytes.Equal(a.Blob, b.Blob)
}

// checkSuccession: identity stays, and versions are only ever added at the end.
func checkSuccession(old, next *keyring.Record) error {
	if old.ID == (keyring.KeyID{}) {
		return nil
	}
	if next.ID != old.ID || next.Name != old.Name || !next.Created.Equal(old.Created) {
		return broken(next, "name, id and creation time of a key never change")
	}
	if len(next.Versions) < len(old.Versions) {
		return broken(next, "a version was removed; destroyed versions stay in the record")
	}
	for i := range old.Versions {
		if next.Versions[i].Number != old.Versions[i].Number {
			return broken(next, "version %d was removed or moved", old.Versions[i].Number)
		}
	}
	return nil
}

// checkRecord: the rules of package keyring, and what a database needs on top.
func checkRecord(r *keyring.Record) error {
	if err := r.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.ID == (keyring.KeyID{}) {
		return broken(r, "it has no id")
	}
	if !storable(r.Settings.WrapWith...) {
		return broken(r, "its settings hold text that is not UTF-8")
	}
	for i := range r.Versions {
		if err := checkVersion(r, &r.Versions[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkVersion(r *keyring.Record, v *keyring.Version) error {
	if !storable(v.Label) {
		return broken(r, "the label of version %d is not UTF-8", v.Number)
	}
	last := ""
	for _, w := range v.Wraps {
		if w.Provider <= last {
			return broken(r, "version %d: wrap by %q follows wrap by %q", v.Number, w.Provider, last)
		}
		last = w.Provider
		if len(w.Blob) == 0 {
			return broken(r, "version %d: the wrap by %q is empty", v.Number, w.Provider)
		}
		if !storable(w.Provider, w.KEKID, w.KEKVersion) {
			return broken(r, "version %d: the wrap by %q holds text that is not UTF-8", v.Number, w.Provider)
		}
	}
	return nil
}

// storable: databases keep other bytes too, but not all in the same way.
func storable(texts ...string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return false
		}
	}
	return true
}

func broken(r *keyring.Record, format string, args ...any) error {
	return fmt.Errorf("%w: key %q: %s", ErrRecord, r.Name, fmt.Sprintf(format, args...))
}

// Canonical answers a copy of the record in the form in which it comes back from
// a store: times in UTC with microseconds, empty lists nil. The digest in an event
// is that of the canonical record.
func Canonical(r *keyring.Record) keyring.Record {
	c := Clone(r)
	c.Created = canonicalTime(c.Created)
	for i := range c.Versions {
		v := &c.Versions[i]
		v.Created = canonicalTime(v.Created)
		v.Activated = canonicalTime(v.Activated)
		v.StateChanged = canonicalTime(v.StateChanged)
		for j := range v.Wraps {
			v.Wraps[j].Created = canonicalTime(v.Wraps[j].Created)
		}
	}
	return c
}

func canonicalTime(t time.Time) time.Time { return FromMicros(Micros(t)) }

// Micros is how every engine writes a time: microseconds since 1970, 0 for the
// zero time, as in [keyring.Record.Digest].
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros reads what Micros wrote.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Clone copies a record, so that changing one leaves the other alone. Empty lists
// become nil.
func Clone(r *keyring.Record) keyring.Record {
	c := *r
	c.Settings.WrapWith = slices.Concat(r.Settings.WrapWith)
	c.Versions = slices.Concat(r.Versions)
	for i := range c.Versions {
		v := &c.Versions[i]
		v.Wraps = slices.Concat(v.Wraps)
		for j := range v.Wraps {
			v.Wraps[j].Blob = bytes.Clone(v.Wraps[j].Blob)
		}
	}
	return c
}
