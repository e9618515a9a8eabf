package wrapping_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// sealing are functions that seal roots under a key in memory.
func sealing(kekID string, key []byte) wrapping.Functions {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return wrapping.Functions{
		KEKID: kekID,
		Wrap: func(_ context.Context, root provider.Secret, aad []byte) ([]byte, error) {
			return aead.Seal(nil, nil, root.Reveal(), aad), nil
		},
		Unwrap: func(_ context.Context, blob, aad []byte) (provider.Secret, error) {
			root, err := aead.Open(nil, nil, blob, aad)
			if err != nil {
				return provider.Secret{}, provider.Errorf(provider.Integrity, "the wrap does not open")
			}
			return provider.NewSecret(root), nil
		},
	}
}

// TestFunctions: what they answer is what a provider answers.
func TestFunctions(t *testing.T) {
	ctx := t.Context()
	kek := keyring.GenerateRoot()
	km, err := sealing("a", kek.Reveal()).KeyManager()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := km.Check(ctx, provider.CheckRequest{Deep: true}); err != nil {
		t.Error(err)
	}
	aad := []byte("payments v1")
	made, err := km.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: aad})
	if err != nil || made.Plaintext.Len() != provider.RootSize {
		t.Fatalf("%d bytes, %v", made.Plaintext.Len(), err)
	}
	described, err := km.DescribeKey(ctx)
	if err != nil || described.KEKID != made.Wrapped.KEKID || described.PrimaryVersion != made.Wrapped.KEKVersion {
		t.Errorf("%+v and %+v, %v", described, made.Wrapped, err)
	}
	change := func(f func(*provider.UnwrapItem)) provider.UnwrapItem {
		item := provider.UnwrapItem{Wrapped: made.Wrapped, AAD: aad}
		f(&item)
		return item
	}
	items := []provider.UnwrapItem{
		change(func(*provider.UnwrapItem) {}),
		change(func(i *provider.UnwrapItem) { i.Wrapped.KEKVersion = "" }),
		change(func(i *provider.UnwrapItem) { i.AAD = []byte("payments v2") }),
		change(func(i *provider.UnwrapItem) { i.Wrapped.KEKID = "b" }),
		change(func(i *provider.UnwrapItem) { i.Wrapped.KEKVersion = "2" }),
	}
	codes := []provider.Code{"", "", provider.Integrity, provider.NotFoundKey, provider.NotFoundVersion}
	opened, err := km.Unwrap(ctx, items)
	rewrapped, rewrapErr := km.Rewrap(ctx, items)
	if err != nil || rewrapErr != nil || len(opened) != len(items) || len(rewrapped) != len(items) {
		t.Fatalf("%d and %d results, %v, %v", len(opened), len(rewrapped), err, rewrapErr)
	}
	for i, want := range codes {
		if want == "" {
			if opened[i].Err != nil || !opened[i].Plaintext.Equal(made.Plaintext) || rewrapped[i].Err != nil || string(rewrapped[i].Wrapped.Blob) != string(made.Wrapped.Blob) {
				t.Errorf("item %d: %+v, %+v", i, opened[i], rewrapped[i])
			}
			continue
		}
		if got := provider.CodeOf(opened[i].Err); got != want || opened[i].Plaintext.Len() != 0 {
			t.Errorf("item %d: unwrap answers %s and %d bytes, want %s", i, got, opened[i].Plaintext.Len(), want)
		}
		if got := provider.CodeOf(rewrapped[i].Err); got != want {
			t.Errorf("item %d: rewrap answers %s, want %s", i, got, want)
		}
	}
	if _, err := km.RotateKey(ctx, provider.RotateKeyRequest{}); provider.CodeOf(err) != provider.Unsupported {
		t.Errorf("rotate: %v", err)
	}
	if err := errors.Join(km.Close(), km.Close()); err != nil {
		t.Error(err)
	}
}

// TestBadFunctions: those that are missing, fail or lie are found out.
func TestBadFunctions(t *testing.T) {
	kek := keyring.GenerateRoot()
	good := sealing("a", kek.Reveal())
	for name, change := range map[string]func(*wrapping.Functions){
		"no name":   func(f *wrapping.Functions) { f.KEKID = "" },
		"no wrap":   func(f *wrapping.Functions) { f.Wrap = nil },
		"no unwrap": func(f *wrapping.Functions) { f.Unwrap = nil },
	} {
		f := good
		change(&f)
		if km, err := f.KeyManager(); err == nil || km != nil {
			t.Errorf("%s: %v, %v", name, km, err)
		}
	}
	denied := provider.Errorf(provider.Denied, "no")
	for name, c := range map[string]struct {
		change func(*wrapping.Functions)
		want   provider.Code
	}{
		"wrap fails": {func(f *wrapping.Functions) {
			f.Wrap = func(context.Context, provider.Secret, []byte) ([]byte, error) { return nil, denied }
		}, provider.Denied},
		"unwrap fails": {func(f *wrapping.Functions) {
			f.Unwrap = func(context.Context, []byte, []byte) (provider.Secret, error) { return provider.Secret{}, denied }
		}, provider.Denied},
		"unwrap lies": {func(f *wrapping.Functions) {
			f.Unwrap = func(context.Context, []byte, []byte) (provider.Secret, error) {
				return keyring.GenerateRoot().Bytes, nil
			}
		}, provider.Integrity},
	} {
		f := good
		c.change(&f)
		km, err := f.KeyManager()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := km.Check(t.Context(), provider.CheckRequest{Deep: true}); provider.CodeOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
