package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func generateCases() []testCase {
	return []testCase{
		{name: "generate/root", test: onKEK(testGenerate)},
		{name: "generate/independent", test: onKEK(testGenerateIndependent)},
		{name: "generate/binds-aad", test: onKEK(testGenerateBindsAAD)},
	}
}

// generate asks for a root, of which it answers a copy.
func (k *kek) generate(ctx context.Context, aad []byte) (provider.Wrapped, []byte, error) {
	res, err := k.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{AAD: bytes.Clone(aad)})
	if err != nil {
		return provider.Wrapped{}, nil, fmt.Errorf("GenerateDataKey: %w", err)
	}
	root := bytes.Clone(res.Plaintext.Reveal())
	res.Plaintext.Wipe() // as whoever receives it does
	return res.Wrapped, root, nil
}

// testGenerate: what is answered in plaintext is what the wrap holds.
func testGenerate(ctx context.Context, k *kek) error {
	w, root, err := k.generate(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	if len(root) != provider.RootSize {
		return fmt.Errorf("GenerateDataKey answers %d bytes, want %d", len(root), provider.RootSize)
	}
	if bytes.Equal(root, make([]byte, provider.RootSize)) {
		return errors.New("GenerateDataKey answers zeros")
	}
	if err := k.opens(ctx, w, []byte("aad"), root); err != nil {
		return fmt.Errorf("the wrap of GenerateDataKey: %w", err)
	}
	return k.named(ctx, "GenerateDataKey", w)
}

// testGenerateIndependent: no root comes twice.
func testGenerateIndependent(ctx context.Context, k *kek) error {
	seen := map[string]bool{}
	for range 8 {
		_, root, err := k.generate(ctx, []byte("aad"))
		if err != nil {
			return err
		}
		if seen[string(root)] {
			return errors.New("GenerateDataKey answers the same root twice")
		}
		seen[string(root)] = true
	}
	return nil
}

func testGenerateBindsAAD(ctx context.Context, k *kek) error {
	w, _, err := k.generate(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	_, err = k.unwrap(ctx, w, []byte("another"))
	return wantCode(err, provider.Integrity, "opening the wrap of GenerateDataKey under another AAD")
}
