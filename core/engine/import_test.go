package engine_test

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/testing/faults"
)

const (
	oldRoot = "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff"
	newRoot = "ffeeddccbbaa998877665544332211000f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

func imported(t *testing.T, digits string) engine.Imported {
	t.Helper()
	root, err := keyring.ParseRoot(keyring.FormHex, []byte(digits))
	if err != nil {
		t.Fatal(err)
	}
	return engine.Imported{Root: root}
}

// TestImport registers two keys that were made elsewhere, the new one primary: what
// is encrypted is what the roots say, and the history shows two creations and one
// rotation.
func TestImport(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	first := imported(t, oldRoot)
	key, err := e.ImportKey(t.Context(), "payments", first, keyring.Settings{WrapWith: []string{"p"}}, "from the old system")
	if err != nil {
		t.Fatal(err)
	}
	if first.Root.Len() != 0 {
		t.Error("the root was not wiped")
	}
	old := encrypt(t, e, "x", "")
	second := imported(t, newRoot)
	result, err := e.ImportVersion(t.Context(), "payments", second, keyring.ReasonManual, "")
	if err != nil || result.Previous != 1 || result.Primary != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	if second.Root.Len() != 0 {
		t.Error("the root was not wiped")
	}
	for i, digits := range []string{oldRoot, newRoot} {
		v, _ := result.Key.Version(uint32(i + 1))
		binding := keyring.Binding{Store: b.store.ID(), Key: key.ID, Version: v.Number, Algorithm: v.Algorithm}
		if err := imported(t, digits).Root.Verify(binding, v.KCV); err != nil {
			t.Errorf("version %d: %v", v.Number, err)
		}
	}
	mustDecrypt(t, b.engine(t), old, "", "x")

	events := b.events(t, 10)
	if len(events) != 3 || events[0].Type != history.Rotation || events[1].Type != history.Creation || events[2].Type != history.Creation {
		t.Fatalf("events %+v", events)
	}
	for i, reason := range []string{1: "manual", 2: "initial"} {
		if i > 0 && (events[i].Details["origin"] != "imported" || events[i].Reason != reason || events[i].Details["kek_id.p"] == "") {
			t.Errorf("event %+v", events[i])
		}
	}
	if events[2].Note != "from the old system" {
		t.Errorf("note %q", events[2].Note)
	}
}

// TestImportPassphrase: the history tells how to make the root again.
func TestImportPassphrase(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	kdf := keyring.KDF{Name: keyring.KDFPBKDF2, Salt: [16]byte{1, 2, 3}, Iterations: 7}
	derived := func() keyring.Root {
		root, err := kdf.Root(secret.FromString("correct horse battery staple"))
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	key, err := e.ImportKey(t.Context(), "payments", engine.Imported{Root: derived(), KDF: &kdf}, keyring.Settings{WrapWith: []string{"p"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	v, _ := key.Version(1)
	if err := derived().Verify(keyring.Binding{Store: b.store.ID(), Key: key.ID, Version: 1, Algorithm: v.Algorithm}, v.KCV); err != nil {
		t.Error(err)
	}
	details := b.events(t, 1)[0].Details
	maps.DeleteFunc(details, func(name, _ string) bool { return strings.HasPrefix(name, "kek_") || name == "algorithm" })
	if want := map[string]string{"origin": "passphrase", "kdf": "pbkdf2-hmac-sha256", "kdf.salt": "01020300000000000000000000000000", "kdf.iterations": "7"}; !maps.Equal(details, want) {
		t.Errorf("details %v, want %v", details, want)
	}
}

// TestImportRefuses: nothing is made, and the root is wiped all the same.
func TestImportRefuses(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	settings := keyring.Settings{WrapWith: []string{"p"}}
	if _, err := e.ImportKey(t.Context(), "payments", imported(t, oldRoot), settings, ""); err != nil {
		t.Fatal(err)
	}
	rotate(t, e)
	setState(t, e, 1, keyring.Compromised)
	zeros := strings.Repeat("00", keyring.RootSize)
	asKey := func(name string) func(engine.Imported) error {
		return func(i engine.Imported) error {
			_, err := e.ImportKey(t.Context(), name, i, settings, "")
			return err
		}
	}
	asVersion := func(name string) func(engine.Imported) error {
		return func(i engine.Imported) error {
			_, err := e.ImportVersion(t.Context(), name, i, keyring.ReasonManual, "")
			return err
		}
	}
	for name, c := range map[string]struct {
		root string
		call func(engine.Imported) error
		want error
	}{
		"taken":           {newRoot, asKey("payments"), store.ErrKeyExists},
		"bad name":        {newRoot, asKey("No Name"), keyring.ErrInvalidName},
		"weak":            {zeros, asKey("other"), keyring.ErrWeak},
		"unknown":         {newRoot, asVersion("other"), keyring.ErrUnknownKey},
		"weak version":    {zeros, asVersion("payments"), keyring.ErrWeak},
		"compromised one": {oldRoot, asVersion("payments"), keyring.ErrWeak},
	} {
		i := imported(t, c.root)
		if err := c.call(i); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if i.Root.Len() != 0 {
			t.Errorf("%s: the root was not wiped", name)
		}
	}
	i := imported(t, newRoot)
	b.km.Before(func(context.Context, string) error { return provider.Errorf(provider.Denied, "no") })
	if err := asVersion("payments")(i); !errors.Is(err, provider.Denied) || i.Root.Len() != 0 {
		t.Errorf("with a key manager that refuses: %v, %d bytes left", err, i.Root.Len())
	}
	b.km.Before(nil)
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil || len(key.Versions) != 2 {
		t.Errorf("%d versions, %v", len(key.Versions), err)
	}
	if names, err := b.store.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("keys %v, %v", names, err)
	}
}

// TestImportShowsNoRoot: neither the material nor its text stands in what is stored
// of it in the clear.
func TestImportShowsNoRoot(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	if _, err := e.ImportKey(t.Context(), "payments", imported(t, oldRoot), keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(oldRoot)
	if err != nil {
		t.Fatal(err)
	}
	page, err := b.store.Events(t.Context(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := b.store.Key(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(key.Versions[0].Wraps[0].Blob), key.Versions[0].KCV.String()}
	for _, event := range page.Events {
		texts = append(texts, string(event))
	}
	for _, text := range texts {
		if strings.Contains(text, oldRoot[:16]) || strings.Contains(text, string(raw[:8])) {
			t.Errorf("the root is in %q", text)
		}
	}
}

// TestImportWithLabel: a label is refused before the key manager is asked, and a version
// that was to have another number is not made.
func TestImportWithLabel(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	first := imported(t, oldRoot)
	first.Label = "2025"
	key, err := e.ImportKey(t.Context(), "payments", first, keyring.Settings{WrapWith: []string{"p"}}, "")
	if err != nil || key.Versions[0].Label != "2025" {
		t.Fatalf("%+v, %v", key, err)
	}
	if events := b.events(t, 1); events[0].Details["label"] != "2025" {
		t.Errorf("event %+v", events[0])
	}
	b.km.Before(func(_ context.Context, call string) error {
		t.Errorf("the key manager was asked to %s", call)
		return nil
	})
	for name, c := range map[string]struct {
		change func(*engine.Imported)
		want   error
	}{
		"taken":        {func(i *engine.Imported) { i.Label = "2025" }, keyring.ErrLabel},
		"of another":   {func(i *engine.Imported) { i.Label = "v7" }, keyring.ErrLabel},
		"two lines":    {func(i *engine.Imported) { i.Label = "a\nb" }, keyring.ErrLabel},
		"other number": {func(i *engine.Imported) { i.Number = 3 }, rotation.ErrRotated},
	} {
		i := imported(t, newRoot)
		c.change(&i)
		if _, err := e.ImportVersion(t.Context(), "payments", i, keyring.ReasonManual, ""); !errors.Is(err, c.want) || i.Root.Len() != 0 {
			t.Errorf("%s: %v, want %v; %d bytes of the root are left", name, err, c.want, i.Root.Len())
		}
	}
	b.km.Before(nil)
	if events := b.events(t, 10); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
	second := imported(t, newRoot)
	second.Label, second.Number = "2026", 2
	result, err := e.ImportVersion(t.Context(), "payments", second, keyring.ReasonManual, "")
	if err != nil || result.Key.Versions[1].Label != "2026" || result.Primary != 2 {
		t.Errorf("%+v, %v", result, err)
	}
}

// meanwhile is a store that tells before a key is read or claimed.
type meanwhile struct {
	store.Store
	before func(claim bool)
}

func (m *meanwhile) Key(ctx context.Context, name string) (store.Key, error) {
	m.before(false)
	return m.Store.Key(ctx, name)
}

func (m *meanwhile) Begin(ctx context.Context, c store.Claim) (store.Intent, error) {
	m.before(true)
	return m.Store.Begin(ctx, c)
}

// TestImportMeanwhile: another process imports the same root at any moment before the key
// is claimed, and no primary tells. The root is imported once.
func TestImportMeanwhile(t *testing.T) {
	for name, number := range map[string]uint32{"any number": 0, "version 2": 2} {
		for at, last := 0, 1; at <= last; at++ {
			b := newBench(t)
			e := b.engine(t)
			if _, err := e.ImportKey(t.Context(), "payments", imported(t, oldRoot), keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
				t.Fatal(err)
			}
			setState(t, e, 1, keyring.Suspended)
			moments, claimed := 0, false
			s := &meanwhile{Store: b.openStore(t), before: func(claim bool) {
				if claimed {
					return
				}
				moments++
				if claimed = claim; claim {
					last = moments - 1
				}
				if moments-1 != at {
					return
				}
				if _, err := e.ImportVersion(t.Context(), "payments", imported(t, newRoot), keyring.ReasonManual, ""); err != nil {
					t.Errorf("%s, at moment %d: the other import: %v", name, at, err)
				}
				setState(t, e, 2, keyring.Suspended)
			}}
			i := imported(t, newRoot)
			i.Number = number
			_, err := b.engineOn(t, s, map[string]*faults.KeyManager{"p": b.km}).ImportVersion(t.Context(), "payments", i, keyring.ReasonManual, "")
			if !errors.Is(err, rotation.ErrRotated) && (number != 0 || !errors.Is(err, keyring.ErrWeak)) {
				t.Errorf("%s, at moment %d: %v", name, at, err)
			}
			if key, err := e.Describe(t.Context(), "payments"); err != nil || len(key.Versions) != 2 {
				t.Errorf("%s, at moment %d: %d versions, %v", name, at, len(key.Versions), err)
			}
		}
	}
}
