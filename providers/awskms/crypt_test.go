package awskms

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// TestEncryptionContext: its form is final, and any client opens a wrap with it.
func TestEncryptionContext(t *testing.T) {
	for aad, want := range map[string]string{"": "1.", "a": "1.YQ", "\x00\xff\xfe": "1.AP_-"} {
		got := encryptionContext([]byte(aad))
		if len(got) != 1 || got["keyrotor"] != want {
			t.Errorf("the context of %q is %v", aad, got)
		}
	}
	l := newLab(t, awskmsfake.Config{})
	m := l.open(l.key(), nil)
	w := wrapOne(t, m, "a")
	out, err := l.admin.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: w.Blob, EncryptionContext: map[string]string{"keyrotor": "1.YQ"}})
	if err != nil || string(out.Plaintext) != string(root().Reveal()) {
		t.Errorf("another client: %v", err)
	}
}

// TestVersions: what AWS says of the key material is held against what is on record.
func TestVersions(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	m := l.open(l.key(), nil)
	first := primary(t, m)
	gen, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	if err != nil || gen.Wrapped.KEKVersion != first {
		t.Errorf("a data key is by %q, the primary is %q: %v", gen.Wrapped.KEKVersion, first, err)
	}
	w := wrapOne(t, m, "")
	if w.KEKVersion != "" {
		t.Errorf("Encrypt tells no key material, and the wrap has %q", w.KEKVersion)
	}
	if _, err := rotate(t, m, first, "request"); err != nil {
		t.Fatal(err)
	}
	w.KEKVersion = primary(t, m)
	_, err = unwrapOne(t.Context(), m, w, "")
	wantError(t, "another version on record", err, provider.Integrity, "", first, w.KEKVersion)
	rewrapped, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: w}})
	if err != nil || !errors.Is(rewrapped[0].Err, provider.Integrity) {
		t.Errorf("rewrapping it: %+v, %v", rewrapped, err)
	}
	w.KEKVersion = strings.Repeat("0", 64)
	_, err = unwrapOne(t.Context(), m, w, "")
	wantError(t, "an unknown version on record", err, provider.NotFoundVersion, "", w.KEKVersion)
}

// TestManyVersions: the list comes in pages, and an automatic rotation is in it.
func TestManyVersions(t *testing.T) {
	aws := &clock{}
	l := newLab(t, awskmsfake.Config{Now: aws.now})
	arn := l.key()
	days := int32(90)
	if _, err := l.admin.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: &arn, RotationPeriodInDays: &days}); err != nil {
		t.Fatal(err)
	}
	aws.advance(110 * 90 * 24 * time.Hour)
	m := l.open(arn, nil)
	l.Forget()
	d, err := m.DescribeKey(t.Context())
	if err != nil || len(d.Versions) != 111 || l.counts()["ListKeyRotations"] != 2 {
		t.Errorf("%d versions, %v, %v", len(d.Versions), err, l.counts())
	}
	// The list may lag, and the identity may not be allowed to read it.
	l.Next(1, "TrentService.ListKeyRotations", faultplan.Refused())
	d, err = m.DescribeKey(t.Context())
	if err != nil || len(d.Versions) != 1 || d.Versions[0].Version != d.PrimaryVersion {
		t.Errorf("without the list: %+v, %v", d, err)
	}
}

func TestKeyStates(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn := l.key()
	m := l.open(arn, nil)
	w := wrapOne(t, m, "")
	state := func(want provider.KeyState) {
		t.Helper()
		d, err := m.DescribeKey(t.Context())
		if err != nil || d.State != want {
			t.Errorf("the state is %q, want %q: %v", d.State, want, err)
		}
		if _, err = unwrapOne(t.Context(), m, w, ""); want != provider.KeyEnabled && !errors.Is(err, provider.InvalidState) {
			t.Errorf("unwrapping under a key that is %s: %v", want, err)
		}
	}
	state(provider.KeyEnabled)
	l.disable(arn)
	state(provider.KeyDisabled)
	if _, err := l.admin.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &arn}); err != nil {
		t.Fatal(err)
	}
	state(provider.KeyPendingDestruction)
	for in, want := range map[types.KeyState]provider.KeyState{
		types.KeyStateUpdating: provider.KeyEnabled, types.KeyStateCreating: provider.KeyDisabled,
		types.KeyStateUnavailable: provider.KeyDisabled, types.KeyStatePendingImport: provider.KeyDisabled,
		types.KeyStatePendingReplicaDeletion: provider.KeyPendingDestruction,
	} {
		if got := keyState(in); got != want {
			t.Errorf("%s is %s", in, got)
		}
	}
	hmac := l.key(func(in *kms.CreateKeyInput) {
		in.KeySpec, in.KeyUsage = types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac
	})
	wantError(t, "an HMAC key", describe(t.Context(), l.open(hmac, nil)), provider.InvalidConfig, attrKeyID, "HMAC_256")
	_, err := l.open(hmac, nil).GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{})
	wantError(t, "a data key of an HMAC key", err, provider.InvalidConfig, attrKeyID)
}

