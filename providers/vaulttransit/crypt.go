package vaulttransit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"sync"

	"github.com/keyrotor/keyrotor/core/provider"
)

// bindingDomain stands before the AAD in a context. A derived key takes no empty context,
// and a wrap without AAD must not open with one; so it is needed, and final.
const bindingDomain = "keyrotor/vault-transit/v1:"

// bindingContext is what a derived key derives the key of one wrap from. A key that is not
// derived ignores it, so it is always sent: nobody has to know which kind a key is, or
// notice that it was made anew as the other.
func bindingContext(aad []byte) []byte { return append([]byte(bindingDomain), aad...) }

// noType is sent as the type of the key that encrypt should make if there is none. Vault
// knows no such type and refuses; for a key that exists it ignores it. So not even a token
// that may create keys makes one by mistake, and nobody has to look first.
const noType = "none-for-keyrotor-creates-no-key-here"

// GenerateDataKey has Vault draw a root.
func (m *manager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	none := provider.GenerateDataKeyResponse{}
	if err := m.ready(ctx); err != nil {
		return none, err
	}
	body := `{"bits":256,"context":"` + base64.StdEncoding.EncodeToString(bindingContext(req.AAD)) + `"}`
	r := put(m.mount+"/datakey/plaintext/"+m.settings.key, []byte(body))
	a, err := m.ask(ctx, r)
	if err != nil {
		return none, m.forgetting(err)
	}
	out, err := decode[itemResult](&m.settings, r, a)
	if err != nil {
		return none, err
	}
	root := provider.NewSecret(out.Plaintext)
	w, err := m.wrapped(out.Ciphertext)
	if err == nil && root.Len() != provider.RootSize {
		err = provider.Errorf(provider.Integrity, "Vault made a data key of %d bytes, not %d", root.Len(), provider.RootSize)
	}
	if err != nil {
		root.Wipe()
		return none, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: w, Plaintext: root}, nil
}

