package awskms

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

const rotateOnDemand = "TrentService.RotateKeyOnDemand"

func rotate(t testing.TB, m *manager, expected, request string) (provider.RotateKeyResponse, error) {
	t.Helper()
	return m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: expected, RequestID: request})
}

// TestRotateKey: AWS takes its time, and the key tells when it is done.
func TestRotateKey(t *testing.T) {
	aws := &clock{}
	l := newLab(t, awskmsfake.Config{Now: aws.now, RotationTakes: time.Minute})
	m := l.open(l.key(), nil)
	before, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := wrapOne(t, m, "aad")
	res, err := rotate(t, m, before.PrimaryVersion, "request")
	if err != nil || res != (provider.RotateKeyResponse{OldVersion: before.PrimaryVersion, Pending: true}) {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := primary(t, m); got != before.PrimaryVersion {
		t.Errorf("the primary is %s at once", got)
	}
	aws.advance(time.Minute)
	after, err := m.DescribeKey(t.Context())
	if err != nil || after.PrimaryVersion == before.PrimaryVersion || len(after.Versions) != 2 {
		t.Fatalf("afterwards: %+v, %v", after, err)
	}
	moved, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: old, AAD: []byte("aad")}})
	if err != nil || moved[0].Err != nil || moved[0].Wrapped.KEKVersion != after.PrimaryVersion {
		t.Errorf("the rewrap answers %+v, %v", moved, err)
	}
	opened, err := unwrapOne(t.Context(), m, old, "aad")
	if err != nil || opened.KEKVersion != before.PrimaryVersion {
		t.Errorf("an old wrap opens by %q, %v", opened.KEKVersion, err)
	}
	_, err = rotate(t, m, before.PrimaryVersion, "another")
	wantError(t, "a stale version", err, provider.VersionChanged, "", after.PrimaryVersion)
}

