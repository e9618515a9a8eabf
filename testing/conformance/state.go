package conformance

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func stateCases() []testCase {
	set := []provider.Capability{provider.CanSetVersionState}
	both := []provider.Capability{provider.CanSetVersionState, provider.CanRotateKey}
	return []testCase{
		{name: "state/unknown-version", needs: set, test: onKEK(testStateUnknownVersion)},
		{name: "state/again", needs: both, test: onKEK(testStateAgain)},
		{name: "state/disabled", needs: both, test: onKEK(testStateDisabled)},
		{name: "state/enabled-again", needs: both, test: onKEK(testStateEnabledAgain)},
		{name: "state/destroyed", needs: both, test: onKEK(testStateDestroyed)},
	}
}

// retired is a wrap of a version that is no longer the primary, and one of the
// version that is.
type retired struct {
	version  string
	old, new sample
}

func (k *kek) retire(ctx context.Context) (retired, error) {
	old, err := k.wrappedSamples(ctx, 1)
	if err != nil {
		return retired{}, err
	}
	before, _, err := k.rotate(ctx)
	if err != nil {
		return retired{}, err
	}
	next, err := k.wrappedSamples(ctx, 1)
	if err != nil {
		return retired{}, err
	}
	return retired{before.PrimaryVersion, old[0], next[0]}, nil
}

// set brings the old version into a state, which DescribeKey must show as one of
// those that are allowed.
func (k *kek) set(ctx context.Context, r retired, state provider.KeyState, allowed ...provider.KeyState) error {
	if err := k.setState(ctx, r.version, state); err != nil {
		return fmt.Errorf("SetVersionState to %s: %w", state, err)
	}
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	got, ok := versionState(d, r.version)
	for _, want := range append(allowed, state) {
		if ok && got == want {
			return nil
		}
	}
	return fmt.Errorf("after SetVersionState to %s DescribeKey answers %q", state, got)
}

// closed answers how a version that is not enabled still works, or another does not.
func (k *kek) closed(ctx context.Context, r retired, state provider.KeyState) error {
	results, err := k.unwrapAll(ctx, []sample{r.old, r.new})
	if err != nil {
		return fmt.Errorf("%w: %w", errItem, err)
	}
	if err := wantCode(results[0].Err, provider.InvalidState, fmt.Sprintf("opening a wrap of a version that is %s", state)); err != nil {
		return err
	}
	_, err = k.rewrap(ctx, r.old.wrapped, r.old.aad)
	if err := wantCode(err, provider.InvalidState, fmt.Sprintf("rewrapping a wrap of a version that is %s", state)); err != nil {
		return err
	}
	if err := opened([]sample{r.new}, results[1:]); err != nil {
		return fmt.Errorf("of the primary, while another version is %s: %w", state, err)
	}
	return nil
}

func testStateUnknownVersion(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	err = k.setState(ctx, "9999", provider.KeyDisabled)
	if err := wantCode(err, provider.NotFoundVersion, `SetVersionState of version "9999"`); err != nil {
		return err
	}
	return k.unchanged(ctx, before)
}

func testStateAgain(ctx context.Context, k *kek) error {
	r, err := k.retire(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		if err := k.set(ctx, r, provider.KeyDisabled); err != nil {
			return err
		}
	}
	return nil
}

func testStateDisabled(ctx context.Context, k *kek) error {
	r, err := k.retire(ctx)
	if err != nil {
		return err
	}
	if err := k.set(ctx, r, provider.KeyDisabled); err != nil {
		return err
	}
	return k.closed(ctx, r, provider.KeyDisabled)
}

func testStateEnabledAgain(ctx context.Context, k *kek) error {
	r, err := k.retire(ctx)
	if err != nil {
		return err
	}
	for _, state := range []provider.KeyState{provider.KeyDisabled, provider.KeyEnabled} {
		if err := k.set(ctx, r, state); err != nil {
			return err
		}
	}
	return k.openEach(ctx, []sample{r.old, r.new})
}

// testStateDestroyed: some key managers destroy after a while, and disable at once.
func testStateDestroyed(ctx context.Context, k *kek) error {
	r, err := k.retire(ctx)
	if err != nil {
		return err
	}
	if err := k.set(ctx, r, provider.KeyDestroyed, provider.KeyPendingDestruction); err != nil {
		return err
	}
	return k.closed(ctx, r, provider.KeyDestroyed)
}
