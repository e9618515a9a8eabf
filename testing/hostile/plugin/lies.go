package main

import (
	"bytes"
	"context"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/provider/wire"
)

// otherKEK is an id that is not this instance's.
const otherKEK = "faulty/other"

// Sizes of answers: one that no message holds, and one that just fits.
const (
	oversized = wire.MaxMessage + 1
	giant     = wire.MaxMessage - 1<<10
)

// root is a root that nobody asked for, of any size.
func root(size int) provider.Secret { return provider.NewSecret(bytes.Repeat([]byte{0xEE}, size)) }

// lieOfWrap changes a wrap as the fault says.
func lieOfWrap(fault string, w *provider.Wrapped) {
	switch fault {
	case "other-kek":
		w.KEKID = otherKEK
	case "no-kek":
		w.KEKID = ""
	case "other-blob":
		w.Blob = slices.Clone(w.Blob)
		w.Blob[len(w.Blob)-1] ^= 1
	case "no-blob":
		w.Blob = nil
	case "giant":
		w.Blob = make([]byte, giant)
	case "oversized":
		w.Blob = make([]byte, oversized)
	}
}

// lieOfRoot changes a root as the fault says.
func lieOfRoot(fault string, r *provider.Secret) {
	switch fault {
	case "other-root":
		*r = root(provider.RootSize)
	case "zero-root":
		*r = provider.NewSecret(make([]byte, provider.RootSize))
	case "short-root":
		*r = root(provider.RootSize - 1)
	case "long-root":
		*r = root(provider.RootSize + 1)
	case "giant":
		*r = root(giant)
	case "oversized":
		*r = root(oversized)
	}
}

// lieOfCount changes the number of results as the fault says.
func lieOfCount[T any](fault string, results []T) []T {
	switch fault {
	case "missing-item":
		return results[1:]
	case "extra-item":
		return append(results, results[0])
	default:
		return results
	}
}

func (f *faulty) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	if err := f.begin("DescribeKey"); err != nil {
		return provider.DescribeKeyResponse{}, err
	}
	d, err := f.KeyManager.DescribeKey(ctx)
	switch f.fault("DescribeKey") {
	case "other-kek":
		d.KEKID = otherKEK
	case "unlisted-primary":
		d.PrimaryVersion = "99"
	}
	return d, err
}

func (f *faulty) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	if err := f.begin("GenerateDataKey"); err != nil {
		return provider.GenerateDataKeyResponse{}, err
	}
	fault := f.fault("GenerateDataKey")
	if fault == "same-root" { // under a wrap of its own, so that the proof succeeds
		same := root(provider.RootSize)
		wraps, err := f.KeyManager.Wrap(ctx, []provider.WrapItem{{Plaintext: same, AAD: req.AAD}})
		if err != nil {
			return provider.GenerateDataKeyResponse{}, err
		}
		return provider.GenerateDataKeyResponse{Wrapped: wraps[0].Wrapped, Plaintext: same}, wraps[0].Err
	}
	g, err := f.KeyManager.GenerateDataKey(ctx, req)
	if err != nil {
		return g, err
	}
	lieOfWrap(fault, &g.Wrapped)
	if fault != "giant" && fault != "oversized" { // the wrap's
		lieOfRoot(fault, &g.Plaintext)
	}
	return g, nil
}

func (f *faulty) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	if err := f.begin("Wrap"); err != nil {
		return nil, err
	}
	if f.fault("Wrap") == "echo" {
		return nil, provider.Errorf(provider.LimitExceeded, "it takes no %x, nor %[1]q", items[0].Plaintext.Reveal())
	}
	results, err := f.KeyManager.Wrap(ctx, items)
	if err != nil {
		return nil, err
	}
	fault := f.fault("Wrap")
	for i := range results {
		lieOfWrap(fault, &results[i].Wrapped)
	}
	return lieOfCount(fault, results), nil
}

func (f *faulty) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	if err := f.begin("Unwrap"); err != nil {
		return nil, err
	}
	results, err := f.KeyManager.Unwrap(ctx, items)
	if err != nil {
		return nil, err
	}
	fault := f.fault("Unwrap")
	for i := range results {
		r := &results[i]
		lieOfRoot(fault, &r.Plaintext)
		switch fault {
		case "other-kek":
			r.KEKID = otherKEK
		case "item-error":
			*r = provider.UnwrapResult{Err: provider.Errorf(provider.Integrity, "token %s cannot open it", f.token())}
		}
	}
	return lieOfCount(fault, results), nil
}

func (f *faulty) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	if err := f.begin("Rewrap"); err != nil {
		return nil, err
	}
	results, err := f.KeyManager.Rewrap(ctx, items)
	if err != nil {
		return nil, err
	}
	fault := f.fault("Rewrap")
	for i := range results {
		lieOfWrap(fault, &results[i].Wrapped)
	}
	return lieOfCount(fault, results), nil
}

func (f *faulty) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	if err := f.begin("RotateKey"); err != nil {
		return provider.RotateKeyResponse{}, err
	}
	r, err := f.KeyManager.RotateKey(ctx, req)
	switch f.fault("RotateKey") {
	case "other-old":
		r.OldVersion = "99"
	case "no-new":
		r.NewVersion = r.OldVersion
	}
	return r, err
}
