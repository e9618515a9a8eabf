package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/providers/local"
)

// subject is an engine on a real store, with usage counting on, and what it is
// compared with.
type subject struct {
	engine *engine.Engine
	limit  cipher.AEAD
	tink   tink.AEAD
	aad    []byte
}

const (
	oneVersion  = "one"
	manyVersion = "many"
	versions    = 1000
)

// newRows builds the subjects; the function that it answers ends them.
func newRows(ctx context.Context) ([]row, func() error, error) {
	dir, err := os.MkdirTemp("", "keyrotor-bench-")
	if err != nil {
		return nil, nil, err
	}
	km, err := newLocal(ctx, filepath.Join(dir, "k.kek"))
	if err != nil {
		return nil, nil, err
	}
	st, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "k.db")})
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.New(engine.Config{
		Store: st, Actor: "bench@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return km, nil },
	})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{oneVersion, manyVersion} {
		if _, err := e.CreateKey(ctx, name, keyring.Settings{WrapWith: []string{"local"}}, ""); err != nil {
			return nil, nil, err
		}
	}
	if err := addVersions(ctx, st, km, manyVersion); err != nil {
		return nil, nil, err
	}
	s := &subject{engine: e, aad: []byte("orders/42")}
	if s.limit, err = newLimit(); err != nil {
		return nil, nil, err
	}
	if s.tink, err = newTink(); err != nil {
		return nil, nil, err
	}
	end := func() error {
		return errors.Join(e.Close(ctx), st.Close(), km.Close(), os.RemoveAll(dir))
	}
	return s.rows(), end, nil
}

func (s *subject) rows() []row {
	var rows []row
	for _, size := range []struct {
		label string
		n     int
		bar   float64
	}{{"32 B", 32, 1.30}, {"1 KiB", 1 << 10, 1.10}, {"64 KiB", 64 << 10, 1.03}, {"1 MiB", 1 << 20, 1.03}} {
		rows = append(rows,
			row{"encrypt, append, " + size.label, size.bar, false, 0, s.encryptAppend(size.n), s.limitSeal(size.n)},
			row{"decrypt, append, " + size.label, size.bar, false, 0, s.decryptAppend(oneVersion, size.n), s.limitOpen(size.n)})
	}
	return append(rows,
		row{"encrypt, new slice, 1 KiB, against Tink", 1, false, 1, s.encryptNew(1 << 10), s.tinkEncrypt(1 << 10)},
		row{"decrypt, new slice, 1 KiB, against Tink", 1, false, 1, s.decryptNew(1 << 10), s.tinkDecrypt(1 << 10)},
		row{"encrypt to text, 1 KiB, against binary + base64", 1.15, false, 0, s.encryptText(1 << 10), s.encryptBinaryAndEncode(1 << 10)},
		row{"decrypt of text, 1 KiB, against base64 + binary", 1.15, false, 0, s.decryptText(1 << 10), s.decodeAndDecryptBinary(1 << 10)},
		row{"decrypt, 1000 versions against 1", 1.05, false, 0, s.decryptAppend(manyVersion, 1<<10), s.decryptAppend(oneVersion, 1<<10)},
		row{"encrypt on 2 goroutines against 1", 1.85, true, -1, inParallel(s.encryptLoop(1 << 10)), inSequence(s.encryptLoop(1 << 10))},
		row{"decrypt on 2 goroutines against 1", 1.85, true, -1, inParallel(s.decryptLoop(1 << 10)), inSequence(s.decryptLoop(1 << 10))},
		row{"the limit itself on 2 goroutines against 1 (no bar)", 0, true, -1, inParallel(s.limitLoop(1 << 10)), inSequence(s.limitLoop(1 << 10))},
		row{"re-encrypt, binary, 1 KiB, against limit decrypt + encrypt", 1.25, false, 0, s.reencrypt(1<<10, s.engine.EncryptBinary), s.limitOpenAndSeal(1 << 10)},
		row{"re-encrypt, text, 1 KiB, against the same + base64 both ways", 1.25, false, 0, s.reencrypt(1<<10, s.engine.Encrypt), s.limitOpenAndSealText(1 << 10)},
	)
}