// items are wraps that differ.
func items(t *testing.T, m *manager, n int) []provider.UnwrapItem {
	t.Helper()
	w := wrapOne(t, m, "")
	out := make([]provider.UnwrapItem, n)
	for i := range out {
		out[i] = provider.UnwrapItem{Wrapped: w}
	}
	return out
}

// TestBatchThatIsThrottled: only what was throttled is asked again, and not at once.
func TestBatchThatIsThrottled(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	m := l.open(l.key(), nil)
	var pauses atomic.Int64
	m.pause = func(_ context.Context, d time.Duration) error {
		if d < firstPause/2 || d > longestPause {
			t.Errorf("a pause of %s", d)
		}
		pauses.Add(1)
		return nil
	}
	batch := items(t, m, 40)
	l.Forget()
	l.Next(5, "TrentService.Decrypt", faultplan.Throttled(0))
	results, err := m.Unwrap(t.Context(), batch)
	if err != nil || l.counts()["Decrypt"] != 45 || pauses.Load() != 5 {
		t.Fatalf("%v, %v, %d pauses", err, l.counts(), pauses.Load())
	}
	for i, r := range results {
		if r.Err != nil || !r.Plaintext.Equal(root()) {
			t.Errorf("item %d: %v", i, r.Err)
		}
	}
	// A single request is the host's to repeat.
	l.Forget()
	l.Every("TrentService.Decrypt", faultplan.Throttled(0))
	_, err = m.Unwrap(t.Context(), batch[:1])
	wantError(t, "one item", err, provider.Throttled, "")
	if got := l.counts()["Decrypt"]; got != 1 {
		t.Errorf("%d requests for one item", got)
	}
	// A batch that goes on being throttled ends, and no more is asked. This comes last:
	// requests that its end cut off may still arrive.
	l.Forget()
	_, err = m.Unwrap(t.Context(), batch)
	wantError(t, "throttled for ever", err, provider.Throttled, "")
	if got := l.counts()["Decrypt"]; got > parallel*(patience+1)+parallel {
		t.Errorf("%d requests", got)
	}
}

// TestBatchThatIsDenied: what all items would meet is met by few.
func TestBatchThatIsDenied(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	m := l.open(l.key(), nil)
	batch := items(t, m, 200)
	l.Forget()
	l.Every("TrentService.Decrypt", faultplan.Refused())
	_, err := m.Unwrap(t.Context(), batch)
	wantError(t, "denied", err, provider.Denied, "", "kms:Decrypt")
	if got := l.counts()["Decrypt"]; got > 2*parallel {
		t.Errorf("%d requests", got)
	}
}

func TestPause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("a pause that nobody waits for ends with %v", err)
	}
	if err := pause(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

// TestWrongAnswers: AWS, or what stands before it, answers with something else than asked for.
func TestWrongAnswers(t *testing.T) {
	l := newLab(t, awskmsfake.Config{})
	arn, other := l.key(), l.key()
	m := l.open(arn, nil)
	w := wrapOne(t, m, "")
	swap := faultplan.Wrong(func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), arn, other)) })
	short := faultplan.Wrong(func(b []byte) []byte {
		return []byte(strings.ReplaceAll(string(b), base64.StdEncoding.EncodeToString(root().Reveal()), "c2hvcnQ="))
	})
	for op, faults := range map[string]map[string]faultplan.Fault{
		"Decrypt": {"another key": swap, "a short root": short}, "Encrypt": {"another key": swap}, "ReEncrypt": {"another key": swap},
	} {
		for name, fault := range faults {
			l.Next(1, "TrentService."+op, fault)
			var err error
			switch op {
			case "Decrypt":
				_, err = unwrapOne(t.Context(), m, w, "")
			case "Encrypt":
				var out []provider.WrapResult
				if out, err = m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: root()}}); err == nil {
					err = out[0].Err
				}
			case "ReEncrypt":
				var out []provider.WrapResult
				if out, err = m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: w}}); err == nil {
					err = out[0].Err
				}
			}
			wantError(t, op+", "+name, err, provider.Integrity, "")
		}
	}
	l.Next(1, "TrentService.DescribeKey", swap)
	wantError(t, "DescribeKey", describe(t.Context(), m), provider.Integrity, "", other)
}
