package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// keyStore holds keys in memory.
type keyStore struct {
	keys   map[string]store.Key
	broken map[string]error
	err    error
	// restored is the event of the restoration, if the store came out of a backup.
	restored *history.Event
	eventErr error
	held     []store.Holding
	heldErr  error
}

func (s keyStore) Held(context.Context, string, time.Time) ([]store.Holding, error) {
	return s.held, s.heldErr
}

func (s keyStore) ID() keyring.StoreID { return keyring.StoreID{1} }

func (s keyStore) Names(context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(s.keys)), s.err
}

func (s keyStore) Key(_ context.Context, name string) (store.Key, error) {
	return s.keys[name], s.broken[name]
}

func (s keyStore) Events(_ context.Context, q history.Query) (history.Page, error) {
	if s.restored == nil || q.Type != history.Restored {
		return history.Page{}, s.eventErr
	}
	b, err := s.restored.Encode()
	return history.Page{Events: []json.RawMessage{b}}, err
}

// sealed is a key with a record that its newest event describes: version 1 is
// deactivated, version 2 the primary.
func sealed(name string, change func(*store.Key)) store.Key {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key := store.Key{Record: keyring.Record{
		ID: keyring.KeyID{1}, Name: name, Created: at,
		Settings: keyring.Settings{Algorithm: keyring.AES256GCM, HardLimit: 100, WrapWith: []string{"local"}},
	}, Uses: map[uint32]uint64{1: 90, 2: 50}}
	for n := uint32(1); n <= 2; n++ {
		err := key.AddVersion(keyring.Version{
			Number: n, Label: keyring.VersionLabel(n), Algorithm: keyring.AES256GCM, Created: at, Reason: keyring.ReasonManual,
			Wraps: []keyring.Wrap{{Provider: "local", KEKID: "kek/7", KEKVersion: fmt.Sprint(n), Blob: []byte{1}}},
		})
		if err := errors.Join(err, key.SetPrimary(n, at)); err != nil {
			panic(err)
		}
	}
	if change != nil {
		change(&key)
	}
	key.LastDigest = key.Digest(keyring.StoreID{1}).String()
	return key
}

// inOrder is what Keys says of one key; those that are left out are not in order.
func inOrder(keys string, without ...string) string {
	text := ""
	for _, c := range []struct{ check, words string }{
		{"record", "each record is the one that its newest event describes"},
		{"primary", "each has a version that encrypts"},
		{"uses", "each primary is below half of its uses"},
		{"versions", "none has a version that is compromised or suspended"},
		{"wraps", "each version is wrapped by providers that the config has"},
		{"providers", "each is to be wrapped by providers that the config has"},
		{"usage", "none is used so much that a rotation has to hurry, or far more than before"},
		{"leases", "uses are held by processes that can use them"},
		{"clock", "none has a version that was made in the future"},
	} {
		if !slices.Contains(without, c.check) {
			text += fmt.Sprintf("ok key.%s [] %s: %s\n", c.check, keys, c.words)
		}
	}
	return text
}

