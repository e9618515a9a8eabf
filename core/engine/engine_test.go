package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/bubble"
	"github.com/keyrotor/keyrotor/testing/faults"
)

func TestMain(m *testing.M) {
	bubble.Prepare()
	os.Exit(m.Run())
}

// bench is one database and one key manager, which several engines can share as
// several processes do.
type bench struct {
	path  string
	store *sqlite.Store
	km    *faults.KeyManager
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{path: filepath.Join(t.TempDir(), "k.db"), km: faults.NewLocal(t)}
	b.store = b.openStore(t)
	return b
}

func (b *bench) openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: b.path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *bench) engine(t *testing.T) *engine.Engine {
	t.Helper()
	return b.engineOn(t, b.openStore(t), map[string]*faults.KeyManager{"p": b.km})
}

// engineOn builds an engine over any store and key managers.
func (b *bench) engineOn(t *testing.T, s store.Store, managers map[string]*faults.KeyManager) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{Store: s, Actor: "test@host", KeyManager: func(name string) (wrapping.KeyManager, error) {
		return managers[name], nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

func create(t *testing.T, e *engine.Engine, name string, limit uint64) {
	t.Helper()
	if _, err := e.CreateKey(t.Context(), name, keyring.Settings{WrapWith: []string{"p"}, HardLimit: limit}, ""); err != nil {
		t.Fatal(err)
	}
}

func encrypt(t *testing.T, e *engine.Engine, plaintext, aad string) []byte {
	t.Helper()
	token, err := e.Encrypt(t.Context(), "payments", []byte(plaintext), []byte(aad))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func mustDecrypt(t *testing.T, e *engine.Engine, ciphertext []byte, aad, want string) {
	t.Helper()
	got, err := e.Decrypt(t.Context(), ciphertext, []byte(aad))
	if err != nil || string(got) != want {
		t.Errorf("Decrypt = %q, %v; want %q", got, err, want)
	}
}

func TestEncryptRotateDecrypt(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	first := encrypt(t, e, "s3cret", "row 1")
	empty := encrypt(t, e, "", "")
	bin, err := e.EncryptBinary(t.Context(), "payments", []byte("binary"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	if leased, err := b.store.Leased(t.Context(), "payments", 1); err != nil || leased != 0 {
		t.Errorf("%d uses of version 1 are out after the rotation, %v", leased, err)
	}
	second := encrypt(t, e, "s3cret", "row 1")
	if !bytes.HasPrefix(first, []byte("keyrotor:payments:v1:")) || !bytes.HasPrefix(second, []byte("keyrotor:payments:v2:")) {
		t.Errorf("tokens %s and %s", first, second)
	}
	other := b.engine(t) // as another process would
	for _, e := range []*engine.Engine{e, other} {
		mustDecrypt(t, e, first, "row 1", "s3cret")
		mustDecrypt(t, e, second, "row 1", "s3cret")
		mustDecrypt(t, e, empty, "", "")
		mustDecrypt(t, e, bin, "", "binary")
		if _, err := e.Decrypt(t.Context(), first, []byte("row 2")); !errors.Is(err, keyring.ErrAuthentication) {
			t.Errorf("another AAD: %v", err)
		}
	}
	out, changed, err := other.Reencrypt(t.Context(), []byte("x="), first, []byte("row 1"))
	if err != nil || !changed || !bytes.HasPrefix(out, []byte("x=keyrotor:payments:v2:")) {
		t.Errorf("Reencrypt = %s, %v, %v", out, changed, err)
	}
	mustDecrypt(t, e, out[2:], "row 1", "s3cret")
	out, changed, err = other.Reencrypt(t.Context(), nil, bin, nil)
	if err != nil || !changed || !keyring.IsBinary(out) {
		t.Errorf("Reencrypt of the binary form = %x, %v, %v", out, changed, err)
	}
	mustDecrypt(t, e, out, "", "binary")
	same, changed, err := other.Reencrypt(t.Context(), nil, second, nil) // its AAD is not needed
	if err != nil || changed || !bytes.Equal(same, second) {
		t.Errorf("at the primary: %s, %v, %v", same, changed, err)
	}
}

func TestErrors(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	bin, err := e.EncryptBinary(t.Context(), "payments", []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(bin)
	foreign[5] ^= 1
	unknownVersion := bytes.Replace(token, []byte(":v1:"), []byte(":v9:"), 1)
	for name, c := range map[string]struct {
		ciphertext []byte
		want       error
	}{
		"empty":           {nil, keyring.ErrMalformed},
		"prose":           {[]byte("keyrotor: a tool"), keyring.ErrMalformed},
		"truncated":       {token[:len(token)-8], keyring.ErrMalformed},
		"unknown key":     {bytes.Replace(token, []byte("payments"), []byte("invoices"), 1), keyring.ErrUnknownKey},
		"unknown version": {unknownVersion, keyring.ErrUnknownVersion},
		"again":           {unknownVersion, keyring.ErrUnknownVersion},
		"unknown prefix":  {foreign, keyring.ErrUnknownKey},
		"short binary":    {bin[:10], keyring.ErrMalformed},
	} {
		if _, err := e.Decrypt(t.Context(), c.ciphertext, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := e.Encrypt(t.Context(), "invoices", nil, nil); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := e.Encrypt(t.Context(), "No_Name", nil, nil); !errors.Is(err, keyring.ErrInvalidName) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := e.Encrypt(t.Context(), "payments", make([]byte, keyring.MaxPlaintext+1), nil); !errors.Is(err, keyring.ErrTooLarge) ||
		!strings.HasSuffix(err.Error(), "67108865 bytes, at most 67108864: encrypt it in parts") {
		t.Errorf("too large: %v", err)
	}
	create(t, e, "invoices", 0) // was remembered as missing
	if _, err := e.Encrypt(t.Context(), "invoices", nil, nil); err != nil {
		t.Errorf("a key that was made meanwhile: %v", err)
	}
}

// TestKeyManagerCalls: one unwrap for each version and process, none on opening,
// none on the hot path.
func TestKeyManagerCalls(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	var tokens [][]byte
	for range 5 {
		tokens = append(tokens, encrypt(t, e, "x", ""))
		if _, err := e.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.km.Calls.Load(); got != 12 {
		t.Errorf("6 versions took %d calls, want 2 each", got)
	}
	b.km.Calls.Store(0)
	other := b.engine(t)
	if _, err := other.Versions(t.Context(), "payments"); err != nil {
		t.Fatal(err)
	}
	if got := b.km.Calls.Load(); got != 0 {
		t.Errorf("looking took %d calls", got)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for _, token := range tokens {
				mustDecrypt(t, other, token, "", "x")
			}
		})
	}
	wg.Wait()
	if got := b.km.Calls.Load(); got != 5 {
		t.Errorf("opening 5 versions took %d calls", got)
	}
}

// TestWrongRootIsRefused: a provider that opens a wrap to something else is caught
// by the key check value, and a second wrap keeps reads going.
func TestWrongRootIsRefused(t *testing.T) {
	b := newBench(t)
	second := faults.NewLocal(t)
	open := func() *engine.Engine {
		return b.engineOn(t, b.store, map[string]*faults.KeyManager{"a": b.km, "b": second})
	}
	e := open()
	if _, err := e.CreateKey(t.Context(), "payments", keyring.Settings{WrapWith: []string{"a", "b"}}, ""); err != nil {
		t.Fatal(err)
	}
	token := encrypt(t, e, "x", "")

	b.km.OnUnwrap(func(r []provider.UnwrapResult) { r[0].Plaintext = keyring.GenerateRoot().Bytes })
	mustDecrypt(t, open(), token, "", "x")

	second.Before(func(context.Context, string) error { return provider.Errorf(provider.Unavailable, "down") })
	_, err := open().Decrypt(t.Context(), token, nil)
	if !errors.Is(err, keyring.ErrIntegrity) || !errors.Is(err, provider.Unavailable) {
		t.Errorf("one wrap lies, one is down: %v", err)
	}
}

// TestOtherProcess: what one engine does, another on the same database sees.
func TestOtherProcess(t *testing.T) {
	b := newBench(t)
	e, other := b.engine(t), b.engine(t)
	create(t, e, "payments", 0)
	mustDecrypt(t, other, encrypt(t, e, "1", ""), "", "1")
	if _, err := other.Rotate(t.Context(), "payments", keyring.ReasonEmergency, ""); err != nil {
		t.Fatal(err)
	}
	token := encrypt(t, other, "2", "")
	mustDecrypt(t, e, token, "", "2")
	if again := encrypt(t, e, "3", ""); !bytes.HasPrefix(again, []byte("keyrotor:payments:v2:")) {
		t.Errorf("having seen version 2 it still encrypts to %s", again)
	}
}

// TestConcurrentRotation encrypts and decrypts from several goroutines and two
// engines while keys rotate; everything ever returned opens.
func TestConcurrentRotation(t *testing.T) {
	b := newBench(t)
	engines := []*engine.Engine{b.engine(t), b.engine(t)}
	create(t, engines[0], "payments", 0)
	var mu sync.Mutex
	tokens := map[string]string{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		e := engines[w%2]
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				plaintext := fmt.Sprintf("%d/%d", w, i)
				token, err := e.Encrypt(t.Context(), "payments", []byte(plaintext), nil)
				if err != nil {
					t.Errorf("encrypt: %v", err)
					return
				}
				if got, err := engines[(w+1)%2].Decrypt(t.Context(), token, nil); err != nil || string(got) != plaintext {
					t.Errorf("decrypt at once: %q, %v", got, err)
					return
				}
				mu.Lock()
				tokens[plaintext] = string(token)
				mu.Unlock()
			}
		})
	}
	for i := range 10 {
		if _, err := engines[i%2].Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
			t.Error(err)
		}
	}
	stop()
	wg.Wait()
	e := b.engine(t)
	for plaintext, token := range tokens {
		mustDecrypt(t, e, []byte(token), "", plaintext)
	}
	t.Logf("%d values", len(tokens))
}

// TestMissesAreForgotten: "not found" is believed for two seconds, not longer.
func TestMissesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e, other := b.engine(t), b.engine(t)
		create(t, e, "payments", 0)
		token := encrypt(t, e, "x", "")
		future := bytes.Replace(token, []byte(":v1:"), []byte(":v2:"), 1)
		ctx := t.Context()
		if _, err := other.Decrypt(ctx, future, nil); !errors.Is(err, keyring.ErrUnknownVersion) {
			t.Errorf("a version to come: %v", err)
		}
		if _, err := e.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Decrypt(ctx, future, nil); !errors.Is(err, keyring.ErrUnknownVersion) {
			t.Errorf("within two seconds: %v", err)
		}
		time.Sleep(2100 * time.Millisecond) // the bubble's clock, not ours
		if _, err := other.Decrypt(ctx, future, nil); !errors.Is(err, keyring.ErrAuthentication) {
			t.Errorf("after two seconds: %v", err)
		}
	})
}

func TestGatesHonourContext(t *testing.T) {
	b := newBench(t)
	e := b.engine(t)
	create(t, e, "payments", 0)
	token := encrypt(t, e, "x", "")
	other := b.engine(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	b.km.Before(func(context.Context, string) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { mustDecrypt(t, other, token, "", "x") })
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.Decrypt(ctx, token, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("behind a key manager that hangs: %v", err)
	}
	close(release)
	wg.Wait()
}