// TestLostRotation: the answer is lost after the rotation began; whoever asks next, in the
// same process or another, makes no second one.
func TestLostRotation(t *testing.T) {
	for name, takes := range map[string]time.Duration{"still in progress": time.Hour, "done at once": 0} {
		l := newLab(t, awskmsfake.Config{RotationTakes: takes})
		arn := l.key()
		m := l.open(arn, nil)
		version := primary(t, m)
		l.Next(1, rotateOnDemand, faultplan.Lost())
		res, err := rotate(t, m, version, "request")
		if err != nil || res.OldVersion != version || res.Pending != (takes > 0) || (res.NewVersion == "") != res.Pending {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		for what, again := range map[string]*manager{"the same process": m, "another process": l.open(arn, nil)} {
			res, err := rotate(t, again, version, "request")
			if takes > 0 && (err != nil || !res.Pending) || takes == 0 && !errors.Is(err, provider.VersionChanged) {
				t.Errorf("%s, in %s: %+v, %v", name, what, res, err)
			}
		}
		if got := len(l.Calls(rotateOnDemand)); got != 1 {
			t.Errorf("%s: the rotation was asked for %d times", name, got)
		}
	}
}

// TestRotationThatNobodyKnowsOf: if not even the key can be read, the error is that the
// answer did not come, and settling it later finds the one rotation.
func TestRotationThatNobodyKnowsOf(t *testing.T) {
	l := newLab(t, awskmsfake.Config{RotationTakes: time.Hour})
	m := l.open(l.key(), nil)
	version := primary(t, m)
	l.Next(1, "TrentService.DescribeKey", faultplan.Late(0)) // the look before the rotation
	l.Next(1, "TrentService.GetKeyRotationStatus", faultplan.Late(0))
	l.Next(1, rotateOnDemand, faultplan.Lost())
	l.Next(1, "TrentService.DescribeKey", faultplan.Cut())
	l.Next(1, "TrentService.GetKeyRotationStatus", faultplan.Failed(500))
	_, err := rotate(t, m, version, "request")
	wantError(t, "nothing is known", err, provider.Unavailable, "", "kms:RotateKeyOnDemand")
	if n := l.Pending(); n != 0 {
		t.Errorf("%d faults were not met", n)
	}
	res, err := rotate(t, m, version, "request")
	if err != nil || !res.Pending || len(l.Calls(rotateOnDemand)) != 1 {
		t.Errorf("%+v, %v, %d requests", res, err, len(l.Calls(rotateOnDemand)))
	}
}

// TestRotationThatDidNotHappen: the request was cut off before AWS saw it.
func TestRotationThatDidNotHappen(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	m := l.open(l.key(), nil)
	version := primary(t, m)
	for name, c := range map[string]struct {
		fault faultplan.Fault
		code  provider.Code
	}{
		"cut": {faultplan.Cut(), provider.Unavailable}, "failed": {faultplan.Failed(500), provider.Unavailable},
		"throttled": {faultplan.Throttled(0), provider.Throttled}, "denied": {faultplan.Refused(), provider.Denied},
	} {
		l.Next(1, rotateOnDemand, c.fault)
		_, err := rotate(t, m, version, name)
		wantError(t, name, err, c.code, "", "kms:RotateKeyOnDemand")
	}
	if res, err := rotate(t, m, version, "at last"); err != nil || !res.Pending {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestRotateKeyOnce: while AWS works on it, the same request is answered as it was, others
// are told, and nothing more is asked of AWS. It does not hold for ever.
func TestRotateKeyOnce(t *testing.T) {
	l := newLab(t, awskmsfake.Config{RotationTakes: 24 * time.Hour})
	m := l.open(l.key(), nil)
	mine := &clock{}
	m.now = mine.now
	version := primary(t, m)
	var wg sync.WaitGroup
	answers := make([]error, 8)
	for i := range answers {
		wg.Go(func() { _, answers[i] = rotate(t, m, version, string(rune('a'+i))) })
	}
	wg.Wait()
	won := slices.DeleteFunc(answers, func(err error) bool { return errors.Is(err, provider.VersionChanged) })
	if len(won) != 1 || won[0] != nil || len(l.Calls(rotateOnDemand)) != 1 {
		t.Errorf("%v, %d requests", won, len(l.Calls(rotateOnDemand)))
	}
	mine.advance(2 * rotationPatience)
	if res, err := rotate(t, m, version, "much later"); err != nil || !res.Pending || len(l.Calls(rotateOnDemand)) != 1 {
		t.Errorf("%+v, %v: AWS still says that one is in progress", res, err)
	}
}

func TestRotationsThatAWSRefuses(t *testing.T) {
	aws := &clock{}
	l := newLab(t, awskmsfake.Config{Now: aws.now})
	arn := l.key()
	if _, err := l.admin.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &arn}); err != nil {
		t.Fatal(err)
	}
	aws.advance(365*24*time.Hour - 10*time.Minute)
	m := l.open(arn, nil)
	version := primary(t, m)
	_, err := rotate(t, m, version, "request")
	wantError(t, "ten minutes before an automatic rotation", err, provider.InvalidState, "", "20 minutes", "kek rewrap")

	hsm := l.open(l.key(func(in *kms.CreateKeyInput) { in.Origin = types.OriginTypeAwsCloudhsm }), nil)
	d, err := hsm.DescribeKey(t.Context())
	if err != nil || d.PrimaryVersion != "" || len(d.Versions) != 0 {
		t.Errorf("a key in a custom key store: %+v, %v", d, err)
	}
	_, err = rotate(t, hsm, "", "request")
	wantError(t, "a custom key store", err, provider.Unsupported, "", "custom key store")
	if _, err := unwrapOne(t.Context(), hsm, wrapOne(t, hsm, "aad"), "aad"); err != nil {
		t.Errorf("wrapping in a custom key store: %v", err)
	}

	off := l.key()
	disabled := l.open(off, nil)
	version = primary(t, disabled)
	l.disable(off)
	_, err = rotate(t, disabled, version, "request")
	wantError(t, "a disabled key", err, provider.InvalidState, "", "enable-key")
}

// TestCreateKey: what is half done is named.
func TestCreateKey(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	create := func(m *manager) (provider.CreateKeyResponse, error) {
		return m.CreateKey(t.Context(), provider.CreateKeyRequest{RequestID: "op-1"})
	}
	_, err := create(l.open("1234abcd-12ab-34cd-56ef-1234567890ab", nil))
	wantError(t, "an id", err, provider.InvalidConfig, attrKeyID, "alias/")
	arn := l.key()
	_, err = create(l.open(arn, nil))
	wantError(t, "a key that exists", err, provider.AlreadyExists, "")

	name := newName("alias/kek")
	full := "arn:aws:kms:eu-west-1:111122223333:" + name
	l.Next(1, "TrentService.CreateAlias", faultplan.Lost())
	res, err := create(l.open(full, nil))
	if err != nil || res.Version == "" {
		t.Errorf("the alias's answer is lost: %+v, %v", res, err)
	}
	_, err = create(l.open(name, nil))
	wantError(t, "again", err, provider.AlreadyExists, "", name)

	l.Next(1, "TrentService.CreateAlias", faultplan.Refused())
	_, err = create(l.open(newName("alias/kek"), nil))
	wantError(t, "the alias is denied", err, provider.Denied, "", "key/", "schedule its deletion")
	l.Next(1, "TrentService.CreateKey", faultplan.Lost())
	_, err = create(l.open(newName("alias/kek"), nil))
	wantError(t, "the key's answer is lost", err, provider.Unavailable, "", "op-1", "schedule its deletion")
}

// TestMovedAlias: the instance goes on with the key that it began with, and says that the
// alias names another.
func TestMovedAlias(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	first, second := l.key(), l.key()
	name := l.alias(first)
	m := l.open(name, nil)
	w := wrapOne(t, m, "aad")
	if w.KEKID != first {
		t.Errorf("the wrap names %s", w.KEKID)
	}
	if _, err := l.admin.UpdateAlias(context.Background(), &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &second}); err != nil {
		t.Fatal(err)
	}
	if _, err := unwrapOne(t.Context(), m, w, "aad"); err != nil {
		t.Errorf("the wrap does not open any more: %v", err)
	}
	if again := wrapOne(t, m, "aad"); again.KEKID != first {
		t.Errorf("another wrap names %s", again.KEKID)
	}
	wantError(t, "describing", describe(t.Context(), m), provider.InvalidConfig, attrKeyID, first, second, "key migrate")
	_, err := rotate(t, m, "any", "request")
	wantError(t, "rotating", err, provider.InvalidConfig, attrKeyID)
	_, err = unwrapOne(t.Context(), l.open(name, nil), w, "aad")
	wantError(t, "an instance that begins now", err, provider.NotFoundKey, "", first, second)
}

