package conformance

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func rewrapCases() []testCase {
	return []testCase{
		{name: "rewrap/opens", test: onKEK(testRewrapOpens)},
		{name: "rewrap/binds-aad", test: onKEK(testRewrapBindsAAD)},
		{name: "rewrap/newest-version", needs: []provider.Capability{provider.CanRotateKey}, test: onKEK(testRewrapNewest)},
	}
}

// testRewrapOpens: the new wrap holds the same root, and the old one still opens.
func testRewrapOpens(ctx context.Context, k *kek) error {
	old, root, err := k.newWrap(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	w, err := k.rewrap(ctx, old, []byte("aad"))
	if err != nil {
		return fmt.Errorf("Rewrap: %w", err)
	}
	if err := k.named(ctx, "Rewrap", w); err != nil {
		return err
	}
	if err := k.opens(ctx, w, []byte("aad"), root); err != nil {
		return fmt.Errorf("the wrap of Rewrap: %w", err)
	}
	if err := k.opens(ctx, old, []byte("aad"), root); err != nil {
		return fmt.Errorf("the wrap that was rewrapped: %w", err)
	}
	return nil
}

// testRewrapBindsAAD: rewrapping needs the AAD, and keeps it.
func testRewrapBindsAAD(ctx context.Context, k *kek) error {
	old, _, err := k.newWrap(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	_, err = k.rewrap(ctx, old, []byte("another"))
	if err := wantCode(err, provider.Integrity, "rewrapping under another AAD"); err != nil {
		return err
	}
	w, err := k.rewrap(ctx, old, []byte("aad"))
	if err != nil {
		return fmt.Errorf("Rewrap: %w", err)
	}
	for _, aad := range []string{"another", ""} {
		_, err = k.unwrap(ctx, w, []byte(aad))
		if err := wantCode(err, provider.Integrity, fmt.Sprintf("opening the wrap of Rewrap with the AAD %q", aad)); err != nil {
			return err
		}
	}
	return nil
}

// testRewrapNewest: rewrapping is how old versions are given up.
func testRewrapNewest(ctx context.Context, k *kek) error {
	old, root, err := k.newWrap(ctx, []byte("aad"))
	if err != nil {
		return err
	}
	_, after, err := k.rotate(ctx)
	if err != nil {
		return err
	}
	w, err := k.rewrap(ctx, old, []byte("aad"))
	if err != nil {
		return fmt.Errorf("Rewrap: %w", err)
	}
	if w.KEKVersion != "" && w.KEKVersion != after.PrimaryVersion {
		return fmt.Errorf("after a rotation to version %q Rewrap answers a wrap of version %q", after.PrimaryVersion, w.KEKVersion)
	}
	res, err := k.unwrap(ctx, w, []byte("aad"))
	if err != nil {
		return fmt.Errorf("the wrap of Rewrap does not open: %w", err)
	}
	if res.KEKVersion != "" && res.KEKVersion != after.PrimaryVersion {
		return fmt.Errorf("the wrap of Rewrap is opened by version %q, and the primary is %q", res.KEKVersion, after.PrimaryVersion)
	}
	return k.opens(ctx, w, []byte("aad"), root)
}
