package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/provider"
)

func rotateCases() []testCase {
	needs := []provider.Capability{provider.CanRotateKey}
	return []testCase{
		{name: "rotate/moves-primary", needs: needs, test: onKEK(testRotateMovesPrimary)},
		{name: "rotate/wraps-under-primary", needs: needs, excusable: true, test: onKEK(testRotateWrapsUnderPrimary)},
		{name: "rotate/keeps-old-wraps", needs: needs, test: onKEK(testRotateKeepsOldWraps)},
		{name: "rotate/stale-version", needs: needs, test: onKEK(testRotateStaleVersion)},
		{name: "rotate/same-request", needs: needs, test: onKEK(testRotateSameRequest)},
		{name: "rotate/racing", needs: needs, excusable: true, test: onKEK(testRotateRacing)},
	}
}

// testRotateMovesPrimary: one version more, and it is the one that was answered.
func testRotateMovesPrimary(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	res, err := k.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: before.PrimaryVersion, RequestID: "request"})
	if err != nil {
		return fmt.Errorf("RotateKey: %w", err)
	}
	after, err := k.moved(ctx, before, res)
	if err != nil {
		return err
	}
	switch {
	case res.OldVersion != before.PrimaryVersion:
		return fmt.Errorf("RotateKey answers the old version %q, which was %q", res.OldVersion, before.PrimaryVersion)
	case res.Pending && res.NewVersion != "":
		return fmt.Errorf("RotateKey is pending and names the new version %q", res.NewVersion)
	case !res.Pending && res.NewVersion != after.PrimaryVersion:
		return fmt.Errorf("RotateKey answers the new version %q, DescribeKey %q", res.NewVersion, after.PrimaryVersion)
	}
	if err := checkDescription(after); err != nil {
		return fmt.Errorf("DescribeKey answers %+v: %w", after, err)
	}
	return oneMore(before, after)
}

// oneMore answers how the versions are not those of before and a new one.
func oneMore(before, after provider.DescribeKeyResponse) error {
	if len(after.Versions) != len(before.Versions)+1 {
		return fmt.Errorf("one rotation made %d versions of %d", len(after.Versions), len(before.Versions))
	}
	for _, v := range before.Versions {
		if state, ok := versionState(after, v.Version); !ok || state != v.State {
			return fmt.Errorf("after the rotation version %q is %q, it was %q", v.Version, state, v.State)
		}
	}
	if after.KEKID != before.KEKID {
		return fmt.Errorf("after the rotation the KEKID is %q, it was %q", after.KEKID, before.KEKID)
	}
	return nil
}

func testRotateWrapsUnderPrimary(ctx context.Context, k *kek) error {
	_, after, err := k.rotate(ctx)
	if err != nil {
		return err
	}
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	if err := k.named(ctx, "Wrap", w); err != nil {
		return err
	}
	res, err := k.unwrap(ctx, w, nil)
	if err != nil {
		return fmt.Errorf("a wrap does not open: %w", err)
	}
	if res.KEKVersion != "" && res.KEKVersion != after.PrimaryVersion {
		return fmt.Errorf("after a rotation to version %q a new wrap is opened by version %q", after.PrimaryVersion, res.KEKVersion)
	}
	return k.opens(ctx, w, nil, root)
}

// testRotateKeepsOldWraps: wraps outlive any number of rotations.
func testRotateKeepsOldWraps(ctx context.Context, k *kek) error {
	samples, err := k.wrappedSamples(ctx, 1)
	if err != nil {
		return err
	}
	for range 2 {
		if _, _, err := k.rotate(ctx); err != nil {
			return err
		}
		more, err := k.wrappedSamples(ctx, 1)
		if err != nil {
			return err
		}
		samples = append(samples, more...)
	}
	return k.openEach(ctx, samples)
}

// testRotateStaleVersion: who saw another primary than the one that is does nothing.
func testRotateStaleVersion(ctx context.Context, k *kek) error {
	before, after, err := k.rotate(ctx)
	if err != nil {
		return err
	}
	for _, expected := range []string{before.PrimaryVersion, "9999", ""} {
		_, err := k.RotateKey(ctx, provider.RotateKeyRequest{ExpectedVersion: expected, RequestID: "stale " + expected})
		what := fmt.Sprintf("RotateKey that expects version %q where %q is the primary", expected, after.PrimaryVersion)
		if err := wantCode(err, provider.VersionChanged, what); err != nil {
			return err
		}
	}
	return k.unchanged(ctx, after)
}

