package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

func unwrapCases() []testCase {
	return []testCase{
		{name: "unwrap/names-the-key", test: onKEK(testUnwrapNamesKey)},
		{name: "unwrap/altered", test: onKEK(testUnwrapAltered)},
		{name: "unwrap/empty-blob", test: onKEK(testUnwrapEmptyBlob)},
		{name: "unwrap/another-key", test: onKEK(testUnwrapAnotherKey)},
		{name: "unwrap/unknown-version", excusable: true, test: onKEK(testUnwrapUnknownVersion)},
		{name: "unwrap/keeps-no-buffer", test: onKEK(testUnwrapKeepsNoBuffer)},
	}
}

// testUnwrapNamesKey: the host compares the key that opened a wrap with the one that
// it was made under.
func testUnwrapNamesKey(ctx context.Context, k *kek) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	w, _, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	res, err := k.unwrap(ctx, w, nil)
	switch {
	case err != nil:
		return fmt.Errorf("Unwrap: %w", err)
	case res.KEKID == "" || res.KEKID != d.KEKID:
		return fmt.Errorf("Unwrap answers the KEKID %q, DescribeKey %q", res.KEKID, d.KEKID)
	case res.KEKVersion != "" && res.KEKVersion != d.PrimaryVersion:
		return fmt.Errorf("Unwrap answers the KEKVersion %q of a wrap under %q", res.KEKVersion, d.PrimaryVersion)
	default:
		return nil
	}
}

// testUnwrapAltered: no changed byte goes unnoticed, wherever it is.
func testUnwrapAltered(ctx context.Context, k *kek) error {
	w, _, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	if len(w.Blob) < 4 {
		return fmt.Errorf("a wrap has %d bytes", len(w.Blob))
	}
	altered := map[string][]byte{
		"the first half of a wrap":       bytes.Clone(w.Blob[:len(w.Blob)/2]),
		"a wrap with bytes at its end":   slices.Concat(w.Blob, []byte("and more")),
		"a wrap with bytes at its front": slices.Concat([]byte("and more"), w.Blob),
	}
	// Not the last bytes: an encoding such as base64 may leave some bits unused.
	for _, i := range []int{0, len(w.Blob) / 4, len(w.Blob) / 2, len(w.Blob) * 3 / 4, len(w.Blob) - 4} {
		blob := bytes.Clone(w.Blob)
		blob[i] ^= 1
		altered[fmt.Sprintf("a wrap with another byte %d of %d", i, len(blob))] = blob
	}
	for what, blob := range altered {
		bad := w
		bad.Blob = blob
		_, err := k.unwrap(ctx, bad, nil)
		if err := wantCode(err, provider.Integrity, "opening "+what); err != nil {
			return err
		}
	}
	return nil
}

func testUnwrapEmptyBlob(ctx context.Context, k *kek) error {
	w, _, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	w.Blob = nil
	_, err = k.unwrap(ctx, w, nil)
	return wantCode(err, provider.InvalidArgument, "opening an empty wrap")
}

// testUnwrapAnotherKey: a wrap of another key says so, and does not open if it lies.
func testUnwrapAnotherKey(ctx context.Context, k *kek) error {
	other, err := k.s.newKEK(ctx)
	if err != nil {
		return err
	}
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	w, _, err := other.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	if w.KEKID == d.KEKID {
		return fmt.Errorf("two keys have the KEKID %q", d.KEKID)
	}
	_, err = k.unwrap(ctx, w, nil)
	if err := wantCode(err, provider.NotFoundKey, "opening another key's wrap"); err != nil {
		return err
	}
	w.KEKID = d.KEKID
	_, err = k.unwrap(ctx, w, nil)
	return wantCode(err, provider.Integrity, "opening another key's wrap under this key's name")
}

// testUnwrapUnknownVersion is for key managers that name the version in a wrap.
func testUnwrapUnknownVersion(ctx context.Context, k *kek) error {
	w, _, err := k.newWrap(ctx, nil)
	if err != nil || w.KEKVersion == "" {
		return err
	}
	w.KEKVersion = "9999"
	_, err = k.unwrap(ctx, w, nil)
	return wantCode(err, provider.NotFoundVersion, `opening a wrap of version "9999"`)
}

// testUnwrapKeepsNoBuffer: a caller wipes what it was answered, and may ask again.
func testUnwrapKeepsNoBuffer(ctx context.Context, k *kek) error {
	w, root, err := k.newWrap(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	item := provider.UnwrapItem{Wrapped: cloneWrapped(w), AAD: []byte("aad")}
	results, err := k.Unwrap(ctx, []provider.UnwrapItem{item})
	if err := answered("Unwrap", results, 1, err); err != nil {
		return err
	}
	if !bytes.Equal(item.Wrapped.Blob, w.Blob) || string(item.AAD) != "aad" {
		return errors.New("Unwrap changes the caller's blob or AAD")
	}
	results[0].Plaintext.Wipe()
	if err := k.opens(ctx, w, []byte("aad"), root); err != nil {
		return fmt.Errorf("after the caller wiped the first answer: %w", err)
	}
	return nil
}
