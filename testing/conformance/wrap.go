package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

// longestAAD is what a provider must be able to bind a wrap to, in bytes. The
// engine's own has some hundred.
const longestAAD = 1024

func wrapCases() []testCase {
	return []testCase{
		{name: "wrap/opens", test: onKEK(testWrapOpens)},
		{name: "wrap/any-aad", test: onKEK(testWrapAnyAAD)},
		{name: "wrap/binds-aad", test: onKEK(testWrapBindsAAD)},
		{name: "wrap/randomised", test: onKEK(testWrapRandomised)},
		{name: "wrap/names-the-key", test: onKEK(testWrapNamesKey)},
		{name: "wrap/root-size", test: onKEK(testWrapRootSize)},
		{name: "wrap/leaves-the-items", test: onKEK(testWrapLeavesItems)},
		{name: "wrap/keeps-no-buffer", test: onKEK(testWrapKeepsNoBuffer)},
	}
}

// testWrapOpens: any root comes back as it was. All zeros is none.
func testWrapOpens(ctx context.Context, k *kek) error {
	zeros := make([]byte, provider.RootSize-1)
	for _, root := range [][]byte{
		newRoot(), slices.Concat(zeros, []byte{1}), slices.Concat([]byte{1}, zeros), bytes.Repeat([]byte{0xFF}, provider.RootSize),
	} {
		w, err := k.wrap(ctx, root, []byte("aad"))
		if err != nil {
			return fmt.Errorf("Wrap: %w", err)
		}
		if err := k.opens(ctx, w, []byte("aad"), root); err != nil {
			return err
		}
	}
	return nil
}

// testWrapAnyAAD: bytes that are no text, many, or none. The wire cannot tell an
// empty AAD from none, so they are the same.
func testWrapAnyAAD(ctx context.Context, k *kek) error {
	for what, aad := range map[string][2][]byte{
		"no AAD, opened with an empty one":  {nil, {}},
		"an empty AAD, opened without":      {{}, nil},
		"an AAD of bytes that are not text": {{0, 0xFF, '"', '\n', 0x80}, {0, 0xFF, '"', '\n', 0x80}},
		"a long AAD":                        {bytes.Repeat([]byte{0xA5}, longestAAD), bytes.Repeat([]byte{0xA5}, longestAAD)},
	} {
		w, root, err := k.newWrap(ctx, aad[0])
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := k.opens(ctx, w, aad[1], root); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// testWrapBindsAAD: every byte counts, and so does there being any.
func testWrapBindsAAD(ctx context.Context, k *kek) error {
	long := bytes.Repeat([]byte{'x'}, longestAAD)
	end := slices.Concat(long[1:], []byte{'y'})
	for _, c := range []struct {
		what        string
		bound, open []byte
	}{
		{"another AAD", []byte("key 1"), []byte("key 2")},
		{"no AAD", []byte("key 1"), nil},
		{"an AAD, where there was none", nil, []byte("key 1")},
		{"the beginning of its AAD", []byte("key 10"), []byte("key 1")},
		{"more than its AAD", []byte("key 1"), []byte("key 10")},
		{"its AAD with a zero at the end", []byte("key 1"), []byte("key 1\x00")},
		{"its AAD in other letters", []byte("key"), []byte("KEY")},
		{"a long AAD that differs at its end", long, end},
	} {
		w, _, err := k.newWrap(ctx, c.bound)
		if err != nil {
			return err
		}
		_, err = k.unwrap(ctx, w, c.open)
		if err := wantCode(err, provider.Integrity, "opening a wrap with "+c.what); err != nil {
			return err
		}
	}
	return nil
}

// testWrapRandomised: equal roots are not seen to be equal.
func testWrapRandomised(ctx context.Context, k *kek) error {
	root := newRoot()
	var blobs [2][]byte
	for i := range blobs {
		w, err := k.wrap(ctx, root, []byte("aad"))
		if err != nil {
			return fmt.Errorf("Wrap: %w", err)
		}
		blobs[i] = bytes.Clone(w.Blob)
	}
	if bytes.Equal(blobs[0], blobs[1]) {
		return errors.New("one root is wrapped twice to the same bytes")
	}
	return nil
}

func testWrapNamesKey(ctx context.Context, k *kek) error {
	w, _, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	return k.named(ctx, "Wrap", w)
}

// named answers how the names in a new wrap differ from DescribeKey's. The version
// may be missing: some key managers do not tell.
func (k *kek) named(ctx context.Context, call string, w provider.Wrapped) error {
	d, err := k.describe(ctx)
	switch {
	case err != nil:
		return err
	case w.KEKID == "" || w.KEKID != d.KEKID:
		return fmt.Errorf("%s answers the KEKID %q, DescribeKey %q", call, w.KEKID, d.KEKID)
	case w.KEKVersion != "" && w.KEKVersion != d.PrimaryVersion:
		return fmt.Errorf("%s answers the KEKVersion %q, and the primary is %q", call, w.KEKVersion, d.PrimaryVersion)
	case len(w.Blob) == 0:
		return fmt.Errorf("%s answers an empty blob", call)
	default:
		return nil
	}
}

// testWrapRootSize: what is not of the one size that roots have is a defect of the
// caller, and wrapping it would hide that.
func testWrapRootSize(ctx context.Context, k *kek) error {
	for _, size := range []int{0, 1, provider.RootSize / 2, provider.RootSize - 1, provider.RootSize + 1, 2 * provider.RootSize} {
		_, err := k.wrap(ctx, bytes.Repeat([]byte{7}, size), nil)
		if err := wantCode(err, provider.InvalidArgument, fmt.Sprintf("wrapping %d bytes", size)); err != nil {
			return err
		}
	}
	return nil
}

// testWrapLeavesItems: the caller may have the same root wrapped by the next
// provider, and wipes it by itself.
func testWrapLeavesItems(ctx context.Context, k *kek) error {
	root, aad := newRoot(), []byte("aad")
	item := provider.WrapItem{Plaintext: provider.NewSecret(bytes.Clone(root)), AAD: bytes.Clone(aad)}
	if err := answeredWell(k.Wrap(ctx, []provider.WrapItem{item})); err != nil {
		return err
	}
	if !bytes.Equal(item.Plaintext.Reveal(), root) {
		return errors.New("Wrap changes or wipes the caller's plaintext")
	}
	if !bytes.Equal(item.AAD, aad) {
		return errors.New("Wrap changes the caller's AAD")
	}
	return nil
}

func answeredWell(results []provider.WrapResult, err error) error {
	if err := answered("Wrap", results, 1, err); err != nil {
		return err
	}
	return results[0].Err
}

// testWrapKeepsNoBuffer: what the caller does with its buffers, and with those of an
// answer, changes nothing afterwards.
func testWrapKeepsNoBuffer(ctx context.Context, k *kek) error {
	root, aad := newRoot(), []byte("the caller's")
	item := provider.WrapItem{Plaintext: provider.NewSecret(bytes.Clone(root)), AAD: bytes.Clone(aad)}
	results, err := k.Wrap(ctx, []provider.WrapItem{item})
	if err := answeredWell(results, err); err != nil {
		return err
	}
	w := cloneWrapped(results[0].Wrapped)
	for _, buffer := range [][]byte{item.Plaintext.Reveal(), item.AAD, results[0].Wrapped.Blob} {
		clear(buffer)
	}
	if err := k.opens(ctx, w, aad, root); err != nil {
		return fmt.Errorf("after the caller overwrote its buffers: %w", err)
	}
	return nil
}