// testRotateSameRequest: a host that lost the answer may send the request again. It is
// answered as it was, or refused; there is one rotation.
func testRotateSameRequest(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	req := provider.RotateKeyRequest{ExpectedVersion: before.PrimaryVersion, RequestID: "request"}
	first, err := k.RotateKey(ctx, req)
	if err != nil {
		return fmt.Errorf("RotateKey: %w", err)
	}
	after, err := k.moved(ctx, before, first)
	if err != nil {
		return err
	}
	second, err := k.RotateKey(ctx, req)
	if err == nil && second != first && !second.Pending {
		return fmt.Errorf("the same request is answered %+v and then %+v", first, second)
	}
	if err != nil {
		if err := wantCode(err, provider.VersionChanged, "the same request again"); err != nil {
			return err
		}
	}
	if err := k.unchanged(ctx, after); err != nil {
		return fmt.Errorf("the same request again: %w", err)
	}
	return oneMore(before, after)
}

// testRotateRacing: of those who saw the same primary, one rotates.
func testRotateRacing(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	var answers [4]provider.RotateKeyResponse
	var winner provider.RotateKeyResponse
	won := 0
	for i, err := range atOnce(len(answers), func(i int) (err error) {
		answers[i], err = k.RotateKey(ctx, provider.RotateKeyRequest{
			ExpectedVersion: before.PrimaryVersion, RequestID: fmt.Sprintf("racer %d", i),
		})
		return err
	}) {
		if err == nil {
			won++
			winner = answers[i]
		} else if err := wantCode(err, provider.VersionChanged, "RotateKey that lost a race"); err != nil {
			return err
		}
	}
	if won != 1 {
		return fmt.Errorf("%d of %d concurrent rotations from one version succeed, want 1", won, len(answers))
	}
	after, err := k.moved(ctx, before, winner)
	if err != nil {
		return err
	}
	return oneMore(before, after)
}

func createCases() []testCase {
	needs := []provider.Capability{provider.CanCreateKey}
	return []testCase{
		{name: "create/missing-key", needs: needs, test: testCreateMissing},
		{name: "create/answers", needs: needs, test: testCreateAnswers},
		{name: "create/twice", needs: needs, test: onKEK(testCreateTwice)},
	}
}

// testCreateMissing: the calls on a key that does not exist say that.
func testCreateMissing(ctx context.Context, s *subject) error {
	k, err := s.openKEK(ctx, s.KEK(s.t))
	if err != nil {
		return err
	}
	return k.fails(ctx, provider.NotFoundKey, " on a key that does not exist")
}

func testCreateAnswers(ctx context.Context, s *subject) error {
	k, err := s.openKEK(ctx, s.KEK(s.t))
	if err != nil {
		return err
	}
	res, err := k.create(ctx, "request")
	if err != nil {
		return fmt.Errorf("CreateKey: %w", err)
	}
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if res.KEKID != d.KEKID || res.Version != d.PrimaryVersion {
		return fmt.Errorf("CreateKey answers %+v, DescribeKey %+v", res, d)
	}
	if len(d.Versions) != 1 {
		return fmt.Errorf("a new key has %d versions", len(d.Versions))
	}
	return nil
}

// testCreateTwice: a key is never replaced, for that would lose every wrap.
func testCreateTwice(ctx context.Context, k *kek) error {
	before, err := k.describe(ctx)
	if err != nil {
		return err
	}
	w, root, err := k.newWrap(ctx, nil)
	if err != nil {
		return err
	}
	_, err = k.create(ctx, "another request")
	refused := wantCode(err, provider.AlreadyExists, "CreateKey on a key that exists")
	if err := k.opens(ctx, w, nil, root); err != nil {
		return errors.Join(refused, fmt.Errorf("after CreateKey on a key that exists: %w", err))
	}
	if refused != nil {
		return refused
	}
	return k.unchanged(ctx, before)
}
