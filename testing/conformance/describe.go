package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyrotor/keyrotor/core/provider"
)

func checkCases() []testCase {
	return []testCase{
		{name: "check/shallow", test: func(ctx context.Context, s *subject) error { return testCheck(ctx, s, false) }},
		{name: "check/deep", test: func(ctx context.Context, s *subject) error { return testCheck(ctx, s, true) }},
	}
}

func describeCases() []testCase {
	return []testCase{
		{name: "describe/complete", test: onKEK(testDescribe)},
		{name: "describe/changes-nothing", test: onKEK(testDescribeTwice)},
	}
}

func testCheck(ctx context.Context, s *subject, deep bool) error {
	k, err := s.newKEK(ctx)
	if err != nil {
		return err
	}
	res, err := k.Check(ctx, provider.CheckRequest{Deep: deep})
	if err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	if res.Latency < 0 {
		return fmt.Errorf("Check answers the latency %s", res.Latency)
	}
	return nil
}

// testDescribe: a new key is enabled, and its primary is one of its versions.
func testDescribe(ctx context.Context, k *kek) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if err := checkDescription(d); err != nil {
		return fmt.Errorf("DescribeKey answers %+v: %w", d, err)
	}
	return nil
}

// checkDescription is what holds for every key that is in use.
func checkDescription(d provider.DescribeKeyResponse) error {
	switch {
	case d.KEKID == "":
		return errors.New("the KEKID is empty")
	case d.State != provider.KeyEnabled:
		return errors.New("the key is not enabled")
	case d.Algorithm == "":
		return errors.New("the algorithm is empty")
	case d.IgnoresAAD: // a key of another kind may; the harness names one that binds
		return errors.New("its wraps are said to ignore their AAD")
	}
	seen := map[string]bool{}
	for _, v := range d.Versions {
		if v.Version == "" || seen[v.Version] {
			return fmt.Errorf("the version %q is nameless or there twice", v.Version)
		}
		seen[v.Version] = true
	}
	if state, ok := versionState(d, d.PrimaryVersion); !ok || state != provider.KeyEnabled {
		return errors.New("the primary is not an enabled one of its versions")
	}
	return nil
}

// versionState is the state of a version, if there is one of the name.
func versionState(d provider.DescribeKeyResponse, version string) (provider.KeyState, bool) {
	i := slices.IndexFunc(d.Versions, func(v provider.KeyVersion) bool { return v.Version == version })
	if i < 0 {
		return "", false
	}
	return d.Versions[i].State, true
}

// testDescribeTwice: neither describing, wrapping nor opening makes a version.
func testDescribeTwice(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	if err := k.opens(ctx, w, nil, root); err != nil {
		return err
	}
	return k.unchanged(ctx, before)
}
