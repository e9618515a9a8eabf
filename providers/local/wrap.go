package local

import (
	"context"
	"crypto/rand"

	"github.com/keyrotor/keyrotor/core/provider"
)

// GenerateDataKey draws a root from crypto/rand and wraps it.
func (m *manager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	root := newRoot()
	var w provider.Wrapped
	err := m.use(ctx, func(o *opened) (err error) {
		w, err = o.wrap(provider.WrapItem{Plaintext: root, AAD: req.AAD})
		return err
	})
	if err != nil {
		root.Wipe()
		return provider.GenerateDataKeyResponse{}, err
	}
	return provider.GenerateDataKeyResponse{Wrapped: w, Plaintext: root}, nil
}

// Wrap encrypts roots of [provider.RootSize] bytes under the primary version.
func (m *manager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	results := make([]provider.WrapResult, len(items))
	err := m.use(ctx, func(o *opened) error {
		for i, item := range items {
			results[i].Wrapped, results[i].Err = o.wrap(item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Unwrap opens wraps of any enabled version. A wrap whose KEKVersion is empty is
// opened with the version that its blob names.
func (m *manager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	results := make([]provider.UnwrapResult, len(items))
	err := m.use(ctx, func(o *opened) error {
		for i, item := range items {
			res, err := o.unwrap(item)
			res.Err = err
			results[i] = res
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Rewrap moves wraps to the primary version.
func (m *manager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	results := make([]provider.WrapResult, len(items))
	err := m.use(ctx, func(o *opened) error {
		for i, item := range items {
			results[i].Wrapped, results[i].Err = o.rewrap(item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (o *opened) wrap(item provider.WrapItem) (provider.Wrapped, error) {
	if n := item.Plaintext.Len(); n != provider.RootSize {
		return provider.Wrapped{}, provider.Errorf(provider.InvalidArgument,
			"a root has %d bytes, this one has %d", provider.RootSize, n)
	}
	blob, err := sealWrap(o.keys[o.Primary], o.ID, o.Primary, item.Plaintext, item.AAD)
	if err != nil {
		return provider.Wrapped{}, err
	}
	return provider.Wrapped{KEKID: kekID(o.ID), KEKVersion: versionText(o.Primary), Blob: blob}, nil
}

func (o *opened) unwrap(item provider.UnwrapItem) (provider.UnwrapResult, error) {
	w := item.Wrapped
	if w.KEKID != kekID(o.ID) {
		return provider.UnwrapResult{}, provider.Errorf(provider.NotFoundKey,
			"the wrap belongs to KEK %q, and the file holds %q", w.KEKID, kekID(o.ID))
	}
	if w.KEKVersion != "" && o.find(w.KEKVersion) == nil {
		return provider.UnwrapResult{}, provider.Errorf(provider.NotFoundVersion,
			"the KEK has no version %q", w.KEKVersion)
	}
	version, sealed, err := parseWrap(w.Blob)
	if err != nil {
		return provider.UnwrapResult{}, err
	}
	if w.KEKVersion != "" && w.KEKVersion != versionText(version) {
		return provider.UnwrapResult{}, provider.Errorf(provider.Integrity,
			"the wrap is recorded under KEK version %s and names %d itself", w.KEKVersion, version)
	}
	k := o.kek(version)
	if k == nil {
		return provider.UnwrapResult{}, provider.Errorf(provider.NotFoundVersion, "the KEK has no version %d", version)
	}
	if k.State != provider.KeyEnabled {
		return provider.UnwrapResult{}, provider.Errorf(provider.InvalidState, "KEK version %d is %s", version, k.State)
	}
	root, err := openWrap(o.keys[version], o.ID, version, sealed, item.AAD)
	if err != nil {
		return provider.UnwrapResult{}, err
	}
	return provider.UnwrapResult{Plaintext: root, KEKID: w.KEKID, KEKVersion: versionText(version)}, nil
}

func (o *opened) rewrap(item provider.UnwrapItem) (provider.Wrapped, error) {
	res, err := o.unwrap(item)
	if err != nil {
		return provider.Wrapped{}, err
	}
	defer res.Plaintext.Wipe()
	return o.wrap(provider.WrapItem{Plaintext: res.Plaintext, AAD: item.AAD})
}

func newRoot() provider.Secret {
	root := make([]byte, provider.RootSize)
	_, _ = rand.Read(root) // never fails, says crypto/rand
	return provider.NewSecret(root)
}
