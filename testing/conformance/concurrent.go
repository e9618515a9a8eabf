package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func concurrentCases() []testCase {
	return []testCase{
		{name: "concurrent/calls", test: onKEK(testConcurrentCalls)},
	}
}

// testConcurrentCalls: every caller gets its own answer, while the key is rotated.
func testConcurrentCalls(ctx context.Context, k *kek) error {
	const callers, rounds = 8, 4
	return errors.Join(atOnce(callers, func(i int) error {
		for range rounds {
			if i == 0 && k.can(provider.CanRotateKey) {
				if _, _, err := k.rotate(ctx); err != nil {
					return err
				}
				continue
			}
			if err := k.roundTrip(ctx, fmt.Appendf(nil, "caller %d", i)); err != nil {
				return err
			}
		}
		return nil
	})...)
}

// roundTrip makes every call that reads.
func (k *kek) roundTrip(ctx context.Context, aad []byte) error {
	if _, err := k.Check(ctx, provider.CheckRequest{}); err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if err := checkDescription(d); err != nil {
		return fmt.Errorf("DescribeKey answers %+v: %w", d, err)
	}
	w, root, err := k.newWrap(ctx, aad)
	if err != nil {
		return err
	}
	if err := k.opens(ctx, w, aad, root); err != nil {
		return err
	}
	again, err := k.rewrap(ctx, w, aad)
	if err != nil {
		return fmt.Errorf("Rewrap: %w", err)
	}
	if err := k.opens(ctx, again, aad, root); err != nil {
		return err
	}
	w, root, err = k.generate(ctx, aad)
	if err != nil {
		return err
	}
	return k.opens(ctx, w, aad, root)
}