func TestKeys(t *testing.T) {
	const compromised = "  -> run `keyrotor reencrypt PATH...` over all that holds its ciphertexts, then `keyrotor key destroy schedule payments 1`\n"
	two := []string{"local", "second"}
	for name, c := range map[string]struct {
		change func(*store.Key)
		with   Circumstances
		want   string
	}{
		"in order": {nil, Circumstances{Providers: two, Now: noon}, inOrder("1 key")},
		"no primary": {func(k *store.Key) { _ = k.SetState(2, keyring.Deactivated, k.Created) }, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "primary") + `
fail key.primary [payments] no version encrypts
  -> run `[1:] + "`keyrotor key rotate payments`\n"},
		"over half": {func(k *store.Key) { k.Uses[2] = 51 }, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "uses") + `
warn key.uses [payments] version 2 has 51 of 100 uses
  -> run `[1:] + "`keyrotor key rotate payments`\n"},
		"used up": {func(k *store.Key) { k.Uses[2] = 100 }, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "uses") + `
fail key.uses [payments] version 2 has 100 of 100 uses, and encrypts no more
  -> run `[1:] + "`keyrotor key rotate payments`\n"},
		"compromised": {func(k *store.Key) { _ = k.SetState(1, keyring.Compromised, k.Created) }, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "versions") + `
warn key.versions [payments] version 1 is compromised, and still opens its ciphertexts
`[1:] + compromised},
		"compromised and blocked": {func(k *store.Key) {
			_ = k.SetState(1, keyring.Compromised, k.Created)
			k.Settings.BlockReads = true
		}, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "versions") + `
warn key.versions [payments] version 1 is compromised, and reads of it are blocked
`[1:] + compromised},
		"suspended": {func(k *store.Key) {
			_ = k.SetState(1, keyring.Suspended, k.Created)
			_ = k.SetState(2, keyring.Suspended, k.Created)
		}, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "primary", "versions") + `
warn key.versions [payments] version 1 is suspended, so its ciphertexts do not open
  -> decide what becomes of it: `[1:] + "`keyrotor key state payments 1 deactivated`" + ` lets it decrypt again
warn key.versions [payments] version 2 is suspended, so its ciphertexts do not open
  -> decide what becomes of it: ` + "`keyrotor key state payments 2 deactivated`" + ` lets it decrypt again
fail key.primary [payments] no version encrypts
  -> run ` + "`keyrotor key rotate payments`\n"},
		"provider gone": {nil, Circumstances{Providers: []string{"second"}, Now: noon}, inOrder("1 key", "wraps", "providers") + `
fail key.wraps [payments] version 1 is wrapped by local alone, which the config does not have: nothing opens its ciphertexts
  -> add the block of provider local to the config again
fail key.wraps [payments] version 2 is wrapped by local alone, which the config does not have: nothing opens its ciphertexts
  -> add the block of provider local to the config again
fail key.providers [payments] its rotation wraps with provider "local", which the config does not have
  -> add the block of provider "local" to the config again
`[1:]},
		"one of two gone": {func(k *store.Key) {
			k.Versions[1].Wraps = append(k.Versions[1].Wraps, keyring.Wrap{Provider: "old", KEKID: "x", Blob: []byte{1}})
		}, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "wraps") + `
warn key.wraps [payments] version 2 is wrapped by old, too, which the config does not have
  -> add the block of provider old to the config again
`[1:]},
		"no wrap": {func(k *store.Key) { k.Versions[0].Wraps = nil }, Circumstances{Providers: two, Now: noon}, inOrder("1 key", "record", "wraps") + `
fail key.record [payments] keyring: version 1 of key "payments" has no wrap
  -> RESTORE
fail key.wraps [payments] version 1 has no wrap: nothing opens its ciphertexts
  -> RESTORE
`[1:]},
		"destroyed": {func(k *store.Key) {
			_ = k.SetState(1, keyring.Quarantined, k.Created)
			_ = k.SetState(1, keyring.Destroyed, k.Created)
		}, Circumstances{Providers: two, Now: noon}, inOrder("1 key")},
		"FIPS": {func(k *store.Key) { k.Versions[0].Algorithm = keyring.XChaCha20Poly1305 }, Circumstances{Providers: two, FIPS: true, Now: noon}, inOrder("1 key") + `
fail key.fips [payments] version 1 is for XChaCha20-Poly1305, which FIPS 140 mode does not have: its ciphertexts do not open in this process
  -> re-encrypt what it protects outside FIPS 140 mode, under a key for AES-256-GCM
`[1:]},
		"no FIPS": {func(k *store.Key) { k.Versions[0].Algorithm = keyring.XChaCha20Poly1305 }, Circumstances{Providers: two, Now: noon}, inOrder("1 key")},
	} {
		findings, _ := Keys(t.Context(), keyStore{keys: map[string]store.Key{"payments": sealed("payments", c.change)}}, c.with)
		expect(t, name, findings, c.want)
	}
}