func newLimit() (cipher.AEAD, error) {
	block, err := aes.NewCipher(random(32))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func newTink() (tink.AEAD, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	return aead.New(handle)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// keyManager is the local provider in this process: the hot path never asks it.
type keyManager struct{ provider.KeyManager }

func (keyManager) Info() provider.Info { return local.Info("bench") }

func newLocal(ctx context.Context, path string) (keyManager, error) {
	km, err := local.New(ctx, provider.Config{Body: provider.Body{Attributes: map[string]any{"path": path}}})
	if err != nil {
		return keyManager{}, err
	}
	_, err = km.(provider.KeyCreator).CreateKey(ctx, provider.CreateKeyRequest{})
	return keyManager{km}, err
}

// addVersions gives a key its thousand versions in one transaction; a thousand
// rotations would do the same, slowly.
func addVersions(ctx context.Context, st *sqlite.Store, km keyManager, name string) error {
	_, err := st.Update(ctx, store.Update{Name: name, Apply: func(rec *keyring.Record) ([]history.Event, error) {
		for n := rec.NextVersion(); n <= versions; n++ {
			b := keyring.Binding{Store: st.ID(), Key: rec.ID, Version: n, Algorithm: keyring.AES256GCM}
			root := keyring.GenerateRoot()
			kcv, err := root.KCV(b)
			if err != nil {
				return nil, err
			}
			wrapped, err := km.Wrap(ctx, []provider.WrapItem{{Plaintext: root.Bytes, AAD: b.WrapAAD()}})
			if err != nil {
				return nil, err
			}
			w := wrapped[0].Wrapped
			err = rec.AddVersion(keyring.Version{
				Number: n, Label: keyring.VersionLabel(n), Algorithm: keyring.AES256GCM, Created: rec.Created,
				Reason: keyring.ReasonManual, KCV: kcv,
				Wraps: []keyring.Wrap{{Provider: "local", KEKID: w.KEKID, KEKVersion: w.KEKVersion, Blob: w.Blob, Created: rec.Created}},
			})
			if err != nil {
				return nil, err
			}
			if err := rec.SetPrimary(n, rec.Created); err != nil {
				return nil, err
			}
		}
		return []history.Event{{Type: history.Rotation, Actor: "bench", Version: versions}}, nil
	}})
	return err
}

func (s *subject) encryptAppend(n int) func(*testing.B) {
	return repeat(s.encryptLoop(n))
}

func (s *subject) decryptAppend(key string, n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := must(s.engine.EncryptBinary(b.Context(), key, random(n), s.aad))
		buf := make([]byte, 0, n)
		b.ReportAllocs()
		for b.Loop() {
			must(s.engine.AppendDecrypt(b.Context(), buf, ct, s.aad))
		}
	}
}

func (s *subject) encryptNew(n int) func(*testing.B) {
	return func(b *testing.B) {
		plaintext := random(n)
		b.ReportAllocs()
		for b.Loop() {
			must(s.engine.EncryptBinary(b.Context(), oneVersion, plaintext, s.aad))
		}
	}
}

func (s *subject) decryptNew(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := must(s.engine.EncryptBinary(b.Context(), oneVersion, random(n), s.aad))
		b.ReportAllocs()
		for b.Loop() {
			must(s.engine.Decrypt(b.Context(), ct, s.aad))
		}
	}
}

func (s *subject) encryptText(n int) func(*testing.B) {
	return func(b *testing.B) {
		plaintext, buf := random(n), make([]byte, 0, 2*n+200)
		b.ReportAllocs()
		for b.Loop() {
			must(s.engine.AppendEncrypt(b.Context(), buf, oneVersion, plaintext, s.aad))
		}
	}
}

func (s *subject) encryptBinaryAndEncode(n int) func(*testing.B) {
	return func(b *testing.B) {
		plaintext, buf, text := random(n), make([]byte, 0, n+100), make([]byte, 0, 2*n+200)
		for b.Loop() {
			ct := must(s.engine.AppendEncryptBinary(b.Context(), buf, oneVersion, plaintext, s.aad))
			base64.RawURLEncoding.AppendEncode(text, ct)
		}
	}
}

func (s *subject) decryptText(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := must(s.engine.Encrypt(b.Context(), oneVersion, random(n), s.aad))
		buf := make([]byte, 0, 2*n)
		b.ReportAllocs()
		for b.Loop() {
			must(s.engine.AppendDecrypt(b.Context(), buf, ct, s.aad))
		}
	}
}

func (s *subject) decodeAndDecryptBinary(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := must(s.engine.EncryptBinary(b.Context(), oneVersion, random(n), s.aad))
		text := base64.RawURLEncoding.AppendEncode(nil, ct)
		buf, bin := make([]byte, 0, n), make([]byte, 0, 2*n)
		for b.Loop() {
			raw := must(base64.RawURLEncoding.AppendDecode(bin, text))
			must(s.engine.AppendDecrypt(b.Context(), buf, raw, s.aad))
		}
	}
}

// encrypt is one of the engine's two forms.
type encrypt func(ctx context.Context, key string, plaintext, aad []byte) ([]byte, error)

