package model

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// accounts are all keys of a store, and the folder of the data that is registered,
// with a file for each key.
type accounts struct {
	all  []*account
	data string
}

// register makes the registered data, with a file that holds no token: a census over
// nothing would prove nothing.
func (s *accounts) register(folder string) error {
	s.data = folder
	return errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "empty"), nil, 0o600))
}

// restarted: a process was ended, by a kill or not, and another one is in its place.
func (s *accounts) restarted(process int, kill bool) {
	for _, a := range s.all {
		a.views[process] = view{}
		if kill {
			a.abandoned(process)
		} else {
			a.released(process)
		}
	}
}

// file writes some tokens of a key into the registered data, and what was there is
// there no more.
func (s *accounts) file(a *account, choose choose) error {
	text := []byte("tokens:\n")
	a.filed = nil
	for range choose("tokens", 3) {
		if len(a.tokens) == 0 {
			break
		}
		// A census does not see the binary form, and finds fault with versions that are lost.
		t := pick(choose, "token", a.tokens...)
		if !keyring.IsBinary(t.bytes) && len(t.bytes) < 1000 && a.now().version(t.version) != nil {
			text = append(append(text, t.bytes...), '\n')
			a.filed = append(a.filed, t.version)
		}
	}
	return os.WriteFile(filepath.Join(s.data, a.name), text, 0o600)
}

// settleKEK: after a rotation of a key-encryption key, each wrap under it was moved;
// without one, none needs to be.
func (s *accounts) settleKEK(o op, got result) error {
	want := 0
	for _, a := range s.all {
		if o.Kind == rotateKEK && a.now().with == o.To {
			want += len(a.now().versions) - len(a.now().in(keyring.Destroyed))
		}
	}
	if got.Class != ok || got.Moved != want {
		return fmt.Errorf("%s of %s: %s (%s), %d wraps moved, want %d", o.Kind, o.To, got.outcome, got.Error, got.Moved, want)
	}
	return nil
}

// restore: the store is what it was when a copy of the account was made. Tokens that
// were answered since are lost where their version is, which is never made again: the
// account keeps them, and the highest number.
func (a *account) restore(backup *account) {
	after, events := backup.now().restore()
	a.past, a.events = []*record{after}, append(slices.Clone(backup.events), events...)
	a.views = make([]view, len(a.views))
	a.uses, a.ends, a.roots = maps.Clone(backup.uses), maps.Clone(backup.ends), slices.Clone(backup.roots)
	// Leases that were out at the backup are out again.
	a.holders, a.unreturned, a.claimed = map[int][]uint32{}, slices.Clone(backup.unreturned), false
	for _, numbers := range backup.holders {
		a.unreturned = append(a.unreturned, numbers...)
	}
	a.trace = append(a.trace, fmt.Sprintf("restored: %s", after))
}

// settleRecovery: the key has a new primary, above every number ever seen.
func (a *account) settleRecovery(primary uint32) error {
	after, want, events := a.now().rotateTo(a.highest + 1)
	a.trace = append(a.trace, fmt.Sprintf("recovered: version %d", primary))
	if primary != want.Version {
		return fmt.Errorf("recovered to version %d, want %d", primary, want.Version)
	}
	a.past, a.events, a.highest = append(a.past, after), append(a.events, events...), primary
	return nil
}

// leasesEnd: what was not returned has expired.
func (a *account) leasesEnd() { a.unreturned = nil }
