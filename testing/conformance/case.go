package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// testCase is one promise of the contract and how to see that it is kept.
type testCase struct {
	// name is group and promise, e.g. "wrap/binds-aad". It never changes.
	name string
	// needs are the capabilities without which there is no promise.
	needs []provider.Capability
	// excusable cases ask for what some key manager cannot be brought to do.
	excusable bool
	// test answers how the promise was broken.
	test func(ctx context.Context, s *subject) error
}

// cases lists what holds on every way.
func cases(h *Harness) []testCase {
	return slices.Concat(
		infoCases(), configureCases(), secretCases(), checkCases(), capabilityCases(), describeCases(),
		generateCases(), wrapCases(), unwrapCases(), rewrapCases(), batchCases(),
		rotateCases(), createCases(), stateCases(), mirrorCases(),
		contextCases(), concurrentCases(), failCases(h),
	)
}

func find(cs []testCase, name string) (testCase, bool) {
	i := slices.IndexFunc(cs, func(c testCase) bool { return c.name == name })
	if i < 0 {
		return testCase{}, false
	}
	return cs[i], true
}

// concerns reports whether the provider has made the promise.
func (c testCase) concerns(info provider.Info) bool {
	return !slices.ContainsFunc(c.needs, func(n provider.Capability) bool { return !info.Capabilities.Has(n) })
}

// run runs the case aside, so that a provider that hangs or panics fails this case
// and leaves the others.
func (c testCase) run(ctx context.Context, s *subject, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := errors.New("the harness stopped the test")
		defer func() { ended <- err }()
		err = guarded(func() error { return c.test(ctx, s) })
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("a call did not end within %s", patience)
	}
}

// guarded makes an error of a panic.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the provider panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// atOnce calls f n times concurrently and answers the errors, in the order of n.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = guarded(func() error { return f(i) })
		})
	}
	close(begin)
	wg.Wait()
	return errs
}

// eventually polls for what a key manager settles in its own time.
func eventually(ctx context.Context, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("did not happen in time: %s", what)
		}
	}
}

// wantCode answers how err differs from a provider's error of this code.
func wantCode(err error, code provider.Code, what string) error {
	if err == nil {
		return fmt.Errorf("%s succeeds, want %s", what, string(code))
	}
	e, ok := errors.AsType[*provider.Error](err)
	switch {
	case !ok:
		return fmt.Errorf("%s fails with a %T (%w), want a *provider.Error of code %s", what, err, err, string(code))
	case e.Code != code || !errors.Is(err, code):
		return fmt.Errorf("%s fails with %w, want the code %s", what, err, string(code))
	default:
		return nil
	}
}