// reencrypt moves a ciphertext of an old version to the primary.
func (s *subject) reencrypt(n int, form encrypt) func(*testing.B) {
	return func(b *testing.B) {
		ctx := b.Context()
		const name = "re-encrypted"
		if _, err := s.engine.Describe(ctx, name); errors.Is(err, keyring.ErrUnknownKey) {
			must(s.engine.CreateKey(ctx, name, keyring.Settings{WrapWith: []string{"local"}}, ""))
		}
		old := must(form(ctx, name, random(n), s.aad))
		must(s.engine.Rotate(ctx, name, keyring.ReasonManual, ""))
		must(form(ctx, name, nil, nil)) // takes the lease, which the loop is not to wait for
		buf := make([]byte, 0, 2*n+200)
		b.ReportAllocs()
		for b.Loop() {
			_, changed, err := s.engine.Reencrypt(ctx, buf, old, s.aad)
			if err != nil || !changed {
				b.Fatal(changed, err)
			}
		}
	}
}

func (s *subject) limitSeal(n int) func(*testing.B) { return repeat(s.limitLoop(n)) }

func (s *subject) limitOpen(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := s.limit.Seal(nil, nil, random(n), s.aad)
		buf := make([]byte, 0, n)
		for b.Loop() {
			must(s.limit.Open(buf, nil, ct, s.aad))
		}
	}
}

func (s *subject) limitOpenAndSeal(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := s.limit.Seal(nil, nil, random(n), s.aad)
		buf, out := make([]byte, 0, n), make([]byte, 0, n+28)
		for b.Loop() {
			s.limit.Seal(out, nil, must(s.limit.Open(buf, nil, ct, s.aad)), s.aad)
		}
	}
}

func (s *subject) limitOpenAndSealText(n int) func(*testing.B) {
	return func(b *testing.B) {
		text := base64.RawURLEncoding.AppendEncode(nil, s.limit.Seal(nil, nil, random(n), s.aad))
		raw, buf := make([]byte, 0, n+28), make([]byte, 0, n)
		sealed, out := make([]byte, 0, n+28), make([]byte, 0, 2*n)
		for b.Loop() {
			ct := must(base64.RawURLEncoding.AppendDecode(raw, text))
			ct = s.limit.Seal(sealed, nil, must(s.limit.Open(buf, nil, ct, s.aad)), s.aad)
			base64.RawURLEncoding.AppendEncode(out, ct)
		}
	}
}

func (s *subject) tinkEncrypt(n int) func(*testing.B) {
	return func(b *testing.B) {
		plaintext := random(n)
		for b.Loop() {
			must(s.tink.Encrypt(plaintext, s.aad))
		}
	}
}

func (s *subject) tinkDecrypt(n int) func(*testing.B) {
	return func(b *testing.B) {
		ct := must(s.tink.Encrypt(random(n), s.aad))
		for b.Loop() {
			must(s.tink.Decrypt(ct, s.aad))
		}
	}
}

// loop makes the work of one goroutine, with buffers of its own.
type loop func() (once func())

func (s *subject) encryptLoop(n int) loop {
	return func() func() {
		ctx, plaintext, buf := context.Background(), random(n), make([]byte, 0, n+100)
		return func() { must(s.engine.AppendEncryptBinary(ctx, buf, oneVersion, plaintext, s.aad)) }
	}
}

func (s *subject) decryptLoop(n int) loop {
	return func() func() {
		ctx, buf := context.Background(), make([]byte, 0, n)
		ct := must(s.engine.EncryptBinary(ctx, oneVersion, random(n), s.aad))
		return func() { must(s.engine.AppendDecrypt(ctx, buf, ct, s.aad)) }
	}
}

func (s *subject) limitLoop(n int) loop {
	return func() func() {
		plaintext, buf := random(n), make([]byte, 0, n+100)
		return func() { s.limit.Seal(buf, nil, plaintext, s.aad) }
	}
}

func repeat(l loop) func(*testing.B) {
	return func(b *testing.B) {
		once := l()
		b.ReportAllocs()
		for b.Loop() {
			once()
		}
	}
}

func inSequence(l loop) func(*testing.B) {
	return func(b *testing.B) {
		once := l()
		b.ResetTimer()
		for range b.N {
			once()
		}
	}
}

// inParallel spreads b.N over two goroutines.
func inParallel(l loop) func(*testing.B) {
	return func(b *testing.B) {
		work := [2]func(){l(), l()}
		b.ResetTimer()
		var wg sync.WaitGroup
		for i, once := range work {
			wg.Go(func() {
				for range b.N/2 + b.N%2*i {
					once()
				}
			})
		}
		wg.Wait()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		fail(err)
	}
	return v
}
