package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

// largeBatch exceeds what key managers take in one request, so that a provider that
// sends several has to put the answers together.
const largeBatch = 300

func batchCases() []testCase {
	return []testCase{
		{name: "batch/empty", test: onKEK(testBatchEmpty)},
		{name: "batch/large", test: onKEK(testBatchLarge)},
		{name: "batch/wrap-order", test: onKEK(testWrapOrder)},
		{name: "batch/unwrap-order", test: onKEK(testUnwrapOrder)},
		{name: "batch/rewrap-order", test: onKEK(testRewrapOrder)},
		{name: "batch/wrap-item-error", test: onKEK(testWrapItemError)},
		{name: "batch/unwrap-item-error", test: onKEK(testUnwrapItemError)},
		{name: "batch/rewrap-item-error", test: onKEK(testRewrapItemError)},
	}
}

// sample is one item, distinct from every other.
type sample struct {
	root, aad []byte
	wrapped   provider.Wrapped
}

func newSamples(n int) []sample {
	out := make([]sample, n)
	for i := range out {
		out[i] = sample{root: newRoot(), aad: fmt.Appendf(nil, "item %d", i)}
	}
	return out
}

// wrappedSamples wraps each alone.
func (k *kek) wrappedSamples(ctx context.Context, n int) ([]sample, error) {
	samples := newSamples(n)
	for i := range samples {
		w, err := k.wrap(ctx, samples[i].root, samples[i].aad)
		if err != nil {
			return nil, fmt.Errorf("Wrap: %w", err)
		}
		samples[i].wrapped = w
	}
	return samples, nil
}

// wrapAll wraps all in one call.
func (k *kek) wrapAll(ctx context.Context, samples []sample) ([]provider.WrapResult, error) {
	var items []provider.WrapItem
	for _, x := range samples {
		items = append(items, provider.WrapItem{Plaintext: provider.NewSecret(bytes.Clone(x.root)), AAD: bytes.Clone(x.aad)})
	}
	results, err := k.Wrap(ctx, items)
	return results, answered("Wrap", results, len(items), err)
}

func unwrapItems(samples []sample) []provider.UnwrapItem {
	var items []provider.UnwrapItem
	for _, x := range samples {
		items = append(items, provider.UnwrapItem{Wrapped: cloneWrapped(x.wrapped), AAD: bytes.Clone(x.aad)})
	}
	return items
}

// rewrapAll rewraps all in one call.
func (k *kek) rewrapAll(ctx context.Context, samples []sample) ([]provider.WrapResult, error) {
	results, err := k.Rewrap(ctx, unwrapItems(samples))
	return results, answered("Rewrap", results, len(samples), err)
}

// unwrapAll opens all in one call.
func (k *kek) unwrapAll(ctx context.Context, samples []sample) ([]provider.UnwrapResult, error) {
	results, err := k.Unwrap(ctx, unwrapItems(samples))
	return results, answered("Unwrap", results, len(samples), err)
}

// hold puts results into the samples that they must belong to.
func hold(samples []sample, results []provider.WrapResult) error {
	for i, r := range results {
		if r.Err != nil {
			return fmt.Errorf("item %d: %w", i, r.Err)
		}
		samples[i].wrapped = r.Wrapped
	}
	return nil
}