// TestMultiRegion: a wrap opens in each region of its key, and rotates at the primary.
func TestMultiRegion(t *testing.T) {
	const other = "eu-central-1"
	l := newLab(t, awskmsfake.Config{})
	arn := l.key(func(in *kms.CreateKeyInput) { yes := true; in.MultiRegion = &yes })
	region := other
	out, err := l.admin.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: &arn, ReplicaRegion: &region})
	if err != nil {
		t.Fatal(err)
	}
	replica := *out.ReplicaKeyMetadata.Arn
	here, there := l.open(arn, nil), l.open(replica, map[string]any{attrRegion: other})
	w := wrapOne(t, here, "aad")
	opened, err := unwrapOne(t.Context(), there, w, "aad")
	if err != nil || opened.KEKID != arn || !opened.Plaintext.Equal(root()) {
		t.Errorf("in the other region: %+v, %v", opened, err)
	}
	moved, err := there.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: w, AAD: []byte("aad")}})
	if err != nil || moved[0].Err != nil || moved[0].Wrapped.KEKID != replica {
		t.Errorf("rewrapped there: %+v, %v", moved, err)
	}
	_, err = rotate(t, there, primary(t, there), "request")
	wantError(t, "rotating a replica", err, provider.Unsupported, "", arn)
	before := primary(t, there)
	if _, err := rotate(t, here, before, "request"); err != nil {
		t.Fatal(err)
	}
	if after := primary(t, there); after == before || after != primary(t, here) {
		t.Errorf("the primary's rotation shows in the replica as %s, before %s", after, before)
	}
	// Not every key with the same id in another region is the same key.
	single := l.key()
	foreign := "arn:aws:kms:eu-central-1" + single[len("arn:aws:kms:eu-west-1"):]
	_, err = unwrapOne(t.Context(), l.open(single, nil), provider.Wrapped{KEKID: foreign, Blob: []byte("blob")}, "")
	wantError(t, "a single-region key's name elsewhere", err, provider.NotFoundKey, "")
}