// TestKeyRecords: a record that is not what its newest event says, and one that
// cannot be read, spoil nothing for the others.
func TestKeyRecords(t *testing.T) {
	edited := sealed("edited", nil)
	digest := edited.LastDigest
	edited.Settings.MinDecryptVersion = 1
	newer := sealed("newer", nil)
	newer.LastDigest = "v9:00"
	s := keyStore{
		keys: map[string]store.Key{
			"edited": edited, "fine": sealed("fine", nil), "newer": newer, "torn": {}, "unread": {},
		},
		broken: map[string]error{"torn": store.ErrCorrupt, "unread": store.ErrSchema},
	}
	findings, wraps := Keys(t.Context(), s, Circumstances{Providers: []string{"local"}, Now: noon})
	expect(t, "records", findings, inOrder("5 keys", "record")+fmt.Sprintf(`
fail key.record [edited] integrity check failed: the stored record of key "edited" has digest %s, and its newest event says %s: restore a backup, or find out who changed the database
  -> find out who changed the database; RESTORE
fail key.record [newer] written by a newer build of Keyrotor: the digest of key "newer" is "v9:00"; use a newer build
  -> use the build that wrote it, or a newer one
fail key.record [torn] the store is damaged
  -> RESTORE
fail key.record [unread] the store has a schema that this build does not know
  -> use the build that wrote it, or a newer one
`[1:], edited.Digest(keyring.StoreID{1}), digest))
	if wraps != nil {
		t.Errorf("the wraps of keys that could not be read are counted: %v", wraps)
	}
	findings, wraps = Keys(t.Context(), keyStore{err: store.ErrCorrupt}, Circumstances{})
	expect(t, "names", findings, `
fail key.record [] the store is damaged
  -> RESTORE
`)
	if wraps != nil {
		t.Errorf("wraps of nothing: %v", wraps)
	}
}

// TestRestoredKeys: a key out of a backup is not to be rotated like any other.
func TestRestoredKeys(t *testing.T) {
	s := keyStore{
		keys:     map[string]store.Key{"payments": sealed("payments", func(k *store.Key) { _ = k.SetState(2, keyring.Deactivated, k.Created) })},
		restored: &history.Event{Type: history.Restored, Version: 2, Details: map[string]string{"backup": "b7", "backup_created": "2026-03-01T12:00:00Z"}},
	}
	with := Circumstances{Providers: []string{"local"}, Now: noon}
	findings, _ := Keys(t.Context(), s, with)
	expect(t, "restored", findings, inOrder("1 key", "primary")+"fail key.primary [payments] "+
		rotation.CheckRestored(t.Context(), s, &keyring.Record{Name: "payments", Versions: s.keys["payments"].Versions}).Error()+"\n  -> run `keyrotor recover`\n")
	s.restored, s.eventErr = nil, store.ErrCorrupt
	findings, _ = Keys(t.Context(), s, with)
	expect(t, "unread", findings, inOrder("1 key", "primary")+"fail key.primary [payments] the store is damaged\n  -> RESTORE\n")
}

// TestKeyWraps: what is destroyed is not counted, nor what no provider opens.
func TestKeyWraps(t *testing.T) {
	s := keyStore{keys: map[string]store.Key{
		"a": sealed("a", nil),
		"b": sealed("b", func(k *store.Key) {
			_ = k.SetState(1, keyring.Quarantined, k.Created)
			_ = k.SetState(1, keyring.Destroyed, k.Created)
			k.Versions[1].Wraps = append(k.Versions[1].Wraps, keyring.Wrap{Provider: "old", KEKID: "x", Blob: []byte{1}})
		}),
	}}
	_, wraps := Keys(t.Context(), s, Circumstances{Providers: []string{"local", "second"}, Now: noon})
	want := Wraps{"local": {{"kek/7", "1"}: 1, {"kek/7", "2"}: 2}, "second": {}}
	if !reflect.DeepEqual(wraps, want) {
		t.Errorf("wraps %v, want %v", wraps, want)
	}
}