// Wrap encrypts roots under the key's latest version. It never makes a key.
func (m *manager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	b := batch{op: "encrypt", before: `"type":"` + noType + `","partial_failure_response_code":200,`}
	for i, item := range items {
		if n := item.Plaintext.Len(); n != provider.RootSize {
			results[i].Err = provider.Errorf(provider.InvalidArgument, "a root has %d bytes, this one has %d", provider.RootSize, n)
			continue
		}
		b.add(i, item.AAD, fieldPlaintext, item.Plaintext.Reveal())
	}
	err := m.run(ctx, &b, func(i int, out itemResult, err error) {
		if err == nil {
			results[i].Wrapped, err = m.wrapped(out.Ciphertext)
		}
		results[i].Err = err
	})
	if errors.Is(err, provider.Denied) {
		// To a token that may not create keys, Vault says of a missing one no more than that.
		if _, missing := m.readKey(ctx); errors.Is(missing, provider.NotFoundKey) {
			err = missing
		}
	}
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Unwrap opens wraps of any version that may decrypt.
func (m *manager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	results := make([]provider.UnwrapResult, len(items))
	explain := m.explainer(ctx)
	b := batch{op: "decrypt", before: `"partial_failure_response_code":200,`}
	for i, item := range items {
		if results[i].Err = m.addWrap(ctx, &b, i, item); results[i].Err == nil {
			results[i].KEKID, results[i].KEKVersion = item.Wrapped.KEKID, versionIn(item.Wrapped.Blob)
		}
	}
	err := m.run(ctx, &b, func(i int, out itemResult, err error) {
		if err == nil && len(out.Plaintext) != provider.RootSize {
			clear(out.Plaintext)
			err = provider.Errorf(provider.Integrity, "the wrap opens to %d bytes, which is no root", len(out.Plaintext))
		}
		if err != nil {
			results[i] = provider.UnwrapResult{Err: explain(items[i].Wrapped.Blob, err)}
			return
		}
		results[i].Plaintext = provider.NewSecret(out.Plaintext)
	})
	if err != nil {
		for i := range results {
			results[i].Plaintext.Wipe()
		}
		return nil, err
	}
	return results, nil
}

// Rewrap has Vault move wraps to the key's latest version; no root comes here.
func (m *manager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	results := make([]provider.WrapResult, len(items))
	explain := m.explainer(ctx)
	b := batch{op: "rewrap"}
	for i, item := range items {
		results[i].Err = m.addWrap(ctx, &b, i, item)
	}
	err := m.run(ctx, &b, func(i int, out itemResult, err error) {
		if err == nil {
			results[i].Wrapped, err = m.wrapped(out.Ciphertext)
		}
		results[i].Err = explain(items[i].Wrapped.Blob, err)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// ready sees to it that the key is one that can wrap.
func (m *manager) ready(ctx context.Context) error {
	if err := m.alive(ctx); err != nil {
		return err
	}
	_, err := m.key(ctx)
	return err
}

// forgetting makes the next call look at the key again, since it may be another by now.
func (m *manager) forgetting(err error) error {
	if err != nil {
		m.info.Store(nil)
	}
	return err
}

// addWrap checks what can be checked here.
func (m *manager) addWrap(ctx context.Context, b *batch, i int, item provider.UnwrapItem) error {
	w := item.Wrapped
	if w.KEKID != m.kekID() {
		return provider.Errorf(provider.NotFoundKey, "the wrap belongs to KEK %q, and this is %q", w.KEKID, m.kekID())
	}
	if len(w.Blob) == 0 {
		return provider.Errorf(provider.InvalidArgument, "the wrap is empty")
	}
	version, err := parseBlob(string(w.Blob))
	if err != nil {
		return err
	}
	if w.KEKVersion != "" && w.KEKVersion != strconv.Itoa(version) {
		k, err := m.readKey(ctx)
		if err != nil {
			return err
		}
		if recorded, ok := parseVersion(w.KEKVersion); !ok || k.state(recorded) == "" {
			return provider.Errorf(provider.NotFoundVersion, "the KEK has no version %q", w.KEKVersion)
		}
		return provider.Errorf(provider.Integrity, "the wrap is recorded under KEK version %s and names %d itself", w.KEKVersion, version)
	}
	b.add(i, item.AAD, fieldCiphertext, w.Blob)
	return nil
}

// errTooOld stands for Vault's word until it is known what became of the version.
var errTooOld = errors.New(tooOld)

// explainer tells a version that may no longer decrypt from one that is gone, for which
// Vault has one text. It reads the key once, if it is needed at all.
func (m *manager) explainer(ctx context.Context) func(blob []byte, err error) error {
	read := sync.OnceValues(func() (*keyInfo, error) { return m.readKey(ctx) })
	return func(blob []byte, err error) error {
		if !errors.Is(err, errTooOld) {
			return err
		}
		version, _ := parseBlob(string(blob)) // it was parsed before
		k, err := read()
		switch {
		case err != nil:
			return err
		case version < k.first():
			return provider.Errorf(provider.NotFoundVersion,
				"KEK version %d was trimmed, min_available_version is %d: only a restored backup of the key has it", version, k.first())
		default:
			return provider.Errorf(provider.InvalidState, "min_decryption_version of the key is %d, and the wrap is by version %d: set it back with "+
				"`vault write %s/config min_decryption_version=%d`, run `keyrotor kek rewrap`, then raise it again",
				k.MinDecryptionVersion, version, m.keyPath(), version)
		}
	}
}

// checkWrap wraps a root and opens it.
func (m *manager) checkWrap(ctx context.Context) error {
	root, aad := make([]byte, provider.RootSize), []byte("check")
	_, _ = rand.Read(root) // never fails, says crypto/rand
	secret := provider.NewSecret(root)
	defer secret.Wipe()
	wraps, err := m.Wrap(ctx, []provider.WrapItem{{Plaintext: secret, AAD: aad}})
	if err != nil {
		return err
	}
	if wraps[0].Err != nil {
		return wraps[0].Err
	}
	back, err := m.Unwrap(ctx, []provider.UnwrapItem{{Wrapped: wraps[0].Wrapped, AAD: aad}})
	if err != nil {
		return err
	}
	defer back[0].Plaintext.Wipe()
	switch {
	case back[0].Err != nil:
		return back[0].Err
	case !back[0].Plaintext.Equal(secret):
		return provider.Errorf(provider.Integrity, "a root came back from its wrap as another one")
	default:
		return nil
	}
}
