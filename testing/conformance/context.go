package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func contextCases() []testCase {
	return []testCase{
		{name: "context/over", test: onKEK(testContextOver)},
		{name: "context/canceled-midway", test: onKEK(testContextCanceledMidway)},
	}
}

// call is one call that would succeed, bound to all but its context.
type call struct {
	name string
	do   func(context.Context) error
	// reads: the call changes nothing in the key manager, and the host may repeat it.
	reads bool
}

// calls lists all that the provider has. What w holds must open to root.
func (k *kek) calls(primary string, w provider.Wrapped, root []byte) []call {
	out := []call{
		{"Check", func(ctx context.Context) error {
			_, err := k.Check(ctx, provider.CheckRequest{Deep: true})
			return err
		}, true},
		{"DescribeKey", func(ctx context.Context) error {
			_, err := k.DescribeKey(ctx)
			return err
		}, true},
		{"GenerateDataKey", func(ctx context.Context) error {
			_, err := k.GenerateDataKey(ctx, provider.GenerateDataKeyRequest{})
			return err
		}, true},
		{"Wrap", func(ctx context.Context) error {
			_, err := k.wrap(ctx, root, nil)
			return err
		}, true},
		{"Unwrap", func(ctx context.Context) error { return k.opens(ctx, w, nil, root) }, true},
		{"Rewrap", func(ctx context.Context) error {
			_, err := k.rewrap(ctx, w, nil)
			return err
		}, true},
	}
	for _, n := range k.needs(primary) {
		if k.can(n.capability) {
			out = append(out, call{n.call, n.do, n.call == "ReadMirror"})
		}
	}
	return out
}

// usable answers how an instance has suffered.
func (k *kek) usable(ctx context.Context, w provider.Wrapped, root []byte) error {
	if _, err := k.describe(ctx); err != nil {
		return err
	}
	if err := k.opens(ctx, w, nil, root); err != nil {
		return err
	}
	if !k.can(provider.CanRotateKey) {
		return nil
	}
	_, _, err := k.rotate(ctx)
	return err
}

// givenUp reports whether a call ended for its context's sake.
func givenUp(ctx context.Context, err error) bool {
	return errors.Is(err, provider.Unavailable) || ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// testContextOver: nothing is done for a caller that is gone.
func testContextOver(ctx context.Context, k *kek) error {
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
	defer cancel()
	for _, over := range []context.Context{canceled, late} {
		for _, c := range k.calls(before.PrimaryVersion, w, root) {
			if err := c.do(over); !givenUp(over, err) {
				return fmt.Errorf("%s with a context that is over (%w) answers %w, want the context's error or %s",
					c.name, over.Err(), orSuccess(err), string(provider.Unavailable))
			}
		}
	}
	if err := k.unchanged(ctx, before); err != nil {
		return fmt.Errorf("after calls with a context that is over: %w", err)
	}
	if err := k.usable(ctx, w, root); err != nil {
		return fmt.Errorf("after calls with a context that is over: %w", err)
	}
	return nil
}

func orSuccess(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return err
}

// glance is a context that is canceled once somebody has looked at it: the earliest
// moment at which a call is under way.
type glance struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelFunc
}

func newGlance(ctx context.Context) glance {
	ctx, cancel := context.WithCancel(ctx)
	return glance{ctx, cancel}
}

func (g glance) Err() error {
	defer g.cancel()
	return g.Context.Err()
}

func (g glance) Done() <-chan struct{} {
	defer g.cancel()
	return g.Context.Done()
}

// testContextCanceledMidway: a call that is given up has happened or has not, and
// the instance is as good as before.
func testContextCanceledMidway(ctx context.Context, k *kek) error {
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	for i, c := range k.calls(before.PrimaryVersion, w, root) {
		if c.name == "CreateKey" {
			continue // the key exists, and that may be said first
		}
		if err := k.canceledMidway(ctx, i, w, root); err != nil {
			return fmt.Errorf("%s with a context that is canceled midway: %w", c.name, err)
		}
	}
	return nil
}

// canceledMidway makes one of the calls.
func (k *kek) canceledMidway(ctx context.Context, i int, w provider.Wrapped, root []byte) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	g := newGlance(ctx)
	defer g.cancel()
	if err := k.calls(before.PrimaryVersion, w, root)[i].do(g); err != nil && !givenUp(g, err) {
		return fmt.Errorf("it answers %w, want success, the context's error or %s", err, string(provider.Unavailable))
	}
	if err := k.usable(ctx, w, root); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	return nil
}