// openEach opens each alone, all but those that are left out.
func (k *kek) openEach(ctx context.Context, samples []sample, leftOut ...int) error {
	for i, x := range samples {
		if len(leftOut) > 0 && i == leftOut[0] {
			continue
		}
		if err := k.opens(ctx, x.wrapped, x.aad, x.root); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

// opened compares what a batch was opened to.
func opened(samples []sample, results []provider.UnwrapResult) error {
	for i, r := range results {
		if r.Err != nil {
			return fmt.Errorf("item %d: %w", i, r.Err)
		}
		if !bytes.Equal(r.Plaintext.Reveal(), samples[i].root) {
			return fmt.Errorf("item %d opens to another root", i)
		}
	}
	return nil
}

func testBatchEmpty(ctx context.Context, k *kek) error {
	if _, err := k.wrapAll(ctx, nil); err != nil {
		return fmt.Errorf("no item to wrap: %w", err)
	}
	if _, err := k.unwrapAll(ctx, nil); err != nil {
		return fmt.Errorf("no item to open: %w", err)
	}
	if _, err := k.rewrapAll(ctx, nil); err != nil {
		return fmt.Errorf("no item to rewrap: %w", err)
	}
	return nil
}

func testBatchLarge(ctx context.Context, k *kek) error {
	samples := newSamples(largeBatch)
	results, err := k.wrapAll(ctx, samples)
	if err == nil {
		err = hold(samples, results)
	}
	if err != nil {
		return fmt.Errorf("wrapping: %w", err)
	}
	if results, err = k.rewrapAll(ctx, samples); err == nil {
		err = hold(samples, results)
	}
	if err != nil {
		return fmt.Errorf("rewrapping: %w", err)
	}
	plain, err := k.unwrapAll(ctx, samples)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	return opened(samples, plain)
}

func testWrapOrder(ctx context.Context, k *kek) error {
	samples := newSamples(5)
	results, err := k.wrapAll(ctx, samples)
	if err != nil {
		return err
	}
	if err := hold(samples, results); err != nil {
		return err
	}
	return k.openEach(ctx, samples)
}

func testUnwrapOrder(ctx context.Context, k *kek) error {
	samples, err := k.wrappedSamples(ctx, 5)
	if err != nil {
		return err
	}
	results, err := k.unwrapAll(ctx, samples)
	if err != nil {
		return err
	}
	return opened(samples, results)
}

func testRewrapOrder(ctx context.Context, k *kek) error {
	samples, err := k.wrappedSamples(ctx, 5)
	if err != nil {
		return err
	}
	results, err := k.rewrapAll(ctx, samples)
	if err != nil {
		return err
	}
	if err := hold(samples, results); err != nil {
		return err
	}
	return k.openEach(ctx, samples)
}

// bad is the place of the item that fails, between two that do not.
const bad = 1

var errItem = errors.New("one bad item failed the whole batch")

func testWrapItemError(ctx context.Context, k *kek) error {
	samples := newSamples(3)
	samples[bad].root = samples[bad].root[1:]
	results, err := k.wrapAll(ctx, samples)
	if err != nil {
		return fmt.Errorf("%w: %w", errItem, err)
	}
	if err := wantCode(results[bad].Err, provider.InvalidArgument, "the item of a wrong size"); err != nil {
		return err
	}
	results[bad].Err = nil
	if err := hold(samples, results); err != nil {
		return err
	}
	return k.openEach(ctx, samples, bad)
}

func testUnwrapItemError(ctx context.Context, k *kek) error {
	samples, err := k.wrappedSamples(ctx, 3)
	if err != nil {
		return err
	}
	samples[bad].aad = []byte("another")
	results, err := k.unwrapAll(ctx, samples)
	if err != nil {
		return fmt.Errorf("%w: %w", errItem, err)
	}
	if err := wantCode(results[bad].Err, provider.Integrity, "the item with another AAD"); err != nil {
		return err
	}
	if results[bad].Plaintext.Len() != 0 {
		return errors.New("the item that failed has a plaintext")
	}
	results[bad] = provider.UnwrapResult{Plaintext: provider.NewSecret(samples[bad].root)}
	return opened(samples, results)
}

func testRewrapItemError(ctx context.Context, k *kek) error {
	samples, err := k.wrappedSamples(ctx, 3)
	if err != nil {
		return err
	}
	aad := samples[bad].aad
	samples[bad].aad = []byte("another")
	results, err := k.rewrapAll(ctx, samples)
	if err != nil {
		return fmt.Errorf("%w: %w", errItem, err)
	}
	if err := wantCode(results[bad].Err, provider.Integrity, "the item with another AAD"); err != nil {
		return err
	}
	results[bad] = provider.WrapResult{Wrapped: samples[bad].wrapped}
	samples[bad].aad = aad
	if err := hold(samples, results); err != nil {
		return err
	}
	return k.openEach(ctx, samples)
}
