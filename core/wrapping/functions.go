package wrapping

import (
	"context"
	"errors"
	"slices"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

// Functions are a key manager of two plain functions in this process: for tests, and for
// who embeds an engine where no plugin can run. What they hold of a key-encryption key lies
// in the memory of the service, and nobody else can open what they wrap: neither the
// command line nor another process, unless it has the same functions. A config file
// therefore names plugins alone.
type Functions struct {
	// KEKID names the key-encryption key, and stands beside every wrap. Another key has
	// another name; there are no versions.
	KEKID string
	// Wrap encrypts a root, which stays the caller's, so that it opens with the same aad
	// only.
	Wrap func(ctx context.Context, root provider.Secret, aad []byte) (blob []byte, err error)
	// Unwrap opens what Wrap answered. The root is the caller's to wipe.
	Unwrap func(ctx context.Context, blob, aad []byte) (provider.Secret, error)
}

// functionsVersion is the only one that there is.
const functionsVersion = "1"

// KeyManager checks the functions and makes the key manager.
func (f Functions) KeyManager() (KeyManager, error) {
	if f.KEKID == "" || f.Wrap == nil || f.Unwrap == nil {
		return nil, errors.New("wrapping: KEKID, Wrap and Unwrap are required")
	}
	return functions{f}, nil
}

type functions struct{ f Functions }

func (functions) Info() provider.Info { return provider.Info{Name: "functions"} }

func (functions) Close() error { return nil }

// Check wraps a root and opens it again, if it is to go deep.
func (m functions) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	answer := provider.CheckResponse{Identity: "this process"}
	if !req.Deep {
		return answer, nil
	}
	root := keyring.GenerateRoot()
	defer root.Wipe()
	aad := []byte("check")
	blob, err := m.f.Wrap(ctx, root.Bytes, aad)
	if err != nil {
		return provider.CheckResponse{}, err
	}
	opened, err := m.f.Unwrap(ctx, blob, aad)
	defer opened.Wipe()
	if err == nil && !opened.Equal(root.Bytes) {
		err = provider.Errorf(provider.Integrity, "the functions opened another root than they had wrapped")
	}
	return answer, err
}

func (m functions) DescribeKey(context.Context) (provider.DescribeKeyResponse, error) {
	return provider.DescribeKeyResponse{
		KEKID: m.f.KEKID, State: provider.KeyEnabled, PrimaryVersion: functionsVersion,
		Versions: []provider.KeyVersion{{Version: functionsVersion, State: provider.KeyEnabled}},
	}, nil
}

func (m functions) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	root := keyring.GenerateRoot()
	wrapped, err := m.wrap(ctx, provider.WrapItem{Plaintext: root.Bytes, AAD: req.AAD})
	if err != nil {
		root.Wipe()
		return provider.GenerateDataKeyResponse{}, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: wrapped, Plaintext: root.Bytes}, nil
}

func (m functions) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	results := make([]provider.WrapResult, len(items))
	for i, item := range items {
		results[i].Wrapped, results[i].Err = m.wrap(ctx, item)
	}
	return results, nil
}

func (m functions) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	results := make([]provider.UnwrapResult, len(items))
	for i, item := range items {
		root, err := m.unwrap(ctx, item)
		results[i] = provider.UnwrapResult{Plaintext: root, KEKID: m.f.KEKID, KEKVersion: functionsVersion, Err: err}
	}
	return results, nil
}

// Rewrap leaves every wrap as it is, once it is known to open: it is under the only key.
func (m functions) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	results := make([]provider.WrapResult, len(items))
	for i, item := range items {
		root, err := m.unwrap(ctx, item)
		root.Wipe()
		if results[i].Err = err; err == nil {
			results[i].Wrapped = item.Wrapped
			results[i].Wrapped.Blob = slices.Clone(item.Wrapped.Blob)
		}
	}
	return results, nil
}

func (functions) RotateKey(context.Context, provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	return provider.RotateKeyResponse{}, provider.Errorf(provider.Unsupported, "functions have one key-encryption key without versions: migrate to another")
}

func (m functions) wrap(ctx context.Context, item provider.WrapItem) (provider.Wrapped, error) {
	blob, err := m.f.Wrap(ctx, item.Plaintext, item.AAD)
	if err != nil {
		return provider.Wrapped{}, err
	}
	return provider.Wrapped{KEKID: m.f.KEKID, KEKVersion: functionsVersion, Blob: blob}, nil
}

func (m functions) unwrap(ctx context.Context, item provider.UnwrapItem) (provider.Secret, error) {
	switch w := item.Wrapped; {
	case w.KEKID != m.f.KEKID:
		return provider.Secret{}, provider.Errorf(provider.NotFoundKey, "the wrap belongs to KEK %q, and this is %q", w.KEKID, m.f.KEKID)
	case w.KEKVersion != "" && w.KEKVersion != functionsVersion:
		return provider.Secret{}, provider.Errorf(provider.NotFoundVersion, "the KEK has no version %q", w.KEKVersion)
	}
	return m.f.Unwrap(ctx, item.Wrapped.Blob, item.AAD)
}
