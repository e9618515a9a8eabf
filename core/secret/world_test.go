package secret_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/bubble"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func TestMain(m *testing.M) {
	bubble.Prepare()
	os.Exit(m.Run())
}

// keys is an engine with the keys "payments" and "orders" that counts accesses, and that
// can be made to fail.
type keys struct {
	*engine.Engine
	mu       sync.Mutex
	accesses map[string]int
	// before, if set, is asked before each re-encryption.
	before func(aad []byte) error
}

func newKeys(t testing.TB) *keys {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "k.db")})
	if err != nil {
		t.Fatal(err)
	}
	km := faults.NewLocal(t)
	e, err := engine.New(engine.Config{Store: s, Actor: "test@host", KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(context.Background()), s.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"payments", "orders"} {
		if _, err := e.CreateKey(t.Context(), name, keyring.Settings{WrapWith: []string{"p"}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	return &keys{Engine: e, accesses: make(map[string]int)}
}

func (k *keys) Accessed(key, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accesses[key+"/"+name]++
	return k.Engine.Accessed(key, name)
}

func (k *keys) accessesTo(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.accesses[name]
}

func (k *keys) Renew(ctx context.Context, dst, ciphertext, aad []byte) ([]byte, uint32, uint32, error) {
	if k.before != nil {
		if err := k.before(aad); err != nil {
			_, from, _ := k.Identify(ctx, ciphertext)
			return dst, from, from, err
		}
	}
	return k.Engine.Renew(ctx, dst, ciphertext, aad)
}

func (k *keys) rotate(t testing.TB, key string) {
	t.Helper()
	if _, err := k.Rotate(t.Context(), key, keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
}

func value[T any](t testing.TB, c secret.Cipher, v T, o secret.Options) secret.Value[T] {
	t.Helper()
	made, err := secret.NewValue(t.Context(), c, v, o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// used is what Use shows of a string.
func used(t testing.TB, v secret.Value[string]) string {
	t.Helper()
	var shown []byte
	if err := v.Use(t.Context(), func(s string) error {
		shown = append(shown, s...)
		return nil
	}); err != nil {
		t.Errorf("%s: %v", v.Name(), err)
	}
	return string(shown)
}
